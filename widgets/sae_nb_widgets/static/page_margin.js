// The margin of a page goes below where more than this share of both columns would be empty under the shorter.
const EMPTY = 0.13;
function fitMargins() {
  for (const body of document.querySelectorAll(".sae-nb-body:not(.sae-nb-plain)")) {
    body.classList.remove("sae-nb-below");
    const columns = [...body.children].map((column) => {
      const ends = [...column.children].map((block) => block.getBoundingClientRect().bottom);
      const { top, width } = column.getBoundingClientRect();
      return { height: Math.max(0, ...ends) - top, width };
    });
    const [short, long] = columns.sort((a, b) => a.height - b.height);
    const empty = (long.height - short.height) * short.width;
    body.classList.toggle("sae-nb-below", empty > EMPTY * long.height * (short.width + long.width));
  }
  // Drawings that fill their room are told by this that it changed.
  removeEventListener("resize", fitMargins);
  dispatchEvent(new Event("resize"));
  addEventListener("resize", fitMargins);
}
addEventListener("load", fitMargins);

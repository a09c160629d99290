// The margin of a page goes below where it, or the stage beside it, would be little more than half full.
const FULL = 0.55;
function fitMargins() {
  for (const body of document.querySelectorAll(".sae-nb-body:not(.sae-nb-plain)")) {
    body.classList.remove("sae-nb-below");
    const [stage, margin] = [...body.children].map((column) => {
      const ends = [...column.children].map((block) => block.getBoundingClientRect().bottom);
      return Math.max(0, ...ends) - column.getBoundingClientRect().top;
    });
    body.classList.toggle("sae-nb-below", Math.min(stage, margin) < FULL * Math.max(stage, margin));
  }
  // Drawings that fill their room are told by this that it changed.
  removeEventListener("resize", fitMargins);
  dispatchEvent(new Event("resize"));
  addEventListener("resize", fitMargins);
}
addEventListener("load", fitMargins);

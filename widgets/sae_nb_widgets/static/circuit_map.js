// CircuitMap: names in outlines, and lines between them, laid out by Python for several widths of the stage.
const drawn = (tag, className, attributes = {}, text = null) =>
  svgNode(tag, className ? { class: className, ...attributes } : attributes, text);

function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-circuit", { role: "listbox", tabindex: "0" });
  root.id = `circuit-${Math.random().toString(36).slice(2)}`;
  el.append(root);
  let nodes = new Map(), ties = [], active = -1, shown = null, order = [];

  const fitting = () => {
    const layouts = model.get("layouts");
    return layouts.find((one) => one.wide <= root.clientWidth) || layouts[layouts.length - 1];
  };

  function tieFor(tie) {
    const half = (tie.y0 + tie.y1) / 2;
    const path = `M${tie.x0} ${tie.y0}C${tie.x0} ${half} ${tie.x1} ${half} ${tie.x1} ${tie.y1}`;
    const node = drawn("path", `sae-nb-tie sae-nb-tie-${tie.adds ? "for" : "against"}`,
      { d: path, "stroke-width": tie.wide });
    ties.push([node, tie]);
    return node;
  }

  function wordFor([text, x, y, crop, side]) {
    if (!crop) return drawn("text", "sae-nb-word", { x, y }, text);
    return drawn("image", "", { href: crop, x: x - side / 2, y: y - side / 2, width: side, height: side });
  }

  function nodeFor(pill) {
    const face = model.get("faces")[pill.place];
    const marks = [...face.marks, ...(face.quiet ? ["nameless"] : [])].map((mark) => ` sae-nb-${mark}`);
    const node = drawn("g", `sae-nb-node sae-nb-node-${face.tone}${marks.join("")}`,
      { role: "option", id: `${root.id}-${pill.place}`, "aria-label": face.tip });
    const box = { x: pill.x - pill.wide / 2, y: pill.y - pill.high / 2, width: pill.wide, height: pill.high };
    if (face.tone === "answer") { // light letters on a dark ground, which pages know of boxes alone
      const ground = drawn("foreignObject", "", box);
      ground.append(make("div", "sae-nb-answerpill", {}, pill.text));
      node.append(ground);
    } else {
      node.append(drawn("rect", "", { ...box, rx: pill.high / 2 }), drawn("text", "", { x: pill.x, y: pill.y }, pill.text));
    }
    if (face.atom >= 0) node.dataset.atom = face.atom;
    else node.append(drawn("title", "", {}, face.tip));
    node.addEventListener("click", () => {
      active = pill.place;
      choose(model, pill.place);
    });
    nodes.set(pill.place, node);
    return node;
  }

  function mark() {
    const chosen = model.get("selected");
    nodes.forEach((node, place) => {
      node.classList.toggle("sae-nb-chosen", place === chosen);
      node.classList.toggle("sae-nb-active", place === active);
      node.setAttribute("aria-selected", String(place === chosen));
    });
    ties.forEach(([node, tie]) => node.classList.toggle("sae-nb-mine", tie.source === chosen || tie.target === chosen));
    root.firstChild?.classList.toggle("sae-nb-some", chosen >= 0);
  }

  function build() {
    nodes = new Map();
    ties = [];
    root.setAttribute("aria-label", model.get("description"));
    shown = fitting();
    if (!shown) {
      root.replaceChildren(make("div", "sae-nb-empty", {}, model.get("empty_text")));
      return;
    }
    const svg = drawn("svg", "sae-nb-circuitsvg",
      { viewBox: `0 0 ${shown.wide} ${shown.high}`, "font-size": shown.size, role: "presentation" });
    svg.append(...shown.ties.map(tieFor),
      ...shown.rows.map(([name, y]) => drawn("text", "sae-nb-rowname", { x: 2, y }, name)),
      ...shown.words.map(wordFor), ...shown.pills.map(nodeFor));
    order = [...shown.pills].sort((a, b) => a.y - b.y || a.x - b.x).map((pill) => pill.place);
    root.replaceChildren(svg);
    mark();
  }

  root.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && order.length) {
      const at = order.indexOf(active < 0 ? model.get("selected") : active);
      active = order[clamp(at + step, 0, order.length - 1)];
      root.setAttribute("aria-activedescendant", `${root.id}-${active}`);
      mark();
    } else if ((event.key === "Enter" || event.key === " ") && active >= 0) {
      choose(model, active);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  redrawOn(model, ["faces", "layouts", "description", "empty_text"], build);
  redrawOn(model, ["selected"], mark);
  const watch = new ResizeObserver(() => {
    if (fitting() !== shown) build();
  });
  watch.observe(root);
  build();
  return () => {
    watch.disconnect();
    root.replaceChildren();
  };
}
export default { initialize, render };

// Histogram: bars, marks to click, and a range kept by dragging; each end of it is a slider for the keyboard.
const HEIGHTS = { root: Math.sqrt, linear: (n) => n, log: Math.log1p };

function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-brush");
  const title = make("div", "sae-nb-cardtitle");
  const svg = svgNode("svg", { preserveAspectRatio: "none", role: "group" });
  const names = make("div", "sae-nb-axismarks");
  const ends = make("div", "sae-nb-brush-ends");
  root.append(title, svg, names, ends);
  el.append(root);
  const range = svgNode("rect", { class: "sae-nb-range", "vector-effect": "non-scaling-stroke" });
  let dragged = null;

  const last = () => model.get("counts").length - 1;
  const kept = () => (model.get("chosen").length ? model.get("chosen") : [0, last()]);

  function set(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  const keep = (low, high) => set("chosen", low <= 0 && high >= last() ? [] : [low, high]);

  const handles = ["lowest", "highest"].map((which, side) => {
    const handle = make("span", "");
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (!step || !model.get("brush")) return;
      const [low, high] = kept();
      if (side) keep(low, clamp(high + step, low, last()));
      else keep(Math.max(Math.min(low + step, high), 0), high);
      event.preventDefault();
      event.stopPropagation();
    });
    handle.which = which;
    return handle;
  });
  ends.append(...handles);

  function markFor({ at, words, chosen, tip }, index) {
    const node = make("button", "sae-nb-axismark", { type: "button", title: `${tip}; click for examples`, "aria-pressed": String(chosen) }, words);
    node.style.left = `${(100 * at) / Math.max(model.get("counts").length, 1)}%`;
    node.classList.toggle("sae-nb-selected", chosen);
    node.addEventListener("click", () => set("marked", index));
    return node;
  }

  function build() {
    const [counts, inside] = [model.get("counts"), model.get("inside")];
    const tall = HEIGHTS[model.get("tall")];
    const most = tall(Math.max(1, ...counts));
    const words = model.get("ends");
    title.textContent = model.get("description");
    title.style.display = title.textContent ? "" : "none";
    svg.setAttribute("aria-label", model.get("description"));
    svg.setAttribute("viewBox", `0 0 ${Math.max(counts.length, 1)} 1`);
    svg.style.cursor = model.get("brush") ? "" : "pointer";
    const bars = counts.flatMap((count, i) => [["sae-nb-all", count], ["sae-nb-in", inside[i]]].map(([kind, n]) => {
      const height = tall(n) / most;
      const place = { x: i + 0.08, y: 1 - height, width: 0.84, height };
      const bar = svgNode("rect", { class: kind, ...place, "vector-effect": "non-scaling-stroke" });
      const tip = svgNode("title", {});
      tip.textContent = `${words[i]} to ${words[i + 1]}: ${n.toLocaleString("en").replace(/,/g, THIN)}`;
      bar.append(tip);
      return bar;
    }));
    svg.replaceChildren(range, ...bars);
    svg.style.display = ends.style.display = counts.length ? "" : "none";
    names.hidden = !model.get("marks").length;
    names.replaceChildren(...model.get("marks").map(markFor));
    mark();
  }

  function mark() {
    const [low, high] = dragged || kept();
    const all = low <= 0 && high >= last();
    range.setAttribute("x", String(low));
    range.setAttribute("y", "0");
    range.setAttribute("height", "1");
    range.setAttribute("width", String(all ? 0 : high - low + 1));
    const words = model.get("ends");
    [low, high].forEach((bar, side) => {
      const handle = handles[side];
      const text = words[bar + side] || "";
      handle.textContent = text;
      if (!model.get("brush")) return;
      for (const [name, value] of Object.entries({ role: "slider", tabindex: "0",
        "aria-label": `${model.get("description")}: ${handle.which} kept`,
        title: `The ${handle.which} kept: drag over the bars, or use the arrow keys`,
        "aria-valuemin": "0", "aria-valuemax": String(last()), "aria-valuenow": String(bar), "aria-valuetext": text }))
        handle.setAttribute(name, value);
    });
  }

  const barAt = (event) => {
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left) / Math.max(box.width, 1);
    return clamp(Math.floor(share * (last() + 1)), 0, last());
  };
  let begin = -1;
  svg.addEventListener("pointerdown", (event) => {
    begin = barAt(event);
    svg.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => {
    if (begin < 0 || !model.get("brush")) return;
    const here = barAt(event);
    if (here === begin && !dragged) return;
    dragged = [Math.min(begin, here), Math.max(begin, here)];
    mark();
  });
  const release = () => {
    if (begin < 0) return;
    const [marked, from] = [dragged, begin];
    begin = -1;
    dragged = null;
    if (!model.get("brush")) set("clicked", from);
    else if (marked) keep(...marked);
    else keep(0, last()); // a click keeps everything again
    mark();
  };
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  redrawOn(model, ["counts", "inside", "ends", "marks", "tall", "brush", "description"], build);
  redrawOn(model, ["chosen"], mark);
  build();
  return () => root.remove();
}
export default { initialize, render };

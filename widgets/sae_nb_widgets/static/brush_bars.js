// BrushBars: a histogram on which a range is marked by dragging; each end is a slider for the keyboard.
const SVG = "http://www.w3.org/2000/svg";
function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-brush");
  const title = make("div", "sae-nb-cardtitle");
  const svg = shape("svg", { preserveAspectRatio: "none", role: "group" });
  const ends = make("div", "sae-nb-brush-ends");
  root.append(title, svg, ends);
  el.append(root);
  const range = shape("rect", { class: "sae-nb-range", "vector-effect": "non-scaling-stroke" });
  let dragged = null;

  const last = () => model.get("counts").length - 1;
  const kept = () => (model.get("chosen").length ? model.get("chosen") : [0, last()]);

  function keep(low, high) {
    model.set("chosen", low <= 0 && high >= last() ? [] : [low, high]);
    model.save_changes();
  }

  const handles = ["lowest", "highest"].map((which, side) => {
    const handle = make("span", "", { role: "slider", tabindex: "0" });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (!step) return;
      const [low, high] = kept();
      if (side) keep(low, Math.min(Math.max(high + step, low), last()));
      else keep(Math.max(Math.min(low + step, high), 0), high);
      event.preventDefault();
      event.stopPropagation();
    });
    handle.which = which;
    return handle;
  });
  ends.append(...handles);

  function build() {
    const [counts, inside] = [model.get("counts"), model.get("inside")];
    const most = Math.max(1, ...counts);
    title.textContent = model.get("description");
    svg.setAttribute("aria-label", model.get("description"));
    svg.setAttribute("viewBox", `0 0 ${Math.max(counts.length, 1)} 1`);
    const bars = counts.flatMap((count, i) => [["sae-nb-all", count], ["sae-nb-in", inside[i]]].map(([kind, n]) => {
      const height = Math.sqrt(n / most);
      const place = { x: i + 0.08, y: 1 - height, width: 0.84, height };
      return shape("rect", { class: kind, ...place, "vector-effect": "non-scaling-stroke" });
    }));
    svg.replaceChildren(range, ...bars);
    svg.style.display = ends.style.display = counts.length ? "" : "none";
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
      handle.setAttribute("aria-label", `${model.get("description")}: ${handle.which} kept`);
      handle.setAttribute("title", `The ${handle.which} kept: drag over the bars, or use the arrow keys`);
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", String(last()));
      handle.setAttribute("aria-valuenow", String(bar));
      handle.setAttribute("aria-valuetext", text);
    });
  }

  const barAt = (event) => {
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left) / Math.max(box.width, 1);
    return Math.min(Math.max(Math.floor(share * (last() + 1)), 0), last());
  };
  let begin = -1;
  svg.addEventListener("pointerdown", (event) => {
    begin = barAt(event);
    svg.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => {
    if (begin < 0) return;
    const here = barAt(event);
    if (here === begin && !dragged) return;
    dragged = [Math.min(begin, here), Math.max(begin, here)];
    mark();
  });
  const release = () => {
    if (begin < 0) return;
    const marked = dragged;
    begin = -1;
    dragged = null;
    if (marked) keep(...marked);
    else keep(0, last()); // a click keeps everything again
    mark();
  };
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  redrawOn(model, ["counts", "inside", "ends", "description"], build);
  redrawOn(model, ["chosen"], mark);
  build();
  return () => root.remove();
}
export default { initialize, render };

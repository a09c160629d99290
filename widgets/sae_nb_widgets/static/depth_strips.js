// DepthStrips: charts over layers with phase bands; clicking or dragging moves the shared cursor.
const PAD = 6;
const END = 12; // so that the last number fits
const SIGNS = 4.6; // room for the values at the ends of a chart, in letters' sizes

function render({ model, el }) {
  const root = make("div", "sae-nb-component", { role: "group" });
  const names = make("div");
  const list = make("div");
  list.style.cssText = "cursor:ew-resize;touch-action:pan-y";
  const axis = make("div");
  axis.style.cssText = "position:relative;height:1.3em;color:var(--sae-nb-quiet)";
  root.append(names, list, axis);
  el.append(root);
  let width = 0;
  let gutter = 52;
  let hovered = -1;
  let readings = [];

  const nLayers = () => model.get("n_layers");
  const x = (layer) => gutter + (layer / nLayers()) * (width - gutter - END);

  function bandsEntry() {
    const entry = make("span", "", {}, model.get("bands"));
    entry.style.cssText = "padding:0 8px;white-space:nowrap";
    entry.style.background = COLOURS.band;
    return entry;
  }

  function chartNode(chart, index, all) {
    const n = nLayers() + 1;
    const lines = model.get("lines").map((line, row) => ({ line, row }))
      .filter(({ line }) => line.chart === index);
    const box = make("div");
    const head = make("div");
    head.style.cssText = "display:flex;justify-content:space-between;gap:8px;line-height:1.25";
    const value = make("span", "sae-nb-number");
    value.style.color = "var(--sae-nb-quiet)";
    const name = make("span", "", { title: chart.title }, chart.title);
    if (chart.atom >= 0) name.setAttribute("data-atom", chart.atom);
    name.style.cssText = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap;min-width:0";
    head.append(name, value);
    const height = model.get("height");
    const svg = svgNode("svg", { width, height, role: "img", "aria-label": chart.title });
    svg.style.cssText = "display:block;max-width:100%";
    const span = chart.high - chart.low || 1;
    const foot = height - PAD;
    const y = (v) => foot - ((v - chart.low) / span) * (foot - PAD);
    const cuts = model.get("cuts");
    for (let i = 1; i + 1 < cuts.length; i += 2) {
      svg.append(svgNode("rect", { x: x(cuts[i]), y: PAD, width: x(cuts[i + 1]) - x(cuts[i]),
        height: foot - PAD, fill: COLOURS.band }));
    }
    for (const [end, at] of [[chart.high, PAD + 7], [chart.low, foot + 1]]) {
      const label = svgNode("text", { x: gutter - 5, y: at, "text-anchor": "end" });
      label.style.cssText = "fill:var(--sae-nb-quiet);font-size:var(--sae-nb-size)";
      label.textContent = withUnit(end, chart.unit);
      svg.append(label);
    }
    svg.append(svgNode("line", { x1: gutter, x2: width - END, y1: foot, y2: foot,
      stroke: COLOURS.axis }));
    const upright = svgNode("line", { y1: PAD / 2, y2: foot, stroke: "currentColor",
      "stroke-opacity": 0.7, "stroke-dasharray": "3 2" });
    svg.append(upright);
    for (const { line, row } of lines) {
      let path = "";
      let open = false;
      for (let i = 0; i < n; i += 1) {
        const v = all[row * n + i];
        if (Number.isNaN(v)) { open = false; continue; }
        path += `${open ? "L" : "M"}${x(i).toFixed(1)},${y(v).toFixed(1)}`;
        open = true;
      }
      const curve = svgNode("path", { d: path, fill: "none", "stroke-width": 2,
        "stroke-linejoin": "round", ...(line.dashed ? { "stroke-dasharray": "5 4" } : {}) });
      curve.style.stroke = line.colour || "var(--sae-nb-ink)";
      svg.append(curve);
    }
    box.append(head, svg);
    readings.push(() => {
      const at = hovered >= 0 ? hovered : model.get("cursor");
      upright.setAttribute("x1", x(model.get("cursor")));
      upright.setAttribute("x2", x(model.get("cursor")));
      // At rest the selected token alone, so that the title has room; all lines where one points.
      const own = lines.filter(({ line }) => line.name === model.get("own"));
      const said = hovered >= 0 ? lines : own.length ? own : lines.length < 3 ? lines : [];
      name.style.display = hovered < 0 || lines.length < 3 ? "" : "none";
      const words = hovered < 0 || lines.length < 2
        ? said.map(({ row }) => withUnit(all[row * n + at], chart.unit))
        : said.map(({ line, row }) =>
          `${line.name} ${withUnit(all[row * n + at], chart.unit)}`.trim());
      value.textContent = words.join(" · ");
    });
    return box;
  }

  function drawAxis() {
    const n = nLayers();
    const step = Math.max(1, Math.ceil((n * 24) / Math.max(width - gutter, 1)));
    const ticks = [];
    for (let layer = 0; layer <= n; layer += step) {
      const tick = make("span", "sae-nb-number", {}, layer === 0 ? "layer 0" : String(layer));
      tick.style.cssText = `position:absolute;left:${x(layer)}px;` +
        (layer === 0 ? `transform:translateX(-${gutter - 4}px)` : "transform:translateX(-50%)");
      ticks.push(tick);
    }
    axis.replaceChildren(...ticks);
  }

  function room() {
    return SIGNS * (parseFloat(getComputedStyle(root).fontSize) || 13);
  }

  function layerAt(event) {
    const box = list.getBoundingClientRect();
    const share = (event.clientX - box.left - gutter) / Math.max(box.width - gutter - END, 1);
    return clamp(Math.round(share * nLayers()), 0, nLayers());
  }

  function read() {
    readings.forEach((say) => say());
  }

  function move(event) {
    const layer = layerAt(event);
    if (event.buttons & 1) {
      hovered = -1;
      if (layer !== model.get("cursor")) {
        model.set("cursor", layer);
        model.save_changes();
      }
    } else {
      hovered = layer;
    }
    read();
  }

  function build() {
    gutter = room();
    width = Math.max(root.clientWidth, 2 * (gutter + END)); // not yet on the page: some width
    readings = [];
    root.setAttribute("aria-label", model.get("description"));
    const lines = model.get("lines");
    const named = [...new Map(lines.filter((l) => l.name).map((l) => [l.name, l])).values()];
    names.replaceChildren(...(named.length > 1 ? named.map((line) => lineEntry(line, "var(--sae-nb-ink)")) : []));
    if (model.get("cuts").length > 2) names.append(bandsEntry());
    const all = floats(model.get("data"));
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    const charts = model.get("charts").map((chart, i) => chartNode(chart, i, all));
    list.replaceChildren(...(lines.length ? charts : [empty]));
    axis.style.display = lines.length ? "" : "none";
    drawAxis();
    read();
  }

  list.addEventListener("pointerdown", (event) => {
    list.setPointerCapture(event.pointerId);
    move(event);
  });
  list.addEventListener("pointermove", move);
  list.addEventListener("pointerleave", () => { hovered = -1; read(); });
  const later = redrawOn(model, ["charts", "lines", "data", "height", "n_layers", "cuts", "bands",
    "description", "empty_text"], build);
  model.on("change:cursor", read);
  const resizes = new ResizeObserver(() => {
    if (Math.abs(root.clientWidth - width) > 2 || room() !== gutter) later();
  });
  resizes.observe(root);
  build();
  return () => {
    resizes.disconnect();
    root.replaceChildren();
  };
}
export default { initialize, render };

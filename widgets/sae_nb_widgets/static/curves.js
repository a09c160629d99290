// Curves: small charts under each other; hover reads values, a click chooses a place.
const PAD = 4;

function render({ model, el }) {
  const root = make("div", "sae-nb-component", { role: "group" });
  const title = make("div", "sae-nb-cardtitle");
  const names = make("div");
  const list = make("div");
  const readout = make("div", "sae-nb-readout", { "aria-live": "off" });
  readout.style.cssText = "min-height:1.4em;color:var(--sae-nb-quiet)";
  root.append(title, names, list, readout);
  el.append(root);
  let width = 0;

  const nPoints = () => floats(model.get("data")).length / Math.max(model.get("lines").length, 1);

  function chartNode(chart, index, all, n) {
    const box = make("div");
    const head = make("div");
    head.style.cssText = "display:flex;justify-content:space-between;gap:8px";
    const top = make("span", "sae-nb-number", {}, chart.note || withUnit(chart.high, chart.unit));
    top.style.color = "var(--sae-nb-quiet)";
    const name = make("span", "", {}, chart.title);
    if (chart.atom >= 0) name.setAttribute("data-atom", chart.atom);
    head.append(name, top);
    const height = model.get("height");
    const svg = svgNode("svg", { width, height, role: "img", "aria-label": chart.title });
    svg.style.cssText = "display:block;max-width:100%";
    if (model.get("clickable")) svg.style.cursor = "pointer";
    const span = chart.high - chart.low || 1;
    const foot = height - PAD;
    const x = (i) => PAD + (i / Math.max(n - 1, 1)) * (width - 2 * PAD);
    const y = (v) => foot - ((v - chart.low) / span) * (foot - PAD);
    const zero = chart.low <= 0 && chart.high >= 0 ? y(0) : foot;
    svg.append(svgNode("line", { x1: PAD, x2: width - PAD, y1: zero, y2: zero,
      stroke: COLOURS.axis }));
    const cursor = model.get("cursor");
    const at = cursor < 0 ? -1 : Math.floor(cursor / model.get("stride"));
    if (at >= 0) svg.append(svgNode("line", { x1: x(at), x2: x(at), y1: PAD, y2: foot,
      stroke: COLOURS.cursor, "stroke-dasharray": "2 2" }));
    const mine = model.get("lines").map((line, row) => ({ line, row }))
      .filter(({ line }) => line.chart === index);
    mine.forEach(({ line, row }, place) => {
      const colour = line.colour || "var(--sae-nb-quiet)";
      const heights = all.slice(row * n, (row + 1) * n);
      if (chart.bars) {
        const wide = Math.max((0.9 * (width - 2 * PAD)) / n / mine.length, 1);
        const shift = (place - (mine.length - 1) / 2) * wide;
        heights.forEach((v, i) => {
          const bar = svgNode("rect", { x: x(i) + shift - wide / 2, y: Math.min(y(v), zero),
            width: wide, height: Math.abs(y(v) - zero) });
          bar.style.fill = colour;
          svg.append(bar);
        });
        return;
      }
      const points = [...heights].map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
      const curve = svgNode("polyline", { points, fill: "none", "stroke-width": 2,
        ...(line.dashed ? { "stroke-dasharray": "6 4" } : {}) });
      curve.style.stroke = colour;
      svg.append(curve);
      if (at >= 0 && at < n) {
        const dot = svgNode("circle", { cx: x(at), cy: y(heights[at]), r: 4 });
        dot.style.fill = colour;
        svg.append(dot);
      }
    });
    svg.addEventListener("mousemove", (event) => say(chart, placeOf(event, svg, n), mine, all, n));
    svg.addEventListener("mouseleave", () => { readout.textContent = ""; });
    svg.addEventListener("click", (event) => {
      if (model.get("clickable")) choose(model, placeOf(event, svg, n) * model.get("stride"));
    });
    box.append(head, svg);
    if (model.get("clickable")) box.append(ends(n));
    return box;
  }

  // First and last place, for charts whose places mean something.
  function ends(n) {
    const foot = make("div");
    foot.style.cssText =
      "display:flex;justify-content:space-between;color:var(--sae-nb-quiet);line-height:1.1";
    const last = String((n - 1) * model.get("stride"));
    foot.append(make("span", "", {}, `${model.get("x_name")} 0`.trim()), make("span", "", {}, last));
    return foot;
  }

  function placeOf(event, svg, n) {
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left - PAD) / Math.max(box.width - 2 * PAD, 1);
    return clamp(Math.round(share * (n - 1)), 0, n - 1);
  }

  function say(chart, i, mine, all, n) {
    const parts = mine.map(({ line, row }) =>
      `${line.name ? line.name + " " : ""}${withUnit(all[row * n + i], chart.unit)}`);
    readout.textContent = [`${model.get("x_name")} ${i * model.get("stride")}`.trim(), ...parts]
      .join(" · ");
  }

  function build() {
    width = Math.max(root.clientWidth, 60);
    root.setAttribute("aria-label", model.get("description"));
    title.textContent = model.get("description");
    title.style.display = model.get("description") ? "" : "none";
    const lines = model.get("lines");
    const named = [...new Map(lines.filter((l) => l.name).map((l) => [l.name, l])).values()];
    names.replaceChildren(...(named.length > 1 ? named.map((line) => lineEntry(line, "var(--sae-nb-quiet)")) : []));
    const [all, n] = [floats(model.get("data")), nPoints()];
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    const charts = model.get("charts").map((chart, i) => chartNode(chart, i, all, n));
    list.replaceChildren(...(lines.length ? charts : [empty]));
  }

  const later = redrawOn(model, ["charts", "lines", "data", "cursor", "height", "clickable",
    "x_name", "stride", "description", "empty_text"], build);
  const resizes = new ResizeObserver(() => {
    if (Math.abs(root.clientWidth - width) > 2) later();
  });
  resizes.observe(root);
  build();
  return () => {
    resizes.disconnect();
    root.replaceChildren();
  };
}
export default { initialize, render };

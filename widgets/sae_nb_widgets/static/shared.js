// What the small components share: colours, numbers, elements, theme changes. Text is only ever
// written through textContent or setAttribute, so a token of markup stays a word.
const COLOURS = __COLOURS__;
const THIN = "\u2009";

function initialize({ model }) {
  hear(model);
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

// Colour of a share of the maximum over a text or a picture: red, green, blue and opacity. One hue, more of
// it where the strength is greater; weak ones leave what is below as it is. Python's `heat_colour`.
function heatColour(t, signed = false, tone = "strength") {
  const s = clamp(t || 0, signed ? -1 : 0, 1);
  const { weakest, faintest, boldest } = COLOURS.opacities;
  const hue = COLOURS.heat[signed ? (s < 0 ? "below" : "above") : tone];
  const size = Math.abs(s);
  const opacity = faintest + ((boldest - faintest) * (size - weakest)) / (1 - weakest);
  return [...hue, size < weakest ? 0 : opacity];
}

function shade(t, signed = false, tone = "strength") {
  const [r, g, b, opacity] = heatColour(t, signed, tone);
  return `rgba(${r},${g},${b},${opacity.toFixed(3)})`;
}

function formatNumber(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const rounded = Number(size.toPrecision(3));
  const exponent = Math.floor(Math.log10(rounded));
  let text;
  if (exponent < -4 || exponent >= 9) {
    text = size.toExponential(2).replace("e+", "e").replace("e-", "e\u2212");
  } else {
    text = rounded.toFixed(Math.max(2 - exponent, 0));
    const [whole, part] = text.split(".");
    text = whole.replace(/\B(?=(\d{3})+$)/g, THIN) + (part ? "." + part : "");
  }
  return (value < 0 ? "\u2212" : "") + text;
}

function withUnit(value, unit) {
  return formatNumber(value) + (unit ? THIN + unit : "");
}

function make(tag, className, attributes = {}, text = null) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

// A thing to choose that is itself a button: `buttons` of a component has its words, what kind of answer it was,
// and its name for who does not see it. Once one is an answer, none can be pressed.
const answered = (model) => model.get("buttons").some(([, kind]) => kind);
function optionButton(model, index, ...shown) {
  const [words, kind, name] = model.get("buttons")[index];
  const node = make("button", `sae-nb-option sae-nb-${kind || "open"}`, { type: "button", "aria-label": name, title: `Answer with ${name}` });
  node.disabled = answered(model);
  node.append(...shown.length ? [...shown, make("span", "", {}, words)] : []);
  return node;
}

function floats(view) {
  if (!view || !view.byteLength) return new Float32Array(0);
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function bytes(view) {
  if (!view || !view.byteLength) return new Uint8Array(0);
  return new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// Paints the heat of a share of the maximum behind a node; its words are then in full ink, also where those
// around it are quiet. A heat is faint enough for the theme's ink, on light paper and on dark.
function heated(node, t, signed = false, tone = "strength") {
  node.style.backgroundColor = shade(t, signed, tone);
  node.style.color = heatColour(t, signed, tone)[3] ? "var(--sae-nb-ink)" : "";
}

// Calls back when JupyterLab, or the page, switches between light and dark.
function onTheme(callback) {
  const observer = new MutationObserver(callback);
  const watched = { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] };
  observer.observe(document.body, watched);
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    query.removeEventListener("change", callback);
  };
}

// One redraw per animation frame, however many traits changed.
function redrawOn(model, names, draw) {
  let queued = false;
  const later = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      draw();
    });
  };
  for (const name of names) model.on("change:" + name, later);
  return later;
}

// Marks an element as an atom, so that pointing at it shows the atom's card; a picture of it first.
function tagAtom(node, atom, icon = "") {
  if (Number.isInteger(atom) && atom >= 0) node.dataset.atom = atom;
  const label = node.querySelector(".sae-nb-label");
  if (icon && label) label.prepend(make("img", "sae-nb-icon", { src: icon, alt: "" }));
}

// Says that somebody points at an atom without a mouse, or at a drawing: the panel shows its card.
function pointAtom(node, x = null, y = null, atom = null) {
  const box = node.getBoundingClientRect();
  const shown = atom === null ? Number(node.dataset.atom ?? -1) : atom;
  const detail = { atom: shown, x: x ?? box.right, y: y ?? box.top, glance: x !== null };
  node.dispatchEvent(new CustomEvent("sae-nb-atom", { detail, bubbles: true }));
}

function choose(model, value) {
  model.set("selected", value);
  model.save_changes();
}

// The colour legend: 0 … maximum, or −maximum … maximum.
function heatLegend(maximum, unit, signed = false, tone = "strength") {
  const box = make("span", "sae-nb-legend", { "aria-hidden": "true" });
  const ramp = make("span", "sae-nb-ramp");
  const stops = COLOURS.legend[signed ? "signed" : "strength"]
    .map((t) => `${shade(t, signed, tone)} ${100 * (signed ? (t + 1) / 2 : t)}%`).join(",");
  ramp.style.background = `linear-gradient(to right, ${stops})`;
  const top = formatNumber(maximum) + (unit ? THIN + unit : "");
  box.append(make("span", "", {}, signed ? formatNumber(-maximum) : "0"), ramp, make("span", "", {}, top));
  return box;
}

function svgNode(tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

// A line of a chart in its legend.
function lineEntry(line, otherwise) {
  const entry = make("span");
  entry.style.cssText = "margin-right:10px;white-space:nowrap";
  const key = make("span");
  key.style.cssText =
    "display:inline-block;width:16px;margin-right:4px;vertical-align:middle;border-top:3px " +
    (line.dashed ? "dashed" : "solid");
  key.style.borderTopColor = line.colour || otherwise;
  entry.append(key, document.createTextNode(line.name));
  return entry;
}

// Shows which row of a list is selected, and which the keys have come to.
function markRows(rows, selected, active) {
  rows.forEach((node, i) => {
    node.setAttribute("aria-selected", String(i === selected));
    node.classList.toggle("sae-nb-selected", i === selected);
    node.classList.toggle("sae-nb-active", i === active);
  });
}

// Arrows go through the rows of a list, Enter and space take one; Escape leaves, where it can be left.
function listKeys(list, { rows, at, go, take, leave = null }) {
  list.addEventListener("keydown", (event) => {
    if (event.target !== list) return; // what can be focused inside it has keys of its own
    const nodes = rows();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && nodes.length) {
      const next = clamp(at() + step, 0, nodes.length - 1);
      list.setAttribute("aria-activedescendant", nodes[next].id);
      nodes[next].scrollIntoView({ block: "nearest" });
      if (nodes[next].dataset.atom) pointAtom(nodes[next]);
      go(next);
    } else if ((event.key === "Enter" || event.key === " ") && nodes.length) take(at());
    else if (event.key === "Escape" && leave) leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

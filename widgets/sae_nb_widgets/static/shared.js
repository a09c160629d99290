// What the small components share: colours, numbers, elements, theme changes. Text is only ever
// written through textContent or setAttribute, so a token "<script>" stays a word.
const CIVIDIS = __CIVIDIS__;
const COLOURS = __COLOURS__;
const THIN = "\u2009";

// When the youngest of our widgets was made: plot.js waits for a pause before it reads plotly.
function initialize() {
  globalThis.__sae_nb_born__ = performance.now();
}

function cividis(t) {
  const last = CIVIDIS.length - 1;
  const x = Math.min(Math.max(t || 0, 0), 1) * last;
  const i = Math.min(Math.floor(x), last - 1);
  return CIVIDIS[i].map((c, k) => Math.round(c + (CIVIDIS[i + 1][k] - c) * (x - i)));
}

// Strength is colour and opacity together: nothing is transparent, everything is yellow.
function shade(t) {
  const s = Math.min(Math.max(t || 0, 0), 1);
  const [r, g, b] = cividis(s);
  return `rgba(${r},${g},${b},${s > 0 ? (0.2 + 0.75 * s).toFixed(3) : 0})`;
}

// Signed values: blue below zero, orange above, nothing at zero.
function signedShade(t) {
  const s = Math.min(Math.max(t || 0, -1), 1);
  const rgb = COLOURS.signed[s < 0 ? 0 : 1];
  return `rgba(${rgb},${s ? (0.15 + 0.7 * Math.abs(s)).toFixed(3) : 0})`;
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

function make(tag, className, attributes = {}, text = null) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
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

// Black or white, whichever is easier to read on the shade of a strength, over light or dark paper.
function inkOn(fraction, element) {
  const ink = (getComputedStyle(element).color.match(/[\d.]+/g) || [0, 0, 0]).map(Number);
  const paper = ink[0] + ink[1] + ink[2] > 382 ? 17 : 255;
  const alpha = 0.2 + 0.75 * fraction;
  const light = cividis(fraction).reduce((sum, c, i) => {
    const s = (alpha * c + (1 - alpha) * paper) / 255;
    const linear = s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    return sum + [0.2126, 0.7152, 0.0722][i] * linear;
  }, 0);
  return (light + 0.05) ** 2 > 0.05 * 1.05 ? COLOURS.onLight : COLOURS.onDark;
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

function choose(model, value) {
  model.set("selected", value);
  model.save_changes();
}

// The colour legend: 0 … maximum, or −maximum … maximum.
function legend(maximum, unit, signed = false) {
  const box = make("span", "sae-nb-legend", { "aria-hidden": "true" });
  const ramp = make("span", "sae-nb-ramp");
  const colours = signed ? [-1, -0.5, 0, 0.5, 1].map(signedShade) : [0, 0.25, 0.5, 0.75, 1].map(shade);
  const stops = colours.join(",");
  ramp.style.background = `linear-gradient(to right, ${stops})`;
  const top = formatNumber(maximum) + (unit ? THIN + unit : "");
  box.append(make("span", "", {}, signed ? formatNumber(-maximum) : "0"), ramp, make("span", "", {}, top));
  return box;
}

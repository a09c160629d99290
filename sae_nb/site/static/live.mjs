// The live part of a site: model, encoder and a slider's edit run in the page, by ONNX Runtime Web on WASM.
import * as ort from "./ort.wasm.min.mjs";

const { make, number } = saeNb;
const MOST = 8;

// --- byte-level BPE, as the model's tokenizer writes it ----------------------------------------------
export function tokenizerOf({ vocabulary, merges, added, before }) {
  const rank = new Map(merges.map(([a, b], i) => [`${a} ${b}`, i]));
  const plain = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  const letters = [];
  let extra = 256;
  for (let byte = 0; byte < 256; byte++) letters.push(String.fromCodePoint(plain(byte) ? byte : extra++));
  const bytes = new Map(letters.map((letter, byte) => [letter, byte]));
  const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
  const texts = new Map(Object.entries(vocabulary).map(([text, id]) => [id, text]));
  const quoted = Object.keys(added).sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const split = quoted.length ? new RegExp(`(${quoted.join("|")})`, "u") : null;
  const known = new Map();

  function merged(word) {
    if (known.has(word)) return known.get(word);
    let parts = Array.from(new TextEncoder().encode(word), (byte) => letters[byte]);
    for (;;) {
      let [best, at] = [Infinity, -1];
      for (let i = 0; i + 1 < parts.length; i++) {
        const found = rank.get(`${parts[i]} ${parts[i + 1]}`);
        if (found !== undefined && found < best) [best, at] = [found, i];
      }
      if (at < 0) break;
      parts = [...parts.slice(0, at), parts[at] + parts[at + 1], ...parts.slice(at + 2)];
    }
    const ids = parts.filter((part) => Object.hasOwn(vocabulary, part)).map((part) => vocabulary[part]);
    known.set(word, ids);
    return ids;
  }

  const encode = (text) => {
    const own = (split ? text.split(split) : [text]).flatMap((part) =>
      Object.hasOwn(added, part) ? [added[part]] : (part.match(words) || []).flatMap(merged));
    if (!before.includes(own[0])) return [...before, ...own];
    while (own[0] === own[1]) own.shift(); // a text begins once
    return own;
  };
  const special = new Set(Object.values(added));
  const decode = (ids) => {
    const raw = [];
    for (const id of ids) {
      if (special.has(id)) raw.push(...new TextEncoder().encode(texts.get(id) ?? ""));
      else for (const letter of texts.get(id) ?? "") raw.push(bytes.get(letter));
    }
    return new TextDecoder().decode(Uint8Array.from(raw));
  };
  return { encode, decode };
}

// --- answers -----------------------------------------------------------------------------------------
const shares = (logits) => {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sizes = Array.from(logits, (value) => Math.exp(value - most));
  const total = sizes.reduce((a, b) => a + b, 0);
  return sizes.map((size) => size / total);
};

class Live {
  constructor(session, about) {
    this.session = session;
    this.about = about;
    this.last = Promise.resolve();
  }

  // One run after the other: a session answers one call at a time.
  run(given, strengths) {
    const next = this.last.then(() => this.session.run({
      given, strengths: new ort.Tensor("float32", strengths, [this.about.n_atoms]),
    }));
    this.last = next.catch(() => null);
    return next.then((found) => {
      const [logits, codes] = this.session.outputNames.map((name) => found[name]);
      return { logits: logits.data, codes: codes.data, rows: codes.dims[0] };
    });
  }

  strengthsOf(edits) {
    const strengths = new Float32Array(this.about.n_atoms);
    for (const [atom, by] of Object.entries(edits)) strengths[Number(atom)] = by;
    return strengths;
  }

  image(pixels) { // (3, height, width), 0 to 255
    return new ort.Tensor("float32", Float32Array.from(pixels), [1, 3, ...this.about.size]);
  }

  text(ids) {
    return new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
  }
}

export async function open(about) {
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
  ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
  const session = await ort.InferenceSession.create(new URL("model.onnx", import.meta.url).href);
  return new Live(session, about);
}

// --- the box on the page -----------------------------------------------------------------------------
const largest = (values, n) => Array.from(values, (value, i) => [value, i])
  .sort((a, b) => b[0] - a[0]).slice(0, n).filter(([value]) => value > 0);

function drawn(about, changed) {
  const [height, width] = about.size;
  const canvas = make("canvas", { width, height, class: "pad", tabindex: "0", role: "img",
    "aria-label": "Draw here, or click one of the examples of an atom" });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clear = () => { pen.fillStyle = colour("--pad-paper"); pen.fillRect(0, 0, width, height); changed(); };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
  };
  let from = null;
  canvas.addEventListener("pointerdown", (event) => { from = place(event); canvas.setPointerCapture(event.pointerId); stroke(event); });
  canvas.addEventListener("pointermove", (event) => from && stroke(event));
  canvas.addEventListener("pointerup", () => { from = null; });
  function stroke(event) {
    const to = place(event);
    Object.assign(pen, { strokeStyle: colour("--pad-ink"), lineWidth: width / 14, lineCap: "round" });
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
    from = to;
    changed();
  }
  const take = (image) => { pen.drawImage(image, 0, 0, width, height); changed(); };
  const pixels = () => {
    const { data } = pen.getImageData(0, 0, width, height);
    const planes = new Float32Array(3 * height * width);
    for (let i = 0; i < height * width; i++) for (let c = 0; c < 3; c++) planes[c * height * width + i] = data[4 * i + c];
    return planes;
  };
  return { canvas, clear, take, pixels };
}

export async function mount(box, about, context) {
  const live = await open(about);
  const slider = make("input", { type: "range", min: "-100", max: "100", value: "0", "aria-label": "strength of the atom" });
  const says = make("span", { class: "quiet" });
  const answers = make("div", { class: "columns" });
  const firing = make("div", { class: "chips" });
  const status = make("p", { class: "quiet", role: "status" });
  const tokenizer = about.kind === "language" ? tokenizerOf(about.tokenizer) : null;
  const input = tokenizer
    ? make("textarea", { rows: "3", "aria-label": "Text for the model" }, about.first || "")
    : drawn(about, () => change());
  const atomOf = () => context.atom();
  const range = () => context.largest() || 1;
  const by = () => Number(slider.value) / 100 * 2 * range();

  function given() {
    if (!tokenizer) return live.image(input.pixels());
    const ids = tokenizer.encode(input.value);
    const kept = ids.length > about.longest ? [...about.tokenizer.before, ...ids.slice(about.tokenizer.before.length - about.longest)] : ids;
    return live.text(kept.length > 1 ? kept : [...kept, ...kept, 0].slice(0, 2));
  }

  const nameOf = (i) => (tokenizer ? tokenizer.decode([i]) : about.classes[i]);
  const table = (title, list) => {
    const body = make("table");
    for (const [share, i] of list) body.append(make("tr", {}, make("td", {}, nameOf(i)), make("td", { class: "number" }, `${number(100 * share)} %`)));
    return make("div", {}, make("h3", {}, title), body);
  };

  async function answer() {
    const began = performance.now();
    const tensor = given();
    const plain = await live.run(tensor, live.strengthsOf({}));
    const steered = by() ? await live.run(tensor, live.strengthsOf({ [atomOf()]: by() })) : plain;
    const took = (performance.now() - began) / (by() ? 2 : 1);
    const [before, after] = [shares(plain.logits), shares(steered.logits)];
    const n = about.n_atoms;
    // Of a text the last token, of an image its strongest patch.
    const codes = new Float32Array(n);
    const first = tokenizer ? plain.rows - 1 : 0;
    for (let row = first; row < plain.rows; row++) for (let i = 0; i < n; i++) codes[i] = Math.max(codes[i], plain.codes[row * n + i]);
    const words = (await context.names()).words;
    firing.replaceChildren(...largest(codes, MOST).map(([value, i]) => context.chip(i, words[i], number(value))));
    const shown = largest(before, MOST);
    answers.replaceChildren(table("The model's answer", shown),
      table(`Steered by atom ${atomOf()}`, tokenizer ? largest(after, MOST) : shown.map(([, i]) => [after[i], i])));
    says.textContent = `${number(by())}, added to the activation everywhere`;
    status.textContent = `answered in ${number(took)} ms`;
    box.dataset.answered = String(Number(box.dataset.answered || 0) + 1);
    return { before, after };
  }

  let busy = false;
  let again = false;
  async function change() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      do { again = false; await answer(); } while (again);
    } catch (error) {
      status.textContent = `The model cannot be run: ${error.message}`;
    } finally { busy = false; }
  }

  slider.addEventListener("input", change);
  window.addEventListener("hashchange", () => { slider.value = "0"; change(); });
  const tools = make("p", {}, "Strength of the atom shown ", slider, " ", says);
  const parts = [make("h2", {}, tokenizer ? "Type, and see which atoms fire" : "Draw, or click an example, and see which atoms fire")];
  if (tokenizer) { input.addEventListener("input", change); parts.push(input); }
  else {
    const button = make("button", { type: "button" }, "Clear");
    button.addEventListener("click", input.clear);
    parts.push(input.canvas, make("p", {}, button));
    context.onExample(input.take);
  }
  const where = tokenizer ? "Atoms on the last token" : "Atoms, by their strongest place";
  box.replaceChildren(...parts, tools, answers, make("h3", {}, where), firing, status);
  if (tokenizer) await change(); else input.clear();
  return live;
}

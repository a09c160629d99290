// TokenStrip: rows of tokens shaded by strength. Tokens are data: textContent only.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const list = make("div", "sae-nb-strip", { role: "grid", tabindex: "0" });
  const foot = make("div", "sae-nb-foot");
  const readout = make("span", "sae-nb-readout", { "aria-live": "polite" });
  root.append(list, foot);
  el.append(root);
  let spans = [];
  let active = [0, 0];

  const describe = (row, token) => {
    const { text, value, special } = spans[row][token];
    const shown = Number.isNaN(value) ? model.get("absent") : withUnit(value, model.get("unit"));
    const rows = model.get("captions").length || spans.length > 1;
    const name = rows ? `${model.get("captions")[row] || `row ${row}`} · ` : "";
    const number = (model.get("numbers")[row] || [])[token];
    if (number) return `${name}${model.get("place")} ${visibleToken(text)}${number} · ${shown}`;
    const where = `${name}token ${token + (model.get("first_positions")[row] || 0)}`;
    return `${where} “${visibleToken(text)}”${special ? " (special)" : ""} · ${shown}`;
  };

  function tokenSpan(row, token, text, value, special) {
    const span = make("span", "sae-nb-token", {}, visibleToken(text));
    const maximum = model.get("maximum") || 1;
    span.classList.toggle("sae-nb-special", special);
    span.classList.toggle("sae-nb-continued", text === "\u2060");
    span.classList.toggle("sae-nb-peak", model.get("peaks")[row] === token);
    const signed = model.get("signed");
    if (Number.isNaN(value)) span.classList.add("sae-nb-absent");
    else heated(span, value / maximum, signed, model.get("tone"));
    spans[row][token] = { span, text, value, special };
    span.dataset.row = row;
    span.dataset.token = token;
  }

  // Letters of a sequence stand in tens, each below the number of its last; other tokens alone.
  function inTens(text, spansOfRow, numbers) {
    let ten = null;
    spansOfRow.forEach(({ span }, i) => {
      const number = numbers[i] || 0;
      if (!number) ten = null;
      else if (!ten || number % 10 === 1) text.append(ten = make("span", "sae-nb-ten"));
      (ten || text).append(span);
      if (number && number % 10 === 0) ten.dataset.number = number;
    });
  }

  function rowFor(row, tokens, offset, strengths, special) {
    spans[row] = [];
    const buttons = model.get("buttons");
    const node = buttons.length ? optionButton(model, row) : make("div", "", { role: "row" });
    node.classList.add("sae-nb-row");
    if (buttons.length) node.addEventListener("click", () => choose(model, [row, 0]));
    const side = make("div", "sae-nb-side");
    const caption = buttons.length ? buttons[row][0] : model.get("captions")[row] || "";
    side.append(make("div", "sae-nb-caption", { title: caption }, caption));
    tagAtom(side, model.get("atoms")[row]);
    const strength = model.get("strengths")[row];
    if (strength !== undefined) {
      const bar = make("div", "sae-nb-bar");
      const fill = make("div", "sae-nb-fill");
      fill.style.width = `${100 * clamp(strength / (model.get("maximum") || 1), 0, 1)}%`;
      bar.append(fill);
      side.append(bar, make("div", "sae-nb-number", {}, formatNumber(strength)));
    }
    const text = make("div", "sae-nb-text", { dir: "auto" });
    const [before, after] = model.get("clipped")[row] || [false, false];
    if (before) text.append(make("span", "sae-nb-clip", {}, "… "));
    tokens.forEach((token, i) =>
      tokenSpan(row, i, token, strengths[offset + i], special[offset + i] > 0));
    inTens(text, spans[row], model.get("numbers")[row] || []);
    if (after) text.append(make("span", "sae-nb-clip", {}, " …"));
    const alone = !caption && strength === undefined;
    node.classList.toggle("sae-nb-alone", alone);
    node.classList.toggle("sae-nb-named", Number.isInteger(model.get("atoms")[row]));
    node.append(...(alone ? [text] : [side, text]));
    return node;
  }

  function mark() {
    const [row, token] = model.get("selected");
    spans.forEach((tokens, r) => tokens.forEach(({ span }, i) => {
      span.classList.toggle("sae-nb-selected", r === row && i === token);
      span.classList.toggle("sae-nb-active", r === active[0] && i === active[1]);
    }));
  }

  function build() {
    const strengths = floats(model.get("token_strengths"));
    const special = bytes(model.get("special"));
    list.setAttribute("aria-label", model.get("description"));
    list.setAttribute("role", model.get("buttons").length ? "group" : "grid");
    list.tabIndex = model.get("buttons").length ? -1 : 0;
    spans = [];
    let offset = 0;
    const rows = model.get("tokens").map((tokens, row) => {
      const node = rowFor(row, tokens, offset, strengths, special);
      offset += tokens.length;
      return node;
    });
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    list.replaceChildren(...(rows.length ? rows : [empty]));
    // Where no token brings the space before it, words would run together.
    const later = model.get("tokens").flatMap((tokens) => tokens.slice(1));
    const apart = !model.get("numbers").length && later.length && !later.some((token) => /^\s/.test(token));
    list.classList.toggle("sae-nb-apart", Boolean(apart));
    readout.textContent = rows.length ? model.get("hint") : "";
    // A scale belongs to colours: where nothing is coloured there is none.
    const coloured = strengths.some((value) => value && !Number.isNaN(value));
    const scale = rows.length && coloured
      ? [heatLegend(...["maximum", "unit", "signed", "tone"].map((name) => model.get(name)))] : [];
    foot.replaceChildren(readout, ...scale);
    foot.style.display = model.get("bare") ? "none" : "";
    active = [0, Math.max(model.get("peaks")[0] ?? 0, 0)];
    mark();
  }

  function move(rowStep, tokenStep) {
    if (!spans.length) return;
    const row = clamp(active[0] + rowStep, 0, spans.length - 1);
    const start = rowStep ? model.get("peaks")[row] ?? active[1] : active[1];
    const token = clamp(start + tokenStep, 0, spans[row].length - 1);
    active = [row, token];
    readout.textContent = describe(row, token);
    spans[row][token].span.scrollIntoView({ block: "nearest" });
    mark();
  }

  function onKey(event) {
    if (model.get("buttons").length) return; // they take Enter and space themselves
    const rtl = spans.length && getComputedStyle(
      list.querySelectorAll(".sae-nb-text")[active[0]]).direction === "rtl";
    const steps = { ArrowRight: [0, rtl ? -1 : 1], ArrowLeft: [0, rtl ? 1 : -1],
      ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (event.key in steps) move(...steps[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && spans.length) choose(model, active);
    else if (event.key === "Escape") choose(model, [-1, -1]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const pick = (event) => {
    const span = event.target.closest(".sae-nb-token");
    return span ? [Number(span.dataset.row), Number(span.dataset.token)] : null;
  };
  list.addEventListener("mouseover", (event) => {
    const place = pick(event);
    if (place) readout.textContent = describe(...place);
  });
  list.addEventListener("mouseleave", () => {
    readout.textContent = spans.length ? model.get("hint") : "";
  });
  list.addEventListener("click", (event) => {
    const place = pick(event);
    if (place && !model.get("buttons").length) {
      active = place;
      choose(model, place);
    }
  });
  list.addEventListener("keydown", onKey);
  const names = ["tokens", "token_strengths", "special", "captions", "strengths", "peaks"];
  redrawOn(model, [...names, "maximum", "clipped", "empty_text", "unit", "hint",
    "first_positions", "numbers", "place", "signed", "tone", "bare", "buttons", "atoms"], build);
  redrawOn(model, ["selected"], mark);
  build();
}
export default { initialize, render };

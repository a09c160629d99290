// Concordance: lines of text around the strongest token of each. Tokens are data: textContent only.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const list = make("div", "sae-nb-kwic", { role: "listbox", tabindex: "0" });
  const foot = make("div", "sae-nb-foot");
  const readout = make("span", "sae-nb-readout", { "aria-live": "polite" });
  root.append(list, foot);
  el.append(root);
  const ON_A_SIDE = 40;
  let items = [];
  let active = 0;

  const inWord = (token) => visibleToken(token, true);

  function describe(row, token) {
    const item = items[row];
    const value = item.strengths[token];
    const shown = Number.isNaN(value) ? model.get("absent") : withUnit(value, model.get("unit"));
    const caption = model.get("captions")[row];
    return `${caption ? `${caption} · ` : ""}“${visibleToken(item.tokens[token])}” · ${shown}`;
  }

  function tokenNode(row, token, text) {
    const item = items[row];
    const span = make("span", "sae-nb-token", {}, text);
    const value = item.strengths[token];
    const share = value / (model.get("maximum") || 1);
    span.classList.toggle("sae-nb-peak", token === model.get("peaks")[row]);
    span.classList.toggle("sae-nb-special", item.special[token] > 0);
    span.classList.toggle("sae-nb-absent", Number.isNaN(value));
    if (!Number.isNaN(value)) heated(span, share, model.get("signed"), model.get("tone"));
    span.dataset.row = row;
    span.dataset.token = token;
    return span;
  }

  function wordNode(row, word) {
    const whole = word.map((token) => visibleToken(items[row].tokens[token])).join("");
    const node = make("span", "sae-nb-word", { title: whole });
    node.classList.toggle("sae-nb-spaced", items[row].joins[word[0]] === 1);
    node.append(...word.map((token) => tokenNode(row, token, inWord(items[row].tokens[token]))));
    return node;
  }

  // Words before the strongest token (nearest first), the word that holds it, words after it.
  function partsOf({ tokens, joins }, peak) {
    const focus = peak >= 0 ? peak : Math.floor((tokens.length - 1) / 2);
    const words = [];
    tokens.forEach((_, token) => {
      if (words.length && joins[token] === 0) words[words.length - 1].push(token);
      else words.push([token]);
    });
    const at = Math.max(words.findIndex((word) => word.includes(focus)), 0);
    return [words.slice(0, at).reverse(), words.slice(at, at + 1), words.slice(at + 1)];
  }

  function itemFor(row) {
    const item = items[row];
    const maximum = model.get("maximum") || 1;
    const strength = model.get("strengths")[row] ?? Math.max(0, ...item.strengths.filter((v) => v > 0));
    const side = model.get("right_to_left")[row] ? "rtl" : "ltr";
    const node = make("div", "sae-nb-kwicitem", { role: "option", id: `${list.id}-${row}`,
      "aria-label": `${item.tokens.join("")}, ${formatNumber(strength)}` });
    const line = make("div", "sae-nb-kwicrow", { dir: side, "aria-hidden": "true" });
    const bar = make("span", "sae-nb-max", { title: withUnit(strength, model.get("unit")) });
    bar.style.setProperty("--s", clamp(strength / maximum, 0, 1));
    const cells = partsOf(item, model.get("peaks")[row]).map((words, i) => {
      const cell = make("span", ["sae-nb-preceding", "sae-nb-focusword", "sae-nb-following"][i], { dir: side });
      cell.append(...words.slice(0, ON_A_SIDE).map((word) => wordNode(row, word)));
      if (i === 1) cell.title = cell.textContent;
      return cell;
    });
    line.append(bar, ...cells);
    node.append(line);
    tagAtom(node, model.get("atoms")[row]);
    item.node = node;
    return node;
  }

  function unfold() {
    items.forEach((item, row) => {
      const open = row === model.get("unfolded");
      item.node.setAttribute("aria-expanded", String(open));
      if (!open) {
        item.whole?.remove();
        item.whole = null;
      } else if (!item.whole) {
        item.whole = make("div", "sae-nb-text", { dir: "auto" });
        item.whole.append(...item.tokens.map((token, i) => tokenNode(row, i, visibleToken(token))));
        item.node.append(item.whole);
      }
    });
    mark();
  }

  function mark() {
    const [chosen, token] = model.get("selected");
    items.forEach((item, row) => {
      item.node.setAttribute("aria-selected", String(row === chosen));
      item.node.classList.toggle("sae-nb-active", row === active);
      item.node.querySelectorAll(".sae-nb-token").forEach((span) => {
        span.classList.toggle("sae-nb-selected", row === chosen && Number(span.dataset.token) === token);
      });
    });
  }

  function build() {
    list.id = list.id || `kwic-${Math.random().toString(36).slice(2)}`;
    list.setAttribute("aria-label", model.get("description"));
    list.style.setProperty("--focus", `${model.get("focus_em").toFixed(2)}em`);
    const all = { strengths: floats(model.get("token_strengths")), special: bytes(model.get("special")),
      joins: bytes(model.get("joins")) };
    let start = 0;
    items = model.get("tokens").map((tokens) => {
      const cut = (values) => values.slice(start, start + tokens.length);
      const item = { tokens, strengths: cut(all.strengths), special: cut(all.special), joins: cut(all.joins) };
      start += tokens.length;
      return item;
    });
    const rows = items.map((_, row) => itemFor(row));
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    list.replaceChildren(...(rows.length ? rows : [empty]));
    readout.textContent = rows.length ? model.get("hint") : "";
    const scale = rows.length
      ? [heatLegend(...["maximum", "unit", "signed", "tone"].map((name) => model.get(name)))] : [];
    foot.replaceChildren(readout, ...scale);
    foot.style.display = model.get("bare") ? "none" : "";
    active = Math.min(active, Math.max(rows.length - 1, 0));
    unfold();
  }

  function toggle(row) {
    model.set("unfolded", model.get("unfolded") === row ? -1 : row);
    model.save_changes();
  }

  list.addEventListener("mouseover", (event) => {
    const span = event.target.closest(".sae-nb-token");
    if (span) readout.textContent = describe(Number(span.dataset.row), Number(span.dataset.token));
  });
  list.addEventListener("mouseleave", () => {
    readout.textContent = items.length ? model.get("hint") : "";
  });
  list.addEventListener("click", (event) => {
    const row = items.findIndex(({ node }) => node.contains(event.target));
    if (row < 0) return;
    active = row;
    const span = event.target.closest(".sae-nb-token");
    if (span) choose(model, [row, Number(span.dataset.token)]);
    if (!event.target.closest(".sae-nb-text")) toggle(row);
    mark();
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && items.length) {
      active = clamp(active + step, 0, items.length - 1);
      const { node, tokens } = items[active];
      list.setAttribute("aria-activedescendant", node.id);
      node.scrollIntoView({ block: "nearest" });
      const peak = model.get("peaks")[active];
      if (peak >= 0 && tokens.length) readout.textContent = describe(active, peak);
      mark();
    } else if ((event.key === "Enter" || event.key === " ") && items.length) {
      toggle(active);
    } else if (event.key === "Escape") {
      choose(model, [-1, -1]);
      if (model.get("unfolded") >= 0) toggle(model.get("unfolded"));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  redrawOn(model, ["tokens", "token_strengths", "special", "joins", "peaks", "captions", "strengths",
    "right_to_left", "focus_em", "maximum", "unit", "hint", "signed", "tone", "bare", "atoms",
    "empty_text"], build);
  redrawOn(model, ["unfolded"], unfold);
  redrawOn(model, ["selected"], mark);
  build();
}
export default { initialize, render };

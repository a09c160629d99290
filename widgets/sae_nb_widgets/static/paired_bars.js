// PairedBars: rows of a label and a bar per column, with a dashed tick for chance and a solid one for exact;
// Sparkbars are one column of them, without heads, with a grey band of random controls.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const list = make("div", "sae-nb-paired", { role: "listbox", tabindex: "0" });
  const key = make("div", "sae-nb-key");
  root.append(list, key);
  el.append(root);
  let rows = [];
  let active = 0;
  let timer = 0;
  const alone = () => model.get("look") !== "sae-nb-paired";

  function bar(column, row) {
    const low = column.signed ? -1 : 0;
    const percent = (value) => {
      const share = value / (column.maximum || 1);
      return 100 * clamp((share - low) / (1 - low), 0, 1);
    };
    const value = column.values[row] || 0;
    const track = make("div", "sae-nb-track");
    if (column.zero) track.append(make("div", "sae-nb-zero"));
    const fill = make("div", "sae-nb-fill");
    const [zero, end] = [percent(0), percent(value)];
    fill.style.left = `${Math.min(zero, end)}%`;
    fill.style.width = `${Math.abs(end - zero)}%`;
    if (column.colours[row]) fill.style.setProperty("--fill", column.colours[row]);
    fill.classList.toggle("sae-nb-hollow", column.hollow[row]);
    track.append(fill);
    const mark = (at, style) => {
      const node = make("div", `sae-nb-${style}`);
      node.style.left = `${percent(at)}%`;
      track.append(node);
      return node;
    };
    const band = column.bands[row];
    if (band.length) {
      mark(band[0], "band").style.width = `${percent(band[2]) - percent(band[0])}%`;
      mark(band[1], "median");
    }
    for (const [name, style] of [["control", "control"], ["exact", "before"]]) {
      const at = column[name][row];
      if (at !== null && at !== undefined) mark(at, style);
    }
    return [track, make("div", "sae-nb-number", {}, column.notes[row])];
  }

  function cell(column, row) {
    const node = make("div", "sae-nb-paircell", { title: column.tips[row] || "" });
    const longest = Math.max(...column.notes.map((note) => note.length));
    node.style.setProperty("--number-width", `${longest + 1}ch`);
    node.append(...bar(column, row));
    return node;
  }

  function rowFor(label, index) {
    const kind = alone() ? "sae-nb-barrow" : "sae-nb-pairrow";
    const node = make("div", kind, { role: "option", id: `${list.id}-${index}` });
    const columns = model.get("columns");
    const said = columns.map((c) => c.tips[index] || `${c.title} ${c.notes[index]}`);
    node.setAttribute("aria-label", [label, ...said].join(", "));
    const name = make("div", "sae-nb-label", { dir: "auto" }, label);
    if (alone()) node.title = [label, ...said].join(" · ");
    else name.title = label;
    node.append(name, ...columns.flatMap((column) => (alone() ? bar : cell)(column, index)));
    tagAtom(node, model.get("atoms")[index], model.get("icons")[index]);
    node.addEventListener("click", () => take(index));
    if (!alone()) node.addEventListener("mouseenter", () => point(index));
    return node;
  }

  function entry([mark, words]) {
    const node = make("span", "sae-nb-keypart");
    if (mark) {
      const sign = make("span", `sae-nb-keymark sae-nb-key-${mark}`, { "aria-hidden": "true" });
      if (mark in COLOURS.heat) sign.style.background = `rgb(${COLOURS.heat[mark]})`;
      node.append(sign);
    }
    node.append(make("span", "", {}, words));
    return node;
  }

  function take(index) {
    active = index;
    if (model.get("selected") === index) model.send({ kind: "again" });
    else choose(model, index);
  }

  // A pointer that only passes over the rows asks for nothing.
  function point(index) {
    if (alone()) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (model.get("hovered") === index || index >= model.get("labels").length) return;
      model.set("hovered", index);
      model.save_changes();
    }, 90);
  }

  function mark() {
    markRows(rows, model.get("selected"), active);
  }

  function build() {
    list.id = list.id || `pairs-${Math.random().toString(36).slice(2)}`;
    list.setAttribute("aria-label", model.get("description"));
    const columns = model.get("columns");
    list.className = alone() ? model.get("look") : `sae-nb-paired sae-nb-of${columns.length}`;
    const head = make("div", "sae-nb-pairrow sae-nb-pairhead");
    head.append(make("div", "sae-nb-cardtitle", {}, model.get("description")),
      ...columns.map((column) => make("div", "sae-nb-cardtitle", {}, column.title)));
    rows = model.get("labels").map(rowFor);
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    const title = make("div", "sae-nb-cardtitle", {}, model.get("description"));
    if (alone()) {
      const longest = Math.max(3, ...rows.map((row) => row.lastChild.textContent.length));
      list.style.setProperty("--number-width", `${longest}ch`);
      root.replaceChildren(...(model.get("description") ? [title] : []), list, key);
    }
    list.replaceChildren(...(rows.length ? [...(alone() ? [] : [head]), ...rows] : [empty]));
    key.replaceChildren(...(rows.length ? model.get("key").map(entry) : []));
    active = Math.max(model.get("selected"), 0);
    mark();
  }

  list.addEventListener("mouseleave", () => point(-1));
  listKeys(list, {
    rows: () => rows,
    at: () => active,
    go: (index) => {
      active = index;
      point(active);
      mark();
    },
    take,
    leave: () => choose(model, -1),
  });
  redrawOn(model, ["labels", "columns", "atoms", "icons", "key", "look", "description", "empty_text"],
    build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => clearTimeout(timer);
}
export default { initialize, render };

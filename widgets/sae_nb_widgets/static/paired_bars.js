// PairedBars: rows of a label and two bars, with a dashed tick for chance and a solid one for exact.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const list = make("div", "sae-nb-paired", { role: "listbox", tabindex: "0" });
  const key = make("div", "sae-nb-key");
  root.append(list, key);
  el.append(root);
  let rows = [];
  let active = 0;
  let timer = 0;

  function cell(column, row) {
    const low = column.signed ? -1 : 0;
    const percent = (value) => {
      const share = value / (column.maximum || 1);
      return 100 * clamp((share - low) / (1 - low), 0, 1);
    };
    const value = column.values[row] || 0;
    const node = make("div", "sae-nb-paircell");
    const longest = Math.max(...column.notes.map((note) => note.length));
    node.style.setProperty("--number-width", `${longest + 1}ch`);
    const track = make("div", "sae-nb-track");
    if (column.signed) track.append(make("div", "sae-nb-zero"));
    const fill = make("div", "sae-nb-fill");
    const [zero, end] = [percent(0), percent(value)];
    fill.style.left = `${Math.min(zero, end)}%`;
    fill.style.width = `${Math.abs(end - zero)}%`;
    if (column.signed) {
      fill.style.setProperty("--fill", `rgb(${COLOURS.heat[value < 0 ? "below" : "above"]})`);
    }
    fill.classList.toggle("sae-nb-hollow", column.hollow[row]);
    track.append(fill);
    for (const [name, style] of [["control", "control"], ["exact", "before"]]) {
      const at = column[name][row];
      if (at === null || at === undefined) continue;
      const tick = make("div", `sae-nb-${style}`);
      tick.style.left = `${percent(at)}%`;
      track.append(tick);
    }
    node.title = column.tips[row] || "";
    node.append(track, make("div", "sae-nb-number", {}, column.notes[row]));
    return node;
  }

  function rowFor(label, index) {
    const node = make("div", "sae-nb-pairrow", { role: "option", id: `${list.id}-${index}` });
    const columns = model.get("columns");
    const said = columns.map((c) => c.tips[index] || `${c.title} ${c.notes[index]}`);
    node.setAttribute("aria-label", [label, ...said].join(", "));
    node.append(make("div", "sae-nb-label", { dir: "auto", title: label }, label),
      ...columns.map((column) => cell(column, index)));
    tagAtom(node, model.get("atoms")[index], model.get("icons")[index]);
    node.addEventListener("click", () => take(index));
    node.addEventListener("mouseenter", () => point(index));
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
    list.className = `sae-nb-paired sae-nb-of${columns.length}`;
    const head = make("div", "sae-nb-pairrow sae-nb-pairhead");
    head.append(make("div", "sae-nb-cardtitle", {}, model.get("description")),
      ...columns.map((column) => make("div", "sae-nb-cardtitle", {}, column.title)));
    rows = model.get("labels").map(rowFor);
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    list.replaceChildren(...(rows.length ? [head, ...rows] : [empty]));
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
  redrawOn(model, ["labels", "columns", "atoms", "icons", "key", "description", "empty_text"],
    build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => clearTimeout(timer);
}
export default { initialize, render };

// DotRows: a dot on a scale per row and column; the same elements as Python's `static_html`.
function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-dotbox");
  const list = make("div", "sae-nb-dotlist", { tabindex: "0", role: "listbox" });
  const keys = make("div", "sae-nb-dotlegend");
  list.id = `dots-${Math.random().toString(36).slice(2)}`;
  root.append(list, keys);
  el.append(root);
  let nodes = [];
  let active = 0;

  const at = (kind, share) => {
    const node = make("i", `sae-nb-dotmark sae-nb-${kind}`);
    node.style.left = `${100 * share}%`;
    return node;
  };

  function stripOf(mark) {
    const strip = make("span", "sae-nb-dotstrip");
    if (mark.low !== null && mark.high !== null) {
      const node = at("interval", Math.min(mark.low, mark.high));
      node.style.width = `${100 * Math.abs(mark.high - mark.low)}%`;
      strip.append(node);
    }
    for (const kind of ["floor", "control"]) if (mark[kind] !== null) strip.append(at(kind, mark[kind]));
    if (mark.at !== null) strip.append(at(mark.tone, mark.at));
    return strip;
  }

  function cellOf(mark, column) {
    const cell = make("div", "sae-nb-dotcell", mark ? { title: mark.tooltip } : {});
    if (model.get("columns").length > 1) cell.append(make("span", "sae-nb-dotwho", {}, column));
    const number = make("span", "sae-nb-dotnumber", {}, mark ? mark.text : "–");
    if (mark && mark.note) number.append(make("small", `sae-nb-${mark.tone}`, {}, mark.note));
    cell.append(...(mark ? [stripOf(mark)] : []), number);
    return cell;
  }

  function rowOf(index) {
    const columns = model.get("columns");
    const marks = model.get("marks")[index];
    const said = marks.map((m, i) => `${columns.length > 1 ? columns[i] + " " : ""}${m ? m.text + " " + m.note : "–"}`);
    const node = make("div", "sae-nb-dotrow", { role: "option", id: `${list.id}-${index}` });
    const name = make("div", "sae-nb-dotname", {}, model.get("rows")[index]);
    node.setAttribute("aria-label", `${name.textContent}: ${said.join(", ")}`);
    if (model.get("hints")[index]) name.append(make("small", "", {}, model.get("hints")[index]));
    node.append(name, ...marks.map((mark, i) => cellOf(mark, columns[i])));
    node.addEventListener("click", () => {
      active = index;
      choose(model, index);
    });
    return node;
  }

  function mark() {
    markRows(nodes, model.get("selected"), active);
  }

  function build() {
    const columns = model.get("columns");
    root.style.setProperty("--columns", columns.length);
    list.setAttribute("aria-label", model.get("description"));
    nodes = model.get("rows").map((_, index) => rowOf(index));
    active = Math.max(model.get("selected"), 0);
    const head = make("div", "sae-nb-dothead", { role: "presentation" });
    head.append(make("span"), ...columns.map((name) => make("span", "", {}, name)));
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    list.replaceChildren(...(columns.length > 1 ? [head] : []), ...(nodes.length ? nodes : [empty]));
    keys.replaceChildren(...model.get("legend").map(([name, words]) => {
      const key = make("span", "sae-nb-key");
      key.append(make("i", `sae-nb-dotmark sae-nb-${name}`), make("span", "", {}, words));
      return key;
    }));
    mark();
  }

  listKeys(list, {
    rows: () => nodes,
    at: () => active,
    go: (index) => {
      active = index;
      choose(model, index);
    },
    take: (index) => choose(model, index),
  });
  redrawOn(model, ["rows", "hints", "columns", "marks", "legend", "description", "empty_text"], build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => list.replaceChildren();
}
export default { initialize, render };

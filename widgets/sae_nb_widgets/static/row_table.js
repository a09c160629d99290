// RowTable: a table whose rows can be chosen and sorted; text goes through textContent only.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const title = make("div", "sae-nb-cardtitle");
  const box = make("div", "sae-nb-tablebox", { tabindex: "0", role: "listbox" });
  box.id = `table-${Math.random().toString(36).slice(2)}`;
  root.append(title, box);
  el.append(root);
  let rows = [];
  let active = 0;

  const kind = (column) => (model.get("numeric")[column] ? "sae-nb-number" : "");

  const orderOf = () => {
    const order = model.get("order");
    const cells = model.get("cells");
    return order.length === cells.length ? order : cells.map((_, i) => i);
  };

  function rowFor(index, place) {
    const cells = model.get("cells")[index];
    const node = make("tr", "", { role: "option", id: `${box.id}-${place}` });
    const headers = model.get("headers");
    node.setAttribute("aria-label", cells.map((c, i) => `${headers[i]} ${c}`).join(", "));
    node.append(...cells.map((text, i) => make("td", kind(i), { dir: "auto", title: text }, text)));
    tagAtom(node, model.get("atoms")[index]);
    node.addEventListener("click", () => {
      active = place;
      choose(model, index);
      mark();
    });
    return node;
  }

  function mark() {
    rows.forEach((node, place) => {
      const chosen = orderOf()[place] === model.get("selected");
      node.setAttribute("aria-selected", String(chosen));
      node.classList.toggle("sae-nb-selected", chosen);
      node.classList.toggle("sae-nb-active", place === active);
    });
  }

  // A click sorts: numbers from the largest, words from A; a second click turns it round.
  function headerFor(name, column) {
    const [by, falling] = model.get("sorted_by");
    const node = make("th", kind(column), { "aria-sort": by !== column ? "none" : falling ? "descending" : "ascending" });
    const arrow = by !== column ? "" : falling ? " ↓" : " ↑";
    const button = make("button", "sae-nb-sort", { type: "button", title: `Sort by ${name}` }, name + arrow);
    button.addEventListener("click", () => {
      const next = by === column ? !falling : Boolean(model.get("numeric")[column]);
      model.set("sorted_by", [column, next]);
      model.save_changes();
    });
    node.append(button);
    return node;
  }

  function build() {
    title.textContent = model.get("description");
    box.setAttribute("aria-label", model.get("description"));
    rows = orderOf().map(rowFor);
    active = 0;
    if (!rows.length) {
      box.replaceChildren(make("div", "sae-nb-empty", {}, model.get("empty_text")));
      return;
    }
    const table = make("table", "sae-nb-table", { role: "presentation" });
    const head = make("thead");
    const line = make("tr");
    line.append(...model.get("headers").map(headerFor));
    head.append(line);
    const body = make("tbody");
    body.append(...rows);
    table.append(head, body);
    box.replaceChildren(table);
    mark();
  }

  listKeys(box, {
    rows: () => rows,
    at: () => active,
    go: (index) => {
      active = index;
      mark();
    },
    take: (index) => choose(model, orderOf()[index]),
  });
  redrawOn(model, ["headers", "cells", "atoms", "numeric", "description", "empty_text", "order", "sorted_by"], build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => box.replaceChildren();
}
export default { initialize, render };

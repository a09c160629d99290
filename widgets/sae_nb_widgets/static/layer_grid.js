// LayerGrid: a row per layer, a column per place; cells are data: textContent only.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const title = make("div", "sae-nb-cardtitle");
  const box = make("div", "sae-nb-layerbox", { tabindex: "0", role: "grid" });
  box.id = `layers-${Math.random().toString(36).slice(2)}`;
  root.append(title, box);
  el.append(root);
  let cells = [];
  let active = [0, 0];

  function describe(row, column) {
    if (model.get("signed")) {
      const [ofRow, ofColumn] = model.get("names");
      return `${ofRow} ${model.get("rows")[row]}, ${ofColumn} ${visibleToken(model.get("columns")[column])}: ` +
        formatNumber(model.get("tints")[row][column]);
    }
    const agrees = model.get("agrees")[row][column] ? ", the model's answer" : "";
    const share = formatNumber(model.get("tints")[row][column]);
    return `${model.get("rows")[row]}, after “${visibleToken(model.get("columns")[column])}”: ` +
      `“${visibleToken(model.get("cells")[row][column])}”, probability ${share}${agrees}`;
  }

  function cellFor(row, column, text) {
    const tint = model.get("tints")[row][column];
    const node = make("td", "", { role: "gridcell", id: `${box.id}-${row}-${column}`, dir: "auto" }, model.get("signed") ? text : visibleToken(text));
    node.title = describe(row, column);
    node.setAttribute("aria-label", node.title);
    const agrees = model.get("agrees")[row][column];
    const signed = model.get("signed");
    const [tone, share] = signed && model.get("quiet").length && tint // LEAST_TINT
      ? ["strength", Math.sign(tint) * Math.max(Math.abs(tint) / model.get("maximum"), 0.15)]
      : signed ? ["strength", tint / model.get("maximum")]
      : agrees ? ["confirmed", Math.max(tint, 0.3)] : ["predicted", tint];
    node.classList.toggle("sae-nb-agrees", agrees);
    node.classList.toggle("sae-nb-inside", Boolean((model.get("quiet")[row] || [])[column]));
    node.classList.toggle("sae-nb-marked", column === model.get("marked"));
    heated(node, share, signed, tone);
    node.addEventListener("click", () => {
      active = [row, column];
      choose(model, [row, column]);
      mark();
    });
    cells[row][column] = node;
    return node;
  }

  // Of a column that differs between two inputs both tokens, one under the other.
  function headFor(text, column) {
    const node = make("td", "sae-nb-layerhead", { dir: "auto", title: text });
    node.classList.toggle("sae-nb-marked", column === model.get("marked"));
    const parts = model.get("signed") ? text.split(" → ") : [text];
    parts.forEach((part, i) => node.append(make("div", "", {}, (i ? "→ " : "") + visibleToken(part))));
    if (model.get("compact")) node.replaceChildren(make("div", "", {}, "\u00a0"));
    return node;
  }

  function mark() {
    const [row, column] = model.get("selected");
    cells.forEach((line, i) => line.forEach((node, j) => {
      const chosen = i === row && j === column;
      node.classList.toggle("sae-nb-selected", chosen);
      node.setAttribute("aria-selected", String(chosen));
      node.classList.toggle("sae-nb-active", i === active[0] && j === active[1]);
    }));
    const chosen = (cells[row] || [])[column];
    if (!chosen) return;
    // Of a long text the chosen column is in sight; the page itself stays where it is.
    const [left, right] = [chosen.offsetLeft, chosen.offsetLeft + chosen.offsetWidth];
    if (left < box.scrollLeft) box.scrollLeft = left;
    if (right > box.scrollLeft + box.clientWidth) box.scrollLeft = right - box.clientWidth;
  }

  function build() {
    title.textContent = model.get("description");
    box.setAttribute("aria-label", model.get("description"));
    const rows = model.get("rows");
    const columns = model.get("columns");
    cells = rows.map(() => []);
    if (!rows.length || !columns.length) {
      box.replaceChildren(make("div", "sae-nb-empty", {}, model.get("empty_text")));
      return;
    }
    const side = model.get("side");
    const longest = Math.max(...side, 1e-9);
    const few = rows.length * columns.length <= 64; // FEW_CELLS
    const kinds = (model.get("signed") ? ` sae-nb-shares${few ? " sae-nb-few" : ""}` : "") + (model.get("compact") ? " sae-nb-compact" : columns.length <= 8 ? " sae-nb-roomy" : "") + // ROOMY
      (model.get("spread") ? " sae-nb-spread" : columns.some((text) => text.length > 2) ? " sae-nb-upright" : "");
    const table = make("table", "sae-nb-layers" + kinds, { role: "presentation" });
    table.style.setProperty("--rows", rows.length);
    const head = make("tr");
    head.append(make("th", "", {}, model.get("compact") ? "" : model.get("names")[0]), ...columns.map(headFor));
    if (side.length) head.append(make("th", "sae-nb-sidehead", {}, model.get("side_title")));
    table.append(head);
    rows.forEach((name, row) => {
      const line = make("tr", "", { role: "row" });
      line.append(make("th", "sae-nb-layername", {}, name));
      line.append(...model.get("cells")[row].map((text, column) => cellFor(row, column, text)));
      if (side.length) {
        const last = make("td", "sae-nb-sidecell");
        const bar = make("div", "sae-nb-bar");
        const fill = make("div", "sae-nb-fill");
        fill.style.width = `${(100 * side[row]) / longest}%`;
        bar.append(fill);
        last.append(bar, make("span", "", {}, formatNumber(side[row])));
        line.append(last);
      }
      table.append(line);
    });
    box.replaceChildren(table);
    mark();
  }

  box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
    if (step && cells.length) {
      const [row, column] = [active[0] + step[0], active[1] + step[1]];
      active = [clamp(row, 0, cells.length - 1), clamp(column, 0, cells[0].length - 1)];
      const node = cells[active[0]][active[1]];
      box.setAttribute("aria-activedescendant", node.id);
      node.scrollIntoView({ block: "nearest", inline: "nearest" });
      mark();
    } else if ((event.key === "Enter" || event.key === " ") && cells.length) {
      choose(model, [...active]);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  const names = ["rows", "columns", "cells", "tints", "agrees", "side", "side_title", "signed", "maximum", "compact",
    "spread", "quiet", "marked",
    "description", "empty_text"];
  redrawOn(model, names, build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => {
    box.replaceChildren();
  };
}
export default { initialize, render };

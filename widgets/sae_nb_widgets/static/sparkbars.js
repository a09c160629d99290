// Sparkbars: labelled bars, with a tick for the value before and a grey band of random controls.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const list = make("div", "sae-nb-bars", { role: "listbox", tabindex: "0" });
  root.append(list);
  el.append(root);
  let rows = [];
  let active = 0;

  const span = () => {
    const all = [...model.get("values"), ...model.get("before"), ...model.get("bands").flat()];
    const known = all.filter((v) => v !== null && Number.isFinite(v));
    const top = model.get("maximum") || Math.max(...known.map(Math.abs), 0) || 1;
    return [model.get("signed") ? -top : 0, top];
  };
  const percent = (value) => {
    const [low, high] = span();
    return 100 * clamp((value - low) / (high - low), 0, 1);
  };

  function tick(value, className, title) {
    const node = make("div", className, { title });
    node.style.left = `${percent(value)}%`;
    return node;
  }

  function rowFor(label, index) {
    const value = model.get("values")[index];
    const node = make("div", "sae-nb-barrow", { role: "option", id: `${list.id}-${index}` });
    const track = make("div", "sae-nb-track");
    const fill = make("div", "sae-nb-fill");
    const [zero, end] = [percent(0), percent(value)];
    fill.style.left = `${Math.min(zero, end)}%`;
    fill.style.width = `${Math.abs(end - zero)}%`;
    const colour = model.get("colours")[index] || model.get("colour");
    if (colour) fill.style.setProperty("--fill", colour);
    track.append(fill);
    const [before, band] = [model.get("before")[index], model.get("bands")[index] || []];
    const hasBefore = before !== null && before !== undefined;
    if (hasBefore) track.append(tick(before, "sae-nb-before", `before ${formatNumber(before)}`));
    const chance = band.length ? `random controls ${formatNumber(band[0])} to ${formatNumber(band[2])}` : "";
    if (chance) {
      const range = tick(band[0], "sae-nb-band", chance);
      range.style.width = `${percent(band[2]) - percent(band[0])}%`;
      track.append(range, tick(band[1], "sae-nb-median", chance));
    }
    const note = model.get("notes")[index] || formatNumber(value);
    const parts = [label, note];
    if (hasBefore) parts.push(`before ${formatNumber(before)}`);
    if (chance) parts.push(chance);
    node.setAttribute("aria-label", parts.join(", "));
    node.title = parts.join(" · ");
    node.append(make("div", "sae-nb-label", { dir: "auto" }, label), track,
      make("div", "sae-nb-number", {}, note));
    tagAtom(node, model.get("atoms")[index], model.get("icons")[index]);
    node.addEventListener("click", () => {
      active = index;
      choose(model, index);
    });
    return node;
  }

  function mark() {
    markRows(rows, model.get("selected"), active);
  }

  function build() {
    list.id = list.id || `bars-${Math.random().toString(36).slice(2)}`;
    list.setAttribute("aria-label", model.get("description"));
    list.classList.toggle("sae-nb-thin", model.get("thin"));
    list.classList.toggle("sae-nb-plain", model.get("thin") && model.get("bare"));
    rows = model.get("labels").map(rowFor);
    const longest = Math.max(3, ...rows.map((row) => row.lastChild.textContent.length));
    list.style.setProperty("--number-width", `${longest}ch`);
    const title = make("div", "sae-nb-cardtitle", {}, model.get("description"));
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    list.replaceChildren(...(rows.length ? rows : [empty]));
    root.replaceChildren(...(model.get("description") ? [title] : []), list);
    active = 0;
    mark();
  }

  listKeys(list, {
    rows: () => rows,
    at: () => active,
    go: (index) => {
      active = index;
      mark();
    },
    take: (index) => choose(model, index),
    leave: () => choose(model, -1),
  });
  redrawOn(model, ["labels", "values", "notes", "before", "bands", "signed", "maximum",
    "colour", "colours", "atoms", "icons", "thin", "bare", "description", "empty_text"], build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => list.replaceChildren();
}
export default { initialize, render };

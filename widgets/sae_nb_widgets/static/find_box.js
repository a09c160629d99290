// FindBox: a field, and under it the atoms that answer to what is typed. Tokens are data: textContent only.
function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-find");
  const id = `find-${Math.random().toString(36).slice(2)}`;
  const field = make("input", "", {
    type: "text", role: "combobox", "aria-autocomplete": "list", "aria-controls": id, autocomplete: "off",
    spellcheck: "false", "data-lm-suppress-shortcuts": "true",
  });
  const clear = make("button", "sae-nb-findclear", { type: "button", title: "Clear (Esc)" }, "×");
  const drop = make("div", "sae-nb-drop");
  const head = make("p", "sae-nb-drophead");
  const said = make("span", "", { "aria-live": "polite" });
  const note = make("span");
  head.append(said, note);
  const list = make("div", "", { role: "listbox", id, "aria-label": "atoms found" });
  drop.append(head, list);
  root.append(field, clear, drop);
  el.append(root);
  let options = [];
  let active = 0;
  let timer = 0;

  const typed = () => field.value.trim();
  const fresh = () => typed() === model.get("answered").trim();

  function open(opened) {
    if (model.get("opened") === opened) return;
    model.set("opened", opened);
    model.save_changes();
  }

  function tell(query) {
    clearTimeout(timer);
    if (model.get("query") === query) return;
    model.set("query", query);
    model.save_changes();
  }

  function contextOf(row) {
    const line = make("span", "sae-nb-findline");
    const before = make("span", "sae-nb-findbefore");
    before.append(make("bdi", "", {}, row.before));
    const word = make("b", row.hit ? "sae-nb-findhit" : "", {}, row.word);
    line.append(before, word, make("span", "sae-nb-findafter", {}, row.after));
    return line;
  }

  function rowOf(row, index) {
    const node = make("div", "sae-nb-findrow", { role: "option", id: `${id}-${index}`, title: row.tip });
    const name = make("span", "sae-nb-findname");
    if (!row.named) name.append(make("span", "sae-nb-findquiet", {}, "no name yet: "));
    name.append(make("span", "sae-nb-findwords", { title: row.name }, row.name));
    if (row.dots !== null) {
      const dots = make("span", "sae-nb-sure", { title: `${row.dots} of 4 dots: how far the name was tested` });
      for (let i = 0; i < 4; i++) dots.append(make("i", i < row.dots ? "" : "sae-nb-off"));
      name.append(dots);
    }
    const bar = make("span", "sae-nb-bar");
    const fill = make("span", "sae-nb-fill");
    fill.style.width = `${100 * clamp(row.share, 0, 1)}%`;
    bar.append(fill);
    node.append(name, row.word ? contextOf(row) : make("span"), row.share > 0 ? bar : make("span"));
    node.setAttribute("aria-label", `${row.named ? "" : "no name yet: "}${row.name}, atom ${row.atom}, ${row.tip}`);
    node.addEventListener("click", () => fresh() && take(index));
    return node;
  }

  // Of a word that is typed on, Python looks for the new one first and takes its first answer.
  function take(row) {
    clearTimeout(timer);
    timer = 0;
    model.send({ kind: "take", row: fresh() ? row : 0, query: typed() });
  }

  function mark() {
    options.forEach((node, i) => {
      node.setAttribute("aria-selected", String(i === active));
      node.classList.toggle("sae-nb-active", i === active);
    });
    const shown = model.get("opened") && typed() !== "";
    drop.hidden = !shown;
    field.setAttribute("aria-expanded", String(shown));
    field.setAttribute("aria-activedescendant", shown && options[active] ? options[active].id : "");
    clear.hidden = field.value === "";
    const stale = !fresh() || model.get("working");
    list.classList.toggle("sae-nb-stale", stale);
    list.setAttribute("aria-busy", String(stale));
    const waits = model.get("working") ? `the model reads “${typed()}” …` : `looking for “${typed()}” …`;
    said.textContent = stale ? waits : model.get("head");
    said.classList.toggle("sae-nb-waits", stale);
    note.textContent = stale ? "" : model.get("note");
  }

  function build() {
    field.placeholder = model.get("hint");
    field.title = model.get("description");
    field.setAttribute("aria-label", model.get("description"));
    options = model.get("rows").map(rowOf);
    list.replaceChildren(...options);
    active = 0;
    mark();
  }

  function follow() {
    // What Python sets is shown, unless somebody is typing on.
    if (document.activeElement !== field || !timer) field.value = model.get("query");
    mark();
  }

  field.addEventListener("input", () => {
    open(true);
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = 0;
      tell(typed());
    }, 150);
    mark();
  });
  field.addEventListener("focus", () => open(true));
  field.addEventListener("blur", () => open(false));
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && options.length) {
      open(true);
      active = clamp(active + step, 0, options.length - 1);
      options[active].scrollIntoView({ block: "nearest" });
      mark();
      event.preventDefault();
    } else if (event.key === "Enter") {
      take(active);
      event.preventDefault();
    }
    event.stopPropagation();
  });
  for (const kind of ["keypress", "keyup"]) field.addEventListener(kind, (event) => event.stopPropagation());
  clear.addEventListener("click", () => {
    field.value = "";
    tell("");
    field.focus();
    mark();
  });
  // A press on a row must not take the focus from the field, which would close the rows.
  drop.addEventListener("mousedown", (event) => event.preventDefault());

  redrawOn(model, ["rows", "head", "note", "hint", "description"], build);
  redrawOn(model, ["answered", "working", "opened"], mark);
  redrawOn(model, ["query"], follow);
  build();
  follow();
  return () => clearTimeout(timer);
}
export default { initialize, render };

// Chips: words in a row, and one line of score. Words are data: textContent only.
function render({ model, el }) {
  const SAID = { plain: "", confirmed: "confirmed", unconfirmed: "not confirmed", low: "less likely" };
  const root = make("div", "sae-nb-component");
  const list = make("ul", "sae-nb-chiplist");
  el.append(root);
  let chips = [];

  function chipFor(label, index) {
    const live = model.get("clickable");
    const state = model.get("states")[index];
    const tip = [SAID[state], model.get("tips")[index]].filter(Boolean).join(" · ");
    const words = visibleToken(label, true);
    const item = make("li");
    const chip = make(live ? "button" : "span", `sae-nb-pill sae-nb-${state}`,
      { dir: "auto", title: tip || (live ? words : "") }, words);
    if (live) {
      chip.type = "button";
      chip.addEventListener("click", () => {
        if (model.get("selected") === index) model.set("selected", -1); // the same again is an event, too
        choose(model, index);
      });
    }
    tagAtom(chip, model.get("atoms")[index]);
    item.append(chip);
    return item;
  }

  function mark() {
    chips.forEach((item, i) => {
      const chosen = i === model.get("selected");
      item.firstChild.classList.toggle("sae-nb-selected", chosen);
      if (model.get("clickable")) item.firstChild.setAttribute("aria-pressed", String(chosen));
    });
  }

  function build() {
    chips = model.get("labels").map(chipFor);
    list.replaceChildren(...chips);
    list.setAttribute("aria-label", model.get("description"));
    const parts = [];
    if (model.get("description")) parts.push(make("div", "sae-nb-cardtitle", {}, model.get("description")));
    parts.push(chips.length ? list : make("div", "sae-nb-empty", {}, model.get("empty_text")));
    if (chips.length && (model.get("score") || model.get("control"))) {
      const line = make("p", "sae-nb-chipscore");
      line.append(make("span", "", {}, model.get("score")), " ",
        make("span", "sae-nb-bychance", {}, model.get("control")));
      parts.push(line);
    }
    root.replaceChildren(...parts);
    mark();
  }

  redrawOn(model, ["labels", "states", "tips", "atoms", "score", "control", "clickable", "description",
    "empty_text"], build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => root.remove();
}
export default { initialize, render };

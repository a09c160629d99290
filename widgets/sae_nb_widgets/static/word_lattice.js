// WordLattice: a text in which each word carries its strongest atom. Tokens are data: textContent only.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const list = make("div", "sae-nb-lattice", { role: "group" });
  const foot = make("div", "sae-nb-foot");
  root.append(list, foot);
  el.append(root);
  let nodes = [];

  function chipOf(word) {
    const chip = make("span", `sae-nb-wordchip${word.named ? "" : " sae-nb-unnamed"}`);
    const bar = make("span", "sae-nb-bar");
    const fill = make("span", "sae-nb-fill");
    fill.style.width = `${100 * clamp(word.share, 0, 1)}%`;
    bar.append(fill);
    chip.append(make("span", "", {}, word.name), bar);
    return chip;
  }

  function wordOf(word, index) {
    const node = make("button", `sae-nb-latticeword${word.name ? "" : " sae-nb-plainword"}`, {
      type: "button", title: word.tip, "aria-label": word.name ? `${word.text}: ${word.name}, ${word.tip}` : word.text,
    });
    const line = make("span", "sae-nb-wordline", { dir: "auto" });
    const text = make("span", "sae-nb-wordtext", {}, word.text);
    text.style.setProperty("--s", word.name ? word.share : 0);
    line.append(make("span", "", {}, word.before), text, make("span", "", {}, word.after));
    node.append(line);
    if (word.name) {
      node.append(chipOf(word));
      tagAtom(node, word.atom);
    }
    node.addEventListener("click", () => choose(model, index));
    return node;
  }

  function mark() {
    nodes.forEach((node, i) => {
      const chosen = i === model.get("selected");
      node.classList.toggle("sae-nb-selected", chosen);
      node.setAttribute("aria-pressed", String(chosen));
    });
  }

  function build() {
    list.setAttribute("aria-label", model.get("description"));
    nodes = model.get("words").map(wordOf);
    list.classList.toggle("sae-nb-longtext", nodes.length > 60);
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    list.replaceChildren(...(nodes.length ? nodes : [empty]));
    foot.textContent = nodes.length ? model.get("hint") : "";
    mark();
  }

  redrawOn(model, ["words", "description", "empty_text", "hint"], build);
  redrawOn(model, ["selected"], mark);
  build();
  return () => list.replaceChildren();
}
export default { initialize, render };

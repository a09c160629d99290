// Branches: a text and the ways in which it goes on. Tokens are data: textContent only.
function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-branches", { tabindex: "0", role: "group" });
  const prompt = make("p", "sae-nb-prompt", { dir: "auto" });
  const earlier = make("div", "sae-nb-earliers");
  const leaves = make("p", "sae-nb-leaves");
  const ways = make("dl", "sae-nb-ways");
  const note = make("p", "sae-nb-note");
  el.append(root);
  let spans = [];
  let drawn = [];
  let active = [0, 0];

  function tokenNode(tag, row, token, text) {
    const node = make(tag, "sae-nb-token", {}, text === " " && token ? text : visibleToken(text));
    node.dataset.row = row;
    node.dataset.token = token;
    spans[row][token] = node;
    return node;
  }

  function buildPrompt() {
    const values = floats(model.get("strengths"));
    const maximum = model.get("maximum") || 1;
    const [common, fork, parts] = [model.get("common"), model.get("fork"), Boolean(model.get("leaves"))];
    spans[0] = [];
    spans[1] = [];
    prompt.replaceChildren(...model.get("prompt").map((text, i) => {
      const node = tokenNode("span", 0, i, text);
      node.classList.toggle("sae-nb-forks", parts && i === fork && !common);
      node.classList.toggle("sae-nb-later", parts && i > fork);
      node.classList.toggle("sae-nb-special", model.get("special")[i]);
      const known = !Number.isNaN(values[i]);
      node.title = known ? withUnit(values[i], model.get("unit")) : model.get("absent");
      if (known) heated(node, values[i] / maximum);
      return node;
    }), ...(model.get("rows")[0] || []).slice(0, common).flatMap((text, j) => {
      const space = text.match(/^ +(?=\S)/)?.[0] || "";
      const node = tokenNode("span", 1, j, text.slice(space.length));
      node.classList.toggle("sae-nb-forks", j === common - 1);
      return [space, node];
    }), ...(model.get("rows").length ? [] : [" …"]));
  }

  // While a text is written only its newest tokens are new: what stands already is left as it is.
  function buildWays() {
    const rows = model.get("rows"), common = model.get("common");
    if (drawn.length !== rows.length) {
      drawn = rows.map(() => ({ term: make("dt"), text: make("dd", "", { dir: "auto" }), tokens: [] }));
      ways.replaceChildren(...drawn.flatMap(({ term, text }) => [term, text]));
    }
    rows.forEach((tokens, i) => {
      const { term, text } = drawn[i];
      const marked = model.get("marked")[i];
      term.textContent = model.get("labels")[i];
      term.className = `sae-nb-${model.get("kinds")[i]}`;
      text.className = `sae-nb-way sae-nb-${model.get("kinds")[i]}`;
      spans[i + 1] = i ? [] : spans[1].slice(0, common);
      // The space before a word is not part of what is tinted.
      const shown = tokens.flatMap((token, j) => {
        const space = token.match(/^ +(?=\S)/)?.[0] || "";
        return j < common ? [] : [j > common ? space : "", tokenNode(marked[j] ? "mark" : "span", i + 1, j, token.slice(space.length))];
      });
      text.replaceChildren(...shown, model.get("ended")[i] ? "" : " …");
    });
    spans.length = rows.length + 1;
  }

  function mark() {
    const [row, token] = model.get("selected");
    spans.forEach((nodes, r) => nodes.forEach((node, i) => {
      node.classList.toggle("sae-nb-selected", r === row && i === token);
      node.classList.toggle("sae-nb-active", r === active[0] && i === active[1]);
    }));
  }

  function build() {
    root.setAttribute("aria-label", model.get("description"));
    const any = model.get("prompt").length || model.get("rows").length;
    buildPrompt();
    buildWays();
    earlier.replaceChildren(...model.get("earlier").map(([what, text]) => {
      const line = make("summary");
      line.append(make("b", "", {}, what), ` ${text}`);
      const fold = make("details", "sae-nb-earlier");
      fold.append(line);
      return fold;
    }));
    leaves.textContent = model.get("leaves") ? `↳ ${model.get("leaves")}` : "";
    note.textContent = model.get("note");
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    root.replaceChildren(...(any ? [earlier, prompt, leaves, ways, ...(note.textContent ? [note] : [])] : [empty]));
    root.classList.toggle("sae-nb-stale", model.get("stale"));
    root.classList.toggle("sae-nb-abreast", model.get("abreast"));
    mark();
  }

  root.addEventListener("click", (event) => {
    const node = event.target.closest(".sae-nb-token");
    if (!node) return;
    active = [Number(node.dataset.row), Number(node.dataset.token)];
    choose(model, active);
  });
  root.addEventListener("keydown", (event) => {
    const [row, token] = active;
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (step && spans.length) {
      const r = clamp(row + step[0], 0, spans.length - 1);
      const from = step[0] ? 0 : token + step[1];
      active = [r, clamp(from, 0, Math.max(spans[r].length - 1, 0))];
      mark();
    } else if ((event.key === "Enter" || event.key === " ") && spans[row]?.[token]) {
      choose(model, active);
    } else if (event.key === "Escape") {
      choose(model, [-1, -1]);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  redrawOn(model, ["prompt", "special", "strengths", "maximum", "unit", "rows", "marked", "kinds", "labels", "ended",
    "common", "fork", "leaves", "earlier", "note", "stale", "abreast", "description", "empty_text"], build);
  redrawOn(model, ["selected"], mark);
  build();
}
export default { initialize, render };

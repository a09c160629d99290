// The card of an atom: shown beside whatever says `data-atom`, or sends "sae-nb-atom", when somebody
// points at it or reaches it with the keyboard. `ask(atom)` promises what is on the card.
const CARD_AFTER = 220;
const CARD_STAYS = 260;

function atomCards(root, { ask, open = null, star = null }) {
  const card = make("div", "sae-nb-component sae-nb-atomcard", { role: "dialog", "aria-label": "atom" });
  card.hidden = true;
  document.body.append(card);
  let wanted = -1;
  let timer = 0;

  function hide() {
    clearTimeout(timer);
    wanted = -1;
    card.hidden = true;
  }
  const leave = () => {
    clearTimeout(timer);
    timer = setTimeout(hide, CARD_STAYS);
  };
  // `glance`: a card among points that can be clicked, which it must not keep from the pointer.
  function later(atom, place, glance = false) {
    clearTimeout(timer);
    if (atom === wanted && !card.hidden) return;
    timer = setTimeout(() => {
      wanted = atom;
      Promise.resolve(ask(atom)).then((content) => {
        if (content && wanted === atom && root.isConnected) draw(content, place, glance);
      });
    }, CARD_AFTER);
  }

  function draw(content, place, glance) {
    const paper = getComputedStyle(root);
    card.style.color = paper.color;
    card.style.setProperty("--sae-nb-font", paper.getPropertyValue("--sae-nb-font"));
    const head = make("div", "sae-nb-cardtitle", { dir: "auto" }, content.name);
    const parts = [head];
    if (content.badge) head.append(evidenceOf(content.badge));
    const facts = [content.fires, content.source].filter(Boolean).join(" ");
    if (facts) parts.push(make("div", "sae-nb-cardfacts", {}, facts));
    parts.push(content.examples.length ? examplesOf(content.examples)
      : make("div", "sae-nb-empty", {}, "No examples are known: pass `acts` to see what it fires on."));
    const tools = make("div", "sae-nb-cardtools");
    if (open && !glance) tools.append(tool("open in browser", () => { hide(); open(content.atom); }));
    if (star && !glance) tools.append(starTool(content));
    if (tools.childElementCount) parts.push(tools);
    card.replaceChildren(...parts);
    card.classList.toggle("sae-nb-glance", glance);
    card.dataset.shows = content.atom;
    card.hidden = false;
    put(place);
  }

  // How sure the name is, as dots; in words where that was not measured.
  function evidenceOf({ text, title, dots }) {
    if (dots === null) return make("div", "sae-nb-badge", { title }, text);
    const node = make("span", "sae-nb-sure", { role: "img", title, "aria-label": `${dots} of 4 dots. ${title}` });
    for (let i = 0; i < 4; i += 1) node.append(make("i", i < dots ? "" : "sae-nb-off"));
    return node;
  }

  function tool(text, action) {
    const node = make("button", "sae-nb-cardtool", { type: "button" }, text);
    node.addEventListener("click", action);
    return node;
  }
  function starTool(content) {
    const words = () => (content.starred ? "★ on the work list" : "☆ star");
    const node = tool(words(), () => {
      content.starred = !content.starred;
      node.textContent = words();
      node.setAttribute("aria-pressed", String(content.starred));
      star(content.atom, content.starred);
    });
    node.setAttribute("aria-pressed", String(content.starred));
    return node;
  }

  function examplesOf(examples) {
    const box = make("div", "sae-nb-cardexamples");
    box.classList.toggle("sae-nb-cardpictures", "picture" in examples[0] && !examples[0].wide);
    for (const example of examples) {
      const node = make("div", "sae-nb-cardexample", { title: `${example.place}: ${example.strength}` });
      if (example.picture) node.append(pictureOf(example));
      else if (example.tokens) node.append(...example.tokens.map(tokenOf));
      else node.append(make("span", "", {}, example.text || example.place));
      if (example.picture) node.append(make("div", "sae-nb-number", {}, example.strength));
      if (example.beside) node.append(make("div", "sae-nb-cardfacts", {}, example.beside));
      box.append(node);
    }
    return box;
  }
  function tokenOf([text, share, peak]) {
    const node = make("span", peak ? "sae-nb-peak" : "", {}, text);
    heated(node, share);
    return node;
  }
  // A spectrogram, and three frames side by side, are wider than they are high.
  function pictureOf(example) {
    const canvas = make("canvas", "", { width: 96, height: 96, role: "img", "aria-label": example.place });
    const image = new Image();
    image.onload = () => {
      const shape = image.naturalHeight / image.naturalWidth;
      const wide = example.wide ? 304 : 96;
      const tall = Math.round(wide * clamp(shape, 1 / 3, 1));
      canvas.width = wide;
      canvas.height = tall;
      const pen = canvas.getContext("2d");
      pen.imageSmoothingEnabled = false;
      pen.drawImage(image, 0, 0, wide, tall);
      const [rows, columns] = example.grid || [0, 0];
      (example.heat || []).forEach((share, i) => {
        pen.fillStyle = shade(share);
        const [w, h] = [wide / columns, tall / rows];
        pen.fillRect((i % columns) * w, Math.floor(i / columns) * h, w, h);
      });
    };
    image.src = example.picture;
    return canvas;
  }

  // Beside what was pointed at, inside the window. From the margin no card covers the examples on the stage:
  // if there is no room at its right it is put under what was pointed at, or above it.
  function put({ left, right, bottom, top }) {
    const [w, h] = [card.offsetWidth, card.offsetHeight];
    const main = root.querySelector(".sae-nb-main");
    const stage = main && main.getBoundingClientRect();
    const free = (x, y) => {
      const inside = x >= 4 && x + w <= innerWidth - 4 && y >= 4 && y + h <= innerHeight - 4;
      const fromStage = stage && left < stage.right && top >= stage.top && bottom <= stage.bottom;
      const covers = stage && x < stage.right && x + w > stage.left && y < stage.bottom && y + h > stage.top;
      const under = x < right && x + w > left && y < bottom && y + h > top;
      return inside && !under && (fromStage || !covers);
    };
    const level = clamp(top, 4, Math.max(innerHeight - h - 4, 4));
    const along = clamp(right - w, 4, Math.max(innerWidth - w - 4, 4));
    const beside = right + 10 + w < innerWidth ? right + 10 : Math.max(left - w - 10, 4);
    const places = [[right + 10, level], [along, bottom + 4], [along, top - h - 4], [left - w - 10, level]];
    const [x, y] = places.find(([px, py]) => free(px, py)) || [beside, level];
    card.style.left = `${x}px`;
    card.style.top = `${y}px`;
  }

  const tagged = (target) => {
    const node = target instanceof Element ? target.closest("[data-atom]") : null;
    return node && root.contains(node) ? node : null;
  };
  const over = (event) => {
    const node = tagged(event.target);
    if (node) later(Number(node.dataset.atom), node.getBoundingClientRect());
  };
  const out = (event) => {
    if (tagged(event.target) && tagged(event.relatedTarget) !== tagged(event.target)) leave();
  };
  const focused = (event) => {
    const node = tagged(event.target);
    if (node && node.matches(":focus-visible"))
      later(Number(node.dataset.atom), node.getBoundingClientRect());
  };
  const named = (event) => {
    const { atom, x, y, glance } = event.detail;
    event.stopPropagation();
    if (atom < 0) leave();
    else later(atom, { left: x - 8, right: x + 8, top: y - 8, bottom: y + 8 }, glance);
  };
  const escaped = (event) => {
    if (event.key === "Escape" && !card.hidden) hide();
  };
  root.addEventListener("pointerover", over);
  root.addEventListener("pointerout", out);
  root.addEventListener("focusin", focused);
  root.addEventListener("focusout", leave);
  root.addEventListener("sae-nb-atom", named);
  document.addEventListener("keydown", escaped, true);
  card.addEventListener("pointerenter", () => clearTimeout(timer));
  card.addEventListener("pointerleave", leave);
  return {
    hide,
    stop() {
      hide();
      card.remove();
      root.removeEventListener("pointerover", over);
      root.removeEventListener("pointerout", out);
      root.removeEventListener("focusin", focused);
      root.removeEventListener("focusout", leave);
      root.removeEventListener("sae-nb-atom", named);
      document.removeEventListener("keydown", escaped, true);
    },
  };
}

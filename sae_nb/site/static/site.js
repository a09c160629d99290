// A site of atoms. Words are data: textContent only. Chunks are scripts that call saeNb.give(name, data).
"use strict";
const saeNb = (() => {
  const here = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...parts) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...parts);
    return node;
  };

  // --- chunks --------------------------------------------------------------------------------------
  const promised = new Map();
  const given = new Map();
  const give = (name, data) => given.set(name, data);
  function load(name) {
    if (!promised.has(name)) {
      promised.set(name, new Promise((done, failed) => {
        const script = make("script", { src: `${name}.js` });
        script.onload = () => (given.has(name) ? done(given.get(name)) : failed(new Error(`${name}.js holds no data.`)));
        script.onerror = () => failed(new Error(`${name}.js cannot be read. Is the folder whole?`));
        document.head.append(script);
        script.addEventListener("load", () => script.remove());
      }));
    }
    return promised.get(name);
  }

  // --- numbers and colours -------------------------------------------------------------------------
  const spaced = (whole) => String(whole).replace(/\B(?=(\d{3})+$)/g, "\u2009");
  const number = (value) => {
    if (value === null) return "–";
    const short = Math.abs(value) >= 1000 ? spaced(Math.round(value)) : String(Number(value.toPrecision(3)));
    return short.replace("-", "−");
  };
  const percent = (share) => `${number(100 * share)} %`;
  const heat = (share) => {
    const size = Math.min(Math.abs(share), 1);
    if (!(size >= start.weakest)) return "";
    const [faint, bold] = start.opacities;
    const rgb = share < 0 ? start.below : start.strength;
    return `rgba(${rgb.join(",")},${(faint + (bold - faint) * (size - start.weakest) / (1 - start.weakest)).toFixed(3)})`;
  };

  let start = null;
  let atom = -1;
  let group = -1; // the class on the card; -1: an atom is

  // --- one atom ------------------------------------------------------------------------------------
  const nameOf = (number, words) => (words ? `${number} · ${words}` : `${number}`);
  // What a label turns (from right to left, say) ends with it.
  const named = (number, words) => (words ? [`${number} · `, make("bdi", {}, words)] : [`${number}`]);
  const chip = (other, words, more) => {
    const node = make("button", { type: "button" }, ...named(other, words), " ");
    node.append(make("small", { class: "quiet" }, more));
    node.addEventListener("click", () => open(other));
    return node;
  };

  function histogram(card) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    const [width, height, most] = [400, 90, Math.max(...card.counts, 1)];
    svg.setAttribute("viewBox", `0 0 ${width} ${height + 18}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label",
      `Histogram of strengths from ${number(card.edges[0])} to ${number(card.edges[1])}, ${card.fired} rows`);
    const put = (tag, attributes, text = "") => {
      const node = document.createElementNS(space, tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      node.textContent = text;
      svg.append(node);
    };
    const bar = width / card.counts.length;
    card.counts.forEach((count, i) => {
      const tall = count ? Math.max(height * count / most, 1) : 0;
      put("rect", { x: i * bar, y: height - tall, width: bar - 1, height: tall });
    });
    put("text", { x: 0, y: height + 14 }, number(card.edges[0]));
    put("text", { x: width, y: height + 14, "text-anchor": "end" }, `strength ${number(card.edges[1])}`);
    return svg;
  }

  function textOf(example, largest) {
    const node = make("p", { class: "text", dir: "auto", title: `${example.place} · strength ${number(example.z)}` });
    const special = new Set(example.special);
    if (example.cut[0]) node.append("… ");
    let ten = null;  // letters of a sequence stand in tens, each below the number of its last
    example.tokens.forEach((token, i) => {
      const value = example.values[i], at = (example.numbers || [])[i] || 0;
      const name = at ? `${token}${at}` : `“${visibleToken(token)}”`;
      const span = make("span", { title: `${name} ${number(value)}` }, special.has(i) ? visibleToken(token) : token);
      if (special.has(i)) span.classList.add("special");
      if (i === example.at) span.classList.add("at");
      if (value !== null) span.style.backgroundColor = heat(value / largest);
      if (!at) ten = null;
      else if (!ten || at % 10 === 1) node.append(ten = make("span", { class: "ten" }));
      (ten || node).append(span);
      if (at && at % 10 === 0) ten.dataset.number = at;
    });
    if (example.cut[1]) node.append(" …");
    return node;
  }

  let takeExample = null;
  function imageOf(example, largest) {
    const frame = make("div", { class: "frame" });
    frame.append(make("img", { src: example.image, alt: example.place, loading: "lazy" }));
    if (example.heat) {
      const [rows, columns] = [example.heat.length, example.heat[0].length];
      const canvas = make("canvas", { width: columns, height: rows, "aria-hidden": "true" });
      const pen = canvas.getContext("2d");
      if (pen) example.heat.forEach((line, y) => line.forEach((value, x) => {
        pen.fillStyle = (value !== null && heat(value / largest)) || "rgba(0,0,0,0)";
        pen.fillRect(x, y, 1, 1);
      }));
      frame.append(canvas);
      frame.title = "The more amber, the more strongly it fires there";
    }
    const words = `${example.place} · ${number(example.z)}`;
    if (example.sound) return soundOf(example, words, frame);
    if (example.film) return make("figure", { class: "film" }, frame, make("figcaption", {}, words));
    if (!takeExample) return make("figure", {}, frame, make("figcaption", {}, words));
    const button = make("button", { type: "button", class: "plain", title: "Show it to the model" }, frame);
    button.addEventListener("click", () => takeExample(frame.querySelector("img")));
    return make("figure", {}, button, make("figcaption", {}, words));
  }

  // The image of a sound with its player; a line shows the moment, and one sound plays at a time.
  function soundOf(example, words, frame = make("div", { class: "frame" })) {
    const player = make("audio", { controls: "", preload: "none", src: example.sound, "aria-label": `Play ${example.place}` });
    const line = make("div", { class: "moment", "aria-hidden": "true" });
    const [from, to] = example.span;
    const move = () => {
      const done = player.duration ? player.currentTime / player.duration : 0;
      line.style.left = `${100 * (from + (to - from) * done)}%`;
      line.style.display = player.paused ? "none" : "block";
      if (!player.paused) requestAnimationFrame(move);
    };
    player.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
      move();
    });
    player.addEventListener("pause", move);
    frame.append(line);
    return make("figure", { class: "sound" }, frame, player, make("figcaption", {}, words));
  }

  function vectorOf(example) {
    const words = (example.coordinates || []).map(([i, value]) => `x${i} ${number(value)}`).join(", ");
    return make("p", { class: "text" }, `${example.place} · strength ${number(example.z)}`, make("br"), words);
  }

  function exampleOf(example, largest) {
    if (example.tokens) return textOf(example, largest);
    if (example.image) return imageOf(example, largest);
    return example.sound ? soundOf(example, `${example.place} · ${number(example.z)}`) : vectorOf(example);
  }

  const TITLES = { top: "Strongest", "50 %": "Around the median", random: "At random" };
  function examplesOf(card) {
    const parts = [];
    for (const [band, examples] of Object.entries(card.bands)) {
      if (!examples.length) continue;
      parts.push(make("h3", {}, TITLES[band] || band));
      const box = make("div", examples.some((one) => one.image || one.sound) ? { class: "images" } : {});
      box.append(...examples.map((example) => exampleOf(example, card.max)));
      parts.push(box);
    }
    return parts.length ? parts : [make("p", { class: "quiet" }, card.missing)];
  }

  const table = (title, pairs) => {
    const body = make("table");
    for (const [token, value] of pairs) {
      body.append(make("tr", {}, make("td", {}, visibleToken(token)), make("td", { class: "number" }, number(value))));
    }
    return make("div", {}, make("h3", {}, title), body);
  };

  async function show(wanted) {
    const card = await load(`atoms/${wanted}`);
    if (wanted !== atom || group >= 0) return; // another one was asked for meanwhile
    const pages = await names();
    if (wanted !== atom || group >= 0) return;
    const article = here("card");
    const head = make("h2", { id: "name", tabindex: "-1" }, "Atom ", ...named(card.atom, card.words));
    const parts = [head];
    if (card.badge) {
      const [text, title, standing] = card.badge;
      parts.push(make("p", {}, make("span", { class: `badge ${standing}`, title }, text)));
    } else if (card.source) parts.push(make("p", { class: "quiet" }, `Label by: ${card.source}`));
    if (card.note) parts.push(make("p", { dir: "auto" }, card.note));
    parts.push(make("p", {}, `Fires on ${card.fires}; mean strength ${number(card.mean)}, largest ${number(card.max)}.`));
    if (card.keeps) parts.push(make("p", {}, `${card.keeps} Examples that it drops are marked ○.`));
    if (card.fired) parts.push(histogram(card));
    if (card.up.length) {
      parts.push(make("div", { class: "columns" }, table("Raises", card.up), table("Lowers", card.down)));
      parts.push(make("p", { class: "quiet" }, card.by));
    }
    if (card.classes && card.classes.length) {
      parts.push(make("h3", {}, "Classes that rest on it"), make("div", { class: "chips" }, ...card.classes.map(([i, importance]) =>
        classChip(i, `importance ${number(importance)}`))));
    }
    parts.push(...examplesOf(card));
    const near = make("div", { class: "chips" }, ...card.near.map(([other, cosine]) =>
      chip(other, pages.words[other], `cosine ${number(cosine)}`)));
    parts.push(make("h3", {}, "Nearest directions"), near);
    if (card.together.length) {
      const joint = make("div", { class: "chips" }, ...card.together.map(([other, lift, count]) =>
        chip(other, pages.words[other], `${number(lift)} × chance, ${count} rows`)));
      parts.push(make("h3", {}, "Fire together"), joint);
    }
    article.replaceChildren(...parts);
    document.title = `${nameOf(card.atom, card.words)} — ${start.title}`;
    document.documentElement.dataset.shown = String(wanted);
  }

  // --- one class -----------------------------------------------------------------------------------
  const classChip = (i, more) => {
    const node = make("button", { type: "button" }, make("bdi", {}, start.classes.names[i]), " ");
    if (more) node.append(make("small", { class: "quiet" }, more));
    node.addEventListener("click", () => openClass(i));
    return node;
  };

  async function showClass(wanted) {
    const [page, pages] = [await load(`classes/${wanted}`), await names()];
    if (wanted !== group) return; // another one was asked for meanwhile
    const largest = Math.max(...page.concepts.map((one) => one.importance), page.floor, 1e-12);
    const bar = (value, kind) => {
      const node = make("span", { class: `rate ${kind}`, "aria-hidden": "true" });
      node.style.width = `${Math.max(100 * value / largest, 1)}%`;
      return node;
    };
    const parts = [make("h2", { id: "name", tabindex: "-1" }, "Class ", make("bdi", {}, page.name))];
    parts.push(make("p", {}, `${spaced(start.classes.sizes[wanted])} samples; the atoms that it rests on most. By chance an atom reaches ${number(page.floor)}:`), bar(page.floor, ""));
    for (const one of page.concepts) {
      const images = one.examples.some((example) => example.image || example.sound);
      const most = Math.max(...one.examples.map((example) => Math.abs(example.z)), 1e-12);
      const box = make("div", images ? { class: "images" } : {}, ...one.examples.map((example) => exampleOf(example, most)));
      const below = one.importance <= page.floor ? ", no more than by chance" : "";
      parts.push(make("section", { class: "concept" },
        make("div", { class: "chips" }, chip(one.atom, pages.words[one.atom], `importance ${number(one.importance)}${below}`)),
        bar(one.importance, below ? "" : "above"), box));
    }
    if (!page.concepts.length) parts.push(make("p", { class: "quiet" }, "No atom counts for this class."));
    parts.push(make("p", { class: "quiet" }, start.classes.by));
    here("card").replaceChildren(...parts);
    document.title = `${page.name} — ${start.title}`;
    document.documentElement.dataset.shown = `class-${wanted}`;
  }

  function openClass(wanted) {
    if (wanted >= 0 && wanted < start.classes.names.length) location.hash = `class=${wanted}`;
  }

  const classItem = (i) => {
    const button = make("button", { type: "button", "data-class": i }, make("bdi", {}, start.classes.names[i]));
    button.append(make("br"), make("small", {}, `${spaced(start.classes.sizes[i])} samples`));
    button.setAttribute("aria-current", String(i === group));
    button.addEventListener("click", () => openClass(i));
    return make("li", {}, button);
  };

  const MOST_CLASSES = 1000;
  function listClasses(query = "") {
    const all = start.classes.names;
    const hits = all.map((_, i) => i).filter((i) => fold(all[i]).includes(query));
    here("list").replaceChildren(...hits.slice(0, MOST_CLASSES).map(classItem));
    here("more").hidden = true;
    const more = hits.length > MOST_CLASSES ? `, the first ${MOST_CLASSES} listed` : "";
    here("found").textContent = query ? `${hits.length} found${more}` : `${spaced(all.length)} classes${more}`;
  }

  let listed = "atoms";
  function list(kind) {
    listed = kind;
    for (const button of here("kinds").children) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    here("finds").textContent = kind === "classes" ? "Find a class" : "Find an atom";
    here("query").placeholder = kind === "classes" ? "name" : "number, label or token";
    here("query").value = "";
    if (kind === "classes") listClasses();
    else listFirst();
  }

  function mountClasses() {
    if (!start.classes) return;
    here("kinds").hidden = false;
    for (const kind of ["classes", "atoms"]) {
      const button = make("button", { type: "button", "data-kind": kind }, kind === "classes" ? "Classes" : "Atoms");
      button.addEventListener("click", () => list(kind));
      here("kinds").append(button);
    }
    list(/^#atom=/.test(location.hash) ? "atoms" : "classes");
  }

  function open(wanted) {
    if (Number.isInteger(wanted) && wanted >= 0 && wanted < start.n_atoms) location.hash = `atom=${wanted}`;
  }

  function follow() {
    const of = start.classes ? /^#class=(\d+)$/.exec(location.hash) || (location.hash ? null : [0, "0"]) : null;
    group = of ? Number(of[1]) : -1;
    if (group >= 0) {
      for (const button of here("list").querySelectorAll("button[data-class]")) {
        button.setAttribute("aria-current", String(Number(button.dataset.class) === group));
      }
      if (group < start.classes.names.length) showClass(group).catch((error) => problem(error.message));
      else problem(`There are ${start.classes.names.length} classes, numbered from 0. The link asks for ${group}.`);
      return;
    }
    const asked = /^#atom=(\d+)$/.exec(location.hash);
    const wanted = asked ? Number(asked[1]) : start.opens;
    if (wanted >= start.n_atoms) {
      problem(`This SAE has ${start.n_atoms} atoms, numbered from 0. The link asks for ${wanted}.`);
      return;
    }
    atom = wanted;
    for (const button of here("list").querySelectorAll("button")) {
      button.setAttribute("aria-current", String(Number(button.dataset.atom) === atom));
    }
    drawMap();
    show(atom).catch((error) => problem(error.message));
  }

  const problem = (words) => here("card").replaceChildren(make("p", { class: "problem", role: "alert" }, words));

  // --- names, list, search -------------------------------------------------------------------------
  // As sae_nb.atoms.folded: NFKC, small, capital and small letters one by one, NFKC, one kind of i.
  const letters = (text, change) => Array.from(text, (letter) => letter[change]()).join("");
  function fold(text) {
    if (/^[\x00-\x7f]*$/.test(text)) return text.toLowerCase();
    const small = letters(text.normalize("NFKC"), "toLowerCase");
    return letters(letters(small, "toUpperCase"), "toLowerCase").normalize("NFKC").replaceAll("i\u0307", "i");
  }
  // What Python strips: its blanks differ from JavaScript's.
  const strip = (text) => text.replace(/^(?:[^\S\ufeff]|[\x1c-\x1f\x85])+|(?:[^\S\ufeff]|[\x1c-\x1f\x85])+$/g, "");

  let everyName = null;
  function names() {
    everyName = everyName || (async () => {
      const n = Math.ceil(start.n_atoms / start.names_at_once);
      const pages = await Promise.all(Array.from({ length: n }, (_, i) => load(`names/${i}`)));
      return { words: pages.flatMap((page) => page.words), frequency: pages.flatMap((page) => page.frequency) };
    })();
    return everyName;
  }

  const item = ([number, words, share, why]) => {
    const button = make("button", { type: "button", "data-atom": number }, ...named(number, words));
    button.setAttribute("aria-current", String(number === atom));
    if (why) button.append(make("br"), make("small", {}, why));
    const rate = make("span", { class: "rate", "aria-hidden": "true" });
    rate.style.width = `${Math.max(100 * Math.sqrt(share / start.largest), 1)}%`;
    button.append(rate);
    button.title = `fires on ${percent(share)} of the rows`;
    button.addEventListener("click", () => open(number));
    return make("li", {}, button);
  };

  let shown = 0;
  async function more() {
    const { words, frequency } = await names();
    const order = frequency.map((_, i) => i).sort((a, b) => frequency[b] - frequency[a] || a - b);
    here("list").append(...order.slice(shown, shown + 200).map((i) => item([i, words[i], frequency[i]])));
    shown = Math.min(shown + 200, order.length);
    here("more").hidden = shown >= order.length;
    here("found").textContent = `${shown} of ${start.n_atoms}, the most frequent first`;
  }

  function listFirst() {
    here("list").replaceChildren(...start.first.map(item));
    shown = start.first.length;
    here("more").hidden = shown >= start.n_atoms;
    here("found").textContent = `${shown} of ${start.n_atoms}, the most frequent first`;
  }

  const MOST_FOUND = 200;
  let foldedNames = null;
  async function search(query) {
    const text = strip(fold(query));
    const { words, frequency } = await names();
    foldedNames = foldedNames || words.map(fold);
    const found = new Map();
    const asNumber = /^#?\s*(\d+)$/.exec(text);
    if (asNumber && Number(asNumber[1]) < start.n_atoms) found.set(Number(asNumber[1]), "");
    foldedNames.forEach((label, i) => {
      if (label.includes(text) && found.size < MOST_FOUND) found.set(i, "");
    });
    const pages = await load("tokens/letters");
    const letter = text.codePointAt(0).toString(16);
    if (pages.includes(letter)) {
      const tokens = await load(`tokens/${letter}`);
      const hits = Object.entries(tokens).filter(([token]) => token.startsWith(text))
        .flatMap(([token, atoms]) => atoms.map(([i, share]) => [i, share, token]));
      hits.sort((a, b) => b[1] - a[1]);
      for (const [i, share, token] of hits) {
        if (found.size >= MOST_FOUND) break;
        if (!found.get(i)) found.set(i, `${percent(share)} of its strength on “${token}”`);
      }
    }
    return [...found].map(([i, why]) => [i, words[i], frequency[i], why]);
  }

  let asked = 0;
  async function find() {
    const query = here("query").value;
    const mine = ++asked;
    if (listed === "classes") {
      listClasses(strip(fold(query)));
      document.documentElement.dataset.found = query;
      return;
    }
    if (!strip(fold(query))) return listFirst();
    const hits = await search(query);
    if (mine !== asked) return; // somebody typed on
    here("list").replaceChildren(...hits.map(item));
    here("more").hidden = true;
    here("found").textContent = hits.length ? `${hits.length} found` : "None found. Try a number, a label or the beginning of a token.";
    document.documentElement.dataset.found = query;
  }

  // --- map -----------------------------------------------------------------------------------------
  const view = { x: 2048, y: 2048, scale: 0, map: null, frequency: null };
  const toScreen = (canvas, i) => [
    (view.map.x[i] - view.x) * view.scale + canvas.clientWidth / 2,
    (view.y - view.map.y[i]) * view.scale + canvas.clientHeight / 2,
  ];

  function drawMap() {
    const canvas = here("map");
    if (!view.map || !canvas.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const pen = canvas.getContext("2d");
    if (!pen) throw new Error("this browser draws on no canvas.");
    pen.scale(ratio, ratio);
    const n = view.map.x.length;
    const size = n > 5000 ? 1.5 : n > 1000 ? 2.5 : 4;
    const low = Math.log10(Math.max(Math.min(...view.positive), 1e-6));
    const span = Math.max(Math.log10(start.largest) - low, 1e-6);
    // The half of the scale that is seen on this page.
    const colours = getComputedStyle(document.documentElement);
    const [first, never] = [Number(colours.getPropertyValue("--first-stop")), colours.getPropertyValue("--bar").trim()];
    for (let i = 0; i < n; i++) {
      const [x, y] = toScreen(canvas, i);
      const share = view.frequency[i];
      const place = share > 0 ? Math.min(0.6, 0.6 * (Math.log10(share) - low) / span) : 0;
      const rgb = start.scale[first + Math.round(place / 0.6 * 5)];
      pen.fillStyle = pen.strokeStyle = share > 0 ? `rgb(${rgb.join(",")})` : never;
      // The middle of the scale is grey: what never fires is told by its form.
      if (share > 0) pen.fillRect(x - size / 2, y - size / 2, size, size);
      else pen.strokeRect(x - size / 2, y - size / 2, size, size);
    }
    if (atom >= 0 && atom < n) {
      const [x, y] = toScreen(canvas, atom);
      pen.lineWidth = 2;
      pen.strokeStyle = getComputedStyle(document.body).color;
      pen.beginPath();
      pen.arc(x, y, 8, 0, 7);
      pen.stroke();
    }
  }

  function nearest(event) {
    const canvas = here("map");
    const box = canvas.getBoundingClientRect();
    let [best, least] = [-1, 14 * 14];
    for (let i = 0; i < view.map.x.length; i++) {
      const [x, y] = toScreen(canvas, i);
      const far = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  async function listenToMap() {
    const [map, known] = [await load("map"), await names()];
    const canvas = here("map");
    Object.assign(view, { map, frequency: known.frequency, scale: Math.min(canvas.clientWidth, canvas.clientHeight) / 4500 });
    view.positive = known.frequency.filter((share) => share > 0).slice(0, 60000);
    if (!view.positive.length) view.positive = [start.largest];
    here("where").textContent = `Near dots are alike (${map.layout}). Brighter: fires more often; hollow: never.`;
    let from = null;
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; moved = 0; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (from) {
        const [dx, dy] = [event.clientX - from[0], event.clientY - from[1]];
        moved += Math.abs(dx) + Math.abs(dy);
        view.x -= dx / view.scale;
        view.y += dy / view.scale;
        from = [event.clientX, event.clientY];
        drawMap();
        return;
      }
      const i = nearest(event);
      canvas.title = i < 0 ? "" : nameOf(i, known.words[i]);
    });
    canvas.addEventListener("pointerup", (event) => {
      from = null;
      const i = moved < 4 ? nearest(event) : -1;
      if (i >= 0) open(i);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      view.scale *= event.deltaY < 0 ? 1.2 : 1 / 1.2;
      drawMap();
    }, { passive: false });
    window.addEventListener("resize", drawMap);
    drawMap();
    document.documentElement.dataset.map = "drawn";
  }

  // --- the page ------------------------------------------------------------------------------------
  const THEMES = ["", "light", "dark"];
  const remember = {
    get: () => { try { return localStorage.getItem("sae-nb-theme") || ""; } catch { return ""; } },
    set: (theme) => { try { localStorage.setItem("sae-nb-theme", theme); } catch { /* a page from a disk may keep nothing */ } },
  };
  function dress(theme) {
    document.documentElement.dataset.theme = theme;
    here("theme").textContent = theme ? `${theme} page` : "light / dark";
    drawMap();
  }

  function listen() {
    here("theme").addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
      remember.set(next);
      dress(next);
    });
    here("query").addEventListener("input", () => find().catch((error) => problem(error.message)));
    here("more").addEventListener("click", () => more().catch((error) => problem(error.message)));
    window.addEventListener("hashchange", follow);
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const typing = event.target.tagName === "INPUT" || event.target.tagName === "TEXTAREA" || event.target.tagName === "CANVAS" || event.target.tagName === "AUDIO";
      if (event.key === "/" && !typing) { event.preventDefault(); here("query").focus(); }
      else if (event.key === "Escape" && event.target === here("query")) list(listed);
      else if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && !typing) {
        const step = event.key === "ArrowRight" ? 1 : -1;
        if (group >= 0) openClass((group + step + start.classes.names.length) % start.classes.names.length);
        else open((atom + step + start.n_atoms) % start.n_atoms);
      }
    });
  }

  async function begin() {
    start = await load("start");
    document.title = start.title;
    here("title").textContent = start.title;
    if (start.back) here("title").before(make("p", { id: "back" }, make("a", { href: start.back[0], target: "_top" }, start.back[1])));
    start.facts.forEach(([name, value], i) => here("facts").append(i ? " · " : "", `${name} `, make("b", {}, value)));
    dress(remember.get());
    listFirst();
    mountClasses();
    listen();
    follow();
    // Where a map cannot be drawn the rest stays.
    await listenToMap().catch((error) => {
      view.map = null;
      here("where").textContent = `The map cannot be drawn here: ${error.message}`;
    });
    await mountLive();
  }

  // --- the live part: loaded after everything else -------------------------------------------------
  function onExample(take) {
    takeExample = take;
    if (group >= 0) showClass(group).catch((error) => problem(error.message));
    else if (atom >= 0) show(atom).catch((error) => problem(error.message)); // its examples become buttons
  }

  // Eight bytes are a whole module: a policy against WebAssembly refuses them as it would the large one.
  function canCompile() {
    try { return Boolean(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))); } catch { return false; }
  }

  async function mountLive() {
    const box = here("live");
    const about = start.live;
    if (about.why === "") return;
    box.hidden = false;
    let why = about.why;
    if (!why && location.protocol === "file:") why = "The live part needs a web server: a page from a disk may not run it. Try python -m http.server in this folder.";
    if (!why && typeof WebAssembly === "undefined") why = "The live part needs WebAssembly, which this browser does not have.";
    if (!why && !canCompile()) why = "The live part needs WebAssembly, and this server's policy forbids WebAssembly: its Content-Security-Policy lacks 'wasm-unsafe-eval' in script-src.";
    if (why) { box.replaceChildren(make("p", { class: "quiet" }, why)); return; }
    box.replaceChildren(make("p", { class: "quiet" }, "The model is loading …"));
    try {
      const { mount } = await import("./live/live.mjs");
      saeNb.live = await mount(box, about, { atom: () => atom, chip, names, largest: () => (given.get(`atoms/${atom}`) || {}).max, onExample });
      document.documentElement.dataset.live = "ready";
    } catch (error) {
      box.replaceChildren(make("p", { class: "problem" }, `The live part cannot run here: ${error.message}`));
    }
  }
  return { give, begin, load, make, number, fold };
})();
saeNb.begin().catch((error) => { document.getElementById("card").textContent = error.message; });

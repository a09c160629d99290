// PictureGrid: pictures with a patch heat-map drawn over them, a caption and a strength bar each. A video is its
// frames below one another in a tile; sounds and videos are played by `picture_playing.js`, where that is there.
function render({ model, el }) {
  const root = make("div", "sae-nb-component");
  const title = make("div", "sae-nb-cardtitle");
  const grid = make("div", "sae-nb-grid", { role: "listbox", tabindex: "0" });
  const foot = make("div", "sae-nb-foot");
  const readout = make("span", "sae-nb-readout", { "aria-live": "polite" });
  root.append(title, grid, foot);
  el.append(root);
  let bitmap = null;
  let cells = [];
  let active = 0;
  let version = 0;

  const asButtons = () => model.get("buttons").length > 0;
  const heatShape = () => model.get("heat_shape");
  const heatOf = (heat, index) => {
    const [rows, columns] = heatShape();
    return heat.subarray(index * rows * columns, (index + 1) * rows * columns);
  };
  const peakOf = (index) => {
    const values = heatOf(floats(model.get("heat")), index);
    let best = -1;
    values.forEach((v, i) => {
      if (!Number.isNaN(v) && (best < 0 || v > values[best])) best = i;
    });
    return best;
  };
  const describe = (index, patch) => {
    const [, columns] = heatShape();
    const caption = model.get("places")[index] || model.get("captions")[index];
    if (patch < 0) return `${caption} · ${formatNumber(model.get("strengths")[index])}`;
    const value = heatOf(floats(model.get("heat")), index)[patch];
    const where = model.get("patch_names")[patch] || `patch ${Math.floor(patch / columns)},${patch % columns}`;
    return `${caption} · ${where} · ${Number.isNaN(value) ? model.get("absent") : formatNumber(value)}`;
  };
  const patchAt = (canvas, event, frame = 0) => {
    const [allRows, columns] = heatShape();
    const rows = allRows / Math.max(model.get("frames"), 1);
    if (!rows) return -1;
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const inside = row >= 0 && row < rows && column >= 0 && column < columns;
    return inside ? (frame * rows + row) * columns + column : -1;
  };

  // Frames of a video: how many, and which is shown.
  const nFrames = () => Math.max(model.get("frames"), 1);
  const frameShown = (index) => (moving ? moving.frame(index) : 0);

  // The look without tints: patches where the atom fires are outlined, a veil lies over the others.
  const isVeiled = () => model.get("look") === "veil" && !model.get("signed") && !model.get("outlined");
  const FIRES_FROM = 0.15;
  const VEIL = 0.42;

  function drawVeil(context, index, values, columns, side, height) {
    const whole = heatOf(floats(model.get("heat")), index);
    const size = (v) => (Number.isNaN(v) ? 0 : Math.abs(v));
    const most = whole.reduce((top, v) => Math.max(top, size(v)), 0);
    const fires = [...values].map((v) => size(v) > 0 && size(v) >= FIRES_FROM * most);
    const rows = values.length / columns;
    const [x, y] = [(c) => Math.round((c * side) / columns), (r) => Math.round((r * height) / rows)];
    const on = (r, c) => r >= 0 && r < rows && c >= 0 && c < columns && fires[r * columns + c];
    context.fillStyle = COLOURS.onLight;
    context.globalAlpha = VEIL;
    const edges = new Path2D();
    fires.forEach((here, p) => {
      const [r, c] = [Math.floor(p / columns), p % columns];
      if (!here) {
        context.fillRect(x(c), y(r), x(c + 1) - x(c), y(r + 1) - y(r));
        return;
      }
      for (const [dr, dc, from, to] of [[-1, 0, [0, 0], [0, 1]], [1, 0, [1, 0], [1, 1]], [0, -1, [0, 0], [1, 0]], [0, 1, [0, 1], [1, 1]]]) {
        if (on(r + dr, c + dc)) continue;
        edges.moveTo(x(c + from[1]), y(r + from[0]));
        edges.lineTo(x(c + to[1]), y(r + to[0]));
      }
    });
    const thin = window.devicePixelRatio || 1;
    context.lineCap = "square";
    context.strokeStyle = COLOURS.onLight;
    context.lineWidth = 4 * thin;
    context.stroke(edges);
    context.globalAlpha = 1;
    context.strokeStyle = `rgb(${COLOURS.heat.strength})`;
    context.lineWidth = 2 * thin;
    context.stroke(edges);
  }

  function drawHeat(context, index, side, height, frame = 0) {
    const [allRows, columns] = heatShape();
    const rows = allRows / nFrames();
    const maximum = model.get("maximum") || 1;
    const heat = floats(model.get("heat"));
    if (!rows || heat.length < (index + 1) * allRows * columns) return;
    const values = heatOf(heat, index).subarray(frame * rows * columns, (frame + 1) * rows * columns);
    if (isVeiled()) {
      if (model.get("show_heat")) drawVeil(context, index, values, columns, side, height);
      return;
    }
    const outlined = model.get("outlined");
    const thin = Math.max(1.5 * (window.devicePixelRatio || 1), 1);
    for (let p = 0; p < values.length; p++) {
      const x = Math.round(((p % columns) * side) / columns);
      const y = Math.round((Math.floor(p / columns) * height) / rows);
      const w = Math.round((((p % columns) + 1) * side) / columns) - x;
      const h = Math.round(((Math.floor(p / columns) + 1) * height) / rows) - y;
      if (outlined) {
        if (Number.isNaN(values[p])) continue;
        frameAround(context, thin, x, y, w, h);
      } else if (Number.isNaN(values[p])) {
        context.strokeStyle = COLOURS.axis;
        context.beginPath();
        context.moveTo(x, y + h);
        context.lineTo(x + w, y);
        context.stroke();
      } else if (model.get("show_heat")) {
        context.fillStyle = shade(values[p] / maximum, model.get("signed"));
        context.fillRect(x, y, w, h);
      }
    }
  }

  // White within black: on a picture of any colour one of the two is seen.
  function frameAround(context, thin, ...box) {
    for (const [colour, width] of [[COLOURS.onLight, 3 * thin], [COLOURS.onDark, thin]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(...box);
    }
  }

  function drawSelected(context, index, side, height, frame = 0) {
    const [allRows, columns] = heatShape();
    const rows = allRows / nFrames();
    const [picture, chosen] = model.get("selected");
    const patch = chosen - frame * rows * columns;
    if (picture !== index || chosen < 0 || !rows || patch < 0 || patch >= rows * columns) return;
    const [w, h] = [side / columns, height / rows];
    const [x, y] = [(patch % columns) * w, Math.floor(patch / columns) * h];
    frameAround(context, 1.5 * (window.devicePixelRatio || 1), x, y, w, h);
  }

  function paint() {
    const [tileWidth, tileHeight] = model.get("tile");
    const ratio = window.devicePixelRatio || 1;
    const across = (isVeiled() && cells[0]?.canvas.clientWidth) || model.get("thumbnail");
    const side = Math.round(across * ratio);
    const frames = nFrames();
    const high = tileHeight / frames;
    const height = Math.round((side * high) / Math.max(tileWidth, 1));
    cells.forEach((cell, index) => {
      const frame = frameShown(index);
      cell.canvas.width = side;
      cell.canvas.height = height;
      const context = cell.canvas.getContext("2d");
      context.imageSmoothingQuality = tileWidth > side ? "high" : "low"; // enlarging finely overshoots
      if (bitmap) {
        const top = index * tileHeight + frame * high;
        context.drawImage(bitmap, 0, top, tileWidth, high, 0, 0, side, height);
      }
      drawHeat(context, index, side, height, frame);
      drawSelected(context, index, side, height, frame);
      if (moving) moving.paint(cell, context, index, bitmap);
      if (!asButtons()) cell.node.setAttribute("aria-selected", String(model.get("selected")[0] === index));
      cell.node.classList.toggle("sae-nb-active", index === active);
    });
  }

  function cellFor(index, caption, strength, maximum) {
    const role = asButtons() ? {} : { role: "option" };
    const node = make("div", "sae-nb-picture", { ...role, id: `${grid.id}-${index}` });
    const canvas = make("canvas", "", { "aria-hidden": "true" });
    canvas.style.width = isVeiled() ? "100%" : model.get("thumbnail") + "px";
    if (!asButtons()) node.setAttribute("aria-label", describe(index, -1));
    if (isVeiled()) node.title = describe(index, -1);
    tagAtom(node, model.get("atoms")[index]);
    node.append(asButtons() ? optionButton(model, index, canvas) : canvas);
    const played = moving ? moving.parts(index) : {};
    node.append(...Object.values(played));
    const [text, bar, number] = under(caption, strength, maximum);
    if (isVeiled() && !model.get("bare")) node.append(bar);
    else if (!model.get("bare")) node.append(...prefixOf(index, maximum), text, bar, number);
    const patchUnder = (event) => patchAt(canvas, event, frameShown(index));
    canvas.addEventListener("mousemove", (event) => {
      readout.textContent = describe(index, patchUnder(event));
    });
    node.addEventListener("click", (event) => {
      active = index;
      const patch = event.target === canvas && !asButtons() ? patchUnder(event) : -1;
      if (!answered(model)) choose(model, [index, patch]);
    });
    return { node, canvas, ...played };
  }

  // Positions that are no part of the image, as small squares under it.
  function prefixOf(index, maximum) {
    const names = model.get("prefix_names");
    const values = model.get("prefix")[index] || [];
    if (!names.length || !values.length) return [];
    const row = make("div", "sae-nb-prefix");
    names.forEach((name, i) => {
      const square = make("span", "", { title: `${name}: ${formatNumber(values[i])}` });
      square.style.background = shade(values[i] / maximum);
      row.append(square);
    });
    return [row];
  }

  function under(caption, strength, maximum) {
    const bar = make("div", "sae-nb-bar");
    const fill = make("div", "sae-nb-fill");
    fill.style.width = `${100 * clamp(strength / maximum, 0, 1)}%`;
    bar.append(fill);
    const text = make("div", "sae-nb-caption", { title: caption }, caption);
    const number = make("div", "sae-nb-number", {}, formatNumber(strength));
    return [text, bar, number];
  }

  function build() {
    if (moving) moving.silence();
    const strengths = model.get("strengths");
    const captions = model.get("captions");
    const maximum = model.get("maximum") || 1;
    grid.id = grid.id || `grid-${Math.random().toString(36).slice(2)}`;
    grid.setAttribute("aria-label", model.get("description"));
    grid.setAttribute("role", asButtons() ? "group" : "listbox");
    grid.tabIndex = asButtons() ? -1 : 0;
    title.textContent = model.get("titled") ? model.get("description") : "";
    title.style.display = title.textContent ? "" : "none";
    grid.style.setProperty("--thumbnail", model.get("thumbnail") + "px");
    active = Math.min(active, Math.max(strengths.length - 1, 0));
    if (moving) moving.begin(strengths.map((_, i) => peakOf(i)));
    cells = strengths.map((strength, i) => cellFor(i, captions[i] || "", strength, maximum));
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    grid.replaceChildren(...(cells.length ? cells.map((cell) => cell.node) : [empty]));
    readout.textContent = cells.length ? model.get("hint") : "";
    grid.classList.toggle("sae-nb-veiled", isVeiled());
    const tinted = model.get("show_heat") && !model.get("outlined") && !isVeiled();
    const scale = heatShape()[0] && tinted ? [heatLegend(maximum, model.get("unit"), model.get("signed"))] : [];
    foot.replaceChildren(readout, ...(cells.length ? scale : []));
    line();
    decode();
  }

  // Rows of one length: twelve pictures where seven would fit stand as six and six.
  const cell = () => model.get("thumbnail") + 8;
  function inRow() {
    if (isVeiled()) return Math.max(1, getComputedStyle(grid).gridTemplateColumns.split(" ").length);
    const fit = Math.max(1, Math.floor(root.clientWidth / cell()));
    return Math.ceil(cells.length / Math.ceil(cells.length / fit)) || 1;
  }

  function line() {
    grid.style.maxWidth = root.clientWidth && !isVeiled() ? `${inRow() * cell()}px` : "";
    if (isVeiled() && bitmap) paint();
  }

  async function decode() {
    const data = bytes(model.get("sprite"));
    const mine = ++version;
    const next = data.length ? await createImageBitmap(new Blob([data])) : null;
    if (mine !== version) return;
    bitmap = next;
    paint();
  }

  function onKey(event) {
    if (asButtons()) return; // they take Enter and space themselves
    const columns = inRow();
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (step !== undefined && cells.length) {
      active = clamp(active + step, 0, cells.length - 1);
      grid.setAttribute("aria-activedescendant", `${grid.id}-${active}`);
      readout.textContent = describe(active, peakOf(active));
      paint();
    } else if (event.key === "Enter" || event.key === " ") {
      choose(model, [active, peakOf(active)]);
    } else if (event.key === "Escape") {
      choose(model, [-1, -1]);
    } else if (!moving || !moving.answers(event.key, active)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  const moving = typeof movingPictures === "undefined" ? null : movingPictures({
    model, heatOf, nFrames, drawHeat, frameAround, paint,
    buttonAt: (index) => cells[index]?.button,
    say: (text) => (readout.textContent = text),
    point: (index) => (active = index),
  });
  grid.addEventListener("keydown", onKey);
  grid.addEventListener("mouseleave", () => {
    readout.textContent = cells.length ? model.get("hint") : "";
  });
  const names = ["sprite", "tile", "heat", "heat_shape", "captions", "strengths", "maximum", "prefix", "prefix_names"];
  redrawOn(model, [...names, "show_heat", "thumbnail", "empty_text", "unit", "hint", "places", "bare", "buttons", "signed", "outlined", "look", "atoms", "patch_names", "sounds", "sound_lengths", "sound_rate", "spans", "frames", "frame_names", "frame_seconds"], build);
  redrawOn(model, ["selected"], () => {
    if (moving) moving.follow(...model.get("selected"));
    paint();
  });
  const resizes = new ResizeObserver(line);
  resizes.observe(root);
  build();
  return () => {
    if (moving) moving.silence();
    resizes.disconnect();
  };
}
export default { initialize, render };

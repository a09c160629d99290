// PictureGrid: pictures with a patch heat-map drawn over them, a caption and a strength bar each. A video is its
// frames below one another in a tile: one is shown, above a strip of all, and they are stepped through or played.
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
  let playing = -1;
  let shown = [];
  let running = 0;
  const player = new Audio();

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

  // Frames of a video: how many, which is shown, and the patches of one.
  const nFrames = () => Math.max(model.get("frames"), 1);
  const isVideo = () => nFrames() > 1;
  const patchesPerFrame = () => (heatShape()[0] / nFrames()) * heatShape()[1];
  const frameOf = (patch) => (patch < 0 || !patchesPerFrame() ? 0 : Math.floor(patch / patchesPerFrame()));

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
        for (const [colour, width] of [[COLOURS.onLight, 3 * thin], [COLOURS.onDark, thin]]) {
          context.strokeStyle = colour;
          context.lineWidth = width;
          context.strokeRect(x, y, w, h);
        }
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

  function drawSelected(context, index, side, height, frame = 0) {
    const [allRows, columns] = heatShape();
    const rows = allRows / nFrames();
    const [picture, chosen] = model.get("selected");
    const patch = chosen - frame * rows * columns;
    if (picture !== index || chosen < 0 || !rows || patch < 0 || patch >= rows * columns) return;
    context.lineWidth = 2 * (window.devicePixelRatio || 1);
    context.strokeStyle = getComputedStyle(root).getPropertyValue("--sae-nb-ink") || COLOURS.onLight;
    const [w, h] = [side / columns, height / rows];
    context.strokeRect((patch % columns) * w, Math.floor(patch / columns) * h, w, h);
  }

  // A sound is played from its samples, as a WAV file made here; a line over the picture shows where it is.
  function waveOf(index) {
    const lengths = model.get("sound_lengths");
    const begin = lengths.slice(0, index).reduce((sum, n) => sum + n, 0);
    const length = lengths[index];
    const rate = model.get("sound_rate");
    const head = new DataView(new ArrayBuffer(44));
    const word = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
    word(0, "RIFF");
    head.setUint32(4, 36 + length, true);
    word(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true);
    head.setUint16(22, 1, true);
    head.setUint32(24, rate, true);
    head.setUint32(28, rate, true);
    head.setUint16(32, 1, true);
    head.setUint16(34, 8, true);
    word(36, "data");
    head.setUint32(40, length, true);
    return new Blob([head, bytes(model.get("sounds")).slice(begin, begin + length)], { type: "audio/wav" });
  }

  function silence() {
    player.pause();
    if (player.src) URL.revokeObjectURL(player.src);
    player.removeAttribute("src");
    playing = -1;
    paint();
  }

  function play(index) {
    const again = playing === index;
    silence();
    if (again || !cells[index]?.button) return;
    playing = index;
    player.src = URL.createObjectURL(waveOf(index));
    player.play().then(follow, silence);
  }

  function follow() {
    if (playing < 0) return;
    paint();
    requestAnimationFrame(follow);
  }

  function drawMoment(context, index, side, height) {
    if (index !== playing || !player.duration) return;
    const [from, to] = model.get("spans")[index] || [0, 1];
    const x = (from + ((to - from) * player.currentTime) / player.duration) * side;
    for (const [colour, width] of [[COLOURS.onDark, 4], [COLOURS.onLight, 2]]) {
      context.fillStyle = colour;
      context.fillRect(x - width / 2, 0, width, height);
    }
  }

  // --- videos -------------------------------------------------------------------------------------

  const IN_ROW = 4;
  const inStrip = () => Math.min(nFrames(), IN_ROW);

  function stripOf(index) {
    const canvas = make("canvas", "sae-nb-film", { "aria-hidden": "true" });
    canvas.style.width = model.get("thumbnail") + "px";
    const frameAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const rows = Math.ceil(nFrames() / inStrip());
      const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
      const column = Math.floor(((event.clientX - box.left) / box.width) * inStrip());
      return Math.min(Math.max(row * inStrip() + column, 0), nFrames() - 1);
    };
    canvas.addEventListener("mousemove", (event) => {
      readout.textContent = describeFrame(index, frameAt(event));
    });
    canvas.addEventListener("click", (event) => {
      event.stopPropagation();
      active = index;
      stop();
      showFrame(index, frameAt(event));
    });
    return canvas;
  }

  function peakIn(index, frame) {
    const n = patchesPerFrame();
    const values = heatOf(floats(model.get("heat")), index).subarray(frame * n, (frame + 1) * n);
    return values.reduce((most, v) => (Number.isNaN(v) || Math.abs(v) <= Math.abs(most) ? most : v), 0);
  }

  function describeFrame(index, frame) {
    const name = model.get("places")[index] || model.get("captions")[index];
    const where = model.get("frame_names")[frame] || `frame ${frame}`;
    const most = heatShape()[0] ? ` · at most ${formatNumber(peakIn(index, frame))}` : "";
    return `${name} · ${where}${most}`;
  }

  function showFrame(index, frame, spoken = true) {
    shown[index] = (frame + nFrames()) % nFrames();
    if (spoken) readout.textContent = describeFrame(index, shown[index]);
    paint();
  }

  function stop() {
    clearInterval(running);
    running = 0;
    if (isVideo()) playing = -1;
  }

  function run(index) {
    const again = playing === index;
    stop();
    if (!again) {
      playing = index;
      running = setInterval(() => showFrame(index, shown[index] + 1, false), 1000 * model.get("frame_seconds"));
    }
    paint();
  }

  function drawStrip(canvas, index, ratio) {
    const [tileWidth, tileHeight] = model.get("tile");
    const high = tileHeight / nFrames();
    const gap = Math.round(2 * ratio);
    const side = Math.round(model.get("thumbnail") * ratio);
    const wide = Math.floor((side - gap * (inStrip() - 1)) / inStrip());
    const tall = Math.round((wide * high) / Math.max(tileWidth, 1));
    canvas.width = side;
    canvas.height = Math.ceil(nFrames() / inStrip()) * (tall + gap);
    const context = canvas.getContext("2d");
    for (let frame = 0; frame < nFrames(); frame++) {
      const x = (frame % inStrip()) * (wide + gap);
      const y = Math.floor(frame / inStrip()) * (tall + gap);
      context.setTransform(1, 0, 0, 1, x, y);
      if (bitmap) context.drawImage(bitmap, 0, index * tileHeight + frame * high, tileWidth, high, 0, 0, wide, tall);
      drawHeat(context, index, wide, tall, frame);
      if (frame !== shown[index]) continue;
      context.lineWidth = 2 * ratio;
      context.strokeStyle = getComputedStyle(root).getPropertyValue("--sae-nb-ink") || COLOURS.onLight;
      context.strokeRect(ratio, ratio, wide - 2 * ratio, tall - 2 * ratio);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
  }

  function playerOf(index) {
    if (isVideo() && !model.get("bare")) {
      const name = model.get("places")[index] || model.get("captions")[index];
      const words = `Play ${name}`;
      const button = make("button", "sae-nb-play", { type: "button", tabindex: "-1", "aria-label": words }, "▶");
      button.title = `${words} (P); , and . step`;
      button.addEventListener("click", (event) => {
        event.stopPropagation();
        active = index;
        run(index);
      });
      return [button];
    }
    if (!model.get("sound_lengths").length || model.get("bare")) return [];
    const name = model.get("places")[index] || model.get("captions")[index];
    const button = make("button", "sae-nb-play", { type: "button", tabindex: "-1", "aria-label": `Play ${name}` }, "▶");
    button.title = `Play ${name} (P)`;
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      active = index;
      play(index);
    });
    return [button];
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
      const frame = isVideo() ? shown[index] : 0;
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
      if (cell.film) drawStrip(cell.film, index, ratio);
      drawMoment(context, index, side, height);
      if (cell.button) cell.button.textContent = index === playing ? "■" : "▶";
      cell.node.setAttribute("aria-selected", String(model.get("selected")[0] === index));
      cell.node.classList.toggle("sae-nb-active", index === active);
    });
  }

  function cellFor(index, caption, strength, maximum) {
    const node = make("div", "sae-nb-picture", { role: "option", id: `${grid.id}-${index}` });
    const canvas = make("canvas", "", { "aria-hidden": "true" });
    canvas.style.width = isVeiled() ? "100%" : model.get("thumbnail") + "px";
    node.setAttribute("aria-label", describe(index, -1));
    if (isVeiled()) node.title = describe(index, -1);
    tagAtom(node, model.get("atoms")[index]);
    node.append(canvas);
    const film = isVideo() ? stripOf(index) : null;
    if (film) node.append(film);
    const [button] = playerOf(index);
    if (button) node.append(button);
    const [text, bar, number] = under(caption, strength, maximum);
    if (isVeiled() && !model.get("bare")) node.append(bar);
    else if (!model.get("bare")) node.append(...prefixOf(index, maximum), text, bar, number);
    const patchUnder = (event) => patchAt(canvas, event, isVideo() ? shown[index] : 0);
    canvas.addEventListener("mousemove", (event) => {
      readout.textContent = describe(index, patchUnder(event));
    });
    node.addEventListener("click", (event) => {
      active = index;
      choose(model, [index, event.target === canvas ? patchUnder(event) : -1]);
    });
    return { node, canvas, button, film };
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
    fill.style.width = `${100 * Math.min(Math.max(strength / maximum, 0), 1)}%`;
    bar.append(fill);
    const text = make("div", "sae-nb-caption", { title: caption }, caption);
    const number = make("div", "sae-nb-number", {}, formatNumber(strength));
    return [text, bar, number];
  }

  function build() {
    stop();
    silence();
    const strengths = model.get("strengths");
    const captions = model.get("captions");
    const maximum = model.get("maximum") || 1;
    grid.id = grid.id || `grid-${Math.random().toString(36).slice(2)}`;
    grid.setAttribute("aria-label", model.get("description"));
    title.textContent = model.get("titled") ? model.get("description") : "";
    title.style.display = title.textContent ? "" : "none";
    grid.style.setProperty("--thumbnail", model.get("thumbnail") + "px");
    active = Math.min(active, Math.max(strengths.length - 1, 0));
    shown = strengths.map((_, i) => frameOf(peakOf(i)));
    cells = strengths.map((strength, i) => cellFor(i, captions[i] || "", strength, maximum));
    const empty = make("div", "sae-nb-empty", {}, model.get("empty_text"));
    grid.replaceChildren(...(cells.length ? cells.map((cell) => cell.node) : [empty]));
    readout.textContent = cells.length ? model.get("hint") : "";
    grid.classList.toggle("sae-nb-veiled", isVeiled());
    const scale = heatShape()[0] && !model.get("outlined") && !isVeiled() ? [legend(maximum, model.get("unit"), model.get("signed"))] : [];
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
    const columns = inRow();
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (step !== undefined && cells.length) {
      active = Math.min(Math.max(active + step, 0), cells.length - 1);
      grid.setAttribute("aria-activedescendant", `${grid.id}-${active}`);
      readout.textContent = describe(active, peakOf(active));
      paint();
    } else if (event.key === "Enter" || event.key === " ") {
      choose(model, [active, peakOf(active)]);
    } else if (event.key.toLowerCase() === "p" && cells[active]?.button) {
      if (isVideo()) run(active);
      else play(active);
    } else if (isVideo() && cells.length && (event.key === "," || event.key === ".")) {
      stop();
      showFrame(active, shown[active] + (event.key === "." ? 1 : -1));
    } else if (event.key === "Escape") {
      choose(model, [-1, -1]);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  grid.addEventListener("keydown", onKey);
  grid.addEventListener("mouseleave", () => {
    readout.textContent = cells.length ? model.get("hint") : "";
  });
  const names = ["sprite", "tile", "heat", "heat_shape", "captions", "strengths", "maximum", "prefix", "prefix_names"];
  redrawOn(model, [...names, "thumbnail", "empty_text", "unit", "hint", "places", "bare", "signed", "outlined", "look", "atoms", "patch_names", "sounds", "sound_lengths", "sound_rate", "spans", "frames", "frame_names", "frame_seconds"], build);
  redrawOn(model, ["selected", "show_heat"], () => {
    const [picture, patch] = model.get("selected");
    if (isVideo() && picture >= 0 && patch >= 0) {
      stop();
      shown[picture] = frameOf(patch);
    }
    paint();
  });
  player.addEventListener("ended", silence);
  const resizes = new ResizeObserver(line);
  resizes.observe(root);
  build();
  const stopTheme = onTheme(paint);
  return () => {
    stop();
    silence();
    resizes.disconnect();
    stopTheme();
  };
}
export default { initialize, render };

// PointMap: up to a million points on a canvas, written pixel by pixel, so that it is the same drawing
// with and without WebGL, with and without a kernel (of very many see `point_crowd.js`). Above it lies a second canvas with
// what changes often: rings, lines, names, crops, the lasso.
const MARGIN = 22;
const REACH = 9;
const CROWD = 6000;
const CROP = 24;
const MOST_NAMES = 24;
const LONGEST_NAME = 48;
const CELL = 6;
// So many points may be covered for a name to stand so many pixels nearer.
const POINTS_PER_PIXEL = 0.04;
const MOST_CLOSE = 60;
const STEP = 0.15;
const ZOOM = 1.35;
const DEEPEST = 400;
// How much further apart than across points may lie up and down, or the other way round, so that a map
// fills its canvas: only neighbourhoods count in a layout.
const STRETCH = 1.6;
const TOLD_AFTER = 150;
// Points that do not belong to what is lit, a group of the key or a selection, are of one grey, this strong
// on dark (3 : 1 to the ground) and on light.
const UNLIT = [128, 128, 128], ON_DARK = 0.8, ON_LIGHT = 0.45;
// Of more than so many chosen points none has a ring: they are lit, and the others faint.
const MOST_RINGED = 20;
const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-map");
  const stage = make("div", "sae-nb-mapstage", { tabindex: "0", role: "application" });
  const base = make("canvas", "", { "aria-hidden": "true" });
  const over = make("canvas", "", { "aria-hidden": "true" });
  const tools = make("div", "sae-nb-maptools");
  const key = make("div", "sae-nb-mapkey");
  const readout = make("div", "sae-nb-readout", { role: "status" });
  stage.append(base, over, tools);
  root.append(stage, key, readout);
  el.append(root);

  let xy = floats(null), styles = bytes(null), sizes = bytes(null), others = floats(null);
  let chosen = wholes(null), ringed = wholes(null), lines = floats(null), ids = wholes(null);
  let seen = new Uint8Array(0), faint = new Uint8Array(0), shownNames = [], order = new Uint32Array(0), n = 0;
  let shuffle = new Uint32Array(0), places = new Float32Array(0), packedXy = null, resting = 0;
  let crowd = new Float32Array(0), columns = 1;
  let bounds = [0, 0, 1, 1];
  let at = { x: 0, y: 0, scale: 1 };
  let tall = 1;
  let home = true, width = 1, height = 1;
  let hovered = -1;
  let dragged = null;
  let told = "[]", telling = 0, moving = 0, queued = false, dirty = true, bitmap = null, decoding = 0;

  // --- what is drawn ---------------------------------------------------------------------------

  function read() {
    readPlaces();
    styles = bytes(model.get("styles"));
    sizes = bytes(model.get("sizes"));
    others = floats(model.get("others"));
    ids = wholes(model.get("ids"));
    const all = [...[xy, others].filter((part) => part.length)];
    bounds = [Infinity, Infinity, -Infinity, -Infinity];
    for (const part of all)
      for (let i = 0; i < part.length; i++) {
        bounds[i % 2] = Math.min(bounds[i % 2], part[i]);
        bounds[2 + (i % 2)] = Math.max(bounds[2 + (i % 2)], part[i]);
      }
    if (!all.length) bounds = [0, 0, 1, 1];
    // Points without a category lie under the others.
    order = new Uint32Array(n);
    let next = 0;
    for (const above of [false, true])
      for (let i = 0; i < n; i++) if ((styles[i] > 0) === above) order[next++] = i;
    readChosen();
    stretch();
    if (home) goHome();
  }

  function readPlaces() {
    const given = model.get("xy");
    if (given === packedXy) return;
    packedXy = given;
    xy = floats(given);
    n = xy.length / 2;
    if (n <= MOST_MOVING) return;
    if (shuffle.length !== n) shuffle = shuffled(n);
    places = inOrder(shuffle, xy);
  }

  function readChosen() {
    chosen = wholes(model.get("chosen"));
    ringed = wholes(model.get("ringed"));
    lines = floats(model.get("lines"));
    filter();
  }

  function filter() {
    const bits = bytes(model.get("shown"));
    const off = new Set(model.get("off"));
    seen = new Uint8Array(n);
    faint = new Uint8Array(n).fill(chosen.length ? 1 : 0);
    for (const i of chosen) faint[i] = 0;
    for (let i = 0; i < n; i++) {
      const drawn = !bits.length || (bits[i >> 3] >> (i & 7)) & 1;
      seen[i] = drawn && !off.has(styles[i] || 0) ? 1 : 0;
      if (!seen[i]) faint[i] = drawn ? 1 : 0;
    }
    queue(true);
  }

  const nameOf = (point) => {
    const names = model.get("names");
    return names[point] || `${model.get("word")} ${ids.length ? ids[point] : point}`;
  };
  const idOf = (point) => (ids.length ? ids[point] : point);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const isDark = () => {
    const [r, g, b] = (getComputedStyle(root).color.match(/[\d.]+/g) || [0, 0, 0]).map(Number);
    return r + g + b > 382;
  };

  // --- where it lies ---------------------------------------------------------------------------

  const placeX = (x) => (x - at.x) * at.scale + width / 2;
  const placeY = (y) => height / 2 - (y - at.y) * at.scale * tall;
  const placeOfPoint = (i) => [placeX(xy[2 * i]), placeY(xy[2 * i + 1])];
  const dataX = (px) => (px - width / 2) / at.scale + at.x;
  const dataY = (py) => (height / 2 - py) / (at.scale * tall) + at.y;

  function fitted([x0, y0, x1, y1], margin) {
    const room = [Math.max(width - 2 * margin, 1), Math.max(height - 2 * margin, 1)];
    const scale = Math.min(room[0] / Math.max(x1 - x0, 1e-9), room[1] / Math.max((y1 - y0) * tall, 1e-9));
    return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, scale: Math.min(scale, 1e12) };
  }
  const atHome = () => fitted(bounds, MARGIN);
  function stretch() {
    const [x0, y0, x1, y1] = bounds;
    const across = Math.max(width - 2 * MARGIN, 1) / Math.max(x1 - x0, 1e-9);
    const up = Math.max(height - 2 * MARGIN, 1) / Math.max(y1 - y0, 1e-9);
    tall = n > 2 ? clamp(up / across, 1 / STRETCH, STRETCH) : 1;
  }
  const zoomed = () => at.scale / atHome().scale;

  function goHome() {
    at = atHome();
    home = true;
    queue(true);
  }

  function moveTo(target, toHome) {
    cancelAnimationFrame(moving);
    const from = at, began = performance.now();
    const length = calm() || document.hidden ? 0 : 260;
    const frame = (now) => {
      const t = length ? Math.min((now - began) / length, 1) : 1;
      const ease = t * t * (3 - 2 * t);
      const scale = from.scale * (target.scale / from.scale) ** ease;
      at = { x: from.x + (target.x - from.x) * ease, y: from.y + (target.y - from.y) * ease, scale };
      home = toHome && t === 1;
      if (home) at = atHome();
      paint(true);
      if (t < 1) moving = requestAnimationFrame(frame);
    };
    if (length) moving = requestAnimationFrame(frame);
    else frame(began);
  }

  // Python is told of the part that is seen once it rests; () is everything.
  function tell() {
    clearTimeout(telling);
    telling = setTimeout(() => {
      const view = home ? [] : [dataX(0), dataY(height), dataX(width), dataY(0)];
      told = JSON.stringify(view);
      if (told === JSON.stringify(model.get("view"))) return;
      model.set("view", view);
      model.save_changes();
    }, TOLD_AFTER);
  }

  function follow() {
    const view = model.get("view");
    if (JSON.stringify(view) === told) return;
    told = JSON.stringify(view);
    clearTimeout(telling);
    if (view.length === 4) moveTo(fitted(view, 0), false);
    else moveTo(atHome(), true);
  }

  function reset() {
    moveTo(atHome(), true);
    clearTimeout(telling);
    told = "[]";
    model.set("view", []);
    model.save_changes();
  }

  function zoomBy(factor, px = width / 2, py = height / 2) {
    const least = atHome().scale;
    const scale = clamp(at.scale * factor, least, least * DEEPEST);
    if (scale === least) {
      if (home) return false;
      goHome();
    } else {
      const [x, y] = [dataX(px), dataY(py)];
      home = false;
      at = { scale, x: x - (px - width / 2) / scale, y: y - (height / 2 - py) / (scale * tall) };
      queue(true);
    }
    tell();
    return true;
  }

  function panBy(dx, dy) {
    home = false;
    at = { ...at, x: at.x - dx / at.scale, y: at.y + dy / (at.scale * tall) };
    queue(true);
    tell();
  }

  // --- painting --------------------------------------------------------------------------------

  function queue(points) {
    dirty = dirty || points;
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      paint(dirty);
    });
  }

  function paint(points) {
    if (points) paintPoints();
    dirty = false;
    paintOver();
  }

  // How many points lie in each cell of the canvas, of a sample how many would: names go where there
  // are few, and do not move when the hand rests.
  function countPoints(points, share) {
    columns = Math.ceil(width / CELL);
    crowd = new Float32Array(columns * Math.ceil(height / CELL));
    for (const i of points) {
      const [x, y] = placeOfPoint(i);
      if (seen[i] && x >= 0 && y >= 0 && x < width && y < height)
        crowd[Math.floor(y / CELL) * columns + Math.floor(x / CELL)] += 1 / share;
    }
  }

  function covered([x0, y0, x1, y1]) {
    let count = 0;
    for (let row = Math.floor(y0 / CELL); row <= y1 / CELL; row++)
      for (let column = Math.floor(x0 / CELL); column <= x1 / CELL; column++)
        count += crowd[row * columns + column] || 0;
    return count;
  }

  const diameterOf = (point) => {
    const grown = Math.min(zoomed() ** 0.3, 2.4);
    return (sizes.length ? sizes[point] / 4 : model.get("size")) * grown;
  };

  // What is seen of the plane, with a rim in which a point may still reach into it.
  const partSeen = (rim = 0) => [dataX(-rim), dataY(height + rim), dataX(width + rim), dataY(-rim)];

  function paintPoints() {
    clearTimeout(resting);
    const brush = brushFor();
    if (!brush) return;
    if (n <= MOST_MOVING) {
      for (const i of order) if (faint[i]) brush.put(i);
      for (const i of order) if (!faint[i]) brush.put(i);
      brush.finish(1);
      return countPoints(order, 1);
    }
    const { points, share } = sampleOf(shuffle, places, seen, partSeen(REACH), SAMPLED);
    for (const i of points) if (!styles[i]) brush.put(i);
    for (const i of points) if (styles[i]) brush.put(i);
    brush.finish(share);
    countPoints(points, share);
    base.dataset.painted = String(points.length);
    base.dataset.whole = String(share === 1);
    if (share < 1) resting = setTimeout(paintAll, RESTS_AFTER);
  }

  // All points, a slice at a time beside the canvas, which changes when the last is there.
  function paintAll() {
    // A slow machine may take longer for a frame than a hand rests.
    if (dragged && dragged.moved && !dragged.path) {
      resting = setTimeout(paintAll, RESTS_AFTER);
      return;
    }
    const brush = brushFor();
    let next = 0;
    const slice = () => {
      const until = performance.now() + SLICE;
      while (next < n && performance.now() < until)
        for (const stop = Math.min(next + AT_A_TIME, n); next < stop; next++) brush.put(order[next]);
      if (next < n) resting = setTimeout(slice);
      else {
        brush.finish(1);
        base.dataset.whole = "true";
      }
    };
    if (brush) slice();
  }

  // Paints points into an image of their own; `finish` shows it.
  function brushFor() {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [base.width, base.height];
    const pen = base.getContext("2d");
    const palette = model.get("palette");
    if (!w || !h || !palette.length) return null;
    const dark = isDark();
    const image = pen.createImageData(w, h);
    const colours = palette.map((entry) => entry[dark ? "dark" : "light"]);
    const words = new Uint32Array(image.data.buffer);
    const wholes = new Uint32Array(new Uint8ClampedArray(colours.flatMap((rgb) => [...rgb, 255])).buffer);
    const crowded = n > CROWD ? new (n > MOST_MOVING ? Uint16Array : Uint8Array)(w * h) : null;
    const close = new Set(model.get("nearby").slice(0, nCrops()));
    const grown = ratio * Math.min(zoomed() ** 0.3, 2.4);
    const even = model.get("size");
    const most = n > MOST_MOVING ? 65535 : 255;
    const put = (i) => {
      if (!(seen[i] || faint[i]) || close.has(i)) return;
      const style = Math.min(styles[i] || 0, palette.length - 1);
      const diameter = Math.round(2 * grown * (sizes.length ? sizes[i] / 4 : even)) / 2;
      const x = placeX(xy[2 * i]) * ratio, y = placeY(xy[2 * i + 1]) * ratio;
      if (x < -2 * diameter || y < -2 * diameter || x > w + 2 * diameter || y > h + 2 * diameter) return;
      const mask = maskOf(palette[style].shape, Math.max(diameter, 1));
      const left = Math.round(x - mask.side / 2);
      const top = Math.round(y - mask.side / 2);
      if (left > w || top > h || left < -mask.side || top < -mask.side) return;
      const [rgb, strength] = faint[i] ? [UNLIT, dark ? ON_DARK : ON_LIGHT] : [colours[style], 1];
      stamp(image.data, words, w, h, mask, left, top, rgb, wholes[style], strength, crowded, most);
    };
    const finish = (share) => {
      const ink = dark ? 255 : 0;
      if (crowded && n <= MOST_MOVING) deepen(image.data, crowded, ink);
      else if (crowded) {
        const all = share < 1 ? estimated(crowded, w, share) : crowded;
        deepen(image.data, all, ink, middleOf(all, crowded));
      }
      pen.putImageData(image, 0, 0);
    };
    return { put, finish };
  }

  function ring(pen, point, colour, thick, gap) {
    if (!(point >= 0 && point < n)) return;
    pen.beginPath();
    pen.arc(placeX(xy[2 * point]), placeY(xy[2 * point + 1]), diameterOf(point) / 2 + gap, 0, 2 * Math.PI);
    pen.lineWidth = thick;
    pen.strokeStyle = colour;
    pen.stroke();
  }

  // Those of some points that are seen; of very many some, evenly.
  function inView(points) {
    const [x0, y0, x1, y1] = partSeen(CROP);
    const there = points.filter((i) =>
      seen[i] && xy[2 * i] >= x0 && xy[2 * i] <= x1 && xy[2 * i + 1] >= y0 && xy[2 * i + 1] <= y1);
    return atMost(there, MOST_RINGS);
  }

  function paintOver() {
    const ratio = window.devicePixelRatio || 1;
    const pen = over.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const ink = css("--sae-nb-ink");
    paintOthers(pen, ink);
    for (const point of inView(ringed)) ring(pen, point, model.get("lonely"), 1.2, 2.5);
    if (chosen.length <= MOST_RINGED) for (const point of inView(chosen)) ring(pen, point, ink, 1.6, 2.5);
    paintCrops(pen);
    ring(pen, model.get("current"), ink, 2.8, 4.5);
    if (hovered >= 0) ring(pen, hovered, css("--sae-nb-focus"), 2.4, 3.5);
    paintWords(pen, ink);
    if (dragged && dragged.path && dragged.path.length > 1) paintLasso(pen, pathOf(dragged), ink);
  }

  function paintOthers(pen, ink) {
    pen.strokeStyle = ink;
    pen.globalAlpha = 0.6;
    pen.lineWidth = 1.1;
    pen.beginPath();
    const widths = model.get("widths");
    for (let i = 4 * widths.length; i + 3 < lines.length; i += 4) {
      pen.moveTo(placeX(lines[i]), placeY(lines[i + 1]));
      pen.lineTo(placeX(lines[i + 2]), placeY(lines[i + 3]));
    }
    pen.stroke();
    pen.lineCap = "round";
    widths.slice(0, lines.length / 4).forEach((wide, k) => {
      pen.lineWidth = wide;
      pen.beginPath();
      pen.moveTo(placeX(lines[4 * k]), placeY(lines[4 * k + 1]));
      pen.lineTo(placeX(lines[4 * k + 2]), placeY(lines[4 * k + 3]));
      pen.stroke();
    });
    pen.lineWidth = 1.1;
    const side = Math.max(3, 0.8 * model.get("size"));
    for (let i = 0; i + 1 < others.length; i += 2)
      pen.strokeRect(placeX(others[i]) - side / 2, placeY(others[i + 1]) - side / 2, side, side);
    pen.globalAlpha = 1;
  }

  // The first of the points nearby have a crop each.
  const nCrops = () => (bitmap ? bitmap.height / bitmap.width : 0);

  function paintCrops(pen) {
    if (!bitmap) return;
    const tile = bitmap.width;
    const palette = model.get("palette");
    const dark = isDark();
    model.get("nearby").slice(0, nCrops()).forEach((point, k) => {
      if (!seen[point]) return;
      const [x, y] = [placeX(xy[2 * point]) - CROP / 2, placeY(xy[2 * point + 1]) - CROP / 2];
      pen.imageSmoothingEnabled = tile > CROP;
      pen.drawImage(bitmap, 0, k * tile, tile, tile, x, y, CROP, CROP);
      const entry = palette[Math.min(styles[point] || 0, palette.length - 1)];
      pen.strokeStyle = `rgb(${entry[dark ? "dark" : "light"]})`;
      pen.lineWidth = 2;
      pen.strokeRect(x, y, CROP, CROP);
    });
  }

  // Names are written as far as there is room: of clusters first, beside their points rather than over
  // them, then of single points up close.
  function paintWords(pen, ink) {
    const size = parseFloat(getComputedStyle(root).fontSize) || 13;
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    pen.lineJoin = "round";
    pen.strokeStyle = css("--sae-nb-paper");
    pen.fillStyle = ink;
    // Nothing is written under the buttons, nor over a crop or the current point.
    const taken = [[width - 108, 0, width, 40]];
    const [near, beside] = closeUp();
    for (const point of near.slice(0, nCrops())) {
      const [x, y] = placeOfPoint(point);
      taken.push([x - CROP / 2, y - CROP / 2, x + CROP / 2, y + CROP / 2]);
    }
    const current = model.get("current");
    if (current >= 0 && current < n) {
      const [x, y] = placeOfPoint(current);
      taken.push([x - 12, y - 12, x + 12, y + 12]);
    }
    const dress = (bold) => (pen.font = `${bold ? 600 : 400} ${size}px ${getComputedStyle(root).fontFamily}`);
    const { boxOf, isFree, write } = writerOn(pen, size, width, height, taken);
    const within = (x, y) => x > 0 && x < width && y > 0 && y < height;
    let left = MOST_NAMES;
    dress(true);
    shownNames = [];
    const lit = alone();
    const names = model.get("words");
    for (const [x, y, whole, style] of [...names.filter((name) => name[3] === lit), ...names.filter((name) => name[3] !== lit)]) {
      pen.globalAlpha = lit === undefined || style === undefined || style === lit ? 1 : 0.6;
      const text = whole.length > LONGEST_NAME ? `${whole.slice(0, LONGEST_NAME - 1)}…` : whole;
      const [px, py] = [placeX(x), placeY(y)];
      if (!left || !within(px, py)) continue;
      const long = pen.measureText(text).width;
      const inside = (dx) => clamp(px + dx - long / 2, 3, Math.max(width - long - 3, 3));
      const spots = AROUND.map(([dx, dy, far]) => [inside(dx), py + dy, far])
        .filter(([sx, sy]) => isFree(boxOf(sx, sy, long)))
        .map(([sx, sy, far]) => [covered(boxOf(sx, sy, long)) + POINTS_PER_PIXEL * far, sx, sy]);
      if (!spots.length) continue;
      const [, sx, sy] = spots.reduce((best, spot) => (spot[0] < best[0] ? spot : best));
      write(text, sx, sy, long);
      if (style !== undefined) shownNames.push([boxOf(sx, sy, long), style]);
      left -= 1;
    }
    pen.globalAlpha = 1;
    dress(false);
    near.forEach((point, k) => {
      const [px, py] = placeOfPoint(point);
      if (!beside[k] || !seen[point] || !within(px, py)) return;
      const gap = (k < nCrops() ? CROP : diameterOf(point)) / 2 + 5;
      const long = pen.measureText(beside[k]).width;
      if (!write(beside[k], px + gap, py, long)) write(beside[k], px - gap - long, py, long);
    });
  }

  // Points that are named one by one: Python says which. A page without it knows every name.
  function closeUp() {
    if (!model.get("alone")) return [model.get("nearby"), model.get("nearby_words")];
    if (home && n > MOST_CLOSE) return [[], []];
    const near = [];
    for (let i = 0; i < n && near.length <= MOST_CLOSE; i++) {
      const [px, py] = placeOfPoint(i);
      if (seen[i] && px > 0 && px < width && py > 0 && py < height) near.push(i);
    }
    return near.length > MOST_CLOSE ? [[], []] : [near, near.map(nameOf)];
  }

  // --- pointer ---------------------------------------------------------------------------------

  function nearest(px, py, reach) {
    const x = dataX(px), y = dataY(py);
    let best = -1, least = (reach / at.scale) ** 2;
    for (let i = 0; i < n; i++) {
      const dx = xy[2 * i] - x, dy = tall * (xy[2 * i + 1] - y);
      const far = dx * dx + dy * dy;
      if (far < least && seen[i]) {
        best = i;
        least = far;
      }
    }
    return best;
  }

  function hover(point) {
    if (point === hovered) return;
    hovered = point;
    stage.classList.toggle("sae-nb-on", point >= 0);
    readout.textContent = point < 0 ? model.get("hint") : nameOf(point);
    if (model.get("word") === "atom") {
      const box = stage.getBoundingClientRect();
      const place = point < 0 ? [0, 0] : [box.left + placeX(xy[2 * point]), box.top + placeY(xy[2 * point + 1])];
      pointAtom(stage, ...place, point < 0 ? -1 : idOf(point));
    }
    queue(false);
  }

  // The group whose name stands at a place; undefined for none.
  const groupAt = (x, y) =>
    (shownNames.find(([[x0, y0, x1, y1]]) => x >= x0 && x <= x1 && y >= y0 && y <= y1) || [])[1];

  function choosePoint(point) {
    if (point < 0 || model.get("alone")) return; // a page without a kernel has the one point's account
    if (model.get("word") === "atom") model.set("current", point);
    queue(false);
    model.send({ kind: "choose", point });
  }

  function enclose(drag) {
    const path = pathOf(drag);
    const bits = new Uint8Array((n + 7) >> 3);
    const ends = (axis, end) => end(...path.map((corner) => corner[axis]));
    const [x0, x1] = [ends(0, Math.min), ends(0, Math.max)];
    const [y0, y1] = [ends(1, Math.min), ends(1, Math.max)];
    for (let i = 0; i < n; i++) {
      const x = placeX(xy[2 * i]), y = placeY(xy[2 * i + 1]);
      if (x < x0 || x > x1 || y < y0 || y > y1 || !seen[i]) continue;
      if (insideOf(path, x, y)) bits[i >> 3] |= 1 << (i & 7);
    }
    model.send({ kind: "lasso", add: drag.add }, undefined, [bits.buffer]);
  }

  const placeOf = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("button")) return;
    cancelAnimationFrame(moving);
    const mode = model.get("drag");
    const begin = placeOf(event);
    // Shift draws a lasso while dragging moves the map, and adds to the selection otherwise.
    const draws = !model.get("alone") && (mode !== "pan" || event.shiftKey);
    dragged = { begin, last: begin, moved: false, box: mode === "box", add: mode !== "pan" && event.shiftKey };
    if (draws) dragged.path = [begin];
    stage.setPointerCapture(event.pointerId);
    stage.focus({ preventScroll: true });
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    const here = placeOf(event);
    if (!dragged) {
      const onButton = event.target.closest("button"), group = onButton ? undefined : groupAt(...here);
      hover(onButton || group !== undefined ? -1 : nearest(...here, REACH));
      stage.classList.toggle("sae-nb-on", hovered >= 0 || group !== undefined);
      return;
    }
    const [dx, dy] = [here[0] - dragged.last[0], here[1] - dragged.last[1]];
    if (!dragged.moved && Math.hypot(here[0] - dragged.begin[0], here[1] - dragged.begin[1]) < 4) return;
    dragged.moved = true;
    dragged.last = here;
    hover(-1);
    if (dragged.path) {
      dragged.path.push(here);
      queue(false);
    } else panBy(dx, dy);
  });
  const release = (event) => {
    if (!dragged) return;
    const drag = dragged;
    dragged = null;
    const group = groupAt(...placeOf(event));
    if (event.type === "pointerup" && !drag.moved && group !== undefined) toggle(group);
    else if (event.type === "pointerup" && !drag.moved) choosePoint(nearest(...placeOf(event), REACH));
    else if (event.type === "pointerup" && drag.path) enclose(drag);
    queue(false);
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", () => dragged || hover(-1));
  stage.addEventListener("dblclick", (event) => event.target.closest("button") || reset());
  stage.addEventListener(
    "wheel",
    (event) => {
      const lines = event.deltaMode === 1 ? 16 : 1;
      // Zoomed out as far as can be, the wheel moves the page.
      if (zoomBy(Math.exp(-0.0018 * lines * event.deltaY), ...placeOf(event))) event.preventDefault();
      hover(-1);
    },
    { passive: false },
  );

  // --- keys ------------------------------------------------------------------------------------

  // The point in the middle is the one that Enter chooses.
  const aim = () => requestAnimationFrame(() => hover(nearest(width / 2, height / 2, Infinity)));
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button")) return;
    const move = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (move) panBy(STEP * width * move[0], STEP * height * move[1]);
    else if (event.key === "+" || event.key === "=") zoomBy(ZOOM);
    else if (event.key === "-" || event.key === "−") zoomBy(1 / ZOOM);
    else if (event.key === "0") reset();
    else if (event.key === "Enter") choosePoint(hovered >= 0 ? hovered : nearest(width / 2, height / 2, Infinity));
    else return;
    if (event.key !== "Enter" && event.key !== "0") aim();
    event.preventDefault();
    event.stopPropagation();
  });

  // --- around the map --------------------------------------------------------------------------

  for (const [sign, tip, act] of [
    ["+", "Zoom in (wheel, or +)", () => zoomBy(ZOOM)],
    ["−", "Zoom out (wheel, or −)", () => zoomBy(1 / ZOOM)],
    ["⟲", "Show the whole map (double click, or 0)", reset],
  ]) {
    const button = make("button", "", { type: "button", title: tip, "aria-label": tip }, sign);
    button.addEventListener("click", act);
    tools.append(button);
  }

  // The style that alone is lit; undefined where all are, or several.
  function alone() {
    const off = new Set(model.get("off"));
    if (!off.size) return undefined;
    const on = model.get("palette").map((_, style) => style).filter((style) => !off.has(style));
    return on.length === 1 ? on[0] : undefined;
  }

  // Lights one category alone, and of numbers hides what is not known; the same again shows all.
  function toggle(style) {
    const every = model.get("palette").map((_, i) => i);
    const others = model.get("bar").length ? [style] : every.filter((i) => i !== style);
    const off = model.get("off");
    model.set("off", off.length === others.length && others.every((i) => off.includes(i)) ? [] : others);
    model.save_changes();
  }

  function buildKey() {
    const palette = model.get("palette");
    const off = model.get("off");
    const entries = model.get("legend").map(([style, text]) => {
      const shown = !off.includes(style);
      const numbers = model.get("bar").length;
      const tip = (numbers ? !shown : alone() === style) ? "Show all again" : `${numbers ? "Hide" : "Light"} ${text}${numbers ? "" : " alone"}`;
      const attributes = { type: "button", "aria-pressed": String(shown), title: tip, dir: "auto" };
      const button = make("button", "sae-nb-keyentry", attributes);
      if (palette[style]) button.append(signOf(palette[style], isDark()));
      button.append(make("span", "", {}, text));
      button.addEventListener("click", () => toggle(style));
      return button;
    });
    key.replaceChildren(...entries, ...rampOf(model.get("bar"), palette, isDark()));
    const rest = model.get("rest");
    if (rest) key.append(make("span", "sae-nb-rest", {}, rest));
    key.style.display = key.childNodes.length ? "" : "none";
  }

  function describe() {
    stage.setAttribute("aria-label", `${model.get("description")}. Arrows move, + and − zoom, 0 shows all, Enter chooses.`);
    stage.style.height = `${model.get("height")}px`;
    if (hovered < 0) readout.textContent = model.get("hint");
    stage.classList.toggle("sae-nb-draws", model.get("drag") !== "pan");
    resize();
  }

  function resize() {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [stage.clientWidth, stage.clientHeight];
    if (!w || !h) return;
    const same = w === width && h === height && base.width === Math.round(w * ratio);
    const before = { width, height };
    [width, height] = [w, h];
    if (same) return;
    cancelAnimationFrame(moving);
    stretch();
    for (const canvas of [base, over]) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
    }
    if (home) at = atHome();
    else at = { ...at, scale: at.scale * Math.min(w / before.width, h / before.height) };
    paint(true);
  }

  async function decode() {
    const data = bytes(model.get("sprite"));
    const mine = ++decoding;
    const next = data.length ? await createImageBitmap(new Blob([data])) : null;
    if (mine !== decoding) return;
    bitmap = next;
    queue(true);
  }

  const watcher = new ResizeObserver(resize);
  watcher.observe(stage);
  redrawOn(model, ["xy", "styles", "sizes", "others", "ids"], read);
  redrawOn(model, ["chosen", "ringed", "lines", "widths", "current", "words", "lonely"], readChosen);
  redrawOn(model, ["shown", "off"], filter);
  redrawOn(model, ["palette", "size"], () => queue(true));
  redrawOn(model, ["legend", "off", "palette", "bar", "rest"], buildKey);
  redrawOn(model, ["description", "height", "hint", "drag"], describe);
  redrawOn(model, ["sprite", "nearby", "nearby_words"], decode);
  model.on("change:view", follow);
  describe();
  read();
  follow();
  buildKey();
  decode();
  const stopTheme = onTheme(() => setTimeout(() => {
    buildKey();
    queue(true);
  }, 60));
  return () => {
    watcher.disconnect();
    stopTheme();
    clearTimeout(telling);
    clearTimeout(resting);
    cancelAnimationFrame(moving);
  };
}
export default { initialize, render };

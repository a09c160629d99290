// What a PointMap paints with: shapes of points as masks of pixels, texts where there is room, the signs of its key.
// Where a name may stand around the middle of its cluster, the nearest first.
const AROUND = [0, 18, 34].flatMap((far) =>
  Array.from({ length: far ? 12 : 1 }, (_, i) => [
    1.6 * far * Math.cos((i * Math.PI) / 6), far * Math.sin((i * Math.PI) / 6), far]));

const cross = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]];
const turned = (points, angle, scale) => points.map(([x, y]) => [
  scale * (x * Math.cos(angle) - y * Math.sin(angle)), scale * (x * Math.sin(angle) + y * Math.cos(angle))]);
const spikes = Array.from({ length: 10 }, (_, i) => {
  const r = i % 2 ? 0.5 : 1.15;
  return [r * Math.sin((i * Math.PI) / 5), -r * Math.cos((i * Math.PI) / 5)];
});
// Outlines on a disc of radius 1; what is not named here is a circle.
const OUTLINES = {
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  diamond: [[0, -1.15], [1.15, 0], [0, 1.15], [-1.15, 0]],
  "triangle-up": [[0, -1.1], [1.1, 0.9], [-1.1, 0.9]],
  "triangle-down": [[0, 1.1], [1.1, -0.9], [-1.1, -0.9]],
  cross: turned(cross, 0, 0.36),
  x: turned(cross, Math.PI / 4, 0.36),
  star: spikes,
};

function outline(context, shape, x, y, radius) {
  context.beginPath();
  const corners = OUTLINES[shape];
  if (!corners) context.arc(x, y, radius, 0, 2 * Math.PI);
  else corners.forEach(([a, b], i) => context[i ? "lineTo" : "moveTo"](x + radius * a, y + radius * b));
  context.closePath();
}

// How much of each pixel around its middle a shape covers, 0 to 255; "ring" is hollow.
const masks = new Map();
function maskOf(shape, diameter) {
  const key = `${shape}${diameter}`;
  if (masks.has(key)) return masks.get(key);
  const side = Math.ceil(1.2 * diameter) + 2;
  const canvas = make("canvas", "", { width: side, height: side });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  outline(context, shape, side / 2, side / 2, diameter / 2 - (shape === "ring" ? 0.5 : 0));
  context.lineWidth = Math.max(1, diameter / 5);
  context[shape === "ring" ? "stroke" : "fill"]();
  const pixels = context.getImageData(0, 0, side, side).data;
  const mask = { side, cover: Uint8Array.from({ length: side * side }, (_, i) => pixels[4 * i + 3]) };
  masks.set(key, mask);
  return mask;
}

// Lays one shape over an image of straight (not premultiplied) colours; `whole` is its colour as one
// number, for pixels that it covers wholly; `strength` below 1 is for points that stand back.
function stamp(image, words, width, height, mask, left, top, rgb, whole, strength, counts, most) {
  const { side, cover } = mask;
  const rows = Math.min(side, height - top), columns = Math.min(side, width - left);
  for (let row = Math.max(0, -top); row < rows; row++) {
    for (let column = Math.max(0, -left); column < columns; column++) {
      const alpha = strength * cover[row * side + column];
      if (!alpha) continue;
      const pixel = (top + row) * width + left + column;
      if (alpha === 255) words[pixel] = whole;
      else {
        const at = 4 * pixel;
        const below = image[at + 3] * (255 - alpha);
        const total = 255 * alpha + below;
        for (let c = 0; c < 3; c++) image[at + c] = (255 * alpha * rgb[c] + below * image[at + c]) / total;
        image[at + 3] = total / 255;
      }
      if (counts && strength === 1 && alpha > 127 && counts[pixel] < most) counts[pixel] += 1;
    }
  }
}

// Where many points lie over each other their colour goes towards the ink: density stays readable,
// and no single point is fainter for it. With `middle` points, less one, it is nearly half of the way.
function deepen(image, counts, ink, middle = 4) {
  for (let pixel = 0; pixel < counts.length; pixel++) {
    if (counts[pixel] < 2) continue;
    const part = 0.8 * (1 - middle / (middle - 1 + counts[pixel]));
    for (let c = 0; c < 3; c++) image[4 * pixel + c] += part * (ink - image[4 * pixel + c]);
  }
}

function insideOf(path, x, y) {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [[a, b], [c, d]] = [path[i], path[j]];
    if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) inside = !inside;
  }
  return inside;
}

// Writes texts where there is room; `taken` are the boxes in which nothing more is written.
function writerOn(pen, size, width, height, taken) {
  // The box of a text, and whether it has room.
  const boxOf = (x, y, long) => [x - 3, y - 0.7 * size, x + long + 3, y + 0.7 * size];
  const isFree = (box) =>
    box[0] >= 0 && box[2] <= width && box[1] >= 0 && box[3] <= height &&
    !taken.some((t) => box[0] < t[2] && box[2] > t[0] && box[1] < t[3] && box[3] > t[1]);
  const write = (text, x, y, long) => {
    const box = boxOf(x, y, long);
    if (!isFree(box)) return false;
    taken.push(box);
    pen.lineWidth = 5;
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
    return true;
  };
  return { boxOf, isFree, write };
}

// A point of a category, for the key.
function signOf(entry, dark) {
  const canvas = make("canvas", "", { width: 28, height: 28, "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  outline(pen, entry.shape, 14, 14, 9);
  pen.fillStyle = pen.strokeStyle = `rgb(${entry[dark ? "dark" : "light"]})`;
  pen.lineWidth = 4;
  pen[entry.shape === "ring" ? "stroke" : "fill"]();
  return canvas;
}

// The colour bar of a number, with a value at each tick.
function rampOf(bar, palette, dark) {
  const [title, ...ticks] = bar;
  if (title === undefined) return [];
  const box = make("div", "sae-nb-mapramp");
  const strip = make("div", "sae-nb-strip-colours");
  const shades = palette.slice(1).map((entry) => `rgb(${entry[dark ? "dark" : "light"]})`);
  strip.style.background = `linear-gradient(to right,${shades.join(",")})`;
  box.append(make("div", "", {}, title), strip);
  for (const [share, text] of ticks) {
    const tick = make("span", "", {}, text);
    tick.style.left = `${100 * share}%`;
    box.append(tick);
  }
  return [box];
}

// The corners of a lasso, or of the box between its first point and its last.
const pathOf = ({ path, box }) => {
  if (!box) return path;
  const [[a, b], [c, d]] = [path[0], path[path.length - 1]];
  return [[a, b], [c, b], [c, d], [a, d]];
};

function paintLasso(pen, path, ink) {
  pen.beginPath();
  path.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](x, y));
  pen.closePath();
  pen.setLineDash([5, 4]);
  pen.lineWidth = 1.6;
  pen.strokeStyle = ink;
  pen.stroke();
  pen.setLineDash([]);
}

function wholes(view) {
  return new Int32Array(bytes(view).buffer);
}

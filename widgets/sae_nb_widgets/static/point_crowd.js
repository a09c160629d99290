// Very many points: while the hand moves, a sample of those in view is painted in which dense places
// stay dense; when it rests, all of them, a slice between two frames. What is near the mouse, inside a
// lasso or hidden is always asked of all points, not of the sample.
const MOST_MOVING = 60000;
const SAMPLED = 40000;
const RESTS_AFTER = 140;
const SLICE = 20;
const AT_A_TIME = 2048;
const MOST_RINGS = 500;
const BLOCK = 8;

// The numbers below n in one random order, the same every time.
function shuffled(n) {
  const order = new Uint32Array(n);
  let state = 2463534242;
  for (let i = 0; i < n; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    order[i] = order[j];
    order[j] = i;
  }
  return order;
}

// Places in the shuffled order, so that looking through them reads memory from front to back.
function inOrder(order, xy) {
  const places = new Float32Array(2 * order.length);
  order.forEach((point, r) => {
    places[2 * r] = xy[2 * point];
    places[2 * r + 1] = xy[2 * point + 1];
  });
  return places;
}

// The first `most` points of the shuffled order that are seen and in the box, and the share of all
// points that was looked at for them: 1 says that nothing in the box was left out.
function sampleOf(order, places, seen, [x0, y0, x1, y1], most) {
  const points = new Uint32Array(Math.min(most, order.length));
  let found = 0, r = 0;
  for (; r < order.length && found < points.length; r++) {
    const x = places[2 * r], y = places[2 * r + 1];
    if (x >= x0 && x <= x1 && y >= y0 && y <= y1 && seen[order[r]]) points[found++] = order[r];
  }
  return { points: points.subarray(0, found), share: order.length ? r / order.length : 1 };
}

// How many points would lie on each pixel if all were painted: the mean over a block of the sample's,
// so that a single point in an empty place is not taken for many.
function estimated(counts, width, share) {
  const most = new Float32Array(counts.length);
  const height = counts.length / width;
  const scale = 1 / (share * BLOCK * BLOCK);
  for (let top = 0; top < height; top += BLOCK)
    for (let left = 0; left < width; left += BLOCK) {
      const right = Math.min(left + BLOCK, width), bottom = Math.min(top + BLOCK, height);
      let sum = 0;
      for (let y = top; y < bottom; y++)
        for (let pixel = y * width + left; pixel < y * width + right; pixel++) sum += counts[pixel];
      if (!sum) continue;
      for (let y = top; y < bottom; y++)
        for (let pixel = y * width + left; pixel < y * width + right; pixel++)
          if (counts[pixel]) most[pixel] = Math.max(counts[pixel], sum * scale);
    }
  return most;
}

// Half the number of points that lie where a point lies, on the mean over what was painted: the scale
// on which a crowd is dense. The sample's is that of all, up to chance.
function middleOf(all, painted) {
  let sum = 0, square = 0;
  for (let pixel = 0; pixel < painted.length; pixel++) {
    sum += painted[pixel];
    square += painted[pixel] * all[pixel];
  }
  return Math.max(4, square / Math.max(sum, 1) / 2);
}

// Some of very many, evenly.
function atMost(points, most) {
  const step = points.length / most;
  return step <= 1 ? points : Array.from({ length: most }, (_, i) => points[Math.floor(i * step)]);
}

// Sounds and videos of a PictureGrid: a button that plays each, a line over the picture of a sound that shows
// where it is, and under a video a strip of all its frames, which are stepped through or played.
function movingPictures({ model, heatOf, nFrames, drawHeat, frameAround, paint, buttonAt, say, point }) {
  const IN_ROW = 4;
  let playing = -1;
  let shown = [];
  let running = 0;
  const player = new Audio();
  player.addEventListener("ended", silence);

  const heatShape = () => model.get("heat_shape");
  const isVideo = () => nFrames() > 1;
  const patchesPerFrame = () => (heatShape()[0] / nFrames()) * heatShape()[1];
  const frameOf = (patch) => (patch < 0 || !patchesPerFrame() ? 0 : Math.floor(patch / patchesPerFrame()));
  const inStrip = () => Math.min(nFrames(), IN_ROW);
  const nameOf = (index) => model.get("places")[index] || model.get("captions")[index];

  // A sound is played from its samples, as a WAV file made here.
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
    clearInterval(running);
    running = 0;
    player.pause();
    if (player.src) URL.revokeObjectURL(player.src);
    player.removeAttribute("src");
    playing = -1;
    paint();
  }

  function play(index) {
    const again = playing === index;
    silence();
    if (again || !buttonAt(index)) return;
    playing = index;
    player.src = URL.createObjectURL(waveOf(index));
    player.play().then(follow, silence);
  }

  function follow() {
    if (playing < 0) return;
    paint();
    requestAnimationFrame(follow);
  }

  function drawMoment(context, index) {
    if (index !== playing || !player.duration) return;
    const { width, height } = context.canvas;
    const [from, to] = model.get("spans")[index] || [0, 1];
    const x = (from + ((to - from) * player.currentTime) / player.duration) * width;
    for (const [colour, wide] of [[COLOURS.onDark, 4], [COLOURS.onLight, 2]]) {
      context.fillStyle = colour;
      context.fillRect(x - wide / 2, 0, wide, height);
    }
  }

  function stripOf(index) {
    const canvas = make("canvas", "sae-nb-film", { "aria-hidden": "true" });
    canvas.style.width = model.get("thumbnail") + "px";
    const frameAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const rows = Math.ceil(nFrames() / inStrip());
      const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
      const column = Math.floor(((event.clientX - box.left) / box.width) * inStrip());
      return clamp(row * inStrip() + column, 0, nFrames() - 1);
    };
    canvas.addEventListener("mousemove", (event) => say(describeFrame(index, frameAt(event))));
    canvas.addEventListener("click", (event) => {
      event.stopPropagation();
      point(index);
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
    const where = model.get("frame_names")[frame] || `frame ${frame}`;
    const most = heatShape()[0] ? ` · at most ${formatNumber(peakIn(index, frame))}` : "";
    return `${nameOf(index)} · ${where}${most}`;
  }

  function showFrame(index, frame, spoken = true) {
    shown[index] = (frame + nFrames()) % nFrames();
    if (spoken) say(describeFrame(index, shown[index]));
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

  function drawStrip(canvas, index, bitmap) {
    const ratio = window.devicePixelRatio || 1;
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
      if (frame === shown[index]) frameAround(context, 1.5 * ratio, 2 * ratio, 2 * ratio, wide - 4 * ratio, tall - 4 * ratio);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
  }

  const start = (index) => (isVideo() ? run(index) : play(index));

  function buttonOf(index) {
    const words = `Play ${nameOf(index)}`;
    const button = make("button", "sae-nb-play", { type: "button", tabindex: "-1", "aria-label": words }, "▶");
    button.title = `${words} (P)${isVideo() ? "; , and . step" : ""}`;
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      point(index);
      start(index);
    });
    return button;
  }

  return {
    silence,
    frame: (index) => (isVideo() ? shown[index] : 0),
    begin: (peaks) => (shown = peaks.map(frameOf)),
    // What a picture has besides: the strip of its frames, the button that plays it.
    parts(index) {
      const film = isVideo() ? { film: stripOf(index) } : {};
      const plays = !model.get("bare") && (isVideo() || model.get("sound_lengths").length);
      return plays ? { ...film, button: buttonOf(index) } : film;
    },
    paint({ film, button }, context, index, bitmap) {
      if (film) drawStrip(film, index, bitmap);
      drawMoment(context, index);
      if (button) button.textContent = index === playing ? "■" : "▶";
    },
    // Shows the frame in which a patch lies.
    follow(picture, patch) {
      if (!isVideo() || picture < 0 || patch < 0) return;
      stop();
      shown[picture] = frameOf(patch);
    },
    // Does what a key asks for, and says whether there was anything to do.
    answers(key, index) {
      const step = { ",": -1, ".": 1 }[key];
      if (key.toLowerCase() === "p" && buttonAt(index)) start(index);
      else if (step && isVideo() && shown.length) {
        stop();
        showFrame(index, shown[index] + step);
      } else return false;
      return true;
    },
  };
}

// DrawPad: 32 × 32 pixels of ink, drawn with a pointer or with arrows and the space bar. Coverage is
// computed, not left to the canvas, so that Python draws the same strokes to the same pixels.
const SIZE = 32;
const SEND_EVERY = 150;

function cover(ink, from, to, thickness) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = dx * dx + dy * dy;
  for (let row = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++) {
      const [x, y] = [column + 0.5 - from[0], row + 0.5 - from[1]];
      const along = length ? clamp((x * dx + y * dy) / length, 0, 1) : 0;
      const distance = Math.hypot(x - along * dx, y - along * dy);
      const value = clamp(thickness / 2 + 0.5 - distance, 0, 1);
      const place = row * SIZE + column;
      ink[place] = Math.max(ink[place], Math.round(255 * value));
    }
  }
}

function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-pad");
  const canvas = make("canvas", "", {
    tabindex: "0", role: "img",
    "aria-label": "Canvas. Arrows move the pen, space puts it down or lifts it, Backspace takes " +
      "back a stroke, Delete clears.",
  });
  const said = make("div", "sae-nb-said", { "aria-live": "polite" });
  root.append(canvas, said);
  el.append(root);
  let ink = new Uint8Array(SIZE * SIZE);
  let undo = [];
  let last = null;
  let pen = [16, 16];
  let down = false;
  let mine = null;
  let timer = 0;

  function paint() {
    const side = model.get("side");
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * ratio);
    canvas.style.width = canvas.style.height = side + "px";
    const context = canvas.getContext("2d");
    const cell = canvas.width / SIZE;
    context.fillStyle = COLOURS.pad.paper;
    context.fillRect(0, 0, canvas.width, canvas.width);
    context.fillStyle = model.get("colour");
    ink.forEach((value, place) => {
      if (!value) return;
      context.globalAlpha = value / 255;
      const [x, y] = [(place % SIZE) * cell, Math.floor(place / SIZE) * cell];
      context.fillRect(x, y, cell + 0.5, cell + 0.5);
    });
    context.globalAlpha = 1;
    if (!ink.some((value) => value) && document.activeElement !== canvas) {
      context.fillStyle = COLOURS.pad.hint;
      context.font = `${14 * ratio}px system-ui, Arial, sans-serif`;
      context.textAlign = "center";
      context.fillText(model.get("hint"), canvas.width / 2, canvas.width / 2);
    }
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
      context.strokeStyle = down ? model.get("colour") : COLOURS.pad.hint;
      context.lineWidth = 2 * ratio;
      context.beginPath();
      const radius = (model.get("thickness") / 2) * cell;
      context.arc(pen[0] * cell, pen[1] * cell, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function send() {
    clearTimeout(timer);
    timer = 0;
    mine = ink.slice();
    model.set("pixels", new DataView(mine.buffer));
    model.save_changes();
  }
  const sendSoon = () => {
    if (!timer) timer = setTimeout(send, SEND_EVERY);
  };

  function remember() {
    undo.push(ink.slice());
    undo = undo.slice(-20);
  }
  function lineTo(point) {
    cover(ink, last || point, point, model.get("thickness"));
    last = point;
    paint();
    sendSoon();
  }
  function replace(next, words) {
    ink = next;
    said.textContent = words;
    paint();
    send();
  }
  const back = () => undo.length && replace(undo.pop(), "a stroke taken back");
  const clear = () => {
    remember();
    replace(new Uint8Array(SIZE * SIZE), "cleared");
  };

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE,
      ((event.clientY - box.top) / box.height) * SIZE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    remember();
    last = null;
    lineTo(at(event));
    event.preventDefault();
    canvas.focus({ preventScroll: true, focusVisible: false });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last === null || !canvas.hasPointerCapture(event.pointerId)) return;
    const steps = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    (steps.length ? steps : [event]).forEach((step) => lineTo(at(step)));
  });
  const lift = () => {
    if (last === null) return;
    last = null;
    send();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[
      event.key];
    if (step) {
      const next = pen.map((v, i) => clamp(v + step[i], 0.5, SIZE - 0.5));
      if (down) {
        last = pen;
        lineTo(next);
        last = null;
      }
      pen = next;
      said.textContent = `${Math.round(pen[0])}, ${Math.round(pen[1])}${down ? ", pen down" : ""}`;
    } else if (event.key === " ") {
      down = !down;
      if (down) {
        remember();
        last = null;
        lineTo(pen);
        last = null;
      } else send();
      said.textContent = down ? "pen down" : "pen up";
    } else if (event.key === "Backspace") back();
    else if (event.key === "Delete") clear();
    else if (event.key === "Escape") {
      down = false;
      said.textContent = "pen up";
    } else return;
    paint();
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("focus", paint);
  canvas.addEventListener("blur", () => {
    down = false;
    paint();
  });

  function take() {
    const given = bytes(model.get("pixels"));
    // The echo of what was sent while another stroke is under way would wipe that one out.
    if (mine && given.every((value, i) => value === mine[i])) return;
    ink = given.length === SIZE * SIZE ? given : new Uint8Array(SIZE * SIZE);
    paint();
  }
  model.on("change:pixels", take);
  model.on("msg:custom", (content) => {
    if (content.kind === "undo") back();
    if (content.kind === "clear") clear();
  });
  redrawOn(model, ["colour", "side", "hint", "thickness"], paint);
  take();
  paint();
  return () => clearTimeout(timer);
}
export default { initialize, render };

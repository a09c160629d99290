// StrengthSlider: a track with zero, the usual strength and the strongest seen; mouse, touch and keyboard.
function render({ model, el }) {
  const STEPS = 200;
  const root = make("div", "sae-nb-component sae-nb-slide");
  const name = make("span", "sae-nb-slidername", { dir: "auto" });
  const dots = make("span", "sae-nb-sure", { role: "img", tabindex: "0" });
  const track = make("div", "sae-nb-slidertrack");
  const thumb = make("i", "sae-nb-thumb", { role: "slider", tabindex: "0" });
  const ticks = make("div", "sae-nb-sliderticks");
  const number = make("output", "sae-nb-number");
  track.append(ticks, thumb);
  root.append(name, dots, track, number);
  el.append(root);
  let queued = false;

  const get = (trait) => model.get(trait);
  const percent = (value) => 100 * clamp((value - get("low")) / (get("high") - get("low") || 1), 0, 1);
  const step = () => (get("high") - get("low")) / STEPS;
  const short = (value) => formatNumber(Math.round(value * 100) / 100).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

  function move(value) {
    if (get("disabled")) return;
    // Decimal steps, so that what is set reads as it is shown.
    const digits = Math.max(0, Math.ceil(-Math.log10(step())));
    const kept = Number(clamp(value, get("low"), get("high")).toFixed(digits));
    const near = Math.abs(kept - get("neutral")) < 1.5 * step();
    model.set("value", near ? get("neutral") : kept);
    show();
    if (queued) return;
    queued = true; // one message per frame, with the newest value
    requestAnimationFrame(() => {
      queued = false;
      model.save_changes();
    });
  }

  function show() {
    const value = get("value");
    const words = `${short(value)} ${get("unit")}`.trim();
    const size = get("size");
    thumb.style.left = `${percent(value)}%`;
    number.textContent = words;
    number.title = size ? `${formatNumber(value * size)} in the model’s own units` : "";
    thumb.title = get("description") || get("name") || "strength";
    for (const [key, text] of Object.entries({ "aria-label": thumb.title,
      "aria-valuemin": get("low"), "aria-valuemax": get("high"), "aria-valuenow": value, "aria-valuetext": words,
      "aria-disabled": get("disabled") })) thumb.setAttribute(key, String(text));
  }

  function build() {
    name.textContent = get("name");
    const sure = get("sure");
    dots.style.display = sure === null ? "none" : "";
    const said = `${sure} of 4 dots. ${get("sure_words")}`.trim();
    dots.title = said;
    dots.setAttribute("aria-label", said);
    dots.replaceChildren(...[0, 1, 2, 3].map((i) => make("i", i < sure ? "" : "sae-nb-off")));
    track.style.setProperty("--zero", `${percent(get("neutral"))}%`);
    const marks = [[get("neutral"), "off"], [get("usual"), "usual"], [get("strongest"), "strongest seen"]];
    ticks.replaceChildren(...marks
      .filter(([at]) => at !== null && at >= get("low") && at <= get("high"))
      .map(([at, words]) => {
        const far = percent(at) > 45 ? " sae-nb-far" : ""; // its words end at the mark: beyond there is no room
        const node = make("span", `sae-nb-slidertick sae-nb-${words.split(" ")[0]}${far}`, {}, words);
        node.style.left = `${percent(at)}%`;
        return node;
      }));
    root.classList.toggle("sae-nb-off", get("disabled"));
    show();
  }

  const at = (event) => {
    const box = track.getBoundingClientRect();
    move(get("low") + ((event.clientX - box.left) / Math.max(box.width, 1)) * (get("high") - get("low")));
  };
  let held = false;
  track.addEventListener("pointerdown", (event) => {
    held = true;
    track.setPointerCapture(event.pointerId);
    thumb.focus({ preventScroll: true });
    at(event);
    event.preventDefault();
  });
  track.addEventListener("pointermove", (event) => {
    if (held) at(event);
  });
  for (const end of ["pointerup", "pointercancel"]) track.addEventListener(end, () => (held = false));
  thumb.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    const to = { Home: get("low"), End: get("high"), 0: get("neutral") }[event.key];
    if (steps) {
      const left = Math.abs(get("value") - get("neutral")) < 1e-9 && Math.abs(steps) === 1 ? 2 * steps : steps;
      move(get("value") + left * step()); // off holds what is near it: the first step leads out
    } else if (to !== undefined) {
      move(to);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  redrawOn(model, ["low", "high", "usual", "strongest", "unit", "size", "neutral", "name", "sure", "sure_words",
    "disabled", "description"], build);
  redrawOn(model, ["value"], show);
  build();
  return () => root.remove();
}
export default { initialize, render };

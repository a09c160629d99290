// Buttons, switches, menus, numbers and texts of a panel where ipywidgets are not shown: each says what
// was done to it, Python does it to the panel's own control and answers with how all stand.

function controlFor(spec, tell) {
  if (spec.kind === "button" || spec.kind === "switch") {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = spec.words;
    button.disabled = spec.disabled;
    if (spec.kind === "switch") button.setAttribute("aria-pressed", String(spec.value));
    button.addEventListener("click", () => tell(spec.kind === "button" ? null : !spec.value));
    return button;
  }
  const label = document.createElement("label");
  label.append(`${spec.words} `);
  const field = document.createElement(spec.kind === "menu" ? "select" : "input");
  if (spec.kind === "menu") {
    spec.options.forEach((words, i) => field.add(new Option(words, String(i))));
    field.value = String(spec.value);
  } else {
    field.type = spec.kind === "range" ? "range" : "text";
    if (spec.kind === "range") [field.min, field.max, field.step] = spec.options;
    else field.size = 10;
    field.value = spec.value;
  }
  field.disabled = spec.disabled;
  field.title = spec.tip;
  field.addEventListener("change", () => tell(field.value));
  label.append(field);
  return label;
}

function render({ model, el }) {
  el.classList.add("sae-nb-component", "sae-nb-row-of-controls");
  let n = 0;
  const ask = (which, value) => {
    model.set("asked", [++n, which, value]);
    model.save_changes();
  };
  const draw = () => {
    const rows = model.get("controls").map((spec, i) => {
      const one = controlFor(spec, (value) => ask(i, value));
      one.title = spec.tip;
      return one;
    });
    const text = document.createElement("div");
    text.innerHTML = model.get("html");
    el.replaceChildren(text, ...rows);
  };
  // one by one: marimo's model takes one name a call
  model.on("change:controls", draw);
  model.on("change:html", draw);
  draw();
}

export default { initialize, render };

// PanelKeys: invisible; hears the keys pressed inside its panel, tells light from dark, has plotly
// fit its figure again when the panel changes width, and names controls that have no name.
function render({ model, el }) {
  el.style.display = "none";
  const panel = () => el.closest(".sae-nb-panel");
  const dashboard = () => el.closest(".sae-nb-dashboard");
  const typing = (target) =>
    target.closest("input, textarea, select, [contenteditable=true], [role=slider]") !== null;

  function onKey(event) {
    const root = panel();
    if (!root || event.ctrlKey || event.metaKey || event.altKey) return;
    // A panel inside another one, the browser in a drawer say, has its keys to itself.
    if (event.target.closest(".sae-nb-panel") !== root) return;
    if (typing(event.target)) return;
    if (event.key === "/") {
      const search = (dashboard() || root).querySelector(".sae-nb-search input");
      if (!search) return;
      search.focus();
    } else if (event.key === "Escape" || model.get("answered").includes(event.key)) {
      model.send({ kind: "key", key: event.key });
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  // ipywidgets keeps the keys pressed in a text field to itself, so this one is heard on its way in.
  function onEscape(event) {
    const root = panel();
    if (event.key !== "Escape" || event.isComposing || !root || !typing(event.target)) return;
    if (event.target.closest(".sae-nb-panel") !== root) return;
    event.target.blur();
    model.send({ kind: "key", key: "Escape" });
    event.preventDefault();
    event.stopPropagation();
  }

  const luminance = (colour) => {
    const [r, g, b] = (colour.match(/[\d.]+/g) || [0, 0, 0]).map(Number);
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  };
  function tellTheme() {
    const ink = getComputedStyle(panel() || document.body).color;
    const dark = luminance(ink) > 0.5;
    if (dark !== model.get("dark")) {
      model.set("dark", dark);
      model.save_changes();
    }
  }

  // ipywidgets shows no tooltip on a text field, and leaves the handle of a slider, which is what
  // takes the keys, without the slider's name.
  function nameControls(root) {
    // ipywidgets writes how many files were chosen behind "upload": one button, one word, seen from now on.
    for (const button of root.querySelectorAll(".widget-upload")) {
      for (const node of button.childNodes)
        if (node.nodeType === Node.TEXT_NODE && / ?\(\d+\)$/.test(node.data))
          node.data = node.data.replace(/ ?\(\d+\)$/, "");
      button.style.visibility = "visible";
    }
    const menu = root.querySelector(".sae-nb-menubutton:not([aria-label])");
    if (menu) menu.setAttribute("aria-label", "menu");
    const tips = model.get("tips");
    for (const label of root.querySelectorAll(".widget-label:not([title])")) {
      const tip = tips[label.textContent.trim()];
      if (tip) label.title = tip;
    }
    for (const field of root.querySelectorAll(".sae-nb-unlabelled input:not([title])")) {
      const label = field.closest(".sae-nb-unlabelled").querySelector(".widget-label");
      if (label && label.title) field.title = label.title;
    }
    for (const handle of root.querySelectorAll("[role=slider]:not([aria-label])")) {
      const slider = handle.closest(".widget-slider, .widget-hslider, .widget-vslider");
      const label = slider && slider.querySelector(".widget-label");
      if (!label || !label.textContent.trim()) continue;
      handle.setAttribute("aria-label", label.textContent.trim());
      if (label.title) handle.setAttribute("aria-description", label.title);
    }
  }

  // Cards are asked for once and kept until a label changes.
  const known = new Map();
  const waiting = new Map();
  const ask = (atom) => {
    if (!known.has(atom)) {
      known.set(atom, new Promise((resolve) => waiting.set(atom, resolve)));
      model.send({ kind: "card", atom });
    }
    return known.get(atom);
  };
  function onMessage(message, buffers) {
    if (message.kind === "file") openFile(message, buffers);
    if (message.kind === "forget cards") known.clear();
    if (message.kind !== "card") return;
    const answer = waiting.get(message.atom);
    waiting.delete(message.atom);
    if (answer) answer(message.card);
  }
  model.on("msg:custom", onMessage);
  let cards = null;

  // A whole number is stepped with the arrow keys, as in every number field.
  function onStep(event) {
    const field = event.target;
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!by || !field.matches(".sae-nb-entry input") || !/^-?\d+$/.test(field.value)) return;
    field.value = String(Number(field.value) + by);
    field.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
    event.stopPropagation();
  }

  // What was written is asked of the kernel, which has it, and opened beside the notebook.
  function onFile(event) {
    const link = event.target instanceof Element ? event.target.closest("a[data-file]") : null;
    if (!link) return;
    event.preventDefault();
    model.send({ kind: "file" });
  }
  function openFile({ type }, [content]) {
    const address = URL.createObjectURL(new Blob([content], { type }));
    make("a", "", { href: address, target: "_blank", rel: "noopener" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  // A panel that another one opened may be below the window: its top is what was asked for.
  function comeForward() {
    const root = panel();
    if (!root || !model.get("called")) return;
    root.scrollIntoView({ block: "start" });
    model.set("called", false);
    model.save_changes();
  }
  model.on("change:called", comeForward);

  let resizes = null;
  let newcomers = null;
  function attach(tries) {
    const root = panel();
    if (!root) {
      if (tries > 0) setTimeout(() => attach(tries - 1), 50);
      return;
    }
    // JupyterLab would otherwise take "a", "d d" or the arrow keys as its own commands.
    root.setAttribute("data-lm-suppress-shortcuts", "true");
    if (!root.hasAttribute("tabindex")) root.setAttribute("tabindex", "-1");
    let width = root.clientWidth;
    resizes = new ResizeObserver(() => {
      if (Math.abs(root.clientWidth - width) < 4) return;
      width = root.clientWidth;
      window.dispatchEvent(new Event("resize"));
    });
    resizes.observe(root);
    root.addEventListener("keydown", onStep, true);
    cards = atomCards(root, {
      ask,
      open: (atom) => model.send({ kind: "open", atom }),
      star: (atom, starred) => {
        known.delete(atom);
        model.send({ kind: "star", atom, starred });
      },
    });
    root.addEventListener("click", onFile);
    nameControls(root);
    newcomers = new MutationObserver(() => nameControls(root));
    if (dashboard()) dashboard().setAttribute("data-lm-suppress-shortcuts", "true");
    newcomers.observe(root, { childList: true, subtree: true });
    tellTheme();
    fit(20);
    comeForward();
  }

  // plotly measures its figure when it is drawn, which may be before the columns have their width.
  function fit(tries) {
    const slot = figureSlot();
    const plot = slot && slot.querySelector(".js-plotly-plot .main-svg");
    const drawn = plot ? plot.getBoundingClientRect().width : 0;
    const room = slot ? getComputedStyle(slot) : null;
    const sides = room ? parseFloat(room.paddingLeft) + parseFloat(room.paddingRight) : 0;
    if (plot && Math.abs(drawn - (slot.clientWidth - sides)) > 4) window.dispatchEvent(new Event("resize"));
    // The bar of a dashboard shows controls of its panels, and may come after them.
    const bar = dashboard() && dashboard().querySelector(".sae-nb-bar-top");
    if (bar) nameControls(bar);
    if (tries > 0) setTimeout(() => fit(tries - 1), 250);
  }
  const figureSlot = () => panel() && panel().querySelector(".sae-nb-main");

  document.addEventListener("keydown", onKey);
  document.addEventListener("keydown", onEscape, true);
  const stopTheme = onTheme(() => setTimeout(tellTheme, 50));
  attach(200);
  return () => {
    document.removeEventListener("keydown", onKey);
    document.removeEventListener("keydown", onEscape, true);
    stopTheme();
    if (resizes) resizes.disconnect();
    if (newcomers) newcomers.disconnect();
    if (cards) cards.stop();
    model.off("msg:custom", onMessage);
    model.off("change:called", comeForward);
  };
}
export default { initialize, render };

// Plot: plotly's widget, with its 5 MB of script fetched once per page from a shared model.
//
// Reading plotly takes half a second, far more on a busy machine. So this module answers at once, notes
// what Python says meanwhile, and repeats it to plotly's own widget when that is there.
const SHARED = "__sae_nb_plotly__";
const NOTED = ["addTraces", "deleteTraces", "moveTraces", "restyle", "relayout", "update",
  "animate", "removeLayoutProps", "removeTraceProps"].map((name) => `_py2js_${name}`);

async function fetchScript(model) {
  const id = model.get("bundle").replace("IPY_MODEL_", "");
  const bundle = await model.widget_manager.get_model(id);
  const blob = new Blob([bundle.get("source")], { type: "text/javascript" });
  const address = URL.createObjectURL(blob);
  try {
    return await import(address);
  } finally {
    URL.revokeObjectURL(address);
  }
}

function plotly(model) {
  const shared = `${SHARED}${model.get("version")}`;
  if (!globalThis[shared]) {
    globalThis[shared] = fetchScript(model).catch((error) => {
      delete globalThis[shared];
      throw error;
    });
  }
  return globalThis[shared];
}

// plotly's Python writes "_undefined_" for the traces that a message leaves alone, and its script
// takes that for a value: the traces would lose what they had.
function withoutGaps(message) {
  if (!message || typeof message !== "object") return message;
  const clean = { ...message };
  for (const part of ["restyle_data", "style_data"]) {
    if (!message[part] || Array.isArray(message[part])) continue;
    clean[part] = {};
    for (const [name, values] of Object.entries(message[part])) {
      clean[part][name] = Array.isArray(values)
        ? values.map((value) => (value === "_undefined_" ? undefined : value)) : values;
    }
  }
  return clean;
}

// The model as plotly's widget sees it; while a note is repeated, `get` gives the noted value.
function withNotes(model) {
  const handlers = {};
  const noted = [];
  const repeated = {};
  let ready = false;
  for (const name of NOTED) {
    model.on(`change:${name}`, () => {
      const value = model.get(name);
      if (!ready && value !== null) noted.push([name, value]);
    });
  }
  const seen = {
    widget_manager: model.widget_manager,
    get(name) {
      const value = name in repeated ? repeated[name] : model.get(name);
      return NOTED.includes(name) ? withoutGaps(value) : value;
    },
    set: (name, value) => model.set(name, value),
    off: (...given) => model.off(...given),
    save_changes: () => model.save_changes(),
    send: (...given) => model.send(...given),
    on(event, handler) {
      (handlers[event] = handlers[event] || []).push(handler);
      model.on(event, handler);
    },
  };
  const forget = () => (noted.length = 0);
  function repeat() {
    ready = true;
    for (const [name, value] of noted) {
      repeated[name] = value;
      for (const handler of handlers[`change:${name}`] || []) handler();
      delete repeated[name];
    }
    forget();
  }
  return { seen, repeat, forget };
}

// Points of a trace whose meta names atoms show the atom's card.
function pointAtoms(plot) {
  const say = (atom, event) => {
    const detail = { atom, x: event ? event.clientX : 0, y: event ? event.clientY : 0, glance: true };
    plot.dispatchEvent(new CustomEvent("sae-nb-atom", { detail, bubbles: true }));
  };
  plot.on("plotly_hover", ({ points, event }) => {
    const meta = points[0] && points[0].data.meta;
    // Rows of a heat map are atoms: its points are numbered by row and column.
    const atom = meta && meta.atoms ? meta.atoms[[points[0].pointNumber].flat()[0]] : undefined;
    if (Number.isInteger(atom)) say(atom, event);
  });
  plot.on("plotly_unhover", () => say(-1));
}

// Slanted names that a narrow figure would draw over one another: only every second, third, … is seen.
function thinNames(plot) {
  for (const axis of Object.values(plot._fullLayout || {})) {
    if (!axis || axis._id?.[0] !== "x" || axis.tickmode !== "array" || !Number(axis.tickangle)) continue;
    const names = [...plot.querySelectorAll(`.${axis._id}tick text`)];
    const places = names.map((name) => axis.d2p(name.__data__.x));
    const apart = Math.min(...places.slice(1).map((x, i) => Math.abs(x - places[i])));
    const needed = (1.15 * axis.tickfont.size) / Math.abs(Math.sin((axis.tickangle * Math.PI) / 180));
    const step = names.length > 1 && apart > 0 ? Math.ceil(needed / apart - 0.1) : 1;
    names.forEach((name, i) => { name.style.display = i % step ? "none" : ""; });
  }
}

// plotly pins the width of a figure whose height is changed, which then no longer fits its column.
function keepFitting(el, tries = 100) {
  const plot = el.querySelector(".js-plotly-plot") || (el._fullLayout ? el : null);
  if (!plot || !plot.on) {
    if (tries > 0) setTimeout(() => keepFitting(el, tries - 1), 100);
    return;
  }
  const unpin = (changed) => {
    if (!changed || !("height" in changed) || "width" in changed) return;
    delete plot.layout.width;
    plot.layout.autosize = true;
    plot._fullLayout.autosize = true;
    window.dispatchEvent(new Event("resize"));
  };
  // One that was drawn while it was hidden has not heard how wide it is.
  let wide = el.clientWidth;
  new ResizeObserver(() => {
    if (!wide && el.clientWidth) window.dispatchEvent(new Event("resize"));
    wide = el.clientWidth;
  }).observe(el);
  pointAtoms(plot);
  thinNames(plot);
  plot.on("plotly_afterplot", () => thinNames(plot));
  plot.on("plotly_relayout", unpin);
  plot.on("plotly_update", (changed) => unpin(changed && changed.layout));
}

export default () => {
  let loaded = null;
  return {
    initialize({ model }) {
      const { seen, repeat, forget } = withNotes(model);
      // What came anew has in it whatever was noted before.
      loaded = Promise.all([plotly(model), hear(model, forget)]).then(([module]) => {
        const widget = module.default();
        widget.initialize({ model: seen });
        repeat();
        return { widget, seen };
      });
      loaded.catch((error) => console.error("plotly could not be loaded", error));
    },
    async render({ el }) {
      const { widget, seen } = await loaded;
      const done = await widget.render({ model: seen, el });
      keepFitting(el);
      return done;
    },
  };
};

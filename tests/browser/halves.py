"""Both halves of every widget: what the kernel has, what the page was told, and what it draws.

    assert halves.differences(lab) == []

Nothing here knows a certain panel. Every trait of every widget is compared with the page's copy; what a
component of ours shows with what the same component shows when it is drawn anew from that copy; the
points and words of every plot with those of its figure in the kernel.
"""

from __future__ import annotations

import ast
import json
import math
import time
from typing import Any

from lab import Lab

# What one half keeps to itself, or both have from their makers.
PRIVATE = ["_esm", "_css", "source", "_config", "_view_count"]
PRIVATE += ["_last_layout_edit_id", "_last_trace_edit_id"]
PASSING = ("_py2js_", "_js2py_", "_widget_")

KERNEL = """
def __halves(private, passing):
    import json, zlib
    import numpy as np
    from ipywidgets.widgets.widget import _instances

    def plain(value):
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"{len(bytes(value))} bytes, {zlib.adler32(value)}"
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    def sums(values):
        if values is None:
            return None
        flat = np.asarray(values, dtype=object).ravel()
        numbers = [float(v) for v in flat if isinstance(v, (int, float, np.number))]
        return [len(flat), float(np.nansum([v for v in numbers if np.isfinite(v)]))]

    def plot(figure):
        figure = figure.to_dict()
        traces = [[trace.get("visible", True), *(sums(trace.get(n)) for n in "xyz")]
            for trace in figure["data"]]
        return [traces, [note.get("text") for note in figure["layout"].get("annotations", ())]]

    found = {}
    for name, widget in list(_instances.items()):
        if widget.comm is None:
            continue
        state = {k: plain(v) for k, v in widget.get_state().items()
            if k not in private and not k.startswith(passing)}
        drawn = plot(widget) if hasattr(widget, "_py2js_restyle") else None
        found[name] = [type(widget).__name__, state, drawn]
    return json.dumps(found, default=str)
"""
PAGE = """async () => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const kind = 'application/vnd.jupyter.widget-view+json';
  const manager = await notebook.rendermime.createRenderer(kind)._manager.promise;
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));

  function bytes(view) {
    let [a, b] = [1, 0];
    for (const x of new Uint8Array(view.buffer, view.byteOffset, view.byteLength)) {
      a = (a + x) % 65521;
      b = (b + a) % 65521;
    }
    return `${view.byteLength} bytes, ${b * 65536 + a}`;
  }
  const own = new Set(['_esm', '_css', 'source']);
  const told = (model) => JSON.parse(JSON.stringify(model.attributes, function (name, value) {
    if (this === model.attributes && own.has(name)) return undefined;
    return ArrayBuffer.isView(value) ? bytes(value) : value;
  }));

  function sums(values) {
    if (values === undefined || values === null) return null;
    const flat = ArrayBuffer.isView(values) ? [...values] : [...values].flat(Infinity);
    const flatter = flat.flatMap((v) => (ArrayBuffer.isView(v) ? [...v] : [v]));
    const numbers = flatter.filter((v) => typeof v === 'number' && Number.isFinite(v));
    return [flatter.length, numbers.reduce((sum, v) => sum + v, 0)];
  }
  const plot = (drawn) => [
    drawn.data.map((t) => [t.visible === undefined ? true : t.visible, sums(t.x), sums(t.y), sums(t.z)]),
    (drawn.layout.annotations || []).map((note) => note.text),
  ];

  const stage = document.createElement('div');
  stage.style.cssText = 'position: fixed; left: -5000px; top: 0';
  document.body.append(stage);
  const shows = (el) => [el.textContent, el.querySelectorAll('canvas').length];
  // As wide as what stands: some draw for the room they have.
  async function anew(model, width) {
    const view = await manager.create_view(model);
    view.el.style.width = `${width || 900}px`;
    stage.append(view.el);
    for (let i = 0; i < 40 && !view.el.firstChild; i++) await wait(25);
    await wait(100);
    const shown = shows(view.el);
    view.remove();
    return shown;
  }

  const found = {};
  await Promise.all(Object.entries(manager._models).map(async ([id, promise]) => {
    const model = await Promise.race([promise, wait(1000)]);
    if (!model) return;
    const views = (await Promise.all(Object.values(model.views || {}))).filter((v) => v.el.isConnected);
    const drawing = model.get('_anywidget_id') ? views : []; // and no box around others
    const ours = drawing.filter((view) => view.el.querySelector('.sae-nb-component'));
    const plots = drawing.map((v) => v.el.querySelector('.js-plotly-plot')).filter(Boolean);
    found[id] = {
      told: told(model),
      shown: ours.map((view) => shows(view.el)),
      anew: ours.length ? await anew(model, ours[0].el.clientWidth) : null,
      plots: plots.map(plot),
    };
  }));
  stage.remove();
  return found;
}"""


def differences(lab: Lab, timeout_s: float = 30.0) -> list[str]:
    """What the page and the kernel do not agree about, once both have come to rest; nothing if all is well."""
    deadline = time.monotonic() + timeout_s
    while (found := _differences(lab)) and time.monotonic() < deadline:
        lab.page.wait_for_timeout(500)
    return found


def _differences(lab: Lab) -> list[str]:
    lab.asked(KERNEL)
    answer = lab.asked("", f"__halves({PRIVATE!r}, {PASSING!r})")["data"]["text/plain"]
    kernel, page = json.loads(ast.literal_eval(answer)), lab.page.evaluate(PAGE)
    found = []
    for name, (kind, state, drawn) in kernel.items():
        called = f"{kind} “{state.get('description') or state.get('question') or name}”"
        if name not in page:
            found.append(f"{called} is not on the page")
            continue
        half = page[name]
        stale = [t for t, value in state.items() if t in half["told"] and half["told"][t] != value]
        if stale:
            found.append(f"{called}: the page has another {', '.join(stale)}")
        if any(shown != half["anew"] for shown in half["shown"]):
            found.append(f"{called} shows {half['shown']}, drawn anew {half['anew']}")
        found += [f"{called}: {what}" for plot in half["plots"] for what in _undrawn(drawn, plot)]
    return found


def _undrawn(figure: Any, plot: Any) -> list[str]:
    """What of a figure a plot does not show."""
    (traces, notes), (drawn, written) = figure, plot
    if len(traces) != len(drawn):
        return [f"{len(drawn)} traces of {len(traces)} are drawn"]
    found = [
        f"trace {i} is not drawn"
        for i, (a, b) in enumerate(zip(traces, drawn, strict=True))
        if not _alike(a, b)
    ]
    return found + ([] if notes == written else [f"says {written}, not {notes}"])


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return None not in (one, other) and math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return bool(one == other)

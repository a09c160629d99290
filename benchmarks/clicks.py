"""What one gesture costs in each panel: milliseconds from a key or a click to the changed panel, in Chromium.

    python benchmarks/clicks.py [--times 7] [--only AtomBrowser ConceptMap]

Opens every panel that `tests/widgets/panel/test_grammar.py` makes (bundled models, one thread) in a real
JupyterLab, repeats one gesture in it and prints one table: median, slowest, and the limit. The time runs from
the gesture's event on the page to the first frame after the last change of text, picture or bar that comes
within half a second of the one before: kernel, both ways and drawing included.

Then the map is clicked by mouse, point after point, and the key of each panel is pressed as fast as it answers
for three seconds: answers a second.

Other work on the machine counts as well: figures of a loaded machine are upper bounds, and the load is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from concept_map import click, on_screen
from panels import load

ROOT = Path(__file__).parents[1]
MAKE = f"""\
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.scripts import script
MAKERS = script(Path({str(ROOT)!r}) / "tests/widgets/panel/test_grammar.py").MAKERS
"""
KEYS = {
    "AtomBrowser": "ArrowRight",
    "ChangesPanel": "ArrowRight",
    "CircuitPanel": "ArrowRight",
    "ConceptMap": "ArrowRight",
    "DepthTrajectory": "]",
    "GenerationLens": "ArrowLeft",
    "InputLens": "ArrowRight",
    "PatchingPanel": "ArrowRight",
    "PursuitStepper": "ArrowLeft",
    "ReportCard": "ArrowDown",
    "SteeringPanel": "ArrowRight",
    "SuperpositionToy": "ArrowRight",
    "TemporalPanel": "ArrowRight",
}
"""The gesture of each panel: a key that it answers. AtomQuiz, AtomComparison, CorpusPanel, LensPanel, WorkList
and TrainingMonitor have none whose answer is always seen; that of InputSteering is SteeringPanel's."""

MAP_MS, CLICK_MS = 100, 800
"""Limits: a step on the map, any other gesture."""

BACK = {"ArrowRight": "ArrowLeft", "ArrowLeft": "ArrowRight", "ArrowDown": "ArrowUp", "]": "["}
"""The key that takes each of them back: the two in turn never come to an end."""

# Whether something is drawn within two seconds: the first change after this, on a frame of its own.
FIRST = """() => new Promise((resolve) => {
  const watcher = new MutationObserver(() => {
    watcher.disconnect();
    requestAnimationFrame(() => resolve(true));
  });
  watcher.observe(document.querySelector(".sae-nb-panel"),
    { subtree: true, childList: true, characterData: true, attributes: true });
  setTimeout(() => { watcher.disconnect(); resolve(false); }, 2000);
})"""

# The gesture's event starts the clock; a change that nothing follows for half a second stops it.
WATCH = """event => new Promise((resolve) => {
  const panel = document.querySelector(".sae-nb-panel");
  let began = 0, last = 0, timer = 0;
  const done = () => { watcher.disconnect(); resolve(last ? last - began : -1); };
  const changed = () => {
    if (!began) return;
    requestAnimationFrame(() => { last = performance.now(); });
    clearTimeout(timer);
    timer = setTimeout(done, 500);
  };
  const watcher = new MutationObserver(changed);
  addEventListener(event, () => { began = performance.now(); }, { capture: true, once: true });
  watcher.observe(panel, { subtree: true, childList: true, characterData: true, attributes: true,
    attributeFilter: ["style", "class", "d", "width", "x", "aria-selected", "transform"] });
  setTimeout(done, 10000);
})"""


def gesture_ms(page: Any, event: str, gesture: Callable[[], None]) -> float:
    """Milliseconds from a gesture to the last change that it causes; -1 for none in ten seconds."""
    page.evaluate(f"event => {{ window.__took = ({WATCH})(event); }}", event)
    gesture()
    return float(page.evaluate("() => window.__took"))


def key_ms(stage: Any, name: str, times: int) -> list[float]:
    """Milliseconds of a panel's key, so many times; the first, which warms up, is left out."""
    panel = stage.page.locator(".sae-nb-panel").first
    panel.evaluate("node => node.focus()")
    took = []
    keys = (KEYS[name], BACK[KEYS[name]])
    for turn in range(times + 1):
        press = partial(stage.page.keyboard.press, keys[turn % 2])
        took.append(gesture_ms(stage.page, "keydown", press))
        panel.evaluate("node => node.focus()")
    return took[1:]


def mouse_ms(stage: Any, times: int) -> list[float]:
    """Milliseconds of a click on the map, so many times on atoms that lie apart; the first is left out."""
    canvas = stage.page.locator(".sae-nb-mapstage").first
    canvas.scroll_into_view_if_needed()
    places = on_screen(np.array(stage.ask("shown.record.xy.tolist()")), canvas.bounding_box())
    apart = [int(places[:, 0].argmin())]
    while len(apart) < 8:  # each far from those before it: two clicks never reach the same atom
        distance = np.linalg.norm(places[:, None] - places[apart], axis=2).min(axis=1)
        apart.append(int(distance.argmax()))
    took = []
    for turn in range(times + 1):
        x, y = places[apart[turn % len(apart)]].tolist()
        stage.page.mouse.move(x, y)
        took.append(gesture_ms(stage.page, "pointerup", partial(click, stage.page)))
    return took[1:]


def answers_a_second(stage: Any, name: str, seconds: float = 3.0) -> float:
    """Changes that a key brings in a second, pressed again as soon as the one before was drawn."""
    panel = stage.page.locator(".sae-nb-panel").first
    panel.evaluate("node => node.focus()")
    began, n, keys = time.monotonic(), 0, (KEYS[name], BACK[KEYS[name]])
    while time.monotonic() - began < seconds:
        stage.page.evaluate(f"() => {{ window.__drawn = ({FIRST})(); }}")
        stage.page.keyboard.press(keys[n % 2])
        if not stage.page.evaluate("() => window.__drawn"):
            break
        n += 1
    return n / (time.monotonic() - began)


def opened(lab: Any, stage_module: Any) -> Any:
    """Run the shared cells in a fresh kernel; return the stage."""
    n_shared = len(stage_module.SHARED) + 1
    stage = stage_module.Stage(lab, {"": range(n_shared)})
    stage._run("")
    stage.last = n_shared
    return stage


def show(stage: Any, stage_module: Any, name: str) -> None:
    """Make a panel and show it in the last cell."""
    stage.run(f"shown = MAKERS[{name!r}](); shown.wait(120)")
    stage.page.evaluate(stage_module.RUN_CELL, stage.last)
    stage.page.locator(".sae-nb-panel").first.wait_for()
    stage.lab.settle(2500)


def hide(stage: Any, stage_module: Any) -> None:
    """Close what is shown and clear its output."""
    stage.run("shown.close()")
    stage.page.evaluate(stage_module.CLEAR_CELL, stage.last)


def row(name: str, gesture: str, took: list[float], limit: int, rate: float | None = None) -> None:
    """Print one line of the table."""
    lost = f"  ({took.count(-1)} without a change)" if -1 in took else ""
    heard = [one for one in took if one >= 0] or [float("nan")]
    often = "" if rate is None else f"{rate:.1f}"
    print(
        f"{name:<17}{gesture:<12}{statistics.median(heard):>10.0f}{max(heard):>9.0f}{limit:>7}{often:>10}{lost}",
        flush=True,
    )


def report(stage: Any, stage_module: Any, names: list[str], times: int) -> None:
    """Print the table."""
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(
        f"{'panel':<17}{'gesture':<12}{'median ms':>10}{'slowest':>9}{'limit':>7}{'a second':>10}"
    )
    for name in names:
        show(stage, stage_module, name)
        limit = MAP_MS if name == "ConceptMap" else CLICK_MS
        row(name, KEYS[name], key_ms(stage, name, times), limit, answers_a_second(stage, name))
        if name == "ConceptMap":
            row(name, "mouse", mouse_ms(stage, times), MAP_MS)
        hide(stage, stage_module)
    print(f"load average after: {os.getloadavg()[0]:.1f}; figures under load are upper bounds")


def main() -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=7, help="how often to repeat each gesture")
    parser.add_argument("--only", nargs="+", choices=KEYS, default=list(KEYS), help="these panels")
    asked = parser.parse_args()
    lab, stage_module = load("lab"), load("stage")
    if lab.chromium() is None:
        print("No Chromium here: install one or set SAE_NB_CHROMIUM.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clicks.ipynb"
        sources = [*stage_module.SHARED, MAKE, "display(shown)"]
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
        with lab.Lab(path, out=Path(folder), timeout_s=240) as running:
            stage = opened(running, stage_module)
            report(stage, stage_module, asked.only, asked.times)
            print(
                f"console errors, failed requests: {len(running.console) + len(running.failed_requests)}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

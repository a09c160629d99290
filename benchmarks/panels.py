"""What panels cost in a browser: bytes sent, seconds to open, seconds to answer.

    python benchmarks/panels.py [--gestures 20]

Runs a real JupyterLab in Chromium (see tests/browser/lab.py) on the bundled vision model and prints its
tables. Bytes are what the kernel sends to the page by the Jupyter protocol, counted at the web socket; plotly's
script, which is sent once per kernel, is counted apart. A gesture's time runs from its last event on the page
(key down, button up) to the panel's changed sentence there: kernel, both ways and drawing included.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np

ROOT = Path(__file__).parents[1]
BROWSER = ROOT / "tests" / "browser"
READY = """\
sevens = pictures[vit(pictures).argmax(dim=-1) == 7][:4]
four = vit_examples.match("digit 4").atom
PANELS = {
    "ConceptMap": lambda: sw.ConceptMap(vit_sae, examples=vit_examples),
    "AtomBrowser": lambda: sw.AtomBrowser(vit_sae, vit_examples.acts, catalogue=vit_catalogue),
    "SteeringPanel": lambda: sw.SteeringPanel(
        vit, vit_sae.hook_point, vit_sae, sevens, vit_catalogue, atom=four),
    "InputLens": lambda: sw.InputLens(vit, vit_sae, examples=vit_examples),
    "dashboard": lambda: sw.dashboard(
        vit, vit_sae, inputs=sevens, examples=vit_examples, atom=four),
}
"""
ACTIONS = {
    "ConceptMap": "shown.atom = 17",
    "AtomBrowser": "shown.atom = 17",
    "SteeringPanel": "shown.strength = 1.37",
    "InputLens": "shown.atom = 17",
    "dashboard": "shown.atom = 17",
}
# Seconds that no median of these gestures may exceed.
GESTURES = {"slider": 0.20, "stroke": 0.13, "row": 0.10, "map click": 0.25}
BUDGET_FIRST_PAINT, BUDGET_INTERACTION, BUDGET_OPEN = 6e6, 200e3, 5.0


AFTER = """event => new Promise(resolve => {
  const answer = document.querySelector('.sae-nb-answer');
  let began = -1;
  document.addEventListener(event, () => { began = performance.now(); }, {capture: true, once: true});
  const watcher = new MutationObserver(() => {
    if (began < 0) return;
    watcher.disconnect();
    resolve(performance.now() - began);
  });
  watcher.observe(answer, {childList: true, characterData: true, subtree: true});
  setTimeout(() => resolve(-1), 10000);
})"""


def on_screen(xy: np.ndarray, box: dict[str, float]) -> np.ndarray:
    """Where a map that nobody has moved draws its points: fitted, a margin of 22 pixels, a border of 1.

    It is stretched to fill its canvas, by up to 1.6 either way.
    """
    size = np.array([box["width"], box["height"]])
    across, up = (size - 46) / np.ptp(xy, axis=0)
    tall = float(np.clip(up / across, 1 / 1.6, 1.6))
    scale = float(min(across, up / tall))
    middle = (xy.max(axis=0) + xy.min(axis=0)) / 2
    return (xy - middle) * [scale, -scale * tall] + size / 2 + [box["x"], box["y"]]


def click(page: Any) -> None:
    """Press the mouse button where the mouse is, and let it go."""
    page.mouse.down()
    page.mouse.up()


def until_answer(page: Any, event: str, gesture: Callable[[], Any]) -> float:
    """Milliseconds from the gesture's event to the panel's changed sentence; -1 after 10 s without."""
    page.evaluate(f"event => {{ window.__w = ({AFTER})(event); }}", event)
    gesture()
    return float(page.evaluate("() => window.__w"))


def load(name: str) -> ModuleType:
    """Return a module of the browser tests."""
    spec = importlib.util.spec_from_file_location(name, BROWSER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Counter:
    """Bytes that came to the page by web sockets."""

    def __init__(self) -> None:
        self.total = 0

    def watch(self, page: Any) -> None:
        """Count on every socket of the page from now on."""
        page.on("websocket", lambda socket: socket.on("framereceived", self._take))

    def _take(self, payload: Any) -> None:
        self.total += len(payload if isinstance(payload, bytes) else payload.encode())

    def since(self, before: int) -> int:
        """Bytes since the total was `before`."""
        return self.total - before


def write_notebook(path: Path, shared: tuple[str, ...]) -> None:
    """Write a notebook with the shared cells and one to show panels in."""
    # Not as the cell's last expression: IPython keeps what that gives in `Out` for good.
    sources = [*shared, READY, "display(shown)"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


def show(stage: Any, name: str) -> float:
    """Make a panel and show it in the last cell; return the seconds until it is painted."""
    began = time.perf_counter()
    stage.run(f"shown = PANELS[{name!r}]()")
    stage.page.evaluate(stage.run_cell, stage.last)
    panel = stage.page.locator(".sae-nb-panel")
    panel.first.wait_for()
    if name != "InputLens":
        panel.first.locator(":is(.main-svg, canvas, img):visible").first.wait_for()
    seconds = time.perf_counter() - began
    stage.lab.settle(1500)
    return seconds


def hide(stage: Any) -> None:
    """Close what is shown and clear its output."""
    stage.run("shown.close()")
    stage.page.evaluate(stage.clear_cell, stage.last)


def measure(stage: Any, counter: Counter, name: str) -> dict[str, float]:
    """First paint, one interaction, and a page without complaint."""
    before = counter.total
    seconds = show(stage, name)
    paint = counter.since(before)
    before = counter.total
    stage.run(ACTIONS[name])
    stage.lab.settle(1500)
    interaction = counter.since(before)
    hide(stage)
    return {"open": seconds, "paint": paint, "interaction": interaction}


def slider(stage: Any, times: int) -> list[float]:
    """One key on the strength slider of a SteeringPanel: the network runs again."""
    show(stage, "SteeringPanel")
    handle = stage.page.locator(".sae-nb-panel").get_by_role("slider").first
    handle.focus()
    return answers(stage, "keydown", [lambda: handle.press("ArrowRight")] * times)


def stroke(stage: Any, times: int) -> list[float]:
    """One short line drawn on an InputLens's pad: its picture is read again."""
    show(stage, "InputLens")
    pad = stage.page.locator(".sae-nb-pad canvas")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    clear = stage.page.locator(".sae-nb-panel").get_by_role("button", name="clear").first
    rng = random.Random(0)

    def drawn() -> None:
        stage.page.mouse.down()
        stage.page.mouse.move(*somewhere(), steps=3)
        stage.page.mouse.up()

    def somewhere() -> tuple[float, float]:
        x, y = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def emptied() -> None:
        clear.click()
        stage.lab.settle(1000)
        stage.page.mouse.move(*somewhere())

    # Parts of a stroke are read while it is drawn, so the time runs from its first point.
    return answers(stage, "pointerdown", [drawn] * times, before=emptied)


def row(stage: Any, times: int) -> list[float]:
    """A nearest atom chosen in an AtomBrowser's list."""
    show(stage, "AtomBrowser")
    nearest = stage.page.locator(".sae-nb-panel .sae-nb-component", has_text="most similar atoms")
    rows = nearest.locator("[role=option]")

    def chosen() -> None:
        rows.nth(3).hover()
        click(stage.page)

    return answers(stage, "pointerup", [chosen] * times)


def map_click(stage: Any, times: int) -> list[float]:
    """A point of a ConceptMap clicked."""
    show(stage, "ConceptMap")
    canvas = stage.page.locator(".sae-nb-mapstage")
    xy = np.array(stage.ask("shown.record.xy.tolist()"))
    apart = np.sort(np.linalg.norm(xy[:, None] - xy, axis=2), axis=1)[:, 1]
    alone = np.argsort(-apart)[
        : 2 * times
    ].tolist()  # else the nearest may be the one that is chosen
    random.Random(0).shuffle(alone)

    def over_a_point() -> None:
        canvas.scroll_into_view_if_needed()
        places = on_screen(xy, canvas.bounding_box())
        stage.page.mouse.move(*places[alone.pop()])
        stage.lab.settle(150)

    return answers(stage, "pointerup", [lambda: click(stage.page)] * times, before=over_a_point)


def answers(
    stage: Any,
    event: str,
    gestures: Sequence[Callable[[], None]],
    before: Callable[[], None] = lambda: None,
) -> list[float]:
    """Seconds from each gesture to its answer, with a second's rest between them; then close the panel."""
    seconds = []
    for gesture in gestures:
        before()
        took = until_answer(stage.page, event, gesture)
        if took < 0:
            raise RuntimeError("A gesture got no answer within ten seconds.")
        seconds.append(took / 1e3)
        stage.lab.settle(1000)
    hide(stage)
    return seconds


def main() -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gestures", type=int, default=20, help="how often to repeat each gesture")
    parser.add_argument("--first", choices=ACTIONS, default="AtomBrowser", help="opened first")
    parser.add_argument("--first-only", action="store_true", help="measure nothing but that")
    asked = parser.parse_args()
    lab, stage_module = load("lab"), load("stage")
    if lab.chromium() is None:
        print("No Chromium here: install one or set SAE_NB_CHROMIUM.")
        return 1
    counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panels.ipynb"
        write_notebook(path, (*stage_module.SHARED, stage_module.AS_LOADED))
        with counted_lab(lab.Lab, path, Path(folder), counter) as opened:
            stage = begin(opened, stage_module, counter, asked.first)
            return 0 if asked.first_only else report(opened, stage, counter, asked.gestures)


def counted_lab(lab: type, path: Path, out: Path, counter: Counter) -> Any:
    """Return a Lab whose sockets are counted from the first one on."""

    class Counted(lab):  # type: ignore[misc, valid-type]
        def _start_browser(self) -> None:
            super()._start_browser()
            counter.watch(self.page)

    return Counted(path, out=out, timeout_s=120)


def begin(opened: Any, stage_module: ModuleType, counter: Counter, first: str) -> Any:
    """Open one panel in a fresh kernel, which brings plotly's script, and print what that took."""
    n_shared = len(stage_module.SHARED) + 2
    stage = stage_module.Stage(opened, {"": range(n_shared)})
    stage.run_cell, stage.clear_cell, stage.last = (
        stage_module.RUN_CELL,
        stage_module.CLEAR_CELL,
        n_shared,
    )
    stage._run("")
    before = counter.total
    seconds = show(stage, first)
    size = counter.since(before) / 1e6
    print(f"first of a kernel, script included: {first}, {seconds:.2f} s, {size:.2f} MB")
    hide(stage)
    return stage


def report(opened: Any, stage: Any, counter: Counter, gestures: int) -> int:
    """Run everything else and print it beside its budget."""
    print(
        "\n## panels\n\n| panel | opens in s | first paint kB | interaction kB |\n| --- | --- | --- | --- |"
    )
    for name in ACTIONS:
        row = measure(stage, counter, name)
        print(
            f"| {name} | {row['open']:.2f} | {row['paint'] / 1e3:.0f} | {row['interaction'] / 1e3:.0f} |"
        )
    print(f"| budget of the dashboard | {BUDGET_OPEN:g} | {BUDGET_FIRST_PAINT / 1e3:.0f} | "
          f"{BUDGET_INTERACTION / 1e3:.0f} |")  # fmt: skip
    print("\n## gestures\n\n| gesture | median, s | slowest | at most |\n| --- | --- | --- | --- |")
    for (name, at_most), made in zip(
        GESTURES.items(), (slider, stroke, row, map_click), strict=True
    ):
        seconds = made(stage, gestures)
        print(
            f"| {name} | {statistics.median(seconds):.3f} | {max(seconds):.3f} of {gestures} | {at_most:.2f} |"
        )
    print(f"console errors, failed requests: {len(opened.console) + len(opened.failed_requests)}")
    for line in opened.console[:5]:
        print(f"  {line[:160]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

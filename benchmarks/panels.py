"""What panels cost in a browser: bytes sent, seconds to open, memory after opening and closing often.

    python benchmarks/panels.py [--times 50]
    python benchmarks/panels.py --sound 3    # panels of sounds alone, opened three times

Runs a real JupyterLab in Chromium (see tests/browser/lab.py) on the bundled vision model, and on that of
sounds, and prints one table. Bytes are what the kernel sends to the page by the Jupyter protocol, counted at
the web socket; plotly's script, which is sent once per kernel, is counted apart. A gesture's time runs from
its last event on the page (key down, button up) to the panel's changed sentence there: kernel, both ways and
drawing included.
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
from concept_map import click, on_screen, until_answer

ROOT = Path(__file__).parents[1]
BROWSER = ROOT / "tests" / "browser"
READY = """\
import gc, resource
def held():
    gc.collect()
    import ipywidgets, psutil
    return [psutil.Process().memory_info().rss, len(ipywidgets.widgets.widget._instances)]
sevens = pictures[vit(pictures).argmax(dim=-1) == 7][:4]
four = vit_examples.match("digit 4").atom
audio, audio_sae = sn.load_model("tiny-audio"), sn.load_sae("tiny-audio/resid_post.4")
audio_examples = sn.load_examples("tiny-audio/resid_post.4")
audio_catalogue = audio_examples.catalogue(audio_sae)
PANELS = {
    "AtomBrowser, sound": lambda: sw.AtomBrowser(
        audio_sae, audio_examples.acts, catalogue=audio_catalogue),
    "InputLens, sound": lambda: sw.InputLens(audio, audio_sae, examples=audio_examples),
    "ConceptMap": lambda: sw.ConceptMap(vit_sae, examples=vit_examples),
    "AtomBrowser": lambda: sw.AtomBrowser(vit_sae, vit_examples.acts, catalogue=vit_catalogue),
    "SteeringPanel": lambda: sw.SteeringPanel(
        vit, vit_sae.hook_point, vit_sae, sevens, vit_catalogue, atom=four),
    "InputLens": lambda: sw.InputLens(vit, vit_sae, examples=vit_examples),
    "dashboard": lambda: sw.dashboard(
        vit, vit_sae, inputs=sevens, examples=vit_examples, atom=four),
    "plain": lambda: Plain(),
}
class Plain:
    # No panel of ours: 15 dropdowns, sliders, texts and buttons of ipywidgets, closed as ours are.
    def __init__(self):
        import ipywidgets as ipw
        self.parts = [
            made for i in range(15) for made in (
                ipw.Dropdown(options=[f"choice {j}" for j in range(5)]), ipw.FloatSlider(),
                ipw.HTML("some words"), ipw.Button(description="press"))]
        self.box = ipw.VBox(self.parts)
        self.box.add_class("plain-widgets")
    def _ipython_display_(self):
        display(self.box)
    def close(self):
        from sae_nb_widgets.panel._closing import close_whole
        for part in (*self.parts, self.box):
            close_whole(part)
"""
ACTIONS = {
    "ConceptMap": "shown.atom = 17",
    "AtomBrowser": "shown.atom = 17",
    "SteeringPanel": "shown.strength = 1.37",
    "InputLens": "shown.atom = 17",
    "dashboard": "shown.atom = 17",
}
OF_SOUNDS = {"AtomBrowser, sound": "shown.atom = 17", "InputLens, sound": "shown.atom = 17"}
# Seconds that no median of these gestures may exceed.
GESTURES = {"slider": 0.20, "stroke": 0.13, "row": 0.10, "map click": 0.25}
BUDGET_FIRST_PAINT, BUDGET_INTERACTION, BUDGET_OPEN = 6e6, 200e3, 5.0
BUDGET_SOUND = 1.0  # AtomBrowser of sounds, seconds


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
    panel = stage.page.locator(".plain-widgets" if name == "plain" else ".sae-nb-panel")
    panel.first.wait_for()
    if not name.startswith(("InputLens", "plain")):
        panel.first.locator(":is(.main-svg, canvas, img):visible").first.wait_for()
    seconds = time.perf_counter() - began
    stage.lab.settle(1500)
    return seconds


def hide(stage: Any) -> None:
    """Close what is shown and clear its output."""
    stage.run("shown.close()")
    stage.page.evaluate(stage.clear_cell, stage.last)


def heap(stage: Any) -> float:
    """Bytes of script objects on the page after a collection."""
    session = stage.page.context.new_cdp_session(stage.page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return float(used)


def measure(stage: Any, counter: Counter, name: str) -> dict[str, float]:
    """First paint, one interaction, and a page without complaint."""
    before = counter.total
    seconds = show(stage, name)
    paint = counter.since(before)
    before = counter.total
    stage.run((ACTIONS | OF_SOUNDS)[name])
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
    """A point of a ConceptMap clicked. Of one with 16 384 points: concept_map.py."""
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


def growth(stage: Any, times: int, name: str) -> dict[str, float]:
    """Open and close many times; return what kernel and page hold more than after three, per time."""
    for turn in range(times):
        show(stage, name)
        if turn == 0:
            shown = stage.ask("held()")[1]
        hide(stage)
        if turn == 0:
            shown -= stage.ask("held()")[1]
        if turn == 2:
            kernel, page = stage.ask("held()"), heap(stage)
    after, page_after = stage.ask("held()"), heap(stage)
    each = times - 3
    return {
        "widgets": shown,
        "widgets left": after[1] - kernel[1],
        "kernel kB": (after[0] - kernel[0]) / each / 1e3,
        "page kB": (page_after - page) / each / 1e3,
        "page kB a widget": (page_after - page) / each / shown / 1e3,
    }


def main() -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=50, help="how often to open and close")
    parser.add_argument("--gestures", type=int, default=20, help="how often to repeat each gesture")
    parser.add_argument("--first", choices=ACTIONS, default="AtomBrowser", help="opened first")
    parser.add_argument("--first-only", action="store_true", help="measure nothing but that")
    parser.add_argument(
        "--sound", type=int, default=0, help="panels of sounds alone, so many times"
    )
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
            if asked.sound:
                heard(stage, counter, asked.sound)
                return 0
            return (
                0
                if asked.first_only
                else report(opened, stage, counter, asked.times, asked.gestures)
            )


def heard(stage: Any, counter: Counter, times: int) -> None:
    """Print what panels of sounds take to open, as often as asked."""
    for name in OF_SOUNDS:
        rows = [measure(stage, counter, name) for _ in range(times)]
        seconds = ", ".join(f"{row['open']:.2f}" for row in rows)
        goal = f" (at most {BUDGET_SOUND:g})" if name.startswith("AtomBrowser") else ""
        print(
            f"{name}: opens in {seconds} s{goal}, first paint {rows[0]['paint'] / 1e3:.0f} kB, "
            f"interaction {rows[0]['interaction'] / 1e3:.0f} kB"
        )


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


def report(opened: Any, stage: Any, counter: Counter, times: int, gestures: int) -> int:
    """Run everything else and print it beside its budget."""
    print(f"{'panel':<15}{'opens in s':>12}{'first paint kB':>16}{'interaction kB':>16}")
    for name in ACTIONS:
        row = measure(stage, counter, name)
        print(
            f"{name:<15}{row['open']:>12.2f}{row['paint'] / 1e3:>16.0f}"
            f"{row['interaction'] / 1e3:>16.0f}"
        )
    heard(stage, counter, 1)
    print(f"budget of the dashboard: {BUDGET_OPEN:g} s, {BUDGET_FIRST_PAINT / 1e3:.0f} kB, "
          f"{BUDGET_INTERACTION / 1e3:.0f} kB")  # fmt: skip
    for (name, at_most), made in zip(
        GESTURES.items(), (slider, stroke, row, map_click), strict=True
    ):
        seconds = made(stage, gestures)
        print(
            f"{name}: median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} of {gestures}"
            f" (at most {at_most:.2f})"
        )
    # JupyterLab keeps every comm that ever was connected to its kernel's signals, and with it what was
    # drawn: the control says how much of the growth any widgets have.
    for name in ("SteeringPanel", "plain"):
        grown = growth(stage, times, name)
        words = ", ".join(f"{what} {value:+.1f}" for what, value in grown.items())
        print(f"{name} opened and closed {times} times (per time, after the third): {words}")
    print(f"console errors, failed requests: {len(opened.console) + len(opened.failed_requests)}")
    for line in opened.console[:5]:
        print(f"  {line[:160]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

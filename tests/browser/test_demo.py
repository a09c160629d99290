"""The demo in a JupyterLab set up as on Binder: it runs by itself, and every promise is clickable."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "shots" / "demo"
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Record = Callable[[str, object], None]

# Class (they are in order) with the longest bar of the trace whose name begins so.
TOP = """([plot, name]) => {
  const trace = plot.data.find(t => (t.name || '').startsWith(name));
  const shares = Array.from(trace.x);
  return String(shares.indexOf(Math.max(...shares)));
}"""


@pytest.fixture(scope="module")
def demo(lab_module: ModuleType) -> Iterator[Any]:
    """The demo as it looks after opening it and touching nothing; pictures go to build/shots."""
    path = Path(__file__).with_name("self_running.py")
    spec = importlib.util.spec_from_file_location("self_running", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["self_running"] = module
    spec.loader.exec_module(module)
    with module.SelfRunningLab(ROOT / "notebooks" / "demo.ipynb", out=SHOTS, timeout_s=240) as lab:
        drawn = ".sae-nb-panel canvas"
        lab.first_panel = lab.until(
            lambda: lab.page.locator(drawn).count() > 0, "the first panel to be drawn"
        )
        lab.finished = lab.until(lab.all_ran, "the demo to run by itself")
        _, plot = _steering(lab)
        _wait_for(lab, plot, "after", "4")
        lab.changed = lab.until(lambda: True, "nothing more")
        lab.first_class = lab.page.evaluate(TOP, [plot, "before"])
        lab.settle(2000)
        yield lab


def _panel(lab: Any, title: str, which: int = 0) -> Any:
    panel = lab.page.locator(".sae-nb-panel").filter(has_text=title).nth(which)
    panel.scroll_into_view_if_needed()
    return panel


def _steering(lab: Any) -> tuple[Any, Any]:
    panel = _panel(lab, "What happens if this were stronger?")
    return panel, panel.locator(".js-plotly-plot").first.element_handle()


def _wait_for(lab: Any, plot: Any, name: str, expected: str) -> None:
    lab.page.wait_for_function(f"([plot, name, wanted]) => ({TOP})([plot, name]) === wanted",
                               arg=[plot, name, expected])  # fmt: skip


def test_it_runs_by_itself_without_complaint(demo: Any, record_property: Record) -> None:
    """Nobody pressed anything: every cell ran, every panel is there, nothing is broken."""
    record_property("seconds to the first panel", round(demo.first_panel, 1))
    record_property("seconds to the last cell", round(demo.finished, 1))
    record_property("seconds from opening to a changed class", round(demo.changed, 1))
    assert demo.first_class == "7"
    demo.shots_of_outputs()
    assert demo.problems() == []
    assert demo.page.locator(".sae-nb-panel").count() == 5


def test_the_class_changes_with_the_slider(demo: Any) -> None:
    """What is drawn is read as it is with the slider at 0, and as a 4 with the atom turned up."""
    panel, plot = _steering(demo)
    drawn = demo.page.evaluate(TOP, [plot, "before"])
    assert drawn != "4"
    field = panel.get_by_role("slider").first
    field.press("Home")
    for _ in range(80):
        if demo.page.evaluate(TOP, [plot, "after"]) == drawn:
            break
        field.press("PageUp")  # five steps at once
        demo.page.wait_for_timeout(150)
    _wait_for(demo, plot, "after", drawn)
    field.press("End")
    _wait_for(demo, plot, "after", "4")
    demo.settle()
    demo.shot("steered", panel)
    assert demo.problems() == []


def test_what_is_drawn_with_the_mouse_is_read_and_steered(demo: Any) -> None:
    """A 1 drawn on the canvas: the lens answers 1, and the steering panel follows."""
    lens = _panel(demo, "Which atoms does this use?")
    lens.get_by_role("button", name="clear").first.click()
    pad = lens.locator("canvas").first
    box = pad.bounding_box()
    mouse = demo.page.mouse
    x = box["x"] + 0.5 * box["width"]
    mouse.move(x, box["y"] + 0.2 * box["height"])
    mouse.down()
    for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        mouse.move(x, box["y"] + share * box["height"])
    mouse.up()
    panel, plot = _steering(demo)
    _wait_for(demo, plot, "before", "1")
    demo.settle()
    demo.shot("drawn", lens)
    demo.shot("drawn_steered", panel)
    assert demo.problems() == []


def test_a_typed_sentence_goes_on_differently(demo: Any) -> None:
    """The new beginning is read by the lens and continued twice, differently."""
    words = _panel(demo, "Which atoms does this use?", 1)
    field = words.locator("input[type=text], textarea").first
    field.fill("One day Tom went to the river with a dog. The dog looked at the boat.")
    field.press("Enter")
    telling = _panel(demo, "What happens if this were stronger?", 1)
    demo.settle()
    telling.get_by_role("button", name="continue the text").click()
    telling.get_by_text("river").first.wait_for()
    demo.settle(2000)
    demo.shot("told", telling)
    demo.shot("read", words)
    assert demo.problems() == []

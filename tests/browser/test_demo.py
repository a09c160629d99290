"""The demo in a JupyterLab set up as on Binder: it runs by itself, and every promise is clickable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sae_nb_widgets as sw

from tests.scripts import script

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "shots" / "demo"
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]
Record = Callable[[str, object], None]
N_PANELS = 4

# Class (they are in order) with the longest bar of the trace whose name begins so.
TOP = """([plot, name]) => {
  const trace = plot.data.find(t => (t.name || '').startsWith(name));
  const shares = Array.from(trace.x);
  return String(shares.indexOf(Math.max(...shares)));
}"""


# The newest branch, once it is written: with the atom, without, along three random directions.
TWO_ENDS = """
lens = writing.wait()
lens.wait(300)
rows = lens.generation.branches[-1].rows
assert lens.generation.new_text(len(lens.generation.branches) - 1)
assert len(rows) == 5 and rows[0].ids != rows[1].ids
"""

# How far down the notebook is scrolled.
SCROLLED = """() => Math.max(...[...document.querySelectorAll('.jp-Notebook, .jp-Notebook *')]
  .map(node => node.scrollTop))"""


@pytest.fixture(scope="module")
def demo(lab_module: ModuleType) -> Iterator[Any]:
    """The demo as it looks after opening it and touching nothing; images go to build/shots."""
    made = script(Path(__file__).with_name("self_running.py"), "self_running")
    with made.SelfRunningLab(ROOT / "notebooks" / "demo.ipynb", out=SHOTS, timeout_s=240) as lab:
        lab.until(lab.all_ran, "every cell to have run")
        panels = lab.page.locator(".sae-nb-panel")
        lab.until(lambda: panels.count() == N_PANELS, "every panel to be there")
        lab.scrolled = lab.page.evaluate(SCROLLED)
        _, plot = _steering(lab)
        _wait_for(lab, plot, "after", "4")
        lab.first_class = lab.page.evaluate(TOP, [plot, "before"])
        lab.page.set_viewport_size({"width": 1280, "height": 1600})
        lab.settle(2000)
        yield lab


def _panel(lab: Any, title: str, which: int = 0) -> Any:
    panel = lab.page.locator(".sae-nb-panel").filter(has_text=title).nth(which)
    panel.scroll_into_view_if_needed()
    return panel


def _steering(lab: Any) -> tuple[Any, Any]:
    panel = _panel(lab, sw.SteeringPanel.question)
    return panel, panel.locator(".js-plotly-plot").first.element_handle()


def _wait_for(lab: Any, plot: Any, name: str, expected: str) -> None:
    lab.page.wait_for_function(f"([plot, name, wanted]) => ({TOP})([plot, name]) === wanted",
                               arg=[plot, name, expected])  # fmt: skip


def test_it_runs_by_itself_without_complaint(demo: Any) -> None:
    """Nobody pressed anything: every cell ran, every panel is there, the notebook was not scrolled to its end."""
    assert demo.first_class == "9"
    assert demo.scrolled < 10
    demo.shots_of_outputs()
    assert demo.problems() == []
    assert demo.page.locator(".sae-nb-panel").count() == N_PANELS


def test_the_class_changes_with_the_slider(demo: Any) -> None:
    """What is drawn is read as it is with the slider at 0, and as a 4 with the atom turned up."""
    panel, plot = _steering(demo)
    drawn = demo.page.evaluate(TOP, [plot, "before"])
    assert drawn != "4"
    field = panel.get_by_role("slider").first
    field.press("0")  # the strength of no change
    _wait_for(demo, plot, "after", drawn)
    field.press("End")
    _wait_for(demo, plot, "after", "4")
    demo.settle()
    demo.shot("steered", panel)
    assert demo.problems() == []


def test_what_is_drawn_with_the_mouse_is_read_and_steered(demo: Any) -> None:
    """A 1 drawn on the canvas: the lens answers 1, and the steering panel follows."""
    lens = _panel(demo, sw.InputLens.question)
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
    """The new beginning is read, and goes on with the atom and without it."""
    panel = _panel(demo, sw.GenerationLens.question)
    field = panel.get_by_role("textbox", name="prompt")
    field.fill("One day Tom went to the river with a dog. The dog looked at the boat.")
    field.press("Enter")
    demo.heard()
    panel.get_by_text("river").first.wait_for()
    panel.get_by_text("untouched").first.wait_for()
    panel.get_by_role("button", name="Write on").click()
    demo.heard()
    demo.asked(TWO_ENDS)
    demo.settle(2000)
    demo.shot("told", panel)
    assert demo.problems() == []

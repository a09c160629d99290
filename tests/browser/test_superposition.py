"""Notebook 01 as a student opens it: the slider moves the arrows, exercises speak, blanks wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def lesson(lab_module: ModuleType) -> Iterator[Any]:
    """The student's notebook, executed with its blanks open; pictures go to build/shots."""
    notebook = ROOT / "notebooks" / "01_superposition.ipynb"
    out = ROOT / "build" / "shots" / "superposition"
    with lab_module.Lab(notebook, out=out, timeout_s=600) as lab:
        lab.run_all()
        lab.shots_of_outputs()
        yield lab


def _panel(lab: Any) -> Any:
    panel = lab.page.locator(".sae-nb-panel").filter(has_text="How do many features").first
    panel.scroll_into_view_if_needed()
    return panel


ARROWS = """plot => JSON.stringify(plot.data.filter(trace => /^feature/.test(trace.name))
  .map(trace => Array.from(trace.x, Number).concat(Array.from(trace.y, Number))))"""


def test_every_cell_ran_without_complaint(lesson: Any) -> None:
    """No failed cell, no console error, no failed request, no broken widget."""
    assert lesson.problems() == []


def test_five_arrows_are_on_screen(lesson: Any) -> None:
    """After the cell that moves it to rare features: five lines, a heat map, rings, bars."""
    panel = _panel(lesson)
    assert panel.locator(".js-plotly-plot").count() == 1
    assert panel.locator(".js-plotly-plot .xy .js-line").count() >= 6
    assert panel.locator(".js-plotly-plot .hm image, .js-plotly-plot .heatmaplayer image").count()
    assert panel.locator(".js-plotly-plot .barlayer .point").count() == 10
    assert "5 of 5 features are stored" in panel.inner_text()


def test_the_slider_moves_the_arrows(lesson: Any) -> None:
    """One step of the slider shows another toy, and its numbers."""
    panel = _panel(lesson)
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    before, numbers = plot.evaluate(ARROWS), panel.inner_text()
    handle = panel.get_by_role("slider").first
    for _ in range(8):
        handle.press("ArrowLeft")
    lesson.page.wait_for_function(f"([plot, old]) => ({ARROWS})(plot) !== old", arg=[plot, before])
    lesson.settle()
    lesson.shot("slider_after", panel)
    assert "2 of 5 features are stored" in panel.inner_text()
    assert panel.inner_text() != numbers
    assert lesson.problems() == []


def test_exercises_show_themselves_as_cards(lesson: Any) -> None:
    """Blanks say so, the prediction is asked for before anything is revealed, the report counts."""
    cards = lesson.page.locator(".jp-OutputArea-output div[role=status]")
    shown = cards.all_inner_texts()
    assert sum("Not answered yet" in text for text in shown) == 4
    assert sum("Predict first" in text for text in shown) == 1
    assert "0 of 4 exercises solved" in shown[-1]
    assert lesson.page.locator(".jp-OutputArea-output div[role=note]").count() == 4

"""The tour in a real JupyterLab: it runs, its panels answer, and nothing complains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# As tests/real_models/test_main_job.py has it of the tour on other models.
ITS_NUMBERS = """
assert acts.hook_point == "resid_post.8"
assert report["r2"].value > report["r2"].control
recovered = next(n for n in ("ce_recovered", "kl_score", "cosine_recovered") if n in report)
assert report[recovered].value > (report[recovered].floor or 0.0)
assert browser.atom == effect.atom
"""


@pytest.fixture(scope="module")
def tour(lab_module: ModuleType) -> Iterator[Any]:
    """The executed tour, one server and one page for all tests; pictures go to build/shots."""
    notebook = ROOT / "notebooks" / "00_tour.ipynb"
    with lab_module.Lab(notebook, out=ROOT / "build" / "shots" / "tour", timeout_s=600) as lab:
        lab.run_all()
        lab.shots_of_outputs()
        yield lab


def _panel(lab: Any, title: str) -> Any:
    panel = lab.page.locator(".sae-nb-panel").filter(has_text=title).first
    panel.scroll_into_view_if_needed()
    return panel


def _canvases(panel: Any) -> list[str]:
    drawn = "nodes => nodes.map(n => n.toDataURL())"
    return list(panel.locator("canvas").evaluate_all(drawn))


def test_every_cell_ran_without_complaint(tour: Any) -> None:
    """No failed cell, no console error, no failed request, no broken widget."""
    assert tour.problems() == []


def test_its_numbers_are_those_of_a_tour(tour: Any) -> None:
    """Capture, TopK, atoms, steering: what is asserted of other models, in the kernel itself."""
    tour.asked(ITS_NUMBERS)


def test_training_is_on_screen(tour: Any) -> None:
    """The monitor shows a finished run with its curves."""
    monitor = _panel(tour, "Is it learning")
    assert monitor.locator(".js-plotly-plot").count() == 1
    assert monitor.locator(".js-plotly-plot .scatterlayer .js-line").count() > 0


def test_picking_an_atom_changes_the_pictures(tour: Any) -> None:
    """Typing another atom's number redraws examples and histogram."""
    browser = _panel(tour, "What makes this atom fire?")
    before = _canvases(browser)
    assert before
    field = browser.locator(".sae-nb-entry input").first
    number = int(field.input_value())
    field.fill(str((number + 1) % 512))
    field.press("Enter")
    tour.page.wait_for_function(
        "([panel, old]) => [...panel.querySelectorAll('canvas')]"
        ".some((n, i) => n.toDataURL() !== old[i])",
        arg=[browser.element_handle(), before],
    )
    tour.settle()
    tour.shot("atom_after", browser)
    assert _canvases(browser) != before
    assert tour.problems() == []


def test_moving_the_slider_steers_the_model(tour: Any) -> None:
    """The strength slider runs the live model again and the answer on screen changes."""
    panel = _panel(tour, "What if this were stronger?")
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    bars = "plot => JSON.stringify(plot.data.map(trace => Array.from(trace.x || [], String)))"
    before = plot.evaluate(bars)
    handle = panel.get_by_role("slider").first
    for _ in range(5):
        handle.press("ArrowRight")
    tour.page.wait_for_function(f"([plot, old]) => ({bars})(plot) !== old", arg=[plot, before])
    tour.settle()
    tour.shot("steering_after", panel)
    assert tour.problems() == []


def test_the_second_half_reads_and_steers_text(tour: Any) -> None:
    """Token strips of the labelled atom, and a story turned up, untouched, and along a random direction."""
    readers = tour.page.locator(".sae-nb-panel").filter(has_text="What makes this atom fire?")
    assert readers.count() == 2
    readers.nth(1).scroll_into_view_if_needed()
    assert readers.nth(1).locator(".sae-nb-token").count() > 20
    tellers = tour.page.locator(".sae-nb-panel").filter(has_text="What if this were stronger?")
    assert tellers.count() == 2
    tellers.nth(1).scroll_into_view_if_needed()
    tellers.nth(1).locator(".sae-nb-question", has_text="turned up").wait_for()
    for title in ("untouched", "random 1, same length"):
        assert tellers.nth(1).get_by_text(title, exact=True).first.is_visible()
    tour.settle()
    tour.shot("story_after", tellers.nth(1))
    assert tour.problems() == []

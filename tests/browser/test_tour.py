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

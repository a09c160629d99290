"""Notebook 02 in a real JupyterLab: the stepper steps, plays, goes back, and nothing complains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sae_nb_widgets.figures.pursuit import IN_CODE, NOW, RING, TRACES_PER_ALGORITHM

ROOT = Path(__file__).parents[2]
QUESTION = "How does the code come about?"
BARS = """plot => plot.data.map(t => ({y: Array.from(t.y || []), n: (t.x || []).length,
  colour: t.marker && t.marker.color}))"""
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def lab(lab_module: ModuleType) -> Iterator[Any]:
    """The executed notebook; pictures go to build/shots."""
    notebook = ROOT / "notebooks" / "02_pursuit.ipynb"
    out = ROOT / "build" / "shots" / "pursuit"
    with lab_module.Lab(notebook, out=out, timeout_s=600) as made:
        made.run_all()
        made.shots_of_outputs()
        yield made


@pytest.fixture
def panel(lab: Any) -> Any:
    """The first stepper: MP beside OMP on a digit, at step 0."""
    found = lab.page.locator(".sae-nb-panel").filter(has_text=QUESTION).first
    found.scroll_into_view_if_needed()
    found.locator(".js-plotly-plot .bars .point").first.wait_for()
    _go_to_start(lab, found)
    return found


def _go_to_start(lab: Any, panel: Any) -> None:
    handle = panel.get_by_role("slider").first
    handle.focus()
    handle.press("Home")
    lab.settle()
    _shows(lab, panel, "Step 0:")


def _shows(lab: Any, panel: Any, text: str) -> None:
    """Wait until the status line says so."""
    panel.locator(".sae-nb-statusline").get_by_text(text).wait_for()


def _bars(panel: Any) -> list[dict[str, Any]]:
    return list(panel.locator(".js-plotly-plot").first.element_handle().evaluate(BARS))


def test_every_cell_ran_without_complaint(lab: Any) -> None:
    """No failed cell, no console error, no failed request, no broken widget."""
    assert lab.problems() == []


def test_arrow_keys_step_forth_and_back_exactly(lab: Any, panel: Any) -> None:
    """→ three times and ← three times bring back the very same bars; forth they shrink."""
    start = _bars(panel)
    heading = panel.locator(".sae-nb-question")
    heading.click()
    for step in (1, 2, 3):
        lab.page.keyboard.press("ArrowRight")
        _shows(lab, panel, f"Step {step}:")
    lab.settle()
    third = _bars(panel)
    assert max(third[NOW]["y"]) < 0.7 * max(start[NOW]["y"])
    assert third[IN_CODE]["n"] == third[TRACES_PER_ALGORITHM + IN_CODE]["n"] == 3
    lab.shot("step_3", panel)
    for step in (2, 1, 0):
        lab.page.keyboard.press("ArrowLeft")
        _shows(lab, panel, f"Step {step}:")
    lab.settle()
    assert _bars(panel) == start
    assert lab.problems() == []


def test_colours_survive_every_step(lab: Any, panel: Any) -> None:
    """Rings and dots keep their algorithm's colour, which a message for the bars must not erase."""
    colours = [trace["colour"] for trace in _bars(panel)]
    panel.locator(".sae-nb-question").click()
    for step in (1, 2):
        lab.page.keyboard.press("ArrowRight")
        _shows(lab, panel, f"Step {step}:")
    lab.settle()
    assert [trace["colour"] for trace in _bars(panel)] == colours
    assert colours[RING] != colours[TRACES_PER_ALGORITHM + RING]


def test_space_plays_to_the_end(lab: Any, panel: Any) -> None:
    """One press of space, and the player goes through all steps, draws each, and stops."""
    panel.locator(".sae-nb-question").click()
    lab.page.keyboard.press(" ")
    panel.locator(".fa-pause").wait_for()
    _shows(lab, panel, "Step 12:")
    panel.locator(".fa-play").wait_for()
    lab.settle()
    assert panel.get_by_text("MP · 12", exact=True).count() == 1
    assert lab.problems() == []


def test_space_on_the_play_button_is_one_press(lab: Any, panel: Any) -> None:
    """The button has the focus and the panel hears the key: it plays, and does not stop at once."""
    panel.locator("button:has(.fa-play)").focus()
    lab.page.keyboard.press(" ")
    panel.locator(".fa-pause").wait_for()
    _shows(lab, panel, "Step 2:")
    lab.page.keyboard.press(" ")
    panel.locator(".fa-play").wait_for()


def test_clicking_the_norms_goes_to_the_step(lab: Any, panel: Any) -> None:
    """A click in the middle of the curve is step 6; hovering reads both norms."""
    chart = panel.locator("svg[aria-label='']").last
    box = chart.bounding_box()
    middle = {"x": box["width"] / 2, "y": box["height"] / 2}
    chart.hover(position=middle)
    assert panel.get_by_text("step 6 · MP").count() == 1
    chart.click(position=middle)
    _shows(lab, panel, "Step 6:")


def test_choosing_another_algorithm_runs_it(lab: Any, panel: Any) -> None:
    """B = FISTA: sixty steps in the slider, λ in the picture."""
    menu = panel.locator("select").nth(1)
    menu.select_option(label="FISTA")
    panel.get_by_text("of 60").wait_for()
    lab.settle()
    assert panel.locator(".js-plotly-plot .annotation-text").filter(has_text="λ").count() == 1
    lab.shot("fista", panel)
    menu.select_option(label="orthogonal MP")
    panel.get_by_text("of 12").wait_for()
    lab.settle()
    assert lab.problems() == []


def _gaps(lab: Any) -> list[float]:
    """How much narrower or wider than its column each stepper's figure is drawn."""
    return list(
        lab.page.evaluate(
            "() => [...document.querySelectorAll('.sae-nb-panel .sae-nb-main')].map(n =>"
            "Math.abs(n.querySelector('.main-svg').getBoundingClientRect().width - n.clientWidth))"
        )
    )


def test_figures_fill_their_column(lab: Any) -> None:
    """Also those drawn before the columns had their width."""
    for handle in lab.page.locator(".sae-nb-panel").all():
        handle.scroll_into_view_if_needed()
        lab.page.wait_for_timeout(1500)
    gaps = _gaps(lab)
    assert len(gaps) == 3
    assert max(gaps) <= 4


@pytest.mark.parametrize("width", [960, 700])
def test_nothing_is_cut_off(lab: Any, panel: Any, width: int) -> None:
    """No part of the panel is wider than it, at both widths that the style asks for."""
    try:
        inside = panel.bounding_box()["width"]
        lab.page.set_viewport_size({"width": int(1280 + width - inside), "height": 1600})
        lab.page.wait_for_timeout(1500)
        panel.scroll_into_view_if_needed()
        lab.shot(f"width_{width}", panel)
        assert max(_gaps(lab)) <= 4
        too_wide = panel.evaluate(
            "p => [...p.querySelectorAll('.sae-nb-detail, .sae-nb-main, .sae-nb-component, svg')]"
            ".filter(n => n.getBoundingClientRect().right > p.getBoundingClientRect().right + 1)"
            ".map(n => n.className.baseVal || n.className)"
        )
        assert too_wide == []
    finally:
        lab.page.set_viewport_size({"width": 1280, "height": 1600})
        lab.page.wait_for_timeout(500)

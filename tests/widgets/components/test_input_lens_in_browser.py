"""The pad's and the bars' scripts in a real Chromium: pointer, keys, the same pixels as Python's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.components import Column

from sae_nb.figures.theme import heat_colour
from tests.scripts import script

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]
BOLDEST = heat_colour(1.0)[-1]
HOSTILE = "<img src=x onerror=window.hurt=1>"

shared = script(Path(__file__).with_name("test_in_browser.py"))
page = shared.page


@pytest.fixture
def pad(page: Any) -> Any:
    made = sw.DrawPad()
    shared.show(page, made)
    return page.locator("canvas")


def sent(page: Any) -> np.ndarray:
    page.wait_for_timeout(250)
    numbers = page.evaluate("[...new Uint8Array(window.model.state.pixels.buffer)]")
    return np.array(numbers, np.uint8).reshape(32, 32)


def stroke(page: Any, canvas: Any, points: list[tuple[float, float]]) -> None:
    box = canvas.bounding_box()
    at = [(box["x"] + 1 + x * 190 / 32, box["y"] + 1 + y * 190 / 32) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point)
    page.mouse.up()


def drawn_by_python(points: list[tuple[float, float]]) -> np.ndarray:
    pad = sw.DrawPad(thickness=3.0)
    pad.stroke(points)
    return pad.ink.astype(int)


def test_pointer_draws_what_python_draws(page: Any, pad: Any) -> None:
    """Every pixel within rounding of the raster of the same points."""
    box = pad.bounding_box()
    seven = [(9.0, 8.0), (22.0, 8.0), (14.0, 24.0)]
    stroke(page, pad, seven)
    side = box["width"]
    moved = [((1 + x * 190 / 32) / side * 32, (1 + y * 190 / 32) / side * 32) for x, y in seven]
    expected = drawn_by_python(moved)
    assert np.abs(sent(page).astype(int) - expected).max() <= 12  # pointers are on whole pixels
    assert np.abs(sent(page).astype(int) - expected).mean() < 0.5


def test_keys_draw_undo_and_clear(page: Any, pad: Any) -> None:
    """Tab reaches the canvas; arrows move, space draws, Backspace takes back, Delete clears."""
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    drawn = sent(page)
    np.testing.assert_array_equal(drawn, drawn_by_python([(16, 16), (22, 16)]))
    page.keyboard.press("ArrowDown")
    assert (sent(page) == drawn).all()
    page.keyboard.press("Backspace")
    assert sent(page).max() == 0
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert sent(page).max() == 255
    page.keyboard.press("Delete")
    assert sent(page).max() == 0


def test_kernel_can_clear_and_draw(page: Any, pad: Any) -> None:
    page.evaluate("window.model.set('pixels', new DataView(new Uint8Array(1024).fill(255).buffer))")
    page.wait_for_timeout(100)
    assert shared._pixel(page, 0, 0.1, 0.9)[:3] == [247, 247, 247]
    page.evaluate("window.model.set('pixels', new DataView(new Uint8Array(1024).buffer))")
    page.wait_for_timeout(100)
    assert shared._pixel(page, 0, 0.1, 0.9)[:3] == [20, 22, 26]


def test_paired_bars_are_pointed_at_clicked_and_walked(page: Any) -> None:
    """Hover asks for a look, click and Enter choose, Escape lets go; names are text."""
    bars = sw.PairedBars(description="atoms")
    bars.show(
        [HOSTILE, "b", "c"],
        Column(title="fired", values=[4.0, 2.0, 1.0]),
        Column(title="mattered", values=[-1.0, 0.5, None], control=[0.5, 0.5, 0.5], signed=True),
    )
    shared.show(page, bars)
    rows = page.locator(".sae-nb-pairrow[role=option]")
    assert rows.nth(0).locator(".sae-nb-label").text_content() == HOSTILE
    rows.nth(1).hover()
    page.wait_for_timeout(200)
    assert page.evaluate("window.model.state.hovered") == 1
    rows.nth(1).click()
    assert page.evaluate("window.model.state.selected") == 1
    page.locator(".sae-nb-paired").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate("window.model.state.selected") == 2
    page.keyboard.press("Escape")
    assert page.evaluate("window.model.state.selected") == -1
    page.mouse.move(5, 600)
    page.wait_for_timeout(200)
    assert page.evaluate("window.model.state.hovered") == -1
    widths = page.locator(".sae-nb-fill").evaluate_all("ns => ns.map(n => n.style.width)")
    assert widths == ["100%", "50%", "50%", "25%", "25%", "0%"]
    assert page.locator(".sae-nb-control").count() == 3


def test_signed_shades_are_blue_below_and_orange_above(page: Any) -> None:
    strip = sw.TokenStrip(signed=True)
    strip.show([["a", "b", "c"]], [np.array([-2.0, 0.0, 2.0])], maximum=2.0)
    shared.show(page, strip)
    colours = page.locator(".sae-nb-token").evaluate_all(
        "ns => ns.map(n => getComputedStyle(n).backgroundColor)"
    )
    assert colours[0] == f"rgba(26, 130, 196, {BOLDEST})"
    assert colours[1].endswith(", 0)")
    assert colours[2] == f"rgba(213, 94, 0, {BOLDEST})"
    assert f"rgba(26,130,196,{BOLDEST})" in strip.static_html()

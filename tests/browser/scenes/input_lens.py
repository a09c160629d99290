"""InputLens: draw a seven, see its atoms, open one elsewhere."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page

CELLS = (
    """\
lens = sw.InputLens(vit, vit_sae)
browser = sw.AtomBrowser(vit_sae, vit_examples.acts, catalogue=vit_catalogue)
traitlets.link((lens, "atom"), (browser, "atom"))
lens""",
    "browser",
    "sw.InputLens(gpt, gpt_sae, examples=gpt_examples)",
)


def _draw(page: Page, panel: Locator, points: list[tuple[float, float]]) -> None:
    box = panel.locator(".sae-nb-pad canvas").bounding_box()
    assert box is not None
    step = box["width"] / 32
    at = [(box["x"] + x * step, box["y"] + y * step) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


def check_drawn_seven_is_read_as_seven(page: Page, stage: Any) -> None:
    """The answer on screen becomes 7 and the picture is what was drawn."""
    panel = stage.panel()
    _draw(page, panel, [(9, 7), (22, 7), (14, 25)])
    panel.locator(".sae-nb-picture .sae-nb-caption", has_text="drawing").wait_for()
    stage.settle()  # one answer for each part of a stroke: the last counts
    answer = panel.locator(".sae-nb-barrow .sae-nb-label").first
    answer.filter(has_text=re.compile("^7$")).wait_for()
    stage.settle()
    assert "upload" in panel.locator(".widget-upload").all_inner_texts()[0]
    assert "(" not in panel.locator(".widget-upload").all_inner_texts()[0]
    sentence = panel.locator(".sae-nb-answer")
    assert str(sentence.text_content()).startswith("The model reads it as “7” (")
    assert 3 <= sentence.locator("[data-atom]").count() <= 4
    assert panel.locator(".sae-nb-key").first.is_visible()
    assert 4 < panel.locator(".sae-nb-pairrow[role=option]").count() < 9
    stage("drawn", panel)


def check_clicked_atom_goes_to_the_linked_browser(page: Page, stage: Any) -> None:
    """A click on a bar moves the number in the AtomBrowser; splicing adds the exact tick."""
    panel, other = stage.panel(), stage.panel("What makes this atom fire?")
    panel.scroll_into_view_if_needed()
    stage.settle()  # answers to an earlier drawing would move the bars
    row = panel.locator(".sae-nb-pairrow[role=option]").nth(3)
    number = str(row.locator(".sae-nb-label").text_content()).split()[0]
    row.click()
    field = other.locator(".sae-nb-entry input").first
    page.wait_for_function(
        "([field, number]) => field.value === number", arg=[field.element_handle(), number]
    )
    stage.settle()
    panel.get_by_role("button", name="measure by removing it").click()
    panel.locator(".sae-nb-pairrow .sae-nb-before").first.wait_for()
    stage.settle()
    stage("spliced", panel)

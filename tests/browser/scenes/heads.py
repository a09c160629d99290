"""HeadsPanel: it opens on a head, a click in the grid shows another, one in the text looks from there."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
heads = sw.HeadsPanel(sn.load_model("tiny-induction"), "q k e f z q k e")
heads""",
)

CELL = "td[role=gridcell]"


def check_a_click_shows_a_head(page: Page, stage: Any) -> None:
    """Head 2 of layer 0 first; a click on another, then on a word; the score is measured once."""
    panel = page.locator(".sae-nb-panel").nth(0)
    panel.get_by_text("Head 2 of layer 0 looks back at").first.wait_for()
    stage.settle()
    stage("opened", panel)
    cells = panel.locator(".sae-nb-layerbox").first.locator(CELL)
    assert cells.count() == 8
    cells.nth(3).click()
    panel.get_by_text("Head 3 of layer 1 looks back at “f” and says it").first.wait_for()
    stage.settle()
    assert stage.ask("[heads.layer, heads.head]") == [1, 3]
    stage("chosen", panel)
    panel.get_by_label("heads by").first.select_option(label="induction")
    panel.get_by_text("It is a head for").first.wait_for()
    stage.settle()
    stage("induction", panel)

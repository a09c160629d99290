"""PatchingPanel: the map opens on the head of a known circuit, a click lists a cell."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
patched = sw.PatchingPanel(sn.load_model("tiny-induction"))
patched.n_pairs, patched.sites = 8, "heads"
patched""",
)

CELL = "td[role=gridcell]"


def check_a_click_lists_a_cell(page: Page, stage: Any) -> None:
    """Head 0.2 first; a click on another, its numbers; the control has the same cell marked."""
    panel = page.locator(".sae-nb-panel").nth(0)
    panel.get_by_text("Head 0.2 alone brings back").first.wait_for()
    stage.settle()
    stage("opened", panel)
    cells, control = (panel.locator(".sae-nb-layerbox").nth(i).locator(CELL) for i in (0, 1))
    assert cells.count() == 8
    cells.nth(3).click()
    panel.get_by_text("Head 1.3", exact=True).first.wait_for()
    stage.settle()
    assert stage.ask("[patched.row, patched.column]") == [1, 3]
    assert control.nth(3).get_attribute("aria-label").startswith("layer 1, head 3: ")
    assert "sae-nb-selected" in control.nth(3).get_attribute("class")
    stage("chosen", panel)

"""LensPanel: a click on a cell lists it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
layers = sw.LensPanel(gpt, sn.load_lens("tiny-gpt"), "Once upon a time there was a small dog")
layers""",
    """\
patches = sw.LensPanel(vit, sn.load_lens("tiny-vit"), sn.data.scenes(2, seed=5).images)
patches""",
)


def check_a_click_lists_a_cell(page: Page, stage: Any) -> None:
    """The outline is where the click was, and the list names block and token."""
    panel = page.locator(".sae-nb-panel").nth(0)
    cells = panel.locator(".sae-nb-layers td[role=gridcell]")
    cells.first.wait_for()
    stage.settle()
    stage("opened", panel)
    cells.nth(2).click()
    panel.get_by_text(", after “").first.wait_for()
    stage.settle()
    assert str(stage.ask("layers.place")) == "2"
    stage("chosen", panel)

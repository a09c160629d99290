"""AtomBrowser: a crop that is clicked chooses its row."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
seven = vit_examples.match("digit 7").atom
browser = sw.AtomBrowser(vit_sae, None, vit, atom=seven, catalogue=vit_catalogue)
browser""",
    """\
teller = sw.AtomBrowser(gpt_sae, None, gpt, catalogue=gpt_catalogue, atom=gpt_examples.match("bad story").atom)
teller""",
)


def check_crops_name_their_patch(page: Page, stage: Any) -> None:
    """Patches side by side; hovering says where, a click chooses the row."""
    stage.run("browser.details = True")
    panel = stage.panel()
    crops = panel.locator(".sae-nb-component", has_text="strongest patches, close up").locator(
        "canvas"
    )
    crops.nth(3).wait_for()
    stage.settle()
    assert crops.count() == 20
    crops.nth(3).scroll_into_view_if_needed()
    crops.nth(3).click()
    stage.says(panel, ": strength ")
    assert stage.ask("browser.row") == stage.ask("int(browser.summary.crops.rows[3])")

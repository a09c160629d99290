"""ChangesPanel on images: a click on an image of the list reads it, a click on a patch says what covering it leaves."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
from sae_nb.studies.models import plant_behaviour
taught = plant_behaviour("seven")
shown = taught.inputs(6)
differs = sn.diff_models(taught.before, taught.after, shown, steps=20, n_components=1, progress=False)
pictured = sw.ChangesPanel(taught.before, taught.after, shown, differs)
pictured""",
)

QUESTION = "What did the training change?"


def check_a_click_reads_an_image_and_a_patch(page: Page, stage: Any) -> None:
    """The second image of the list, then the corner with the planted square."""
    panel = page.locator(".sae-nb-panel").nth(0)
    panel.get_by_text("The training raised “7” most").first.wait_for()
    stage.settle()
    stage("opened", panel)
    pictures = panel.locator(".sae-nb-picture")
    assert pictures.count() == 7  # the one that is read, and six in the list
    pictures.nth(2).click()
    stage.settle()
    assert stage.ask("pictured.sample == pictured.view.rows[1]") in ("True", True)
    read = pictures.nth(0).bounding_box()
    assert read is not None
    page.mouse.click(read["x"] + 20, read["y"] + 20)
    panel.get_by_text("Patch 0,0 covered with its neighbours").first.wait_for()
    stage.settle()
    assert str(stage.ask("pictured.place")) == "0"
    stage("chosen", panel)

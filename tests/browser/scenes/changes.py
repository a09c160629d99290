"""ChangesPanel: both rows of the text are shaded, a click on a token and on a direction answer, a typed text is read."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
from sae_nb_studies.models import plant_behaviour
made = plant_behaviour("phrase")
compared = sn.diff_models(made.before, made.after, made.inputs(4), steps=20, n_components=1, progress=False)
changes = sw.ChangesPanel(made.before, made.after, made.inputs(4), compared)
changes""",
)


def check_a_click_lists_a_place_and_a_direction_is_set_back(page: Page, stage: Any) -> None:
    """The token that was clicked is listed; the direction's row is what the second strip shows."""
    panel = page.locator(".sae-nb-panel").nth(0)
    panel.get_by_text("The training raised “S” most").first.wait_for()
    stage.settle()
    stage("opened", panel)
    panel.locator(".sae-nb-strip .sae-nb-token").nth(3).click()
    panel.get_by_text(", token 3").first.wait_for()
    stage.settle()
    assert str(stage.ask("changes.place")) == "3"
    panel.get_by_text("mean diff.", exact=True).first.click()
    panel.get_by_text("when the mean difference after block").first.wait_for()
    stage.settle()
    assert stage.ask("changes.found.table['finding'][changes.finding]") == "mean difference"
    stage("chosen", panel)

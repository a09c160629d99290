"""AtomQuiz: an answer by button, strengths after the answer alone, then the next atom."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page

CELLS = (
    """\
quiz = sw.AtomQuiz(catalogue=vit_catalogue, seed=2)
quiz""",
)


def _asked_anew(panel: Locator, stage: Any) -> None:
    """Go on to an atom that was not answered yet."""
    panel.get_by_role("button", name="next atom").click()
    # Its buttons look as those of an atom that was not answered.
    stage.settle(200)
    panel.get_by_role("button", name="option 5", exact=True).wait_for()


def check_a_button_answers_and_the_strengths_appear(page: Page, stage: Any) -> None:
    """Five options, each an image that is a button, also for keys; after the answer exactly one says that it fires, and the score counts."""
    panel = stage.panel("Where else does this atom fire?")
    _asked_anew(panel, stage)
    stage.settle()
    stage("asked", panel)
    option = panel.get_by_role("button", name="option 3", exact=True)
    assert option.locator("canvas, .sae-nb-token").count()  # the image or text is the button
    option.focus()
    page.keyboard.press("Enter")
    panel.get_by_text(re.compile(r"[01] of \d+ right")).wait_for()
    panel.get_by_role("button", name="fires").first.wait_for()
    stage.settle()
    assert panel.get_by_role("button", name="fires").count() == 1
    panel.get_by_text(re.compile(r"(Right, it is|No, it was) option")).first.wait_for()
    stage.settle()
    stage("answered", panel)

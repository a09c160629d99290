"""AtomQuiz: pictures and texts, answers by button and by key, strengths after the answer alone."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page

CELLS = (
    """\
quiz = sw.AtomQuiz(catalogue=vit_catalogue, seed=2)
quiz""",
    """\
texts = sw.AtomQuiz(catalogue=gpt_catalogue, seed=1)
texts""",
)


APART = """panel => {
  const middle = node => { const box = node.getBoundingClientRect(); return box.left + box.width / 2; };
  const grid = [...panel.querySelectorAll('.sae-nb-grid')].pop();
  const pictures = [...grid.querySelectorAll('canvas')];
  const buttons = [...panel.querySelectorAll('.sae-nb-main button')].slice(-pictures.length);
  return pictures.map((picture, i) => Math.abs(middle(picture) - middle(buttons[i])) < 3);
}"""


def _asked_anew(panel: Locator, stage: Any) -> None:
    """Go on to an atom that was not answered yet."""
    panel.get_by_role("button", name="next atom").click()
    # Its buttons look as those of an atom that was not answered.
    stage.settle(200)
    panel.get_by_role("button", name="5", exact=True).wait_for()


def check_a_button_answers_and_the_strengths_appear(page: Page, stage: Any) -> None:
    """Five options; after the answer exactly one says that it fires, and the score counts."""
    panel = stage.panel("Where else does this atom fire?")
    _asked_anew(panel, stage)
    stage.settle()
    stage("asked", panel)
    panel.get_by_role("button", name="3", exact=True).click()
    panel.get_by_text(re.compile(r"[01] of \d+ right")).wait_for()
    panel.get_by_role("button", name="fires").first.wait_for()
    stage.settle()
    assert panel.get_by_role("button", name="fires").count() == 1
    panel.get_by_text(re.compile(r"(Right, it is|No, it was) option")).first.wait_for()
    stage.settle()
    stage("answered", panel)


def check_the_next_atom_asks_again(page: Page, stage: Any) -> None:
    """The button goes on to another atom, whose name is not said before the answer."""
    panel = stage.panel("Where else does this atom fire?")
    before = stage.ask("quiz.atom")
    _asked_anew(panel, stage)
    stage.settle()
    assert stage.ask("quiz.atom") != before
    assert "tom" not in panel.locator(".sae-nb-statusline").inner_text()


def check_keys_answer_about_texts(page: Page, stage: Any) -> None:
    """A digit answers; the text that fires is shaded then."""
    panel = page.locator(".sae-nb-panel").nth(1)
    _asked_anew(panel, stage)
    panel.get_by_role("button", name="next atom").focus()
    page.keyboard.press("2")
    panel.get_by_role("button", name="fires").first.wait_for()
    stage.settle()
    assert panel.get_by_role("button", name="fires").count() == 1
    stage.settle()
    stage("texts", panel)

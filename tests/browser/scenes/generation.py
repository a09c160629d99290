"""GenerationLens: a token is explained, the text goes on from there another way."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    "found = sn.label(gpt_sae, gpt_examples.acts, codes=gpt_examples.codes, atoms=range(8, 20), progress=False)",
    "writing = sw.GenerationLens(gpt, gpt_sae, prompt='Tom and Lucy walked to the castle. They carried', "
    "labels=found, pinned=[883, 12])\n"
    "writing.step(6)\nwriting.go_on(6)\nwriting.branch, writing.token = 0, 12\nwriting",
)


def check_a_text_is_written_explained_and_goes_on_another_way(page: Page, stage: Any) -> None:
    """Space writes token by token; a click explains one; the button keeps the texts; undo takes them away."""
    stage.run("writing.prompt = 'The list of'; writing.wait(); writing.n_new = 8")
    panel = stage.panel()
    strip = panel.locator(".sae-nb-branches").first
    panel.get_by_text("untouched", exact=True).first.wait_for()
    stage("three-ways", panel)
    strip.locator(".sae-nb-token").nth(3).wait_for()
    panel.locator(".sae-nb-question").click()
    page.keyboard.press(" ")
    stage.says(panel, "Paused; “Write on” continues. 8 tokens")
    stage.settle()
    assert stage.ask("writing.n_tokens") == 12
    strip.locator(".sae-nb-way .sae-nb-token").nth(3).click()
    panel.get_by_text("The atoms before it that moved its score most").wait_for()
    stage.settle()
    assert stage.ask("writing.token") == 7
    panel.locator(".sae-nb-detail .sae-nb-barrow[data-atom]").nth(1).click()
    stage.settle()
    assert stage.ask("writing.atom") == stage.ask("writing.views.here_atoms[1]")
    stage("why", panel)
    panel.get_by_role("button", name="Write on").click()
    # The status line has said the same of the first text.
    stage.until("writing.n_branches == 2 and not writing.playing")
    stage.says(panel, "Paused; “Write on” continues. 8 tokens")
    stage.settle()
    assert strip.get_by_text("untouched", exact=True).count() == 1
    assert stage.ask("writing.n_branches") == 2
    stage("branch", panel)
    stage.more(panel)
    panel.get_by_role("button", name="undo").click()
    stage.more(panel)
    stage.settle()
    assert stage.ask("(writing.branch, writing.token, writing.n_branches)") == [0, 7, 1]

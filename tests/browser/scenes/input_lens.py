"""InputLens: an atom is opened elsewhere; test_demo draws a picture."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
lens = sw.InputLens(vit, vit_sae)
browser = sw.AtomBrowser(vit_sae, vit_examples.acts, catalogue=vit_catalogue)
traitlets.link((lens, "atom"), (browser, "atom"))
lens""",
    "browser",
    "sw.InputLens(gpt, gpt_sae, examples=gpt_examples)",
)


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

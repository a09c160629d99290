"""AtomBrowser: bands, crops, neighbours and search answer; labels are on disk when it says so."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
import tempfile
notes_folder = tempfile.mkdtemp()
seven = vit_examples.match("digit 7").atom
browser = sw.AtomBrowser(vit_sae, None, vit, atom=seven, catalogue=vit_catalogue, labels=notes_folder)
browser""",
    """\
teller = sw.AtomBrowser(gpt_sae, None, gpt, catalogue=gpt_catalogue, atom=gpt_examples.match("bad story").atom)
teller""",
)
VALUE = "([n, text]) => n.value === text"
OTHER = "([n, text]) => n.value !== text"


def _field(panel: Any, name: str) -> Any:
    return panel.get_by_role("textbox", name=name).first.element_handle()


def _band(page: Page, panel: Any, name: str) -> None:
    """Press a band's button and wait until its examples, or the reason for none, are there."""
    panel.get_by_role("button", name=name, exact=True).first.click()
    panel.locator(".mod-active, [aria-pressed=true]").get_by_text(name).first.wait_for()


def check_bands_change_the_examples(page: Page, stage: Any) -> None:
    """The strongest and the typical show their own examples; near-misses that cannot be had say why."""
    panel = stage.panel()
    _band(page, panel, "strongest")
    stage.settle()
    stage("opened", panel)
    stage.run("first = [e.row for e in browser.summary.examples]")
    _band(page, panel, "typical")
    panel.get_by_text("around its median").first.wait_for()
    assert stage.ask("browser.band") == "50 %"
    assert stage.ask("[e.row for e in browser.summary.examples] != first")
    almost = panel.get_by_role("button", name="just missed", exact=True)
    assert almost.is_disabled()
    assert "Near-misses need raw activations" in str(almost.get_attribute("title"))
    _band(page, panel, "strongest")
    panel.get_by_text("strongest first").first.wait_for()
    assert stage.ask("[e.row for e in browser.summary.examples] == first")


def check_more_about_an_atom_is_two_presses_away(page: Page, stage: Any) -> None:
    """First examples and neighbours; then also what fires with it and how often all atoms fire."""
    panel = stage.panel()
    stage.run("browser.details = False")
    panel.get_by_text("Fire with it").first.wait_for(state="hidden")
    stage.more(panel)
    panel.get_by_role("button", name="more about this atom").click()
    panel.get_by_text("Fire with it").wait_for()
    panel.get_by_text("How many atoms fire on what share").wait_for()
    stage.settle(800)
    stage("details", panel)
    stage.more(panel)
    assert panel.locator(".js-plotly-plot").count() == 0
    assert stage.ask("browser.details") is True


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


def check_a_label_is_on_disk_when_it_says_so(page: Page, stage: Any) -> None:
    """Typed, saved, shown; then the next atom is visited and the label is still there."""
    panel = stage.panel()
    typed = "a <b>seven</b> مرحبا"
    label = panel.get_by_role("textbox", name="label")
    stage.write(label, typed)
    panel.get_by_text("saved ✓").wait_for()
    assert stage.ask("open(browser.labels.path, encoding='utf-8').read()").count("seven") == 1
    field = _field(panel, "label")
    panel.get_by_role("button", name="›", exact=True).first.click()
    page.wait_for_function(OTHER, arg=[field, typed])
    panel.get_by_role("button", name="‹", exact=True).first.click()
    page.wait_for_function(VALUE, arg=[field, typed])
    stage.settle()
    stage("labelled", panel)


def check_a_language_atom_shows_its_words(page: Page, stage: Any) -> None:
    """Shaded words in context, next tokens raised and lowered; search by token steps through."""
    panel = stage.panel(which=1)
    stage.run("teller.details = True")
    panel.get_by_text("What it makes the model say").first.wait_for()
    stage.settle()
    assert panel.locator(".sae-nb-token").count() > 50
    stage("story", panel)
    search = panel.locator(".sae-nb-search input")
    stage.write(search, "castle")
    stage.settle()
    assert stage.ask("teller.search") == "castle", stage.ask("[teller.search, teller.status]")
    stage.says(panel, "for “castle”")
    stage("search", panel)
    search.press("Escape")
    page.wait_for_function(VALUE, arg=[search.element_handle(), ""])
    assert stage.ask("teller.search") == ""

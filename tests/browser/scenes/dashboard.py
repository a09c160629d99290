"""Dashboard: one atom in three panels, a session written and brought back, tabs built when opened."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
import tempfile
board_folder = tempfile.mkdtemp()
board = sw.dashboard(vit, vit_sae, labels=board_folder)
board.wait()
board""",
)
STEERING = "What happens if this were stronger?"
BROWSER = "What makes this atom fire?"
MAP = "How do concepts lie to each other?"


def _field(stage: Any, title: str) -> Any:
    return stage.panel(title).get_by_role("spinbutton", name="atom").first


def _atom_everywhere(page: Page, stage: Any, atom: int) -> None:
    for title in (BROWSER, STEERING):
        field = _field(stage, title)
        page.wait_for_function("([n, a]) => n.value === a", arg=[field.element_handle(), str(atom)])


def check_panels_follow_each_other(page: Page, stage: Any) -> None:
    """From the browser to steering and back, and from the kernel to both."""
    page.locator(".sae-nb-dashboard").scroll_into_view_if_needed()
    stage("opened", page.locator(".sae-nb-dashboard"))
    field = _field(stage, BROWSER)
    field.fill("17")
    field.press("Enter")
    _atom_everywhere(page, stage, 17)
    field = _field(stage, STEERING)
    field.fill("44")
    field.press("Enter")
    _atom_everywhere(page, stage, 44)
    stage.run("board.map.atom = 49")
    _atom_everywhere(page, stage, 49)
    stage.settle()


def check_a_session_is_written_and_comes_back(page: Page, stage: Any) -> None:
    """Label typed, session saved by its button, opened again in the kernel as it was."""
    stage.run("board.atom = 44")
    label = stage.panel(BROWSER).get_by_role("textbox", name="label")
    label.fill("six, <b>mostly</b>")
    label.press("Enter")
    folder = page.locator(".sae-nb-dashboard").get_by_role("textbox", name="session")
    folder.fill(stage.ask("board_folder + '/monday'"))
    folder.press("Enter")
    page.locator(".sae-nb-bar-top").get_by_role("button", name="save").click()
    page.locator(".sae-nb-bar-top").get_by_text("session saved ✓").wait_for()
    stage("saved", page.locator(".sae-nb-dashboard"))
    again = "sn.open_session(board_folder + '/monday')"
    assert stage.ask(f"[{again}.atom, {again}.labels[44]]") == [44, "six, <b>mostly</b>"]


def check_a_session_of_another_sae_is_refused_on_screen(page: Page, stage: Any) -> None:
    """One sentence in the status line where the folder cannot be written."""
    folder = page.locator(".sae-nb-dashboard").get_by_role("textbox", name="session")
    folder.fill("/proc/nowhere")
    folder.press("Enter")
    page.locator(".sae-nb-bar-top").get_by_role("button", name="save").click()
    page.locator(".sae-nb-bar-top .sae-nb-problem").wait_for()
    folder.fill("session")
    folder.press("Enter")


def check_it_is_readable_in_the_dark_and_on_narrow_pages(page: Page, stage: Any) -> None:
    """Side by side where there is room, under each other where there is not."""
    whole = page.locator(".sae-nb-dashboard")
    columns = "n => getComputedStyle(n.querySelector('.sae-nb-view')).gridTemplateColumns.split(' ').length"
    stage.resize(1700)
    stage.settle(800)
    stage("wide", whole)
    assert whole.evaluate(columns) == 2
    stage.dark()
    stage.settle(600)
    stage("wide-dark", whole)
    stage.dark(False)
    stage.resize(900)
    stage.settle(800)
    assert whole.evaluate(columns) == 1
    stage("narrow", whole)
    sideways = "document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1"
    assert page.evaluate(sideways)


def check_the_depth_tab_is_built_when_opened(page: Page, stage: Any) -> None:
    """Nothing before the click; then its panel, which follows the dashboard."""
    names = stage.ask("list(board._views)")
    if "depth" not in names:
        return
    assert stage.ask("board.depth is None")
    page.get_by_role("button", name="through the layers").click()
    stage.settle(1500)
    assert stage.ask("board.depth is not None"), stage.ask("board.status")
    stage("depth", page.locator(".sae-nb-dashboard"))
    page.get_by_role("button", name="concepts and steering").click()
    stage.settle()

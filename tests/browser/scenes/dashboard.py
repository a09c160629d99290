"""Dashboard: panels follow each other."""

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


def _bar(page: Page, name: str) -> Any:
    return page.locator(".sae-nb-bar-top").get_by_role("textbox", name=name).first


def _atom_everywhere(page: Page, stage: Any, atom: int) -> None:
    field = _bar(page, "atom").element_handle()
    page.wait_for_function("([n, a]) => n.value === a", arg=[field, str(atom)])
    page.locator(".sae-nb-answer").get_by_text(f"atom {atom}").first.wait_for()
    assert stage.ask("[p.atom for p in (board.map, board.browser, board.steering)]") == [atom] * 3


def check_panels_follow_each_other(page: Page, stage: Any) -> None:
    """From the bar to every panel, and from a panel and the kernel to the bar."""
    page.locator(".sae-nb-dashboard").scroll_into_view_if_needed()
    stage("opened", page.locator(".sae-nb-dashboard"))
    stage.write(_bar(page, "atom"), "17")
    _atom_everywhere(page, stage, 17)
    stage.run("board.steering.atom = 44")
    _atom_everywhere(page, stage, 44)
    stage.run("board.map.open_atom(49)")
    _atom_everywhere(page, stage, 49)
    stage.write(_bar(page, "atom"), "99999")
    page.locator(".sae-nb-bar-top .sae-nb-problem").get_by_text("“99999” is not one").wait_for()
    _atom_everywhere(page, stage, 49)
    stage.settle()

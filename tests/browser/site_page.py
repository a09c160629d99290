"""What a visitor does on the page of a site: reads the card, searches, waits for the live part."""

from __future__ import annotations

from typing import Any

WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""Pixels by which a page is wider than its window."""


def shown(page: Any, atom: int) -> str:
    """What the card says, once it is this atom's."""
    page.wait_for_selector(f"html[data-shown='{atom}']")
    return str(page.locator("#card").text_content())


def search(page: Any, query: str) -> str:
    """What the list says that is found."""
    page.fill("#query", query)
    page.wait_for_selector(f"html[data-found='{query}']")
    return str(page.inner_text("#list"))


def find(page: Any, atom: int) -> None:
    """Search an atom by its number, and open it from the list."""
    search(page, str(atom))
    page.locator(f"#list button[data-atom='{atom}']").click()
    assert f"Atom {atom}" in shown(page, atom)


def live(page: Any, address: str, name: str, atom: int) -> None:
    """Open a site on an atom, with the model on the page."""
    page.goto(f"{address}/{name}/index.html#atom={atom}")
    page.wait_for_selector("html[data-live='ready']", timeout=60_000)


def same(found: Any, numbers: Any) -> None:
    """Numbers of the page are those of Python, to 1e-5 of the largest."""
    off = (numbers.new_tensor(found).reshape(numbers.shape) - numbers).abs().max()
    assert off <= 1e-5 * max(1.0, float(numbers.abs().max()))

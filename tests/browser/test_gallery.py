"""The gallery as it is committed: opened from disk without network, drawn, linked, small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
PAGES = sorted(path for path in GALLERY.glob("*.html") if path.name != "index.html")
ELSEWHERE = re.compile(r"(?:src|href)=[\"']https?://|import\([\"']https?://")
browser_test = pytest.mark.usefixtures("opened")


@pytest.fixture(scope="module")
def opened(lab_module: ModuleType) -> Iterator[Any]:
    """A Chromium without network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=lab_module.chromium(), args=lab_module.CHROMIUM_FLAGS
        )
        yield launched.new_context(viewport={"width": 1060, "height": 900}, offline=True)
        launched.close()


@pytest.fixture
def page(lab_module: ModuleType, opened: Any) -> Iterator[Any]:
    """A fresh page that must stay free of complaints and of requests beyond the disk."""
    made = opened.new_page()
    complaints: list[str] = []
    made.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    left = lab_module.was_left
    made.on("requestfailed", lambda r: None if left(r) else complaints.append(r.url))
    made.on(
        "request",
        lambda r: (
            None if r.url.startswith(("file:", "data:", "blob:")) else complaints.append(r.url)
        ),
    )
    yield made
    made.close()
    assert complaints == []


def test_there_is_a_page_for_every_question() -> None:
    """Both models have their atoms, and each kind of panel is there."""
    names = " ".join(path.stem for path in PAGES)
    for kind in (
        "atom-vision",
        "atom-language",
        "lens-vision",
        "lens-language",
        "map",
        "depth",
        "time",
        "pursuit",
        "superposition",
        "steering-vision",
        "steering-language",
        "training",
    ):
        assert kind in names


def test_the_gallery_is_small() -> None:
    """A clone should not wait for it: 8 MB with plotly's script, which is there once."""
    files = [p for folder in ("gallery", "pictures") for p in (DOCS / folder).iterdir()]
    sizes = {p: p.stat().st_size for p in files}
    assert sum(sizes.values()) <= 8_000_000
    assert sum(p.name == "plotly.min.js" for p in sizes) == 1
    assert max(s for p, s in sizes.items() if p.suffix in (".webp", ".png")) <= 100_000


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_nothing_is_asked_for_elsewhere(path: Path) -> None:
    """No page names a script, style or picture on another host."""
    assert not ELSEWHERE.search(path.read_text(encoding="utf-8"))


PAINTED = """() => {
  const c = document.querySelector('.sae-nb-mapstage canvas');
  const pixels = c.width && c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  return Boolean(pixels) && pixels.some((v, i) => i % 4 === 3 && v > 0);
}"""


@pytest.mark.browser
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_draws_and_answers_without_a_kernel(path: Path, page: Any) -> None:
    """The figure is there with its marks, and pointing at it shows a number."""
    page.goto(path.as_uri())
    if page.locator(".js-plotly-plot").count():
        page.wait_for_selector(".js-plotly-plot .main-svg")
        marks = ".js-plotly-plot :is(.point, .js-line, .bars path, .scatterlayer path, image)"
        assert page.locator(marks).count() > 0
    elif page.locator(".sae-nb-mapstage").count():
        page.wait_for_function(PAINTED)
        box = page.locator(".sae-nb-mapstage").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.wheel(0, -300)  # and it moves
        page.wait_for_function(PAINTED)
    else:
        # A lens has no figure: its input and its bars are plain HTML.
        assert page.locator("main :is(img, .sae-nb-token, [class*=token])").count() > 0
        assert page.get_by_text("fired (strongest").count() > 0
    hidden = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(hidden), "the page scrolls sideways"


@pytest.mark.browser
def test_every_page_is_reached_from_the_index(page: Any) -> None:
    """Cards lead to rooms, rooms to their pages; every link and picture is a file."""
    page.goto((GALLERY / "index.html").as_uri())
    pictures = page.locator(".cards img")
    pictures.evaluate_all("nodes => nodes.forEach(n => { n.loading = 'eager'; })")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.cards img')].every(n => n.naturalWidth > 0)"
    )
    assert pictures.count() == page.locator(".cards a").count() > 0
    reached: set[str] = set()
    todo = page.locator("a").evaluate_all("nodes => nodes.map(n => n.href)")
    while todo:
        address = todo.pop()
        if address in reached:
            continue
        reached.add(address)
        page.goto(address)
        todo += page.locator("nav a").evaluate_all("nodes => nodes.map(n => n.href)")
    assert {Path(address).name for address in reached} >= {path.name for path in PAGES}

"""The gallery as it is committed: opened from disk without network, drawn, linked, small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.watched import watched

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
PAGES = sorted(path for path in GALLERY.glob("*.html") if path.name != "index.html")
# A link that waits to be clicked is no request.
ELSEWHERE = re.compile(
    r"src=[\"']https?://|<link[^>]*href=[\"']https?://|import\([\"']https?://|url\([\"']?https?://"
)


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    """A fresh page that must stay free of complaints and of requests beyond the disk."""
    with watched(opened.new_page()) as made:
        yield made


def test_no_card_is_blank() -> None:
    """Two cards were white for a while: what they showed had moved to other axes. The emptiest has 8 %."""
    for path in (DOCS / "pictures").glob("*.webp"):
        with Image.open(path) as picture:
            n_pixels = picture.width * picture.height
            colours = picture.convert("RGB").getcolors(n_pixels)
        assert max(n for n, _ in colours) < 0.97 * n_pixels, path.name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_nothing_is_asked_for_elsewhere(path: Path) -> None:
    """No page names a script, style or picture on another host."""
    assert not ELSEWHERE.search(path.read_text(encoding="utf-8"))


PAINTED = """() => {
  const c = document.querySelector('.sae-nb-mapstage canvas');
  const pixels = c.width && c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  return Boolean(pixels) && pixels.some((v, i) => i % 4 === 3 && v > 0);
}"""


@pytest.mark.slow
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
        # Lenses, maps of places, report cards and a quiz have no figure: they are plain HTML.
        assert (
            page.locator(
                "main :is(.sae-nb-picture, .sae-nb-token, .sae-nb-layers td, .sae-nb-dotrow, "
                ".sae-nb-circuit svg)"
            ).count()
            > 0
        )
    hidden = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(hidden), "the page scrolls sideways"

"""The gallery as `make docs` writes it: opened from disk without network, drawn, linked, small."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.watched import watched

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
# Written by `make docs`; a run of the tests alone writes what is missing, one by one.
PAGES = [
    GALLERY / f"{name}.html"
    for name in (
        *("atom-language-money", "atom-language-outer-space", "atom-vision-digit-0"),
        *("atom-vision-digit-7", "changes", "circuit", "corpora", "dashboard", "depth"),
        *("generation", "layers", "lens-language", "lens-vision", "map", "patching", "pursuit"),
        *("quiz", "report-card", "steering-language", "steering-vision", "superposition"),
        *("time", "training"),
    )
]
# A link that waits to be clicked is no request.
ELSEWHERE = re.compile(
    r"src=[\"']https?://|<link[^>]*href=[\"']https?://|import\([\"']https?://|url\([\"']?https?://"
)


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    """A fresh page that must stay free of complaints and of requests beyond the disk."""
    with watched(opened.new_page()) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def written() -> None:
    """The pages, where they are not there yet."""
    if not (GALLERY / "index.html").is_file():
        command = [sys.executable, str(DOCS / "make_gallery.py"), "--pages"]
        subprocess.run(command, check=True)


def there(path: Path) -> Path:
    """A page, unless it is of a model that is not at hand."""
    if not path.is_file():
        pytest.skip("SmolLM2 is not at hand, and this page shows it")
    return path


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
    assert not ELSEWHERE.search(there(path).read_text(encoding="utf-8"))


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
    page.goto(there(path).as_uri())
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

"""The gallery as `make docs` writes it: opened from disk without network, drawn, linked, small."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
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
RUN = re.compile(
    r"https://mybinder\.org/v2/gh/([\w-]+/[\w-]+)/main\?urlpath=lab/tree/(notebooks/\w+\.ipynb)"
)
browser_test = pytest.mark.usefixtures("opened")


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


def test_the_gallery_is_small() -> None:
    """A reader should not wait for it: 10 MB with plotly's script, which is there once, and all cards of atoms."""
    files = [p for folder in ("gallery", "pictures") for p in (DOCS / folder).iterdir()]
    sizes = {p: p.stat().st_size for p in files}
    assert sum(sizes.values()) <= 10_000_000
    assert sum(p.name == "plotly.min.js" for p in sizes) == 1
    for film, largest in {"lens-playing": 200_000, "lens-playing-narrow": 130_000}.items():
        for scheme in ("", "-dark"):
            assert sizes.pop(DOCS / "pictures" / f"{film}{scheme}.webp") <= largest
    assert max(s for p, s in sizes.items() if p.suffix in (".webp", ".png")) <= 100_000


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


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_card_shows_a_finding_in_full_size(page: Any, scheme: str) -> None:
    """Its picture came and is not scaled down, so words in it are as large as on the page; and it has words."""
    page.emulate_media(color_scheme=scheme)
    for width in (1060, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto((GALLERY / "index.html").as_uri())
        pictures = page.locator(".cards img")
        pictures.evaluate_all("nodes => nodes.forEach(n => { n.loading = 'eager'; })")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.cards img')].every(n => n.naturalWidth > 0)"
        )
        shown = pictures.evaluate_all("all => all.map(n => [n.naturalWidth / 2, n.clientWidth])")
        assert all(drawn >= whole for whole, drawn in shown)
        wanted = "-dark.webp" if scheme == "dark" else ".webp"
        sources = pictures.evaluate_all("all => all.map(n => n.currentSrc)")
        assert all(source.endswith(wanted) for source in sources)
    for card in page.locator(".cards article").all():
        title, finding = card.locator("h2").inner_text(), card.locator("p").inner_text()
        assert 2 <= len(title.split()) <= 8
        assert finding.endswith((".", "?", ")"))
        assert card.locator("img").get_attribute("alt")


def test_every_card_can_be_run() -> None:
    """Its button opens a notebook that is there, in the repository that pyproject names."""
    index = (GALLERY / "index.html").read_text(encoding="utf-8")
    links = RUN.findall(index)
    assert len(links) == index.count("<article>") > 10
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for slug, notebook in links:
        assert project["urls"]["Repository"].endswith(slug)
        assert (DOCS.parent / notebook).is_file()


@pytest.mark.browser
def test_every_page_is_reached_from_the_index(page: Any) -> None:
    """Cards lead to rooms, rooms to their pages; every link is a file."""
    page.goto((GALLERY / "index.html").as_uri())
    reached: set[str] = set()
    # The sites beside it are not kept in the repository; tests/docs/test_sites.py follows those links.
    own = "all => all.map(n => n.href).filter(a => a.startsWith('file:') && !a.includes('/atoms/'))"
    todo = page.locator("a").evaluate_all(own)
    while todo:
        address = todo.pop()
        if address in reached:
            continue
        reached.add(address)
        page.goto(address)
        todo += page.locator("nav a").evaluate_all(own)
    assert {Path(address).name for address in reached} >= {
        path.name for path in PAGES if path.is_file()
    }

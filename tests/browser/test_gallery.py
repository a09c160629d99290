"""The gallery as `make docs` writes it: opened from disk without network, drawn, linked, small."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sae_nb_widgets as sw
from PIL import Image
from sae_nb_widgets.panel._heading import Heading
from sae_nb_widgets.panel._pages import Page, page_html

from sae_nb.figures.theme import escape
from tests.browser.watched import watched
from tests.scripts import script

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
# A link that waits to be clicked is no request.
ELSEWHERE = re.compile(
    r"src=[\"']https?://|<link[^>]*href=[\"']https?://|import\([\"']https?://|url\([\"']?https?://"
)

# The pages are written for the first test: minutes on two slow cores.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    """The pages of today's code."""
    subprocess.run([sys.executable, str(DOCS / "make_gallery.py"), "--pages"], check=True)
    return sorted(set(GALLERY.glob("*.html")) - {GALLERY / "index.html"})


@pytest.mark.slow
def test_no_card_is_blank() -> None:
    """Two cards were white for a while: what they showed had moved to other axes. The emptiest has 8 %."""
    for path in (DOCS / "pictures").glob("*.webp"):
        with Image.open(path) as picture:
            n_pixels = picture.width * picture.height
            colours = picture.convert("RGB").getcolors(n_pixels)
        assert max(n for n, _ in colours) < 0.97 * n_pixels, path.name


@pytest.mark.slow
def test_nothing_is_asked_for_elsewhere(pages: list[Path]) -> None:
    """No page names a script, style or picture on another host."""
    assert len(pages) > 20
    assert [p.name for p in pages if ELSEWHERE.search(p.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_every_link_between_pages_leads_to_one(pages: list[Path]) -> None:
    """Of the index, of pages, and of those that stand in for a page whose model is not here."""
    for page in (GALLERY / "index.html", *pages):
        links = re.findall(r'href="([\w-]+\.html)"', page.read_text(encoding="utf-8"))
        assert links
        assert [link for link in links if not (GALLERY / link).is_file()] == [], page.name


def test_a_page_without_its_model_says_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written all the same, so that links lead somewhere, and again once the model is there."""
    maker = script(DOCS / "make_gallery.py", "make_gallery")
    monkeypatch.setattr(maker, "GALLERY", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("SAE_NB_CACHE", str(tmp_path))
    page = maker.Entry("heads", "which heads", "which heads", maker.heads)
    assert maker.write_pages([page], [page]) == []
    stand_in = (tmp_path / "heads.html").read_text(encoding="utf-8")
    assert "sae-nb get smollm2-135m" in stand_in
    assert 'href="index.html"' in stand_in
    assert not maker.is_current(tmp_path / "heads.html")


def test_a_card_says_what_its_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Title and answer of a real page, read again from it; a page that only asks has its answer on the card."""
    maker = script(DOCS / "make_gallery.py", "make_gallery")
    monkeypatch.setattr(maker, "GALLERY", tmp_path)
    monkeypatch.setattr(maker, "live_atoms", lambda: "")
    records = [SimpleNamespace(step=i, steps=9, loss=1 / i, r2=1 - 1 / i) for i in range(1, 10)]
    panel = sw.TrainingMonitor(records)
    page = maker.Entry("training", "a run", "a run", lambda: panel)
    maker.write_pages([page], [page])
    index = maker.write_index([page]).read_text(encoding="utf-8")
    assert f">{escape(panel.headline)}</a></h2><p>{escape(panel.answer)}</p>" in index
    text = (tmp_path / "training.html").read_text(encoding="utf-8")
    assert maker.finding(text) == (panel.headline, panel.answer)
    asks = text.replace(f">{panel.headline}<", f">{panel.question}<")
    assert maker.finding(asks) == ("", panel.answer)
    (tmp_path / "training.html").write_text(asks, encoding="utf-8")
    index = maker.write_index([page]).read_text(encoding="utf-8")
    assert ">a run</a></h2>" in index
    assert panel.question not in index


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize(
    ("stage", "blocks", "columns"),
    [(500, [150, 300], 2), (500, [100, 80], 1), (200, [250, 250], 1), (150, [150], 1)],
)
def test_a_margin_that_would_be_half_empty_goes_below(
    tmp_path: Path, opened: Any, stage: int, blocks: list[int], columns: int
) -> None:
    """Beside a stage stands a margin that is about as high; one block never does."""
    main, *detail = (f'<div style="height:{height}px"></div>' for height in (stage, *blocks))
    page = Page(
        heading=Heading(question="Why?", facts={}), explanation=("", "", ""), figure=None, main=main,
        detail="".join(detail), record=None, dropped="",
    )  # fmt: skip
    (tmp_path / "page.html").write_text(page_html(page, ""), encoding="utf-8")
    with watched(opened.new_page()) as shown:
        shown.goto((tmp_path / "page.html").as_uri())
        left, right = (
            shown.locator(f".sae-nb-{part}").bounding_box() for part in ("main", "detail")
        )
        assert (right["x"] > left["x"]) == (columns == 2)
        assert (right["y"] > left["y"]) == (columns == 1)


PAINTED = """() => {
  const c = document.querySelector('.sae-nb-mapstage canvas');
  const pixels = c.width && c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  return Boolean(pixels) && pixels.some((v, i) => i % 4 === 3 && v > 0);
}"""


@pytest.mark.slow
@pytest.mark.browser
def test_pages_draw_and_answer_without_a_kernel(pages: list[Path], opened: Any) -> None:
    """The figure is there with its marks, nothing scrolls sideways; without its model a page has words."""
    for path in pages:
        with watched(opened.new_page()) as page:
            page.goto(path.as_uri())
            _draws(page)
            hidden = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not page.evaluate(hidden), f"{path.name} scrolls sideways"


def _draws(page: Any) -> None:
    if page.locator(".js-plotly-plot").count():
        page.wait_for_selector(".js-plotly-plot .main-svg")
        marks = ".js-plotly-plot :is(.point, .js-line, .bars path, .scatterlayer path, image)"
        assert page.locator(marks).count() > 0, page.url
    elif page.locator(".sae-nb-mapstage").count():
        page.wait_for_function(PAINTED)
        box = page.locator(".sae-nb-mapstage").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.wheel(0, -300)  # and it moves
        page.wait_for_function(PAINTED)
    elif page.locator("main").count():
        # Lenses, maps of places, report cards and a quiz have no figure: they are plain HTML.
        parts = (
            ".sae-nb-picture, .sae-nb-token, .sae-nb-layers td, .sae-nb-dotrow, .sae-nb-circuit svg"
        )
        assert page.locator(f"main :is({parts})").count() > 0, page.url
    else:
        assert "sae-nb get" in page.inner_text("body"), page.url

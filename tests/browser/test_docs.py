"""The documentation as `make docs` builds it: read from disk without network, searched, on a phone."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser.site_page import WIDER
from tests.browser.watched import FROM_DISK, watched

SITE = Path(__file__).parents[2] / "build" / "site"
PAGES = ("index.html", "methods/matching-pursuit.html", "api/sae_nb.html", "errors.html")
COLOURED = ("index.html", "gallery.html", "howto/gpt2.html", "methods/topk.html")
"""Tabs, links, small print, code and cards."""
SEARCHED = {
    "feature": "glossary.html?h=feature",
    "latent": "glossary.html?h=latent",
    "neuron": "glossary.html?h=neuron",
    "GPT-2": "howto/gpt2.html?h=gpt",
    "gpt2": "howto/gpt2.html?h=gpt2",
    "steer": "howto/steer.html?h=steer",
    "DINOv2": "howto/dinov2.html?h=dinov2",
    "patching": "howto/patch.html?h=patching",
    "logit lens": "howto/lens.html?h=logit+lens",
}
"""What is typed, and the page that comes first, with the words that are marked on it."""
JUDGE = Path(__file__).with_name("grammar.js").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="`make docs` builds the pages"),
]


@pytest.fixture(params=["light", "dark"])
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that must stay free of complaints and of requests beyond the disk."""
    with watched(chromium.new_page(offline=True, color_scheme=request.param)) as made:
        yield made


def test_pages_open_from_disk_and_fit_a_phone(page: Any) -> None:
    """Light and dark: text is there, every picture came, and nothing is wider than the screen."""
    page.set_viewport_size({"width": 390, "height": 844})
    for name in PAGES:
        page.goto((SITE / name).as_uri())
        assert len(page.inner_text("article")) > 300
        assert page.evaluate(WIDER) <= 0, name
        missing = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
        assert page.evaluate(missing) == 0, name


def test_every_text_has_contrast(page: Any) -> None:
    """WCAG's 4.5 : 1 of what is on the screen, light and dark, by the rule that panels are held to."""
    page.set_viewport_size({"width": 1280, "height": 900})
    for name in COLOURED:
        page.goto((SITE / name).as_uri())
        found = page.evaluate(f"({JUDGE.rstrip()})(document.body, {{ least: 0 }})")
        assert [one for one in found if one.startswith("faint text")] == [], name


def test_search_finds_a_message_without_a_server(page: Any) -> None:
    """What somebody reads in a traceback leads to the page on errors, from disk."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto((SITE / "index.html").as_uri())
    page.click("input.md-search__input")
    page.keyboard.type("last axis must be the dictionary")
    page.wait_for_selector("a.md-search-result__link", timeout=30_000)
    found = page.eval_on_selector_all("a.md-search-result__link", "all => all.map(a => a.href)")
    assert any("errors.html" in link for link in found), found


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[str]:
    """The pages on a server, as readers of the network have them."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_home_page_is_small_and_the_index_of_the_search_waits(
    chromium: Any, served: str
) -> None:
    """300 kB at most as a server compresses them, and no index; who turns to the search gets it, and the right page first."""
    with watched(chromium.new_page(), (*FROM_DISK, served)) as page:
        loaded: list[Any] = []
        page.on("response", lambda answer: loaded.append(answer))
        page.goto(f"{served}/index.html", wait_until="networkidle")
        assert not [answer for answer in loaded if "search_index" in answer.url]
        sizes = {answer.url: len(gzip.compress(answer.body())) for answer in loaded}
        assert sum(sizes.values()) <= 300_000, sizes
        for word, leads_to in SEARCHED.items():
            page.fill("input.md-search__input", "")
            page.locator("input.md-search__input").press_sequentially(word)
            first = f".md-search-result__item:first-child > a[href*='{leads_to}']"
            page.wait_for_selector(first, timeout=60_000)
        assert [answer for answer in loaded if "search_index" in answer.url]


def test_a_lesson_is_read_without_a_kernel(page: Any) -> None:
    """Each panel is a whole page in its frame, as light or dark as the site; nothing is wider than a phone."""
    lessons = sorted((SITE / "lessons").glob("*.html"))
    shown = [one for one in lessons if "<iframe" in one.read_text(encoding="utf-8")]
    if not shown:
        pytest.skip("no lesson was executed for these pages: `make notebooks` or `make lessons`")
    page.set_viewport_size({"width": 390, "height": 844})
    fewest = min(shown, key=lambda one: one.read_text(encoding="utf-8").count("<iframe"))
    page.goto(fewest.as_uri(), wait_until="domcontentloaded")  # frames are waited for one by one
    frame = page.locator(".lesson-output iframe").first
    frame.scroll_into_view_if_needed()
    page.wait_for_function(
        "parseInt(document.querySelector('.lesson-output iframe').style.height) > 100",
        timeout=120_000,
    )
    inside = frame.element_handle().content_frame()
    assert len(inside.inner_text("body")) > 20
    dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    assert inside.evaluate(dark) == page.evaluate(dark)
    hidden = "document.body.getBoundingClientRect().bottom - innerHeight"
    assert inside.evaluate(hidden) <= 0, "a frame is as tall as its panel"
    assert page.evaluate(WIDER) <= 0
    assert len(page.inner_text("article")) > 1000


def test_paper_shows_a_teachers_page_alone(page: Any) -> None:
    """Question, goal and answers in black on white; header, contents and links of the site are left out."""
    page.goto((SITE / "teachers" / "24_write_your_own_sae.html").as_uri())
    page.emulate_media(media="print")
    text = page.inner_text("body")
    for part in ("Goal.", "Three questions", "Answers", "def encode"):
        assert part in text
    assert not page.locator(".md-header").is_visible()
    assert not page.locator(".md-footer").is_visible()
    assert not page.locator(".only-on-screen").is_visible()
    colour = "getComputedStyle(document.querySelector('article h1')).color"
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) != page.evaluate(background)

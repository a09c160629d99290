"""The documentation as `make docs` builds it: read from disk without network, searched, on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.site_page import WIDER
from tests.browser.watched import watched

SITE = Path(__file__).parents[2] / "build" / "site"
PAGES = ("index.html", "methods/matching-pursuit.html", "api/sae_nb.html", "errors.html")
COLOURED = ("index.html", "gallery.html", "howto/gpt2.html", "methods/topk.html")
"""Tabs, links, small print, code and cards."""
JUDGE = Path(__file__).with_name("grammar.js").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="`make docs` builds the pages"),
]


LIGHT_AND_DARK = pytest.mark.parametrize("page", ["light", "dark"], indirect=True)


@pytest.fixture
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that must stay free of complaints and of requests beyond the disk."""
    with watched(
        chromium.new_page(offline=True, color_scheme=getattr(request, "param", "light"))
    ) as made:
        yield made


def test_pages_open_from_disk_and_fit_a_phone(page: Any) -> None:
    """Text is there, every picture came, and nothing is wider than the screen."""
    page.set_viewport_size({"width": 390, "height": 844})
    for name in PAGES:
        page.goto((SITE / name).as_uri())
        assert len(page.inner_text("article")) > 300
        assert page.evaluate(WIDER) <= 0, name
        missing = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
        assert page.evaluate(missing) == 0, name


@LIGHT_AND_DARK
def test_every_text_has_contrast(page: Any) -> None:
    """WCAG's 4.5 : 1 of what is on the screen, light and dark, by the rule that panels are held to."""
    page.set_viewport_size({"width": 1280, "height": 900})
    for name in COLOURED:
        page.goto((SITE / name).as_uri())
        found = page.evaluate(f"({JUDGE.rstrip()})(document.body, {{ least: 0 }})")
        assert [one for one in found if one.startswith("faint text")] == [], name


def test_search_finds_a_page_without_a_server(page: Any) -> None:
    """The form of every error leads to the page on errors, from disk."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto((SITE / "index.html").as_uri())
    page.click("input.md-search__input")
    page.keyboard.type("every message gives the rule")
    page.wait_for_selector("a.md-search-result__link", timeout=30_000)
    found = page.eval_on_selector_all("a.md-search-result__link", "all => all.map(a => a.href)")
    assert any("errors.html" in link for link in found), found


@LIGHT_AND_DARK
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


def test_a_word_of_the_home_page_says_what_fires_there(page: Any) -> None:
    """The panel stands open; a click, or a key, changes the list beside it."""
    page.goto((SITE / "index.html").as_uri())
    panel = page.locator(".three-texts")
    first = panel.locator("ol").inner_text()
    assert first.startswith("school")
    panel.get_by_role("button", name="lost").press("Enter")
    assert panel.locator("ol").inner_text().startswith("losing")
    assert panel.locator("h3").inner_text() == "Firing at “lost”"

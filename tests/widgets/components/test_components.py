"""Pictures, tokens and bars: usable without a browser, safe with hostile text, small on the wire."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from sae_nb_widgets.components import PictureGrid, Sparkbars, TokenStrip
from sae_nb_widgets.components._base import legend_html, shade

from sae_nb.figures.theme import heat_colour
from tests.widgets.made import Page

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def inert(html: str) -> Page:
    parsed = Page(html)
    for tag, attributes in parsed.tags:
        assert tag not in {"script", "iframe", "object", "embed", "link"}
        assert not [name for name in attributes if name.startswith("on")]
        assert "onerror" not in attributes
        href = attributes.get("href") or attributes.get("src") or ""
        assert not href or href.startswith("data:image/")
    return parsed


def pictures(n: int, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), np.uint8)


def test_pictures_travel_without_loss_when_they_are_small() -> None:
    shown = pictures(3)
    grid = PictureGrid()
    grid.show(shown)
    strip = np.asarray(Image.open(io.BytesIO(grid.sprite)).convert("RGB"))
    assert grid.tile == (8, 8)
    for i in range(3):
        np.testing.assert_array_equal(strip[8 * i : 8 * i + 8], shown[i].transpose(1, 2, 0))


def test_twelve_large_photographs_stay_under_the_message_limit() -> None:
    """224 × 224 photographs are scaled and compressed; noise is the worst case there is."""
    grid = PictureGrid()
    grid.show(pictures(12, side=224), heat=np.ones((12, 16, 16), np.float32))
    assert len(grid.sprite) + len(grid.heat) < 200_000
    assert max(grid.tile) <= 128


def test_static_pictures_carry_pixels_heat_and_titles() -> None:
    """One image per picture, one titled rectangle per patch, hostile captions as text."""
    shown = pictures(2)
    grid = PictureGrid(description=HOSTILE)
    grid.show(shown, heat=np.ones((2, 2, 2), np.float32), captions=[HOSTILE, "b"])
    parsed = inert(grid.static_html())
    images = [a["href"] for tag, a in parsed.tags if tag == "image"]
    assert len(images) == 2
    data = base64.b64decode(images[1].split(",")[1])
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), shown[1].transpose(1, 2, 0)
    )
    assert sum(tag == "rect" for tag, _ in parsed.tags) == 8
    assert "patch 1,1: 1.00" in parsed.text
    assert HOSTILE in parsed.text


def test_tokens_of_any_script_come_back_unchanged() -> None:
    """Right to left, joined emoji, white space, markup: data, all of it."""
    rows = [["مرحبا", " بالعالم"], ["👩‍👩‍👧", "\n", "\t"], [HOSTILE, ""]]
    strip = TokenStrip()
    strip.show(rows)
    assert strip.tokens == rows
    parsed = inert(strip.static_html())
    for token in ("مرحبا", "👩‍👩‍👧", "↵", "⇥", "∅", HOSTILE):
        assert token in parsed.text
    assert [a.get("dir") for tag, a in parsed.tags if "sae-nb-text" in (a.get("class") or "")] == [
        "auto"
    ] * 3


def test_a_character_of_many_tokens_is_whole_and_as_strong_as_its_strongest() -> None:
    """In every panel's strip: an emoji of three tokens is drawn once, shaded by the largest."""
    strip = TokenStrip()
    strip.show([[" hi", " <0xF0><0x9F>", "<0x98>", "<0x80>"]], [np.array([0.5, 0.0, 2.0, np.nan])])
    assert strip.tokens[0][1] == " 😀"
    assert strip.token_strength(0, 1) == 2.0
    assert strip.peaks == [1]
    assert "0x9F" not in strip.static_html()


def test_strengths_belong_to_their_tokens_across_rows_of_different_length() -> None:
    """The flat array is cut at the right places, also in the exported page."""
    rng = np.random.default_rng(0)
    rows = [["x"] * n for n in (3, 1, 5)]
    values = [rng.random(n) for n in (3, 1, 5)]
    strip = TokenStrip()
    strip.show(rows, values)
    for row, expected in enumerate(values):
        for token, value in enumerate(expected):
            assert strip.token_strength(row, token) == pytest.approx(value, rel=1e-6)
    assert strip.peaks == [int(v.argmax()) for v in values]
    titles = re.findall(r'title="token \d+: ([^"]+)"', strip.static_html())
    assert len(titles) == 9


def test_bars_with_missing_values_survive() -> None:
    """NaN and None are absent, and JSON can say them."""
    bars = Sparkbars()
    bars.show([HOSTILE, "b"], [float("nan"), 1.0], before=[None, 0.5])
    assert bars.values == [None, 1.0]
    assert HOSTILE in inert(bars.static_html()).text


def test_heat_is_one_hue_that_begins_at_a_seventh_of_the_maximum() -> None:
    """Weak strengths paint nothing; the legend is painted from the same place on."""
    assert shade(0.14) == shade(0.0) == shade(float("nan"))
    assert shade(0.0).endswith(",0)")
    hues = {shade(share).rpartition(",")[0] for share in (0.15, 0.5, 1.0)}
    assert hues == {"rgba({},{},{}".format(*heat_colour(1.0))}
    opacities = [float(shade(x)[:-1].rpartition(",")[2]) for x in (0.15, 0.4, 0.7, 1.0)]
    assert opacities == sorted(opacities)
    assert opacities[0] == heat_colour(0.15)[-1]
    assert f"{shade(0.15)} 15%" in legend_html(1.0)

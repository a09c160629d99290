"""Pictures, tokens and bars: usable without a browser, safe with hostile text, small on the wire."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import traitlets as t
from PIL import Image
from sae_nb_widgets.components import PictureGrid, Sparkbars, TokenStrip, icons_of
from sae_nb_widgets.components._base import legend_html, shade

import sae_nb as sn
from sae_nb.atoms import AtomNames
from sae_nb.figures import heat_colour
from tests.widgets.made import Page

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def inert(html: str) -> Page:
    """Parse, and make sure that nothing in it can run."""
    parsed = Page(html)
    for tag, attributes in parsed.tags:
        assert tag not in {"script", "iframe", "object", "embed", "link"}
        assert not [name for name in attributes if name.startswith("on")]
        assert "onerror" not in attributes
        href = attributes.get("href") or attributes.get("src") or ""
        assert not href or href.startswith("data:image/")
    return parsed


def pictures(n: int, side: int = 8, seed: int = 0) -> np.ndarray:
    """Random pictures."""
    return np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), np.uint8)


# --- PictureGrid --------------------------------------------------------------------------------


def test_pictures_travel_without_loss_when_they_are_small() -> None:
    """The strip decodes to the very pixels."""
    shown = pictures(3)
    grid = PictureGrid()
    grid.show(shown)
    strip = np.asarray(Image.open(io.BytesIO(grid.sprite)).convert("RGB"))
    assert grid.tile == (8, 8)
    for i in range(3):
        np.testing.assert_array_equal(strip[8 * i : 8 * i + 8], shown[i].transpose(1, 2, 0))


def test_heat_and_captions_come_back() -> None:
    """What was given is what a hover reads."""
    heat = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    heat[1, 1, 2] = np.nan
    grid = PictureGrid()
    grid.show(pictures(2), heat=heat, captions=["a", "b"])
    assert grid.patch_strength(0, 4) == 4.0
    assert np.isnan(grid.patch_strength(1, 5))
    assert grid.heat_shape == (2, 3)
    assert grid.strengths == [5.0, 10.0]
    assert grid.maximum == 10.0


def test_twelve_large_photographs_stay_under_the_message_limit() -> None:
    """224 × 224 photographs are scaled and compressed; noise is the worst case there is."""
    grid = PictureGrid()
    grid.show(pictures(12, side=224), heat=np.ones((12, 16, 16), np.float32))
    assert len(grid.sprite) + len(grid.heat) < 200_000
    assert max(grid.tile) <= 128


def test_picture_selection_is_checked_and_resets_with_new_pictures() -> None:
    """A patch that is not there is refused; showing others forgets the choice."""
    grid = PictureGrid()
    grid.show(pictures(2), heat=np.ones((2, 2, 2), np.float32))
    grid.selected = (1, 3)
    grid.selected = [0, 2]
    assert grid.selected == (0, 2)
    for wrong in ((2, 0), (0, 4), (-2, 0)):
        with pytest.raises(t.TraitError, match=r"`selected` must be \(picture, patch\)"):
            grid.selected = wrong
    grid.show(pictures(1))
    assert grid.selected == (-1, -1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pictures": np.zeros((2, 3, 4, 4), np.float32)}, "must be uint8"),
        ({"pictures": np.zeros((2, 4, 4), np.uint8)}, r"\(n, 3, height, width\)"),
        ({"pictures": pictures(2), "captions": ["one"]}, "`captions` must have one entry per"),
        ({"pictures": pictures(2), "heat": np.zeros((3, 2, 2))}, "`heat` must have one entry per"),
    ],
)
def test_wrong_pictures_are_refused(arguments, message) -> None:
    """Rule, given."""
    with pytest.raises(ValueError, match=message):
        PictureGrid().show(**arguments)


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


def test_empty_grid_says_what_to_do() -> None:
    """No pictures: the sentence, not a blank."""
    grid = PictureGrid(empty_text="Atom 3 fires nowhere here.")
    grid.show(np.zeros((0, 3, 1, 1), np.uint8))
    assert "Atom 3 fires nowhere here." in grid.static_html()


# --- TokenStrip -----------------------------------------------------------------------------------


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


def test_tokens_that_were_not_captured_are_unshaded_and_say_so() -> None:
    """NaN is not zero."""
    strip = TokenStrip()
    strip.show([["a", "b"]], [np.array([np.nan, 1.0])], special=[[True, False]])
    spans = [a for tag, a in Page(strip.static_html()).tags if "sae-nb-token" in a.get("class", "")]
    assert "not captured" in spans[0]["title"]
    assert "style" not in spans[0]
    assert "sae-nb-special" in spans[0]["class"]
    assert "background-color" in spans[1]["style"]
    assert "sae-nb-peak" in spans[1]["class"]


def test_token_selection_is_checked() -> None:
    """Only a token that is shown can be chosen."""
    strip = TokenStrip()
    strip.show([["a", "b"], ["c"]])
    strip.selected = (1, 0)
    with pytest.raises(t.TraitError, match="`selected` must be"):
        strip.selected = (1, 1)
    strip.selected = (-1, -1)


def test_rows_of_the_wrong_length_are_refused() -> None:
    """One strength per token, said with both numbers."""
    with pytest.raises(ValueError, match=r"rows of \[2\] tokens, got \[3\]"):
        TokenStrip().show([["a", "b"]], [np.zeros(3)])


# --- Sparkbars ------------------------------------------------------------------------------------


def test_bars_are_proportional_and_negative_ones_grow_to_the_left() -> None:
    """Widths in percent of the track, zero in the middle when signed."""
    bars = Sparkbars()
    bars.show(["a", "b"], [4.0, -2.0], signed=True)
    fills = [
        a["style"] for _, a in Page(bars.static_html()).tags if a.get("class") == "sae-nb-fill"
    ]
    assert fills[0].startswith("left:50.0%;width:50.0%")
    assert fills[1].startswith("left:25.0%;width:25.0%")


def test_before_and_control_are_drawn_where_they_lie() -> None:
    """The random control is drawn wherever an effect is."""
    bars = Sparkbars(description="class scores")
    bars.show(["7"], [0.8], before=[0.2], control=[0.4], maximum=1.0)
    places = {a["class"]: a["style"] for _, a in Page(bars.static_html()).tags if "style" in a}
    assert places["sae-nb-before"] == "left:20.0%"
    assert places["sae-nb-control"] == "left:40.0%"


def test_bars_with_missing_values_survive() -> None:
    """NaN and None are absent, and JSON can say them."""
    bars = Sparkbars()
    bars.show([HOSTILE, "b"], [float("nan"), 1.0], before=[None, 0.5])
    assert bars.values == [None, 1.0]
    assert HOSTILE in inert(bars.static_html()).text


def test_a_bar_that_is_not_there_cannot_be_chosen() -> None:
    """Nor can lists of different lengths be shown."""
    bars = Sparkbars()
    bars.show(["a"], [1.0])
    with pytest.raises(t.TraitError, match="index of one of 1 bars"):
        bars.selected = 1
    with pytest.raises(ValueError, match="`values` must have one entry per label"):
        bars.show(["a", "b"], [1.0])


@pytest.mark.parametrize("component", [PictureGrid, TokenStrip, Sparkbars])
def test_components_show_something_without_a_browser(component) -> None:
    """A notebook without widgets falls back to the static picture."""
    widget = component()
    html = widget._repr_mimebundle_()[0]["text/html"]
    assert "sae-nb" in html


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


def test_an_icon_is_drawn_once_and_small() -> None:
    """Rows come with every answer: an atom's image is not looked for again, and weighs half a kilobyte."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    names = AtomNames(sn.load_examples("tiny-vit/resid_post.6").catalogue(sae))
    _ = names.catalogue.frequency
    atoms = np.argsort(-names.catalogue.frequency)[:20].tolist()
    first = icons_of(names, atoms)
    assert all(address.startswith("data:image/png") for address in first)
    assert sum(map(len, first)) / len(first) < 512
    names.crop = None  # type: ignore[assignment, method-assign]
    assert icons_of(names, [*atoms, *atoms]) == first + first
    assert icons_of(AtomNames(), [1, 2]) == ["", ""]


def test_words_that_bring_no_space_stay_apart() -> None:
    """A tokenizer of whole words leaves the space out; pieces of words bring theirs."""
    words, pieces = TokenStrip(), TokenStrip()
    words.show([["3+4", "5+5"]])
    pieces.show([["The", " d", "og"]])
    assert "sae-nb-apart" in words.static_html()
    assert "sae-nb-apart" not in pieces.static_html()

"""Colours mean one thing, numbers read one way, and a change of scale reaches open panels."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import sae_nb_widgets as sw
from PIL import ImageColor
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.panel import _theming as theming

from sae_nb.figures import cividis, plot_text, theme
from sae_nb.figures.theme import THIN_SPACE, escape, format_number, signed_colours
from tests.widgets.made import contrast


@pytest.fixture(autouse=True)
def _normal_scale():
    yield
    theming.theme("normal")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.9996, "1.00"),
        (999.6, "1_000"),
        (123456.0, "123_000"),
        (0.000123, "0.000123"),
        (0.0000123, "1.23e−5"),
        (2.5e12, "2.50e12"),
        (-0.5, "−0.500"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_numbers_have_three_significant_digits_and_thin_spaces(value, text) -> None:
    assert format_number(value) == text.replace("_", THIN_SPACE)


def test_signed_map_has_white_at_zero_and_blue_below() -> None:
    """Blue, white, orange; values beyond ±1 and NaN are drawn as the nearest there is."""
    low, zero, high = signed_colours(np.array([-3.0, 0.0, 3.0])).tolist()
    assert zero == [255, 255, 255]
    assert low[2] > low[0]
    assert high[0] > high[2]


@pytest.mark.parametrize("ground", [(255, 255, 255), (27, 27, 27)])
def test_every_colour_of_marks_is_seen_on_light_and_on_dark_pages(ground) -> None:
    """Contrast of at least 3: categories, predicted, novel, random control, bars, axes, alarm."""
    names = ("CONTROL", "NEUTRAL", "ALARM", "GREY", "UNKNOWN")
    for colour in (*theme.OKABE_ITO, *(getattr(theme, name) for name in names)):
        assert contrast(np.array(ImageColor.getrgb(colour)), ground) >= 3, colour
    assert theme.AXIS == "rgba(128,128,128,0.9)"  # over the ground it lies on
    assert contrast(0.9 * np.array([128] * 3) + 0.1 * np.array(ground), ground) >= 3


def test_browser_and_python_share_one_colour_table() -> None:
    """The script carries the theme's colours of heat, and where it begins."""
    for name in ("picture_grid", "token_strip", "paired_bars"):
        text = script(name)
        found = re.search(r"const \w+ = (\{\"\w+\": ?.*?\"weakest\".*?\});", text)
        assert found is not None
        colours = json.loads(found[1])
        assert tuple(colours["heat"]["strength"]) == theme.STRENGTH
        assert colours["opacities"]["weakest"] == theme.WEAKEST
        assert "__COLOURS__" not in text
    assert cividis(np.array([0.5])).tolist() == [[125, 124, 118]]


def test_lecture_scale_reaches_open_panels_and_forgets_closed_ones() -> None:
    """sw.theme redraws what is open; a panel that is gone costs nothing."""
    panel = sw.Panel()
    sw.theme(scale="lecture")
    assert "16px" in panel._frame.style.value
    assert "sae-nb-lecture" in panel._dom_classes
    sw.theme(scale="normal")
    assert "13px" in panel._frame.style.value
    panel.close()
    assert panel not in theming._on_screen


def test_text_is_escaped_for_html_and_for_plotly() -> None:
    assert escape("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"
    assert plot_text("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"

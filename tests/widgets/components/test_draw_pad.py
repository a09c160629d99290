"""DrawPad and PairedBars: usable without a browser, safe with hostile text."""

from __future__ import annotations

import numpy as np
from sae_nb_widgets.components import Column, DrawPad, PairedBars


def test_strokes_add_up() -> None:
    pad = DrawPad(thickness=2.5)
    pad.stroke([(4, 4), (20, 9)])
    pad.stroke([(20, 9), (11, 28)])
    at_once = DrawPad(thickness=2.5)
    at_once.stroke([(4, 4), (20, 9), (11, 28)])
    np.testing.assert_array_equal(pad.ink, at_once.ink)
    assert pad.ink[4, 4] == 255
    assert "data:image/png" in pad.static_html()
    pad.clear()
    assert pad.blank
    assert pad.static_html() == ""


def test_what_a_browser_sends_is_taken() -> None:
    pad = DrawPad()
    pad.set_state({"pixels": memoryview(bytes([7] * 1024))})
    assert pad.ink.min() == pad.ink.max() == 7


def test_bars_have_their_numbers_ticks_and_colours() -> None:
    """One scale per column holds values, controls and exact values."""
    bars = PairedBars(description="atoms")
    bars.show(
        ["1", "2"],
        Column(title="fired", values=[2.0, 1.0]),
        Column(
            title="mattered",
            values=[-0.5, 0.25],
            control=[-1.0, None],
            exact=[None, 0.5],
            signed=True,
        ),
    )
    fired, mattered = bars.columns
    assert fired["maximum"] == 2.0
    assert mattered["maximum"] == 1.0
    assert fired["notes"] == ["2.00", "1.00"]
    page = bars.static_html()
    assert page.count("sae-nb-control") == 1
    assert page.count("sae-nb-before") == 1
    assert "rgb(26,130,196)" in page
    assert "rgb(213,94,0)" in page


def test_values_that_are_no_numbers_are_absent() -> None:
    bars = PairedBars()
    bars.show(["a"], Column(title="x", values=[float("nan")], control=[float("inf")]))
    assert bars.columns[0]["values"] == bars.columns[0]["control"] == [None]
    assert "sae-nb-pairrow" in bars.static_html()

"""DrawPad and PairedBars: usable without a browser, safe with hostile text."""

from __future__ import annotations

import numpy as np
import pytest
import traitlets as t
from sae_nb_widgets.components import Column, DrawPad, PairedBars

from sae_nb.data import raster

HOSTILE = '<script>alert("x")</script>'


# --- DrawPad --------------------------------------------------------------------------------------


def test_strokes_add_up_to_what_the_raster_says() -> None:
    """Stroke by stroke, and cleared to nothing."""
    pad = DrawPad(thickness=2.5)
    pad.stroke([(4, 4), (20, 9)])
    pad.stroke([(20, 9), (11, 28)])
    np.testing.assert_array_equal(pad.ink, raster([[(4, 4), (20, 9), (11, 28)]], 2.5))
    assert "data:image/png" in pad.static_html()
    pad.clear()
    assert pad.blank
    assert pad.static_html() == ""


def test_what_a_browser_sends_is_taken() -> None:
    """A view of memory, as widgets' messages bring it."""
    pad = DrawPad()
    pad.set_state({"pixels": memoryview(bytes([7] * 1024))})
    assert pad.ink.min() == pad.ink.max() == 7


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("pixels", b"123", "1024 bytes"),
        ("thickness", 0.5, "between 1 and 6"),
        ("thickness", float("nan"), "between 1 and 6"),
    ],
)
def test_pad_refuses_what_is_no_drawing(trait: str, value: object, words: str) -> None:
    """Rule and given."""
    with pytest.raises(t.TraitError, match=words):
        setattr(DrawPad(), trait, value)


def test_stroke_needs_a_point() -> None:
    """Nothing is no stroke."""
    with pytest.raises(ValueError, match="at least one"):
        DrawPad().stroke([])


# --- PairedBars -----------------------------------------------------------------------------------


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


def test_hostile_labels_are_escaped() -> None:
    """Labels, titles, notes, tips."""
    bars = PairedBars(description=HOSTILE)
    bars.show([HOSTILE], Column(title=HOSTILE, values=[1.0], notes=[HOSTILE], tips=[HOSTILE]))
    assert "<script>" not in bars.static_html()


def test_values_that_are_no_numbers_are_absent() -> None:
    """JSON cannot say NaN."""
    bars = PairedBars()
    bars.show(["a"], Column(title="x", values=[float("nan")], control=[float("inf")]))
    assert bars.columns[0]["values"] == bars.columns[0]["control"] == [None]
    assert "sae-nb-pairrow" in bars.static_html()


def test_rows_must_agree_and_exist() -> None:
    """Lengths, and the index of a row."""
    bars = PairedBars()
    with pytest.raises(ValueError, match="`control` of 'x'"):
        bars.show(["a", "b"], Column(title="x", values=[1.0, 2.0], control=[1.0]))
    bars.show(["a"], Column(title="x", values=[1.0]))
    with pytest.raises(t.TraitError, match="one of 1 rows"):
        bars.selected = 1


def test_every_mark_can_have_its_words_under_the_bars() -> None:
    """A key of marks and words; hostile ones stay words, an unknown mark is refused."""
    bars = PairedBars()
    column = Column(title="effect", values=[1.0], control=[0.5], signed=True)
    bars.show(["a"], column, key=[("control", HOSTILE), ("above", "raises"), ("", "plain")])
    page = bars.static_html()
    assert "sae-nb-key-control" in page
    assert page.count("sae-nb-keypart") == 3
    assert HOSTILE not in page
    with pytest.raises(ValueError, match="key"):
        bars.show(["a"], column, key=[("star", "nothing drawn so")])
    bars.show(["a"], column)
    assert "sae-nb-key" not in bars.static_html()


def test_the_row_chosen_already_can_be_chosen_again() -> None:
    """The page says so, since the trait does not change; other messages say nothing."""
    bars, heard = PairedBars(), []
    bars.show(["a", "b"], Column(title="x", values=[1.0, 2.0]), selected=1)
    bars.on_again(heard.append)
    for content in ({"kind": "again"}, {"kind": "other"}, "again", None):
        bars._handle_custom_msg(content, [])
    assert heard == [1]

"""The forms of the panels: what they take, what they refuse, and what readers without a script get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import traitlets as t
from sae_nb_widgets.components import (
    Branches,
    Chips,
    Component,
    Concordance,
    Histogram,
    StrengthSlider,
    ThinBars,
)
from sae_nb_widgets.components._branches import Way, words_of_its_own
from sae_nb_widgets.components._histogram import Mark

HOSTILE = "<img src=x onerror=alert(1)>"
LONG = "name " * 60


def lines(rows: list[list[str]]) -> Concordance:
    """A concordance in which the last token of each row is the strongest."""
    made = Concordance(hint="of many")
    made.show(rows, [np.arange(len(row), dtype=float) for row in rows])
    return made


def filled() -> list[Component]:
    concordance = lines([[HOSTILE, " cat"], ["הכלב", " ברח"]])
    chips = Chips(description=HOSTILE)
    chips.show([HOSTILE, LONG], ["confirmed", "unconfirmed"], score=HOSTILE, control=HOSTILE)
    slider = StrengthSlider(name=HOSTILE, sure=2, sure_words=HOSTILE, unit=HOSTILE)
    bars = Histogram(description=HOSTILE, brush=False)
    bars.show([3, 0, 5], ends=[HOSTILE] * 4, marks=[Mark(1.5, HOSTILE, tip=HOSTILE)])
    thin = ThinBars(description=HOSTILE, bare=True)
    thin.show([HOSTILE, LONG], [1.0, 0.5])
    branches = Branches(description=HOSTILE)
    branches.show([HOSTILE], [Way("up", [HOSTILE], HOSTILE), Way("same", [" x"])], note=HOSTILE)
    return [concordance, chips, slider, bars, thin, branches]


@pytest.mark.parametrize("form", filled(), ids=lambda form: type(form).__name__)
def test_words_never_become_markup_and_every_form_can_be_drawn(form: Component) -> None:
    page = form.static_html()
    assert "<img" not in page.replace('<img class="sae-nb-icon"', "")
    assert "&lt;img" in page
    drawn = form.drawing(420)
    assert drawn.width == 420
    assert drawn.height > 10
    empty = type(form)()
    assert "sae-nb-" in empty.static_html()


def test_lines_stand_on_the_strongest_token_and_hold_whole_words() -> None:
    """A word cut into tokens is one; the column is as wide as the longest of them."""
    made = lines([["They", " mar", "ried"], ["she", " was", " in", " love"]])
    assert made.words_of(0) == (["They"], ["married"], [])
    assert made.words_of(1) == (["she", "was", "in"], ["love"], [])
    wider = lines([["an", " international", "isation"]])
    assert wider.focus_em > made.focus_em
    made.unfolded = 1
    with pytest.raises(t.TraitError, match="index of one of 2 rows"):
        made.unfolded = 2
    made.show([["new"]])
    assert made.unfolded == -1


def test_chips_say_what_was_confirmed_and_refuse_what_they_do_not_know() -> None:
    """Readers without colours read it; a state that is none is refused."""
    chips = Chips()
    chips.show(
        [" a", "b", "c"], ["confirmed", "unconfirmed", "low"], score="1 of 3", control="random: 0"
    )
    page = chips.static_html()
    assert 'title="confirmed"' in page
    assert 'title="not confirmed"' in page
    assert page.index("1 of 3") < page.index("random: 0")
    with pytest.raises(ValueError, match="state"):
        chips.show(["a"], ["perhaps"])
    with pytest.raises(ValueError, match="one entry per label"):
        chips.show(["a"], ["low", "low"])
    with pytest.raises(t.TraitError, match="one of 3 chips"):
        chips.selected = 3


def test_a_slider_speaks_in_peaks_and_in_the_models_units() -> None:
    """Zero, the usual and the strongest are where they belong; values beyond an end stand at it."""
    slider = StrengthSlider(size=40.0)
    slider.fit(-1.0, 3.0, usual=1.0, strongest=2.0)
    slider.value = 0.9
    assert (slider.words_of_value, slider.model_units[:4]) == ("0.9 × usual", "36.0")
    page = slider.static_html()
    assert "--zero:25.0%" in page
    assert 'left:50.0%">usual' in page
    assert 'sae-nb-strongest sae-nb-far" style="left:75.0%">strongest seen' in page
    slider.value = 99.0
    assert 'sae-nb-thumb" style="left:100.0%"' in slider.static_html()
    with pytest.raises(t.TraitError, match="finite"):
        slider.value = float("nan")
    with pytest.raises(ValueError, match="below"):
        slider.fit(1.0, 1.0)


def test_marks_of_a_histogram_lie_on_its_axis() -> None:
    bars = Histogram(brush=False)
    bars.show([0, 100, 1], ends=["0", "1", "2", "3"], marks=[Mark(1.5, "median", chosen=True)])
    assert bars.heights().tolist() == pytest.approx([0, 1, 0.1])
    assert 'sae-nb-selected" style="left:50.0%"' in bars.static_html()
    with pytest.raises(ValueError, match="between 0 and 3 bars"):
        bars.show([1, 1, 1], ends=["", "", "", ""], marks=[Mark(3.5, "far")])
    with pytest.raises(t.TraitError, match="one of 3"):
        bars.clicked = 3


def test_only_words_that_the_others_lack_are_tinted() -> None:
    """Whole words, letter case and punctuation aside; the untouched text is never tinted."""
    made = Branches()
    made.show(
        ["Anna", " wept"],
        [Way("up", [" The", " film", "s", ",", " anna"]), Way("same", [" the", " dog"])],
    )
    assert made.marked == [[False, True, True, False, False], [False, False]]
    assert words_of_its_own(["a", " tree", " 12"], []) == [False, True, True]
    made.selected = (1, 2)
    made.show(["Anna"], [Way("same", [" x"])])
    assert made.selected == (-1, -1)
    with pytest.raises(ValueError, match="kind"):
        made.show([], [Way("sideways", [])])
    with pytest.raises(ValueError, match="one entry per token"):
        made.show(["a"], strengths=np.zeros(2))


@pytest.fixture
def pictures() -> sw.PictureGrid:
    """One picture of 3 × 3 patches that fires at two neighbours, faintly at a third."""
    heat = np.array([[[0, 2.0, 0], [0, 1.0, 0], [0, 0.2, np.nan]]], np.float32)
    grid = sw.PictureGrid(look="veil", hint="where it fires")
    grid.show(np.zeros((1, 3, 9, 9), np.uint8), heat=heat, captions=["one"], places=["image 4"])
    return grid


def test_an_outline_runs_around_the_patches_where_an_atom_fires(pictures: Any) -> None:
    """Neighbours have none between them, weak patches and unknown ones are under the veil."""
    fires = pictures.fires(0)
    assert np.argwhere(fires).tolist() == [[0, 1], [1, 1]]
    edges = pictures._edges(fires)
    assert len(edges) == 6
    assert ((3.0, 3.0), (6.0, 3.0)) not in edges
    page = pictures.static_html()
    assert page.count("sae-nb-veiled") == 1
    assert 'title="image 4 · 2.00"' in page
    assert "<path" in page
    assert pictures.drawing(300).height > 0
    pictures.show_heat = False
    assert "<path" not in pictures.static_html()


def test_ways_part_after_the_last_word_before_them_and_after_earlier_ones() -> None:
    """One way parts from nothing."""
    branches, ways = Branches(description="ways"), [Way("up", [" a"]), Way("same", [" the"])]
    branches.show(["Last", " summer"], ways)
    assert branches.leaves == "after “summer”"
    branches.show(["Last", " summer"], ways, earlier=[("an atom", "Last summer")])
    assert branches.leaves == "after the text above and “summer”"
    branches.show(["Last", " summer"], ways[:1])
    assert branches.leaves == ""

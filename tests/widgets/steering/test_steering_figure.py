"""The figure of a steering: honest bars, an honest verdict, inert labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sae_nb_widgets.steering import SteeringPanel
from sae_nb_widgets.steering._figure import AFTER, BEFORE, MEDIAN, RANDOM, steering_figure
from sae_nb_widgets.steering._words import outcome_words, verdict_words

from sae_nb.steering import SteeringRecipe, SteeringSummary

RECIPE = SteeringRecipe(hook_point="resid_post.1", atom=3, strength=2.0)


def summary(**given: Any) -> SteeringSummary:
    fields: dict[str, Any] = {
        "recipe": RECIPE,
        "edit_norm": 2.0,
        "outcome": "next token",
        "names": (" cat", "<script>alert(1)</script>", "\n"),
        "ids": np.array([4, 7, 9]),
        "before": np.array([0.7, 0.2, 0.0]),
        "after": np.array([0.1, 0.8, 0.02]),
        "random": np.array([0.65, 0.22, 0.0]),
        "target": 7,
        "kl": 1.2,
        "kl_random": 0.01,
        "controls": np.array([[0.65, 0.22, 0.0], [0.72, 0.16, 0.01]]),
        "kl_controls": np.array([0.01, 0.02]),
        "stands_out": None,
        "tokens": ("a",),
        "read_at": None,
        "state_change": None,
        "state_change_random": None,
        "prefix_tokens": 0,
    }
    return SteeringSummary(**(fields | given))


def test_random_pushes_are_a_band_with_their_median_and_what_leaves_it_is_filled() -> None:
    """19 pushes, of which the first is the smallest: least, median and most are drawn, never one of them."""
    drawn = np.column_stack(
        [np.linspace(0.1, 0.9, 19)[::-1], np.linspace(0.18, 0.22, 19), np.full(19, 0.01)]
    )
    found = summary(outcome="class", controls=drawn, random=drawn[-1])
    data = steering_figure(found).data
    band = data[RANDOM]
    assert band.base == pytest.approx(drawn.min(axis=0))
    assert np.add(band.base, band.x) == pytest.approx(drawn.max(axis=0))
    assert data[MEDIAN].x == pytest.approx(np.median(drawn, axis=0))
    assert (data[BEFORE].x, data[AFTER].x) == (
        pytest.approx(found.before), pytest.approx(found.after)
    )  # fmt: skip
    assert data[AFTER].marker.symbol == ("circle-open", "circle", "circle")


def test_a_dot_is_filled_where_it_is_seen_outside_the_band() -> None:
    """From 2.4 % to 4 % under an atom, to 0.7 % and to 3 % at random: up by less than one went down, and filled."""
    before, drawn = np.array([0.976, 0.024, 0.0]), np.full((19, 3), 0.02)
    drawn[0, 1], drawn[1, 1], after = 0.007, 0.03, np.array([0.02, 0.04, 0.02])
    found = summary(outcome="class", before=before, controls=drawn, after=after)
    assert not found.beyond(found.names[1])
    figure = steering_figure(found)
    assert figure.data[AFTER].marker.symbol == ("circle-open", "circle", "circle-open")
    assert [label.startswith("<b>") for label in figure.layout.yaxis.ticktext] == [
        False,
        True,
        False,
    ]


def test_the_legend_says_by_how_much_a_filled_dot_is_past_the_band() -> None:
    """A dot outside the grey band by less than half a point is hollow: so small a change is none."""
    drawn = np.full((19, 3), 0.01)
    after = np.array([0.69, 0.4, 0.014])
    data = steering_figure(summary(outcome="class", controls=drawn, after=after)).data
    assert data[AFTER].name == "after (filled: past all the grey)"
    assert "past band and tick by over 0.5 points" in SteeringPanel.explanation[0]
    assert data[AFTER].x[2] > data[RANDOM].base[2] + data[RANDOM].x[2]
    assert data[AFTER].marker.symbol == ("circle-open", "circle", "circle-open")


def test_an_outcome_that_did_not_move_neither_rises_nor_falls() -> None:
    """The whole answer moves, and the one asked about does not."""
    found = summary(after=np.array([0.7, 0.1, 0.1]), kl=1.2)
    assert outcome_words(found, about=" cat").startswith("“cat” stays at 70")
    assert verdict_words(found, about=" cat").startswith("2 of 2 equally long random pushes move ")


@pytest.mark.parametrize(
    ("after", "kl", "outcome", "verdict"),
    [
        ((0.69, 0.2, 0.2), 0.01, "“↵” rises to 20 %", "None of 2 equally long random pushes moves “↵” as far."),
        ((0.69, 0.2, 0.0), 0.3, "“cat” falls to 69 %", "The whole answer moves further than under 2 equally long random pushes."),
        ((0.69, 0.2, 0.0), 0.01, "no more than chance", "Random pushes move every next word as far: no more than chance."),
        ((0.1, 0.8, 0.02), 0.3, "“cat” becomes “<script>alert(1)</script>”", "None of 2 equally long random pushes moves “<script>alert(1)</script>” as far."),
    ],
)  # fmt: skip
def test_the_verdict_is_that_of_the_answers_own_numbers(
    after: tuple[float, ...], kl: float, outcome: str, verdict: str
) -> None:
    """A headline neither claims what its own controls refute, nor denies what is not in the top class."""
    found = summary(after=np.array(after), kl=kl)
    assert found.beats_chance == ("no more than chance" not in verdict)
    assert verdict_words(found) == verdict
    assert outcome_words(found).replace("\u2009", " ") == outcome
    assert len(verdict.split()) <= 12

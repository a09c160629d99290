"""The figure of a steering: honest bars, an honest verdict, inert labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sae_nb_widgets.steering._figure import (
    AFTER,
    CURVE_TRACES,
    EFFECT_BAND,
    RANDOM,
    mark_strength,
    steering_figure,
    update_answer,
    update_curve,
)
from sae_nb_widgets.steering._scale import StrengthScale
from sae_nb_widgets.steering._words import answer_words, curve_words, edit_words, numbers_words

from sae_nb.atoms import AtomNames, Labels
from sae_nb.figures import THIN_SPACE, theme, to_svg
from sae_nb.steering import DoseResponse
from sae_nb.summaries import SteeringCurve, SteeringRecipe, SteeringSummary

RECIPE = SteeringRecipe(hook_point="resid_post.1", atom=3, strength=2.0)


def summary(**given: Any) -> SteeringSummary:
    """Three tokens, one of them markup."""
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
    }
    return SteeringSummary(**(fields | given))


def curve(effect_at_two: float, **given: Any) -> SteeringCurve:
    """Three strengths, four random directions with effects from −0.1 to 0.1."""
    strengths = np.array([-2.0, 0.0, 2.0])
    spread = np.linspace(-0.1, 0.1, 4)[:, None] * np.array([1.0, 0.0, 1.0])
    response = DoseResponse(
        hook_point="resid_post.1",
        atom=3,
        strengths=strengths,
        effect=np.array([-0.3, 0.0, effect_at_two]),
        control=spread,
        kl=np.array([0.5, 0.0, 0.6]),
        control_kl=np.abs(spread),
        clean=0.2,
        measure="probability of class b",
        control_seeds=(0, 1, 2, 3),
        n=1,
    )
    fields: dict[str, Any] = {
        "recipe": RECIPE,
        "strengths": strengths,
        "response": response,
        "nearest_atom": 9,
        "nearest_cosine": 0.4,
        "nearest_effect": np.array([0.0, 0.0, 0.1]),
        "target_name": "b",
    }
    return SteeringCurve(**(fields | given))


def test_labels_are_text() -> None:
    """Markup in a token, in hover texts and in labels, is escaped; white space is shown."""
    figure = steering_figure(summary())
    assert "<script>" not in figure.to_json()
    assert figure.layout.yaxis.ticktext[0] == "“cat”"
    assert figure.layout.yaxis.ticktext[2] == "“↵”"


def test_long_names_are_cut() -> None:
    """A name never takes the room of the bars."""
    figure = steering_figure(summary(names=("x" * 90, "b", "c"), outcome="class"))
    assert len(figure.layout.yaxis.ticktext[0]) <= 18


@pytest.mark.parametrize(("top", "end"), [(0.004, 0.01), (0.3, 0.5), (0.7, 1.0)])
def test_axis_has_room_for_the_longest_bar(top: float, end: float) -> None:
    """It ends at one of few values, so that it seldom jumps, and never cuts a bar."""
    values = np.array([top, top / 2, 0.0])
    figure = steering_figure(summary(before=values, after=values, random=values))
    low, high = figure.layout.xaxis.range
    assert (low, figure.layout.xaxis.tickvals[-1]) == (0.0, end)
    assert high > end >= top


def test_random_outline_is_a_rectangle_per_outcome() -> None:
    """From zero to the random direction's value, dashed."""
    trace = steering_figure(summary()).data[RANDOM]
    x = np.asarray(trace.x).reshape(-1, 6)
    np.testing.assert_allclose(x[:, 1], [0.65, 0.22, 0.0], atol=1e-6)
    np.testing.assert_allclose(x[:, 0], 0)
    assert np.isnan(x[:, 5]).all()


def test_curve_comes_and_goes() -> None:
    """It takes room below the bars only while it is there."""
    figure = steering_figure(summary())
    height = figure.layout.height
    update_curve(figure, curve(0.5))
    mark_strength(figure, 2.0)
    assert figure.layout.height > height
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]
    assert all(figure.data[index].visible for index in CURVE_TRACES)
    np.testing.assert_allclose(np.asarray(figure.data[EFFECT_BAND].y)[[0, 5]], [0.09, -0.09], 1e-5)
    update_curve(figure, None)
    assert figure.layout.height == height
    assert not any(figure.data[index].visible for index in CURVE_TRACES)


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.05, "inside"), (0.5, "outside"), (-0.5, "outside")]
)
def test_verdict_compares_with_the_random_band(effect: float, verdict: str) -> None:
    """Points with the range of random directions; an effect that those reach as well is called chance."""
    words = curve_words(curve(effect))
    moves = "falls" if effect < 0 else "rises"
    assert f"P(b) {moves} by {abs(100 * effect):.2g}".rstrip("0") in words
    assert "4 random directions: −9.0 to 9.0 points." in words
    assert ("That is no more than chance." in words) is (verdict == "inside")


NAMES = AtomNames(labels=Labels({1: "digit 4"}))


def test_an_edit_is_said_with_names_and_the_unit_it_has() -> None:
    """Multiples, coefficients and factors read differently, and so do up and down."""
    scale = StrengthScale()
    scale.sizes = np.array([0.0, 3.0, 2.0])
    p99 = SteeringRecipe(hook_point="a", atom=1, strength=2.0, unit="p99", p99=3.0)
    below = SteeringRecipe(hook_point="a", atom=2, strength=-0.35, others=((1, 9.0),))
    factor = SteeringRecipe(hook_point="a", atom=0, strength=0.5, mode="scale")
    once = SteeringRecipe(hook_point="a", atom=1, strength=1.0, unit="p99", p99=3.0)
    nothing = SteeringRecipe(hook_point="a", atom=0, strength=0.0)
    assert edit_words(p99, NAMES, scale) == "“digit 4” (atom 1) added at 2× full strength"
    assert edit_words(below, NAMES, scale) == (
        "atom 2 subtracted at 0.35 model units and “digit 4” (atom 1) added at 3× full strength"
    )
    assert edit_words(once, NAMES, scale) == "“digit 4” (atom 1) added at full strength"
    assert edit_words(factor, NAMES, scale) == "atom 0 scaled by 0.5"
    assert edit_words(nothing, NAMES, scale) == "atom 0 left as it is"


def test_the_answer_is_in_words_and_percent_and_the_rest_is_behind_it() -> None:
    """What the visitor asked, with the random push; nats and units only among the numbers."""
    found = summary(
        recipe=SteeringRecipe(hook_point="a", atom=1, strength=3.0, unit="p99", p99=85.1)
    )
    sentence = answer_words(found, edit_words(found.recipe, NAMES, StrengthScale()))
    assert sentence.replace(THIN_SPACE, " ") == (
        "“digit 4” (atom 1) added at 3× full strength: the next token changes from “cat” to "
        "“<script>alert(1)</script>”; “<script>alert(1)</script>” changes most, 20 % → 80 % (random: 16 % to "
        "22 %). In all, more than chance."
    )
    numbers = numbers_words(found)
    assert all(
        word in numbers for word in ("KL", "nats", "255 = 3 × full strength", "99th percentile")
    )


def test_nothing_is_drawn_of_no_answer() -> None:
    """Bars, words and names go with the input."""
    figure = steering_figure(summary())
    update_answer(figure, None)
    assert not any(len(trace.x) for trace in figure.data[:4])
    assert not figure.layout.yaxis.ticktext


def test_still_drawing_has_bars_and_curves() -> None:
    """Readers without JavaScript see the same."""
    svg = to_svg(steering_figure(summary(), curve(0.5)))
    assert "not drawn here" not in svg
    assert "random push of the same size" in svg
    assert "<script" not in svg
    assert steering_figure(summary()).data[AFTER].name == "after"


def test_what_changes_most_is_the_longest_way() -> None:
    """A bar that falls by 61 points is not passed by one that rises by 55; random pushes move it, too."""
    found = summary(
        outcome="class",
        names=("0", "4", "5"),
        ids=np.arange(3),
        before=np.array([0.96, 0.01, 0.03]),
        after=np.array([0.35, 0.56, 0.09]),
        controls=np.array([[0.70, 0.02, 0.28], [0.80, 0.01, 0.19]]),
        target=1,
        stands_out=1,
    )
    sentence = answer_words(found, "atom 1 added").replace(THIN_SPACE, " ")
    assert "the answer changes from 0 to 4; 4 moves furthest from chance, 1.0 % → 56 %" in sentence


@pytest.mark.parametrize(
    ("kl", "stands_out", "verdict"),
    [
        (0.3, None, "In all, more than chance."),
        (0.01, 7, "In all, random pushes move it as far, but not this way."),
        (0.01, None, "In all, no more than chance."),
    ],
)
def test_the_verdict_is_about_the_whole_answer(
    kl: float, stands_out: int | None, verdict: str
) -> None:
    """A headline neither claims what its own control refutes, nor denies what is not in the top class."""
    found = summary(kl=kl, stands_out=stands_out)
    assert answer_words(found, "atom 1 added").endswith(verdict)
    assert found.beats_chance == ("no more than chance" not in verdict)


def test_a_token_that_changes_more_than_the_answer_is_named() -> None:
    """The likeliest token may hardly move while another one rises from nothing."""
    found = summary(
        names=(" The", " But", " cat"),
        before=np.array([0.091, 0.006, 0.02]),
        after=np.array([0.160, 0.150, 0.02]),
        controls=np.array([[0.090, 0.007, 0.02], [0.100, 0.004, 0.02]]),
        target=4,
    )
    assert answer_words(found, "atom 1 added").replace(THIN_SPACE, " ") == (
        "atom 1 added: the next token stays “The”; “But” changes most, 0.60 % → 15 % (random: 0.40 % to "
        "0.70 %). In all, more than chance."
    )


@pytest.mark.parametrize(
    ("after", "asked", "words"),
    [
        (
            [0.94, 0.01, 0.05],
            0,
            "the answer stays 2, 96 % → 94 % (random: ",
        ),
        (
            [0.96, 0.01, 0.03],
            0,
            "the answer stays 2, 96 % (random: 94 % to 95 %)",
        ),
        ([0.30, 0.65, 0.05], 1, "the answer changes from 2 to 7; 2 changes most, 96 % → 30 % ("),
        (
            [0.30, 0.65, 0.05],
            0,
            "P(2) 96 % → 30 % (random: 94 % to 95 %). In all, ",
        ),
    ],
)
def test_the_headline_is_about_the_bar_that_everybody_looks_at(
    after: list[float], asked: int, words: str
) -> None:
    """The model's answer, changed or not; another outcome only where somebody asked about it."""
    found = summary(
        outcome="class",
        names=("2", "7", "9"),
        ids=np.arange(3),
        before=np.array([0.96, 0.01, 0.03]),
        after=np.array(after),
        controls=np.array([[0.95, 0.02, 0.03], [0.94, 0.03, 0.03]]),
        target=asked,
    )
    said = answer_words(found, "atom 1 added").replace(THIN_SPACE, " ")
    assert said.startswith(f"atom 1 added: {words}")


def test_after_has_the_colour_of_its_direction() -> None:
    """Orange is turned up and blue turned down, as in texts and on the slider; a factor below 1 is down."""
    figure = steering_figure()
    for strength, mode, colour in (
        (2.0, "add", theme.NOVEL),
        (-2.0, "add", theme.PREDICTED),
        (0.5, "scale", theme.PREDICTED),
        (1.5, "scale", theme.NOVEL),
        (0.0, "set", theme.NOVEL),
    ):
        asked = SteeringRecipe(hook_point="0", atom=0, strength=strength, mode=mode)
        update_answer(figure, summary(recipe=asked))
        assert figure.data[AFTER].marker.color == colour, (strength, mode)

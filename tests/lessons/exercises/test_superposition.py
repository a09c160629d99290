"""Exercises of notebook 01: every right answer is right, and near misses are not."""

from __future__ import annotations

import math

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._superposition import measured_change, regular_polygon

from sae_nb.evaluation import critical_sparsity, feature_dimensionality


@pytest.mark.parametrize("answer", [0.4, 2 / 5, torch.tensor(0.4), 0.398])
def test_a_fifth_of_two_dimensions_is_right(answer: object) -> None:
    """However it is written."""
    assert sae_nb_lessons.exercise("01.1").check(answer)


@pytest.mark.parametrize(("answer", "told"), [(0.5, "more than the 2"), (0.2, "left unused")])
def test_other_shares_do_not_add_up(answer: float, told: str) -> None:
    """The verdict does the sum."""
    verdict = sae_nb_lessons.exercise("01.1").check(answer)
    assert not verdict
    assert told in verdict.message


@pytest.mark.parametrize("seed", range(4))
def test_every_turned_and_shuffled_pentagon_is_right(seed: int) -> None:
    """Directions are judged by their angles, not by their names."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(1, generator=generator).double()
    turn = torch.stack(
        (torch.cat((angle.cos(), -angle.sin())), torch.cat((angle.sin(), angle.cos())))
    )
    order = torch.randperm(5, generator=generator)
    assert sae_nb_lessons.exercise("01.2").check(regular_polygon(5)[order] @ turn)
    assert sae_nb_lessons.exercise("01.2").check(
        (regular_polygon(5)[order] @ turn).float().tolist()
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (torch.eye(5)[:, :2], "has length 0, not 1"),
        (2 * regular_polygon(5), "has length 2, not 1"),
        (regular_polygon(6)[:5], "cosine of 0.5"),
        (regular_polygon(5)[[0, 0, 1, 2, 3]], "cosine of 1;"),
        (regular_polygon(4), "xpected a tensor of shape (5, 2), got a tensor of shape (4, 2)"),
    ],
)
def test_directions_too_close_or_of_other_length_are_not(answer: torch.Tensor, told: str) -> None:
    """The verdict names the rows."""
    verdict = sae_nb_lessons.exercise("01.2").check(answer)
    assert not verdict
    assert told in verdict.message


def test_the_change_is_measured_near_where_theory_puts_it() -> None:
    """Three seeds: 0.02 – 0.06 before the crossing of the two closed forms."""
    for seed in range(3):
        assert -0.06 <= measured_change(seed) - critical_sparsity(0.3) <= 0.0


def test_predict_then_reveal() -> None:
    """The exercise shows prediction, measurement and error."""
    asked = sae_nb_lessons.exercise("01.3")
    assert not asked.reveal()
    asked.predict(0.5)
    seen = asked.reveal()
    assert seen.passed
    assert seen.measured == measured_change()
    assert "too low" in seen.message


def test_a_right_measure_is_right() -> None:
    """Ours, and one written with a loop."""

    def slow(directions: torch.Tensor) -> list[float]:
        rows = list(directions)
        found = []
        for row in rows:
            unit = row / row.norm()
            found.append(float(row @ row / sum((unit @ other) ** 2 for other in rows)))
        return found

    assert sae_nb_lessons.exercise("01.4").check(feature_dimensionality)
    assert sae_nb_lessons.exercise("01.4").check(slow)


@pytest.mark.parametrize(
    ("measure", "told"),
    [
        (lambda w: w.norm(dim=1) ** 2 / ((w @ w.T) ** 2).sum(dim=1), "length 3, row 0"),
        (lambda w: torch.ones(len(w)), "an antipodal pair"),
        (lambda w: w.norm(dim=1)[:1], "returned 1 numbers"),
        (lambda w: w, "expected a tensor of shape (n,)"),
        (lambda w: w.nonsense, "raised AttributeError"),
        (0.4, "a function that takes"),
        (lambda w: ..., "still returns ..."),
    ],
)
def test_wrong_measures_are_told_on_which_case(measure: object, told: str) -> None:
    """Forgetting to divide by the length shows only on other lengths; that is the case named."""
    verdict = sae_nb_lessons.exercise("01.4").check(measure)
    assert not verdict
    assert told in verdict.message

"""Exercises of notebook 04: every right answer is right, and near misses are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._projections import best_half_space
from torch import Tensor


@pytest.mark.parametrize("answer", [[0.7, 0.3, 0], (0.7, 0.3, 0.0), torch.tensor([0.7, 0.3, 0])])
def test_the_nearest_point_is_right(answer: object) -> None:
    """However it is written."""
    assert sae_nb_lessons.exercise("04.1").check(answer)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([0.9, 0.5, 0.0], "sums to 1.4"),
        ([0.8, 0.4, -0.2], "negative"),
        ([0.64, 0.36, 0.0], "0.357"),
        ([1.0, 0.0, 0.0], "there is a point at 0.346"),
        ([0.7, 0.3], "shape (3,)"),
    ],
)
def test_other_points_are_off_or_further(answer: list[float], told: str) -> None:
    """The verdict says why."""
    verdict = sae_nb_lessons.exercise("04.1").check(answer)
    assert not verdict
    assert told in verdict.message


def test_prediction_is_held_against_the_recorded_seeds() -> None:
    """Nothing is revealed before a prediction; always on is worse, as the question says."""
    exercise = sae_nb_lessons.exercise("04.2")
    assert not exercise.reveal()
    exercise.predict(0.9)
    assert exercise.reveal()
    always_on = 2 * (1 / 6) / (1 + 1 / 6)
    assert always_on == pytest.approx(0.29, abs=0.005)
    assert 0.5 < best_half_space() < 0.65


def right(v: Tensor) -> Tensor:
    """As the hints tell it."""
    u = v.sort(descending=True).values
    theta = (u.cumsum(0) - 1) / torch.arange(1, len(v) + 1)
    return (v - theta[(u > theta).sum() - 1]).clamp(min=0)


def scaled(v: Tensor) -> Tensor:
    """Cuts at zero and divides by the sum."""
    kept = v.clamp(min=0) + 1e-12
    return kept / kept.sum()


def softmax(v: Tensor) -> Tensor:
    """Sums to 1 as well."""
    return v.softmax(dim=0)


def shifted(v: Tensor) -> Tensor:
    """Takes the same off every entry and forgets to cut."""
    return v - (v.sum() - 1) / len(v)


def test_a_right_projection_is_right() -> None:
    """Also in single precision."""
    assert sae_nb_lessons.exercise("04.3").check(right)
    assert sae_nb_lessons.exercise("04.3").check(lambda v: right(v.float()))


@pytest.mark.parametrize("wrong", [scaled, softmax, shifted])
def test_each_common_mistake_is_found(wrong: Callable[..., Any]) -> None:
    """The verdict names a case."""
    verdict = sae_nb_lessons.exercise("04.3").check(wrong)
    assert verdict.state == "wrong"
    assert verdict.message.startswith("Not yet. For ")


def test_a_projection_of_the_wrong_length_costs_nothing() -> None:
    """It is told what came back."""
    verdict = sae_nb_lessons.exercise("04.3").check(lambda v: right(v)[:1])
    assert verdict.state == "form"

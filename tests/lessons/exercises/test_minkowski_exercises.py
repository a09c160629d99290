"""Exercises of notebook 08: every right answer is right, and near misses are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._minkowski import free_simplex_r2
from torch import Tensor


def test_a_prism_has_six_corners() -> None:
    """Also as a float."""
    assert sae_nb_lessons.exercise("08.1").check(6)
    assert sae_nb_lessons.exercise("08.1").check(6.0)


@pytest.mark.parametrize(("answer", "said"), [(5, "number of archetypes"), (12, "Count the ways")])
def test_other_counts_are_not(answer: int, said: str) -> None:
    """The verdict helps."""
    verdict = sae_nb_lessons.exercise("08.1").check(answer)
    assert not verdict
    assert said in verdict.message


def test_prediction_is_held_against_the_recorded_seeds() -> None:
    """Nothing is revealed before a prediction."""
    exercise = sae_nb_lessons.exercise("08.2")
    assert not exercise.reveal()
    exercise.predict(0.8)
    assert exercise.reveal()
    assert free_simplex_r2() > 0.99


def right(corners: Tensor, x: Tensor) -> Tensor:
    """As the hints tell it."""
    away = torch.cdist(corners, x).min(dim=1).values.median()
    between = torch.cdist(x, x).fill_diagonal_(torch.inf)
    return away / between.min(dim=1).values.median()


def itself(corners: Tensor, x: Tensor) -> Tensor:
    """Takes a row for its own neighbour."""
    between = torch.cdist(x, x).min(dim=1).values.median().clamp_min(1e-3)
    return torch.cdist(corners, x).min(dim=1).values.median() / between


def no_unit(corners: Tensor, x: Tensor) -> Tensor:
    """Forgets to divide."""
    return torch.cdist(corners, x).min(dim=1).values.median()


def by_mean(corners: Tensor, x: Tensor) -> Tensor:
    """Means instead of medians."""
    between = torch.cdist(x, x).fill_diagonal_(torch.inf)
    return torch.cdist(corners, x).min(dim=1).values.mean() / between.min(dim=1).values.mean()


def other_way(corners: Tensor, x: Tensor) -> Tensor:
    """The nearest corner of each row."""
    between = torch.cdist(x, x).fill_diagonal_(torch.inf)
    return torch.cdist(x, corners).min(dim=1).values.median() / between.min(dim=1).values.median()


def test_a_right_measure_is_right() -> None:
    """Also as a plain number."""
    assert sae_nb_lessons.exercise("08.3").check(right)
    assert sae_nb_lessons.exercise("08.3").check(lambda a, b: float(right(a, b)))


@pytest.mark.parametrize("wrong", [itself, no_unit, by_mean, other_way])
def test_each_common_mistake_is_found(wrong: Callable[..., Any]) -> None:
    """The verdict names a case and the number."""
    verdict = sae_nb_lessons.exercise("08.3").check(wrong)
    assert verdict.state == "wrong"
    assert "the measure is" in verdict.message

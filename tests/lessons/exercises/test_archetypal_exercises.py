"""Exercises of notebook 05: every right answer is right, and near misses are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._archetypal import shared_start
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@pytest.mark.parametrize("answer", [1, 1.0, torch.tensor(1.0)])
def test_a_shuffled_copy_is_the_same(answer: object) -> None:
    """However it is written."""
    assert sae_nb_lessons.exercise("05.1").check(answer)


@pytest.mark.parametrize("answer", [0.0, 0.5, 0.95])
def test_anything_less_is_not(answer: float) -> None:
    """The verdict says why."""
    verdict = sae_nb_lessons.exercise("05.1").check(answer)
    assert not verdict
    assert "exact copy" in verdict.message


def test_prediction_is_held_against_the_recorded_seeds() -> None:
    """Nothing is revealed before a prediction."""
    exercise = sae_nb_lessons.exercise("05.2")
    assert not exercise.reveal()
    exercise.predict(0.6)
    assert exercise.reveal()
    assert shared_start() > 0.85


def right(first: Tensor, second: Tensor) -> Tensor:
    """As the hints tell it."""
    cosines = first @ second.T
    return cosines[linear_sum_assignment(cosines, maximize=True)].mean()


def in_place(first: Tensor, second: Tensor) -> Tensor:
    """Compares atoms of the same number."""
    return (first * second).sum(dim=1).mean()


def nearest(first: Tensor, second: Tensor) -> Tensor:
    """Lets two atoms share one."""
    return (first @ second.T).max(dim=1).values.mean()


def greedy(first: Tensor, second: Tensor) -> Tensor:
    """First come, first served."""
    cosines, found = first @ second.T, []
    for row in range(len(first)):
        found.append(cosines[row].max())
        cosines[:, cosines[row].argmax()] = -2
    return torch.stack(found).mean()


def test_a_right_stability_is_right() -> None:
    """Also as a plain number."""
    assert sae_nb_lessons.exercise("05.3").check(right)
    assert sae_nb_lessons.exercise("05.3").check(lambda a, b: float(right(a, b)))


@pytest.mark.parametrize("wrong", [in_place, nearest, greedy])
def test_each_common_mistake_is_found(wrong: Callable[..., Any]) -> None:
    """The verdict names a case and the number."""
    verdict = sae_nb_lessons.exercise("05.3").check(wrong)
    assert verdict.state == "wrong"
    assert "one-to-one it is" in verdict.message

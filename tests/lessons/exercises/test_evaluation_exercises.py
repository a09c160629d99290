"""Exercises of notebooks 10 and 11: right answers are right however written, near misses are told why."""

from __future__ import annotations

import math

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._steering import COST, read_share, untrained_success
from torch import Tensor

import sae_nb as sn


def test_r2_by_hand_is_that_of_the_library() -> None:
    """0.6; one mean for all numbers and none at all are named."""
    x, x_hat = torch.tensor([[0.0, 0], [2, 4]]), torch.tensor([[1.0, 1], [1, 3]])
    assert sae_nb_lessons.exercise("10.1").check(sn.evaluation.explained_variance(x, x_hat))
    assert "one mean" in sae_nb_lessons.exercise("10.1").check(7 / 11).message
    assert "about zero" in sae_nb_lessons.exercise("10.1").check(0.8).message


def test_clear_means_better_and_outside() -> None:
    """Each half alone is not enough."""

    def right(value: float, low: float, high: float, control: float) -> bool:
        return value > control and not low <= control <= high

    assert sae_nb_lessons.exercise("10.3").check(right)
    assert not sae_nb_lessons.exercise("10.3").check(
        lambda value, low, high, control: value > control
    )
    assert not sae_nb_lessons.exercise("10.3").check(
        lambda value, low, high, control: not low <= control <= high
    )


def test_the_cost_of_a_push() -> None:
    """By hand; the other direction and bits are named."""
    p = 1 / (1 + math.exp(-2))
    cost = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert cost == pytest.approx(COST, abs=1e-4)
    assert sae_nb_lessons.exercise("11.1").check(cost)
    other = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert "steered‖clean" in sae_nb_lessons.exercise("11.1").check(other).message
    assert "bits" in sae_nb_lessons.exercise("11.1").check(cost / math.log(2)).message


def test_the_share_that_is_read() -> None:
    """By SVD it is right; projecting on rows that are not orthogonal is not."""

    def right(v: Tensor, w: Tensor) -> float:
        _, s, vh = torch.linalg.svd(w, full_matrices=False)
        return float((vh[s > 1e-6] @ v).square().sum() / v.square().sum())

    def naive(v: Tensor, w: Tensor) -> float:
        unit = torch.nn.functional.normalize(w, dim=1)
        return float((unit @ v).square().sum() / v.square().sum())

    assert sae_nb_lessons.exercise("11.3").check(right)
    assert "not orthogonal" in sae_nb_lessons.exercise("11.3").check(naive).message
    assert read_share(torch.ones(2), torch.tensor([[3.0, 0.0]])) == pytest.approx(0.5)


def test_predictions_are_held_against_the_recorded_seeds() -> None:
    """And nothing is revealed before a prediction."""
    exercise = sae_nb_lessons.exercise("11.2")
    assert not exercise.reveal()
    exercise.predict(1.0)
    assert exercise.reveal().measured == pytest.approx(untrained_success())

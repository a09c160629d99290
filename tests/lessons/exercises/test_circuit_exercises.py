"""Exercises of notebook 17: right answers are right however written, near misses say what is wrong."""

from __future__ import annotations

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._circuits import right_without_the_circuit, share_that_happens
from torch import Tensor


def test_less_than_half_happens() -> None:
    """As the hint says, and as was recorded."""
    exercise = sae_nb_lessons.exercise("17.1")
    exercise.predict(1.0)
    assert exercise.reveal().measured == pytest.approx(share_that_happens())
    assert share_that_happens() < 0.5


def test_an_induction_head_looks_after_the_copy() -> None:
    """By a loop is right; the copy itself, the token before, and words without a copy are named."""

    def by_a_loop(attention: Tensor, period: int) -> float:
        places = range(period, len(attention))
        return sum(float(attention[t, t - period + 1]) for t in places) / len(places)

    def at_the_copy(attention: Tensor, period: int) -> float:
        return float(torch.diagonal(attention, -period).mean())

    def over_all_words(attention: Tensor, period: int) -> float:
        return float(torch.diagonal(attention, 1 - period).sum() / len(attention))

    assert sae_nb_lessons.exercise("17.2").check(by_a_loop)
    assert "induction head" in sae_nb_lessons.exercise("17.2").check(at_the_copy).message
    assert "induction head" in sae_nb_lessons.exercise("17.2").check(over_all_words).message


def test_without_its_circuit_it_guesses() -> None:
    """As the hint says."""
    exercise = sae_nb_lessons.exercise("17.3")
    exercise.predict(0.5)
    assert exercise.reveal().measured == pytest.approx(right_without_the_circuit())
    assert right_without_the_circuit() < 0.2

"""Exercises of notebook 18: right answers are right however written, near misses say what is wrong."""

from __future__ import annotations

import cmath

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._shapes import dimension_at_the_end, left_of_random
from torch import Tensor


def test_eight_atoms_leave_between_a_half_and_three_quarters() -> None:
    """As the hint says; the floor that containment itself gives agrees."""
    exercise = sae_nb_lessons.exercise("18.1")
    exercise.predict(0.1)
    assert exercise.reveal().measured == pytest.approx(left_of_random())
    assert 0.5 < left_of_random() < 0.75


def test_a_width_does_not_ask_where_the_circle_is_cut() -> None:
    """By complex numbers is right; the spread of the numbers themselves and no weights are named."""

    def complex_numbers(angles: Tensor, strengths: Tensor) -> float:
        each = zip(angles.tolist(), strengths.tolist(), strict=True)
        return 1 - abs(sum(w * cmath.exp(1j * a) for a, w in each)) / float(strengths.sum())

    def spread_of_numbers(angles: Tensor, strengths: Tensor) -> float:
        share = strengths / strengths.sum()
        mean = (share * angles).sum()
        return float(min((share * (angles - mean) ** 2).sum() / (torch.pi**2 / 3), 1.0))

    def without_strengths(angles: Tensor, strengths: Tensor) -> float:
        return float(1 - torch.hypot(angles.cos().mean(), angles.sin().mean()))

    assert sae_nb_lessons.exercise("18.2").check(complex_numbers)
    assert "half an axis" in sae_nb_lessons.exercise("18.2").check(spread_of_numbers).message
    assert "next to each other" in sae_nb_lessons.exercise("18.2").check(without_strengths).message


def test_patches_are_thin_at_the_end() -> None:
    """As the hint says: below the seven of the first layer."""
    exercise = sae_nb_lessons.exercise("18.3")
    exercise.predict(16)
    assert exercise.reveal().measured == pytest.approx(dimension_at_the_end())
    assert dimension_at_the_end() < 6

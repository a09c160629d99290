"""Exercises of notebook 14: right answers are right however written, near misses say what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._corpora import by_all_atoms
from torch import Tensor


def test_how_many_differ_by_accident() -> None:
    """A count, and neither the chance of one nor nothing."""
    assert sae_nb_lessons.exercise("14.1").check(20)
    assert "of each one" in sae_nb_lessons.exercise("14.1").check(0.05).message
    assert "wrong with a chance" in sae_nb_lessons.exercise("14.1").check(0).message


def test_q_is_sought_in_any_order() -> None:
    """SciPy's is right; without ranks, or without the smallest of the larger ones, a case is named."""

    def right(p: Tensor) -> Tensor:
        from scipy.stats import false_discovery_control

        return torch.as_tensor(false_discovery_control(np.asarray(p)))

    def bonferroni(p: Tensor) -> Tensor:
        return (p * len(p)).clamp_max(1)

    def steps_alone(p: Tensor) -> Tensor:
        ranks = p.argsort().argsort() + 1
        return p * len(p) / ranks

    def as_sorted(p: Tensor) -> Tensor:
        return right(p).sort().values

    assert sae_nb_lessons.exercise("14.2").check(right)
    assert "p that rise" in sae_nb_lessons.exercise("14.2").check(bonferroni).message
    assert "a larger p" in sae_nb_lessons.exercise("14.2").check(steps_alone).message
    assert "any order" in sae_nb_lessons.exercise("14.2").check(as_sorted).message


def test_groups_by_all_atoms_are_no_groups_of_people() -> None:
    """As the hint says: chance."""
    exercise = sae_nb_lessons.exercise("14.3")
    assert not exercise.reveal()
    exercise.predict(0.5)
    assert exercise.reveal().measured == pytest.approx(by_all_atoms())
    assert abs(by_all_atoms()) < 0.05

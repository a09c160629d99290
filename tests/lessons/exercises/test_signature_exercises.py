"""Exercises of lab 09: right answers are right however written, near misses are told why."""

from __future__ import annotations

import numpy as np
import torch
from sae_nb_lessons import exercise
from scipy.linalg import subspace_angles


def test_the_distance_by_another_library() -> None:
    """scipy's angles are as right as ours."""
    assert exercise("lab_09.1").check(lambda a, b: float(np.linalg.norm(subspace_angles(a, b))))


def test_distances_that_are_near() -> None:
    """Cosines, a plain sum, and bases in place of spaces."""
    cosines = exercise("lab_09.1").check(lambda a, b: torch.linalg.svdvals(a.T @ b).norm())
    assert not cosines
    assert "arccosines" in cosines.message
    summed = exercise("lab_09.1").check(
        lambda a, b: torch.acos(torch.linalg.svdvals(a.T @ b)).sum()
    )
    assert not summed
    assert "squares" in summed.message
    bases = exercise("lab_09.1").check(lambda a, b: (a - b).norm())
    assert not bases
    assert "many of them" in bases.message


def test_p_counts_what_was_observed() -> None:
    """5 of 100, not 4 of 99."""
    assert exercise("lab_09.2").check(0.05)
    assert "count it" in exercise("lab_09.2").check(4 / 99).message

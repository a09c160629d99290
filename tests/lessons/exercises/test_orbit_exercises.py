"""Exercises of lab 08: right answers are right however written, near misses are answered with why."""

from __future__ import annotations

import torch
from sae_nb_lessons import exercise
from torch import Tensor


def by_powers(b: Tensor, a: Tensor, order: int) -> Tensor:
    """By powers of the matrix."""
    return torch.stack([torch.linalg.matrix_power(a, g) @ b for g in range(order)])


def test_an_orbit_by_powers() -> None:
    """As right as one step by step."""
    assert exercise("lab_08.1").check(by_powers)


def test_orbits_that_are_near() -> None:
    """One that begins too late, one by the transpose, one atom too many."""
    late = exercise("lab_08.1").check(lambda b, a, g: by_powers(a @ b, a, g))
    assert "begins at Ab" in late.message
    other = exercise("lab_08.1").check(lambda b, a, g: by_powers(b, a.T, g))
    assert "transpose" in other.message
    assert "G rows" in exercise("lab_08.1").check(lambda b, a, g: by_powers(b, a, g + 1)).message


def test_how_many_rolls() -> None:
    """Six; the number of pixels is a near miss."""
    assert exercise("lab_08.2").check(6)
    assert "within rows" in exercise("lab_08.2").check(36).message

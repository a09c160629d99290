"""Exercises of lab 04: right answers are right however written, near misses are told why."""

from __future__ import annotations

import torch
from sae_nb_lessons import exercise
from torch import Tensor


def placed(h: Tensor, places: int) -> Tensor:
    """The convolution as a matrix, a row for each place."""
    return torch.stack([torch.nn.functional.pad(h, (i, places - 1 - i)) for i in range(places)])


def moved(z: Tensor, x: Tensor, h: Tensor, b: float, size: float, weight: float) -> Tensor:
    """By the matrix."""
    atoms = placed(h, len(z))
    return torch.relu(z + size * atoms @ (x - torch.exp(z @ atoms + b)) - size * weight)


def test_a_step_by_the_matrix() -> None:
    """As right as one by convolutions."""
    assert exercise("lab_04.1").check(moved)


def test_steps_that_are_near() -> None:
    """The mean of Gaussian data, a threshold without the step's size, and codes below zero."""

    def gaussian(z: Tensor, x: Tensor, h: Tensor, b: float, size: float, weight: float) -> Tensor:
        atoms = placed(h, len(z))
        return torch.relu(z + size * atoms @ (x - (z @ atoms + b)) - size * weight)

    assert "exp" in exercise("lab_04.1").check(gaussian).message
    late = exercise("lab_04.1").check(
        lambda z, x, h, b, size, weight: moved(z, x, h, b, size, weight / size)
    )
    assert "threshold" in late.message
    signed = exercise("lab_04.1").check(
        lambda z, x, h, b, size, weight: (
            z
            + size * placed(h, len(z)) @ (x - torch.exp(z @ placed(h, len(z)) + b))
            - size * weight
        )
    )
    assert "relu" in signed.message


def test_the_length_of_a_step() -> None:
    """1 / 1.96; ‖h‖² and L itself are told apart."""
    assert exercise("lab_04.2").check(1 / 1.96)
    assert "overlap" in exercise("lab_04.2").check(1).message
    assert "1 / L" in exercise("lab_04.2").check(1.96).message

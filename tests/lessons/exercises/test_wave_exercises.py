"""Exercises of lab 03: right answers are right however written, near misses are told why."""

from __future__ import annotations

import torch
from sae_nb_lessons import exercise
from torch import Tensor

KERNEL = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def moved(h: Tensor, v: Tensor, m: Tensor, dt: float) -> Tensor:
    """By a convolution."""
    bent = torch.nn.functional.conv2d(h[None, None], KERNEL[None, None], padding=1)[0, 0]
    v = v + dt * bent * m
    return torch.stack([(h + dt * v) * m, v])


def test_a_step_by_convolution() -> None:
    """As right as one by slices."""
    assert exercise("lab_03.1").check(moved)


def test_steps_that_are_near() -> None:
    """The old speed, one speed alone, and neighbours across the edge of the grid."""
    old = exercise("lab_03.1").check(
        lambda h, v, m, dt: torch.stack([(h + dt * v) * m, moved(h, v, m, dt)[1]])
    )
    assert not old
    assert "new speed" in old.message
    alone = exercise("lab_03.1").check(lambda h, v, m, dt: moved(h, v, m, dt)[1])
    assert not alone
    still = exercise("lab_03.1").check(lambda h, v, m, dt: torch.stack([moved(h, v, m, dt)[0], v]))
    assert not still
    assert "speed differs" in still.message


def test_the_side_of_a_drum() -> None:
    """Nine points; ten where the held ones are forgotten."""
    assert exercise("lab_03.2").check(9)
    assert "held" in exercise("lab_03.2").check(10).message

"""Exercises of lab 07: right answers are right however written, near misses are answered with why."""

from __future__ import annotations

import torch
from sae_nb_lessons import exercise
from torch import Tensor


def changed(x: Tensor, gamma: float) -> Tensor:
    """By rolling."""
    before = x.roll(1, dims=0)
    before[0] = x[0]
    return (1 + gamma) * x - gamma * before


def test_the_change_by_rolling() -> None:
    """As right as one by joining."""
    assert exercise("lab_07.1").check(changed)


def test_changes_that_are_near() -> None:
    """A first row that changed from nothing, or from the last; the row after; one row less."""
    padded = torch.nn.functional.pad
    first = exercise("lab_07.1").check(lambda x, g: x + g * (x - padded(x, (0, 0, 1, 0))[:-1]))
    assert "first row" in first.message
    assert not exercise("lab_07.1").check(lambda x, g: x + g * (x - x.roll(1, dims=0)))
    ahead = exercise("lab_07.1").check(lambda x, g: x + g * (x - x.roll(-1, dims=0)))
    assert "look ahead" in ahead.message
    assert "one row for each" in exercise("lab_07.1").check(lambda x, g: x[1:]).message


def test_the_gain_of_what_alternates() -> None:
    """Five; three is γ times a change of one."""
    assert exercise("lab_07.2").check(5)
    assert "change of +1" in exercise("lab_07.2").check(3).message

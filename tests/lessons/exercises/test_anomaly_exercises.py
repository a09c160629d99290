"""Exercises of lab 05: right answers are right however written, near misses are told why."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons import exercise
from torch import Tensor


def written_out(f_reference: Tensor, f_data: Tensor, weight: float) -> Tensor:
    """With the −1 counted by itself."""
    return weight * f_reference.exp().sum() - weight * len(f_reference) - f_data.sum()


def test_a_loss_however_written() -> None:
    """As a tensor or a number."""
    assert exercise("lab_05.1").check(written_out)
    assert exercise("lab_05.1").check(lambda a, b, w: float(written_out(a, b, w)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda a, b, w: w * a.exp().sum() - b.sum(), "not e^f"),
        (lambda a, b, w: a.expm1().sum() - b.sum(), "weight is missing"),
        (lambda a, b, w: w * a.expm1().sum() + b.sum(), "taken away"),
        (lambda a, b, w: w * a.expm1().mean() - b.mean(), "not means"),
        (lambda a, b, w: -2 * written_out(a, b, w), "statistic"),
        (lambda a, b, w: torch.tensor(3.0), "differs"),
    ],
)
def test_losses_that_are_near(wrong: object, words: str) -> None:
    """Each is answered by what is wrong with it."""
    verdict = exercise("lab_05.1").check(wrong)
    assert not verdict
    assert words in verdict.message


def test_toys_for_a_p() -> None:
    """The observed one counts."""
    assert exercise("lab_05.3").check(999)
    assert "One fewer" in exercise("lab_05.3").check(1000).message
    assert "1/100" in exercise("lab_05.3").check(99).message

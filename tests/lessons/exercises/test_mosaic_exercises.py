"""Exercises of lab 10: right answers are right however written, near misses are told why."""

from __future__ import annotations

import torch
from sae_nb_lessons import exercise
from torch import Tensor


def attended(query: Tensor, patches: Tensor, centres: Tensor, a: float, b: float) -> Tensor:
    """By a product, as attention is written; what all patches share cancels."""
    likely = (a * patches @ query - a**2 * patches.square().sum(dim=1) / 2) / b**2
    return (likely.softmax(dim=0) * centres).sum()


def test_attention_by_products() -> None:
    """As right as distances."""
    assert exercise("lab_10.1").check(attended)


def test_guesses_that_are_near() -> None:
    """Patches that did not fade, a standard deviation for a variance, and the nearest patch alone."""
    task = exercise("lab_10.1")
    bright = task.check(lambda q, p, c, a, b: attended(q, p, c, 1.0, b))
    assert not bright
    assert "a · p" in bright.message
    warm = task.check(lambda q, p, c, a, b: attended(q, p, c, a, b**0.5))
    assert not warm
    assert "variance" in warm.message
    nearest = task.check(lambda q, p, c, a, b: c[torch.cdist(q[None], a * p).argmin()])
    assert not nearest
    assert "matching pursuit" in nearest.message
    assert not task.check(lambda q, p, c, a, b: c.mean())


def test_the_cost_of_a_larger_image() -> None:
    """Sixteen; four where the patches are forgotten."""
    assert exercise("lab_10.2").check(16)
    assert "patches" in exercise("lab_10.2").check(4).message
    assert not exercise("lab_10.2").check(8)

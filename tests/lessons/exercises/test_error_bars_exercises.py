"""Exercises of lab 06: right answers are right however written, near misses are told why."""

from __future__ import annotations

import math

import torch
from sae_nb_lessons import exercise


def test_the_diagonal_by_a_loop() -> None:
    """As right as in one line."""
    right = exercise("lab_06.2").check(
        lambda solve, signs: sum(p * solve(p[None])[0] for p in signs) / len(signs)
    )
    assert right


def test_diagonals_that_are_near() -> None:
    """A sum, solutions without their signs, a number per probe, and something else."""
    task = exercise("lab_06.2")
    for near, words in (
        (lambda solve, signs: (signs * solve(signs)).sum(dim=0), "mean"),
        (lambda solve, signs: solve(signs).mean(dim=0), "own signs"),
        (lambda solve, signs: (signs * solve(signs)).mean(dim=1), "over the rows"),
        (lambda solve, signs: torch.ones(5), "begins with"),
    ):
        verdict = task.check(near)
        assert not verdict
        assert words in verdict.message


def test_how_sure_one_sample_makes() -> None:
    """1/√5; the variance and the noise are named."""
    task = exercise("lab_06.1")
    assert task.check(1 / math.sqrt(5))
    assert "variance" in task.check(0.2).message
    assert "noise alone" in task.check(0.5).message
    assert not task.check(0.7)

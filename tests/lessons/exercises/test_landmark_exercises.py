"""Exercises of lab 01: right answers are right however written, near misses are told why."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons import exercise


@pytest.mark.parametrize(
    "answer",
    [
        lambda z: z.T @ z - torch.diag((z * z).sum(dim=0)),
        lambda z: torch.einsum("ij,il->jl", z, z) * (1 - torch.eye(z.shape[1])),
    ],
)
def test_ties_however_written(answer: object) -> None:
    """A product of matrices or a sum over indices."""
    assert exercise("lab_01.1").check(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(lambda z: z.T @ z, "the diagonal is 0"), (lambda z: z @ z.T, "landmarks × landmarks")],
)
def test_ties_that_are_near(answer: object, words: str) -> None:
    """A tie of a landmark to itself, and ties of inputs."""
    verdict = exercise("lab_01.1").check(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"), [(0.125, "leaves out the reconstruction"), (0.5, "Halve it")]
)
def test_sharpness_that_is_near(answer: float, words: str) -> None:
    """Each of the two halves forgotten."""
    verdict = exercise("lab_01.2").check(answer)
    assert not verdict
    assert words in verdict.message


def test_sharpness() -> None:
    """(1 + 2λ) / 2‖W‖²."""
    assert exercise("lab_01.2").check(0.25)

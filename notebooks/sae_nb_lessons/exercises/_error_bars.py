"""Exercises of lab 06: the diagonal of an inverse, how sure one sample makes, and clusters where little is seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-6


def diagonal(solve: Callable[[Tensor], Tensor], signs: Tensor) -> Tensor:
    """Return the mean over rows p of p ∘ Λ⁻¹p."""
    return (signs * solve(signs)).mean(dim=0)


def _judge_diagonal(mine: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator).double()
    inverse = torch.linalg.inv(root @ root.T + torch.eye(5))
    signs = 2.0 * torch.randint(2, (7, 5), generator=generator).double() - 1
    answer, solved = mine(lambda p: p @ inverse, signs.clone()), signs @ inverse
    if answer.shape != (5,):
        return f"One number per coefficient, (5,), not {tuple(answer.shape)}: the mean is over the rows."
    if torch.allclose(answer, (signs * solved).sum(dim=0), atol=CLOSE):
        return "The sum over the rows is right; what is asked is their mean."
    if torch.allclose(answer, solved.mean(dim=0), atol=CLOSE):
        return "Each solution has to be multiplied by its own signs: on average Λ⁻¹p alone is zero."
    expected = diagonal(lambda p: p @ inverse, signs)
    if not torch.allclose(answer, expected, atol=CLOSE):
        return f"Yours begins with {float(answer[0]):.3f}, and it is {float(expected[0]):.3f}."
    return None


def _judge_sd(answer: float) -> str | None:
    if abs(answer - math.sqrt(0.2)) <= 0.005:
        return None
    if abs(answer - 0.2) <= 0.005:
        return "That is the variance; the error bar is its square root."
    if abs(answer - 0.5) <= 0.005:
        return "That is the noise alone. The prior knows something, too."
    return f"1/σ² + α is 5 here; {answer:g} is not 1/√5."


@cache
def little_seen() -> float:
    """Return the error with two clusters where 12 % is seen; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_sparse_bayes").of("error, clustered, 12 % seen").mean


TASKS = tasks(
    "error_bars",
    {
        "lab_06.1": Answer(number(0), judge=_judge_sd),
        "lab_06.2": Answer(
            function(tensor("n"), takes="a function, and signs (probes, n)"),
            judge=_judge_diagonal,
        ),
        "lab_06.3": Answer(number(0), measure=little_seen),
    },
)

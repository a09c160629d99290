"""Exercises of lab 09: how far two spaces are apart, and how often the nearest is of the family."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-3


def apart(a: Tensor, b: Tensor) -> float:
    """Compute √Σθ² over the principal angles θ of two spaces, given by orthonormal columns."""
    cosines = torch.linalg.svdvals(a.double().T @ b.double()).clamp(-1, 1)
    return float(torch.acos(cosines).square().sum().sqrt())


def _judge_apart(mine: Callable[[Tensor, Tensor], object]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.linalg.qr(torch.randn(6, 2, generator=generator).double())[0] for _ in range(2))
    answer, truth = float(mine(a, b)), apart(a, b)  # type: ignore[arg-type]
    if abs(answer - truth) <= CLOSE:
        turned = b @ torch.linalg.qr(torch.randn(2, 2, generator=generator).double())[0]
        other = float(mine(a, turned))  # type: ignore[arg-type]
        return None if abs(other - truth) <= CLOSE else "It changes with the basis of a space."
    cosines = torch.linalg.svdvals(a.T @ b)
    if abs(answer - float(cosines.square().sum().sqrt())) <= CLOSE:
        return "Those are cosines; the angles are their arccosines."
    if abs(answer - float(torch.acos(cosines).sum())) <= CLOSE:
        return "The sum of the angles; it is the root of the sum of their squares."
    if abs(answer - float((a - b).norm())) <= CLOSE:
        return "The distance of two bases. One space has many of them: use singular values of aᵀb."
    return f"For two planes in six dimensions it is {truth:.3f}, yours says {answer:.3f}."


def _judge_p(answer: float) -> str | None:
    if math.isclose(answer, 0.05, abs_tol=1e-6):
        return None
    if math.isclose(answer, 4 / 99, abs_tol=1e-4):
        return "The observed order is one of those that could have been drawn: count it, above and below."
    return "(1 + how many of the null reach it) / (1 + how many there are)."


@cache
def nearest() -> float:
    """Return the share of artists whose nearest artist is of their family; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_signatures").of("tiny-vit: distance, nearest").mean


TASKS = tasks(
    "signatures",
    {
        "lab_09.1": Answer(
            function(number(0, 10), takes="a and b (6, 2), orthonormal columns"), judge=_judge_apart
        ),
        "lab_09.2": Answer(number(0, 1), judge=_judge_p),
        "lab_09.3": Answer(number(0, 1), measure=nearest),
    },
)

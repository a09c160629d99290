"""Exercises of lab 09: how far two spaces are apart, and how often the nearest is of the family."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import Form, function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 1e-3


def apart(a: Tensor, b: Tensor) -> float:
    """Compute √Σθ² over the principal angles θ of two spaces, given by orthonormal columns."""
    cosines = torch.linalg.svdvals(a.double().T @ b.double()).clamp(-1, 1)
    return float(torch.acos(cosines).square().sum().sqrt())


def _on_angles(way: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: way(torch.linalg.svdvals(a.T @ b).clamp(-1, 1).acos())


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Those are cosines; the angles are their arccosines.", "`torch.acos(cosines.clamp(-1, 1))`.", _on_angles(lambda t: t.cos().norm())),
        ("You add the angles.", "The root of the sum of their squares.", _on_angles(lambda t: t.sum())),
        ("The root is missing.", "`.square().sum().sqrt()`.", _on_angles(lambda t: t.square().sum())),
        ("You take the mean of the squares.", "Their sum, then the root.", _on_angles(lambda t: t.square().mean().sqrt())),
        ("That is the largest angle alone.", "All principal angles: the root of the sum of their squares.", _on_angles(lambda t: t.max())),
        ("That is the smallest angle alone. It is 0 where two planes share a line.", "All principal angles: the root of the sum of their squares.", _on_angles(lambda t: t.min())),
        ("You take sines of the angles: that is the chordal distance.", "The angles themselves.", _on_angles(lambda t: t.sin().norm())),
        ("Yours is in degrees.", "Radians, as `acos` returns them.", _on_angles(lambda t: t.norm().rad2deg())),
        ("You compare projections, aaᵀ with bbᵀ.", "Angles: arccosines of the singular values of aᵀb.", lambda a, b: (a @ a.T - b @ b.T).norm()),
        ("That is the distance of two bases. One space has many of them.", "Use the singular values of aᵀb.", lambda a, b: (a - b).norm()),
        ("You take arccosines of the entries of aᵀb, and they change with the basis of a space.", "Of its singular values: `torch.linalg.svdvals(a.T @ b)`.", lambda a, b: (a.T @ b).clamp(-1, 1).acos().norm()),
        ("You compare the columns one by one, and they change with the basis of a space.", "The singular values of aᵀb.", lambda a, b: (a * b).sum(dim=0).clamp(-1, 1).acos().norm()),
    )
)  # fmt: skip


_ROUNDED = Slip(
    "The same plane twice gives NaN in yours: rounding took a cosine above 1.",
    "`cosines.clamp(-1, 1)` before `acos`.",
    lambda a, b: torch.linalg.svdvals(a.T @ b).acos().norm(),
)


def _judge_apart(mine: Callable[[Tensor, Tensor], float]) -> Mistake | str | None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (
        torch.linalg.qr(torch.randn(6, 2, generator=generator).double())[0] for _ in range(3)
    )
    turn = torch.linalg.qr(torch.randn(2, 2, generator=generator).double())[0]
    cases = {
        "two planes in six dimensions": (a, b),
        "two others": (a, c),
        "the same planes, one in another basis": (a, b @ turn),
    }
    twice = {"one plane twice, of length 1 up to rounding": (a * (1 + 1e-9), a * (1 + 1e-9))}
    return diagnose(mine, apart, cases, _SLIPS, atol=CLOSE) or diagnose(
        mine, apart, twice, (_ROUNDED,), atol=CLOSE
    )


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
            function(
                Form(says="a number", convert=float), takes="a and b (6, 2), orthonormal columns"
            ),
            judge=_judge_apart,
        ),
        "lab_09.2": Answer(number(0, 1), judge=_judge_p),
        "lab_09.3": Answer(number(0, 1), measure=nearest),
    },
)

"""Exercises of lab 06: the diagonal of an inverse, how sure one sample makes, and clusters where little is seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 1e-6


def diagonal(solve: Callable[[Tensor], Tensor], signs: Tensor) -> Tensor:
    """Return the mean over rows p of p ∘ Λ⁻¹p."""
    return (signs * solve(signs)).mean(dim=0)


Solve = Callable[[Tensor], Tensor]

_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("The sum over the rows is right; what is asked is their mean.", "`.mean(dim=0)`.", lambda solve, p: (p * solve(p)).sum(dim=0)),
        ("On average Λ⁻¹p alone is zero.", "Each solution has to be multiplied by its own signs: `signs * solve(signs)`.", lambda solve, p: solve(p).mean(dim=0)),
        ("You average along each probe: one number per probe, not per coefficient.", "The mean over the rows: `dim=0`.", lambda solve, p: (p * solve(p)).mean(dim=1)),
        ("You multiply two means. Signs cancel in a mean before they can meet their own.", "Multiply first, then average.", lambda solve, p: p.mean(dim=0) * solve(p).mean(dim=0)),
        ("You square the solutions: that is the diagonal of Λ⁻² on average.", "`signs * solve(signs)`.", lambda solve, p: solve(p).square().mean(dim=0)),
        ("You take absolute values, so that what should cancel adds up.", "Without `abs`.", lambda solve, p: (p * solve(p)).abs().mean(dim=0)),
        ("You use the first probe alone.", "The mean over all rows.", lambda solve, p: (p * solve(p))[0]),
        ("You use the last probe alone.", "The mean over all rows.", lambda solve, p: (p * solve(p))[-1]),
        ("You take the median over the rows.", "The mean: only there do the other terms cancel.", lambda solve, p: (p * solve(p)).median(dim=0).values),
        ("You solve twice.", "`solve(signs)` has Λ⁻¹p already.", lambda solve, p: (p * solve(solve(p))).mean(dim=0)),
        ("You divide by one probe fewer.", "The mean, not a variance: divide by the number of rows.", lambda solve, p: (p * solve(p)).sum(dim=0) / (len(p) - 1)),
        ("You divide by the number of coefficients.", "The mean over the rows: divide by the number of probes.", lambda solve, p: (p * solve(p)).sum(dim=0) / p.shape[1]),
        ("You return how uncertain the estimate is.", "The mean over the rows, not their spread.", lambda solve, p: (p * solve(p)).std(dim=0)),
    )
)  # fmt: skip


def _judge_diagonal(mine: Callable[[Solve, Tensor], Tensor]) -> Mistake | str | None:
    cases = {}
    for probes, n in ((7, 5), (6, 4)):
        generator = torch.Generator().manual_seed(n)
        root = torch.randn(n, n, generator=generator).double()
        inverse = torch.linalg.inv(root @ root.T + torch.eye(n))
        signs = 2.0 * torch.randint(2, (probes, n), generator=generator).double() - 1
        cases[f"{probes} probes of {n}"] = (lambda p, inverse=inverse: p @ inverse, signs)
    return diagnose(mine, diagonal, cases, _SLIPS, atol=CLOSE)


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

"""Exercises of lab 05: the loss of a log-ratio, what annealing does, and how many toys a p needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

WEIGHT = 0.25


def loss(f_reference: Tensor, f_data: Tensor, weight: float) -> Tensor:
    """Return w Σ (e^f − 1) over the reference − Σ f over the data."""
    return weight * f_reference.expm1().sum() - f_data.sum()


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Yours is not 0 where f is 0: e^f − 1, not e^f.", "`(f_reference.exp() - 1)`, or `expm1`.", lambda a, b, w: w * a.exp().sum() - b.sum()),
        ("You take 1 off once, after the sum.", "Each row: `(f_reference.exp() - 1).sum()`.", lambda a, b, w: w * (a.exp().sum() - 1) - b.sum()),
        ("The weight is missing: a row of the reference counts w.", "w times the first sum.", lambda a, b, w: loss(a, b, w**0)),
        ("The weight counts on both sides.", "Only rows of the reference have it: w times the first sum.", lambda a, b, w: w * loss(a, b, 1.0)),
        ("You gave the weight to the data.", "It belongs to the reference: w times the first sum.", lambda a, b, w: a.expm1().sum() - w * b.sum()),
        ("You add f over the data.", "It is taken away: where data are, f should be large.", lambda a, b, w: w * a.expm1().sum() + b.sum()),
        ("You take means.", "Sums over rows: 1000 rows are more evidence than 10.", lambda a, b, w: w * a.expm1().mean() - b.mean()),
        ("That is the statistic, −2 L.", "L itself is asked for.", lambda a, b, w: -2 * loss(a, b, w)),
        ("The sign is turned: yours is largest where it should be smallest.", "The reference first, minus the data.", lambda a, b, w: -loss(a, b, w)),
        ("e^ is missing: yours is linear in f, and has no smallest value.", "e^f − 1 over the reference.", lambda a, b, w: w * a.sum() - b.sum()),
        ("Reference and data are exchanged.", "e^f − 1 over the reference, f over the data.", lambda a, b, w: loss(b, a, w)),
        ("You take e^f − 1 over the data, too.", "There f itself.", lambda a, b, w: w * a.expm1().sum() - b.expm1().sum()),
        ("You take e^−f.", "e^f: large where data are denser than the reference.", lambda a, b, w: loss(-a, b, w)),
    )
)  # fmt: skip


def _judge_loss(mine: Callable[[Tensor, Tensor, float], float]) -> Mistake | str | None:
    generator = torch.Generator().manual_seed(0)
    cases = {
        f"{n} rows of reference and {m} of data, w = {w:g}": (
            torch.randn(n, generator=generator),
            torch.randn(m, generator=generator) + up,
            w,
        )
        for n, m, w, up in ((40, 10, WEIGHT, 0), (15, 12, 0.8, 0), (10, 60, 0.5, 2))
    }
    return diagnose(mine, loss, cases, _SLIPS)


def _judge_toys(answer: int) -> str | None:
    if answer == 999:
        return None
    if answer == 1000:
        return "One fewer: the observed statistic counts among its toys."
    return f"With {answer} toys of which none reaches the statistic, p is 1/{answer + 1}."


@cache
def hits_without_annealing() -> float:
    """Return the share of trials whose strongest kernel ends on the clump; mean over seeds.

    All kernels have the last width from the start.
    """
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_sparker").of("hits, not annealed").mean


TASKS = tasks(
    "anomalies",
    {
        "lab_05.1": Answer(
            function(number(), takes="f of the reference, f of the data, and w"), judge=_judge_loss
        ),
        "lab_05.2": Answer(number(0, 1), measure=hits_without_annealing),
        "lab_05.3": Answer(whole_number(1), judge=_judge_toys),
    },
)

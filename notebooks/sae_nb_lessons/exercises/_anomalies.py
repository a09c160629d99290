"""Exercises of lab 05: the loss of a log-ratio, what annealing does, and how many toys a p needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks

WEIGHT = 0.25


def loss(f_reference: Tensor, f_data: Tensor, weight: float) -> Tensor:
    """Return w Σ (e^f − 1) over the reference − Σ f over the data."""
    return weight * f_reference.expm1().sum() - f_data.sum()


def _judge_loss(mine: Callable[[Tensor, Tensor, float], float]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    theirs, ours = torch.randn(40, generator=generator), torch.randn(10, generator=generator)
    answer = mine(theirs.clone(), ours.clone(), WEIGHT)
    near = {
        "It is 0 where f is 0: e^f − 1, not e^f.": WEIGHT * theirs.exp().sum() - ours.sum(),
        "The weight is missing: a row of the reference counts w.": loss(theirs, ours, 1.0),
        "f over the data is taken away: where data are, f should be large.": (
            WEIGHT * theirs.expm1().sum() + ours.sum()
        ),
        "Sums over rows, not means: 1000 rows are more evidence than 10.": (
            WEIGHT * theirs.expm1().mean() - ours.mean()
        ),
        "That is the statistic, −2 L; L itself is asked for.": -2 * loss(theirs, ours, WEIGHT),
    }
    for message, wrong in near.items():
        if math.isclose(answer, float(wrong), rel_tol=1e-4):
            return message
    if not math.isclose(answer, float(loss(theirs, ours, WEIGHT)), rel_tol=1e-4, abs_tol=1e-4):
        return "It differs: w Σ (e^f − 1) over the reference, minus Σ f over the data."
    return None


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

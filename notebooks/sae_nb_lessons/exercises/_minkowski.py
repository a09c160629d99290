"""Exercises of notebook 16: corners of a sum, the limits of R² alone, and a measure of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_studies.minkowski import off_support
from sae_nb_lessons.exercises._answers import function, number, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-3


# --- 16.1: corners of a sum -----------------------------------------------------------------------


def _judge_corners(answer: int) -> str | None:
    if answer == 6:
        return None
    if answer == 5:
        return "Five is the number of archetypes. A corner of the sum takes one of each tile."
    return "Count the ways to choose one corner of the triangle and one end of the segment."


# --- 16.2: R² alone -------------------------------------------------------------------------------


@cache
def free_simplex_r2() -> float:
    """R² of one free simplex on a Minkowski sum; mean over the recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("minkowski").of("minkowski free AA r2").mean


# --- 16.3: off-support ----------------------------------------------------------------------------


def _rows(n: int, seed: int) -> Tensor:
    drawn = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return drawn.double()


_CASES = {
    "corners that are rows": (_rows(40, 0)[:5], _rows(40, 0)),
    "corners far from all rows": (4 * _rows(7, 1), _rows(40, 0)),
    "rows in units ten times larger": (40 * _rows(7, 1), 10 * _rows(40, 0)),
    "one corner much farther than the others": (
        torch.cat([_rows(6, 2), torch.full((1, 3), 90.0, dtype=torch.float64)]),
        _rows(60, 3),
    ),
}


def _judge_off_support(mine: Callable[[Tensor, Tensor], float]) -> str | None:
    for name, (corners, x) in _CASES.items():
        answer = mine(corners.clone(), x.clone())
        expected = off_support(corners, x)
        if abs(answer - expected) > CLOSE * max(expected, 1):
            return f"For {name} yours gives {answer:.3f}, and the measure is {expected:.3f}."
    return None


TASKS = tasks(
    "minkowski",
    {
        "16.1": Answer(whole_number(), judge=_judge_corners),
        "16.2": Answer(number(0, 1), measure=free_simplex_r2),
        "16.3": Answer(function(number(), takes="corners and rows"), judge=_judge_off_support),
    },
)

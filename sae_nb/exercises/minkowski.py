"""Exercises of notebook 08: corners of a sum, what R² alone says, and a measure of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.exercises.answers import function, number, whole_number
from sae_nb.exercises.kit import Task
from sae_nb.minkowski.decision import off_support

CLOSE = 1e-3


# --- 08.1: corners of a sum -----------------------------------------------------------------------


def _judge_corners(answer: int) -> str | None:
    if answer == 6:
        return None
    if answer == 5:
        return "Five is the number of archetypes. A corner of the sum takes one of each tile."
    return "Count the ways to choose one corner of the triangle and one end of the segment."


# --- 08.2: R² alone -------------------------------------------------------------------------------


@cache
def free_simplex_r2() -> float:
    """R² of one free simplex on a Minkowski sum; mean over the recorded seeds."""
    from sae_nb.proofs.committed import recorded

    return recorded("minkowski").of("minkowski free AA r2").mean


# --- 08.3: off-support ----------------------------------------------------------------------------


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


TASKS = (
    Task(
        id="08.1",
        title="Corners of a sum",
        question=(
            "One tile is a triangle, the other a segment that sticks out of its plane. How many corners "
            "has their Minkowski sum, the set of all sums of a point of each?"
        ),
        form=whole_number(),
        difficulty="warm-up",
        minutes=1,
        judge=_judge_corners,
        why=(
            "A prism: 3 × 2 corners from 3 + 2 archetypes. Twelve archetypes in three tiles of four make "
            "64 corners; as one simplex they make 12."
        ),
        hints=("Picture a prism.", "Every corner is one corner of each tile, added."),
    ),
    Task(
        id="08.2",
        title="What does R² say?",
        question=(
            "Rows are sums of points of three tetrahedra, in 16 dimensions. We fit a single simplex with "
            "as many corners, 12, and let them lie anywhere. What is its R² on held-out rows?"
        ),
        form=number(0, 1),
        difficulty="core",
        minutes=2,
        measure=free_simplex_r2,
        why=(
            "Nearly perfect, with the wrong model: rows span 9 dimensions, and 12 free corners can "
            "enclose anything there. Its corners are far from every row, and that gives it away."
        ),
        hints=(
            "How many dimensions do three tetrahedra fill together?",
            "How many corners does a simplex need to enclose a ball in 9 dimensions?",
        ),
    ),
    Task(
        id="08.3",
        title="Write off-support",
        question=(
            "Write a function that takes corners, shape (v, d), and rows, shape (n, d), and returns the "
            "median distance of a corner to its nearest row, divided by the median distance of a row to "
            "its nearest other row."
        ),
        form=function(number(), takes="corners and rows"),
        difficulty="core",
        minutes=6,
        judge=_judge_off_support,
        why=(
            "Dividing by the rows' own distances takes the unit away; the median lets a few corners "
            "stick out. A corner that no row comes near is a sign of a hull that is merely loose."
        ),
        hints=(
            "`torch.cdist(corners, x)` has all distances; take the smallest of each row of it.",
            "A row's nearest row must not be itself: fill the diagonal with infinity first.",
        ),
    ),
)

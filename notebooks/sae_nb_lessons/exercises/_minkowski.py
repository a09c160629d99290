"""Exercises of notebook 16: corners of a sum, the limits of R² alone, and a measure of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_studies.minkowski import off_support
from sae_nb_lessons.exercises._answers import Form, function, number, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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
    "corners far from all rows": (4 * _rows(7, 1), _rows(40, 0)),
    "rows in units ten times larger": (40 * _rows(7, 1), 10 * _rows(40, 0)),
    "one corner much farther than the others": (
        torch.cat([_rows(6, 2), torch.full((1, 3), 90.0, dtype=torch.float64)]),
        _rows(60, 3),
    ),
    "corners that are rows": (_rows(40, 0)[:5], _rows(40, 0)),
}


def _near(a: Tensor, b: Tensor, p: float = 2.0) -> Tensor:
    return torch.cdist(a, b, p=p).min(dim=1).values


def _between(x: Tensor, p: float = 2.0) -> Tensor:
    return torch.cdist(x, x, p=p).fill_diagonal_(torch.inf).min(dim=1).values


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("A row's nearest row is itself in yours, at a distance of 0.", "Fill the diagonal of `torch.cdist(x, x)` with infinity first.", lambda c, x: _near(c, x).median() / _near(x, x).median()),
        ("Yours has the unit of the rows: ten times larger rows, ten times the result.", "Divide by the median distance between a row and its nearest other row.", lambda c, x: _near(c, x).median()),
        ("You take means: one corner far out decides.", "Medians, above and below the bar.", lambda c, x: _near(c, x).mean() / _between(x).mean()),
        ("You take the mean over corners: one far out decides.", "The median above the bar, too.", lambda c, x: _near(c, x).mean() / _between(x).median()),
        ("You take the mean over rows below the bar.", "The median there, too.", lambda c, x: _near(c, x).median() / _between(x).mean()),
        ("You take each corner's farthest row.", "The nearest: `.min(dim=1)`.", lambda c, x: torch.cdist(c, x).max(dim=1).values.median() / _between(x).median()),
        ("You take each row's nearest corner. Most rows are inside, far from every corner.", "One distance per corner: `torch.cdist(corners, x).min(dim=1)`.", lambda c, x: _near(x, c).median() / _between(x).median()),
        ("Yours is upside down.", "The corners' distance above the bar, the rows' own below.", lambda c, x: _between(x).median() / _near(c, x).median()),
        ("You take squared distances.", "`torch.cdist` has distances; leave them as they are.", lambda c, x: (_near(c, x).median() / _between(x).median()).square()),
        ("You divide by the distance of all pairs of rows.", "Each row's nearest other row: `.min(dim=1)` below the bar, too.", lambda c, x: _near(c, x).median() / torch.cdist(x, x).median()),
        ("You divide by the distances between corners.", "Below the bar stand the rows: how far is each from its nearest other row?", lambda c, x: _near(c, x).median() / _between(c).median()),
        ("You take sums of absolute differences.", "`torch.cdist` with its own p = 2: the root of the sum of squares.", lambda c, x: _near(c, x, 1.0).median() / _between(x, 1.0).median()),
        ("You take the corner that is farthest from the rows.", "The median over corners.", lambda c, x: _near(c, x).max() / _between(x).median()),
    )
)  # fmt: skip


def _judge_off_support(mine: Callable[[Tensor, Tensor], float]) -> Mistake | str | None:
    return diagnose(mine, off_support, _CASES, _SLIPS, atol=CLOSE)


TASKS = tasks(
    "minkowski",
    {
        "16.1": Answer(whole_number(), judge=_judge_corners),
        "16.2": Answer(number(0, 1), measure=free_simplex_r2),
        "16.3": Answer(
            function(Form(says="a number", convert=float), takes="corners and rows"),
            judge=_judge_off_support,
        ),
    },
)

"""Exercises of lab 07: the change of a sequence, its gain, and what one plain layer can do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

GAMMA = 0.7


def sheared(x: Tensor, gamma: float) -> Tensor:
    """x_t + γ(x_t − x_{t−1}); the first stays."""
    return x + gamma * (x - torch.cat([x[:1], x[:-1]]))


def _before(x: Tensor, first: Tensor) -> Tensor:
    return torch.cat([first[None], x[:-1]])


def _recursive(x: Tensor, gamma: float) -> Tensor:
    rows = [x[0]]
    for row in x[1:]:
        rows.append(row + gamma * (row - rows[-1]))
    return torch.stack(rows)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("The first row differs: it has no predecessor, and you put 0 before it.", "The first stays as it is: `torch.cat([x[:1], x[:-1]])`.", lambda x, g: x + g * (x - _before(x, 0 * x[0]))),
        ("The first row differs: `roll` puts the last row before it.", "The first stays as it is: `torch.cat([x[:1], x[:-1]])`.", lambda x, g: x + g * (x - x.roll(1, dims=0))),
        ("That is the difference from the next row: attention must not look ahead.", "x_{t−1} is the row before.", lambda x, g: x + g * (x - torch.cat([x[1:], x[-1:]]))),
        ("That is the difference from the next row, with the sign turned: attention must not look ahead.", "x_t − x_{t−1}: this row and the one before.", lambda x, g: x + g * (torch.cat([x[1:], x[-1:]]) - x)),
        ("You take the change off: that makes a sequence smoother, and this makes it rougher.", "x_t **plus** gamma times the change.", lambda x, g: sheared(x, -g)),
        ("You return the change without the row itself.", "x + gamma * …", lambda x, g: sheared(x, g) - x),
        ("Your gamma is 1, whatever is given.", "Multiply the change by gamma.", lambda x, g: sheared(x, g**0)),
        ("You go on from rows that were changed already.", "The row before as it was given: `x`, not what you built.", _recursive),
        ("You look two rows back.", "x_{t−1} is the row before.", lambda x, g: x + g * (x - torch.cat([x[:2], x[:-2]]))),
        ("The first row is missing.", "It has no predecessor, and stays: there are as many rows as before.", lambda x, g: sheared(x, g)[1:]),
        ("You add the change to the row before.", "x_t plus gamma times the change.", lambda x, g: _before(x, x[0]) + g * (x - _before(x, x[0]))),
        ("You take the difference along the columns.", "Time is the first axis: the row before.", lambda x, g: sheared(x.T, g).T),
    )
)  # fmt: skip


def _judge_change(mine: Callable[[Tensor, float], Tensor]) -> Mistake | str | None:
    generator = torch.Generator().manual_seed(0)
    cases = {
        f"{n} rows and gamma = {gamma:g}": (torch.randn(n, 3, generator=generator), gamma)
        for n, gamma in ((6, GAMMA), (5, 2.0))
    }
    return diagnose(mine, sheared, cases, _SLIPS)


def _judge_gain(answer: float) -> str | None:
    if abs(answer - 5) <= 0.01:
        return None
    if abs(answer - 3) <= 0.01:
        return "The change of +1, −1, +1 is 2 from one position to the next, and γ = 2 times that is added."
    return "Put +1, −1, +1 in: what is x_t + 2(x_t − x_{t−1})?"


@cache
def plain_layer() -> float:
    """Return the share of letters that one layer without momentum gets right; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_momentum").of("one layer").mean


TASKS = tasks(
    "momentum",
    {
        "lab_07.1": Answer(
            function(tensor("time", "d"), takes="x (time, d) and gamma"), judge=_judge_change
        ),
        "lab_07.2": Answer(number(0, 100), judge=_judge_gain),
        "lab_07.3": Answer(number(0, 1), measure=plain_layer),
    },
)

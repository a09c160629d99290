"""Exercises of lab 07: the change of a sequence, its gain, and what one plain layer can do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
GAMMA = 0.7


def sheared(x: Tensor, gamma: float) -> Tensor:
    """x_t + γ(x_t − x_{t−1}); the first stays."""
    return x + gamma * (x - torch.cat([x[:1], x[:-1]]))


def _judge_change(mine: Callable[[Tensor, float], Tensor]) -> str | None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    answer, right = mine(x.clone(), GAMMA), sheared(x, GAMMA)
    if answer.shape != x.shape:
        return f"Return one row for each of x: (6, 3), got {tuple(answer.shape)}."
    answer = answer.float()
    if torch.allclose(answer, right, atol=CLOSE):
        return None
    if torch.allclose(answer[1:], right[1:], atol=CLOSE):
        return "All but the first row are right: it has no predecessor, and stays as it is."
    if torch.allclose(answer[:-1], x[:-1] + GAMMA * (x[:-1] - x[1:]), atol=CLOSE):
        return "That is the difference from the next row: attention must not look ahead."
    return "Row t differs from x_t + γ(x_t − x_{t−1})."


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

"""Exercises of lab 08: an orbit, how many moves lead back, and what pairs without a mean say."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
ORDER = 4


def orbit(b: Tensor, a: Tensor, order: int) -> Tensor:
    """Stack b, Ab, A²b, …, one per row."""
    rows = [b]
    for _ in range(order - 1):
        rows.append(a @ rows[-1])
    return torch.stack(rows)


def _judge_orbit(mine: Callable[[Tensor, Tensor, int], Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    b, a = torch.randn(3, generator=generator), torch.randn(3, 3, generator=generator)
    answer = mine(b.clone(), a.clone(), ORDER)
    if answer.shape != (ORDER, 3):
        return f"Return G rows, one per atom: ({ORDER}, 3), got {tuple(answer.shape)}."
    answer = answer.float()
    if torch.allclose(answer, orbit(b, a, ORDER), atol=CLOSE):
        return None
    if torch.allclose(answer, orbit(a @ b, a, ORDER), atol=CLOSE):
        return "That begins at Ab: the first atom is b itself."
    if torch.allclose(answer, orbit(b, a.T, ORDER), atol=CLOSE):
        return "That applies the transpose of A: the next atom is A @ b."
    return "Row g differs from A applied g times to b."


def _judge_order(answer: float) -> str | None:
    if answer == 6:
        return None
    if answer == 36:
        return "A patch has 36 pixels, but each row of it has 6, and a roll moves within rows."
    return "After how many rolls by one pixel is each row of six pixels what it was?"


@cache
def closure_of_turn() -> float:
    """‖A⁴ − I‖ / ‖I‖ of a turn learned from patches without their mean; over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_group_network").of("closure, without mean, turn").mean


TASKS = tasks(
    "orbits",
    {
        "lab_08.1": Answer(
            function(tensor("G", "d"), takes="b (d), A (d, d) and G"), judge=_judge_orbit
        ),
        "lab_08.2": Answer(number(1, 100), judge=_judge_order),
        "lab_08.3": Answer(number(0, 1000), measure=closure_of_turn),
    },
)

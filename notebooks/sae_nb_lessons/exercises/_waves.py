"""Exercises of lab 03: a step of the wave equation, a drum by its voice, and what a window sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
DT = 0.5


def step(h: Tensor, v: Tensor, m: Tensor, dt: float) -> Tensor:
    """Return the new height and the new speed, one above the other."""
    around = F.pad(h, (1, 1, 1, 1))
    neighbours = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
    v = v + dt * (neighbours - 4 * h) * m
    return torch.stack([(h + dt * v) * m, v])


def _judge_step(mine: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> str | None:
    m = torch.zeros(6, 6)
    m[1:5, 1:4] = 1
    generator = torch.Generator().manual_seed(0)
    h, v = (torch.rand(6, 6, generator=generator) * m for _ in range(2))
    answer, (height, speed) = mine(h.clone(), v.clone(), m.clone(), DT), step(h, v, m, DT)
    if answer.shape != (2, 6, 6):
        return "Return height and speed in one tensor: torch.stack([h, v])."
    answer = answer.float()
    if torch.allclose(answer[0], (h + DT * v) * m, atol=CLOSE):
        return "The height moves with the new speed, not with the old one: otherwise the drum grows louder."
    if not torch.allclose(answer[1], speed, atol=CLOSE):
        return "The speed differs: v + dt · (four neighbours − 4 h) · m, with 0 beyond the grid."
    if not torch.allclose(answer[0], height, atol=CLOSE):
        return "The speed is right and the height differs: (h + dt · v) · m."
    return None


def _judge_side(answer: float) -> str | None:
    if abs(answer - 9) <= 0.05:
        return None
    if abs(answer - 10) <= 0.05:
        return "π / 2(L + 1), not π / 2L: the points that are held count as well."
    return f"√8 sin(π / 2(L + 1)) of {answer:g} is {math.sqrt(8) * math.sin(math.pi / 2 / (answer + 1)):.3f}."


@cache
def by_window() -> float:
    """Return the share of points whose side a window of 7 × 7 tells; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_waves").of("window").mean


TASKS = tasks(
    "waves",
    {
        "lab_03.1": Answer(
            function(tensor(2, "height", "width"), takes="h, v and m (height, width), and dt"),
            judge=_judge_step,
        ),
        "lab_03.2": Answer(number(1, 100), judge=_judge_side),
        "lab_03.3": Answer(number(0, 1), measure=by_window),
    },
)

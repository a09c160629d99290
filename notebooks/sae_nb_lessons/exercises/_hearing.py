"""The exercise of notebook 21: when an atom fires."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
BANDS, COLUMNS, STEP = 4, 20, 0.05


def moment(z: Tensor, columns: int, step: float) -> float:
    """Return the middle of the column in which an atom is strongest, seconds."""
    return (float(z[1:].argmax() % columns) + 0.5) * step


def _clip(row: int, column: int, *, cls: float = 0.0) -> Tensor:
    z = torch.zeros(1 + BANDS * COLUMNS)
    z[0], z[1 + row * COLUMNS + column] = cls, 2.5
    z[1 + (row + 1) % BANDS * COLUMNS + 3] = 0.5
    return z


_CLIPS = {
    "in the highest band at column 7": (_clip(0, 7), COLUMNS, STEP),
    "in the lowest band at column 7": (_clip(3, 7), COLUMNS, STEP),
    "stronger still at cls, which is of no time": (_clip(1, 12, cls=9.0), COLUMNS, STEP),
    "in a clip of ten columns of 0.1 s": (_clip(0, 15)[:41], 10, 0.1),
}


def _judge_moment(mine: Callable[[Tensor, int, float], float]) -> str | None:
    for name, (z, columns, step) in _CLIPS.items():
        answer, expected = mine(z.clone(), columns, step), moment(z, columns, step)
        if abs(answer - expected) > CLOSE:
            return f"Of an atom {name} yours gives {answer:.3f} s, and it is {expected:.3f} s."
    return None


TASKS = tasks(
    "hearing",
    {
        "21.1": Answer(
            function(number(), takes="strengths, columns and seconds per column"),
            judge=_judge_moment,
        ),
    },
)

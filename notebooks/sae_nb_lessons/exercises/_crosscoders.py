"""Exercises of notebook 20: the site of an atom, and a penalty's effect on a faint part."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005


def difference(first: Tensor, second: Tensor, first_unit: float, second_unit: float) -> Tensor:
    """Return ‖d_2j‖ / (‖d_1j‖ + ‖d_2j‖), norms in units of their models."""
    a, b = first.norm(dim=1) / first_unit, second.norm(dim=1) / second_unit
    return b / (a + b)


_A = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
_B = torch.tensor([[5.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
_CASES: dict[str, tuple[Tensor, Tensor, float, float]] = {
    "one unit for both": (_A, _B, 1.0, 1.0),
    "a second model that is ten times as loud": (_A, 10 * _B, 1.0, 10.0),
    "a first model in units of 4": (_A, _B, 4.0, 1.0),
}


def _judge_difference(mine: Callable[[Tensor, Tensor, float, float], Tensor]) -> str | None:
    for name, (first, second, *units) in _CASES.items():
        answer = mine(first.clone(), second.clone(), units[0], units[1])
        expected = difference(first, second, units[0], units[1])
        if not torch.allclose(answer.double(), expected.double(), atol=CLOSE):
            got, want = ([round(v, 2) for v in values.tolist()] for values in (answer, expected))
            return f"For {name} yours gives {got}, and it is {want}."
    return None


@cache
def shrunk() -> float:
    """Return the share of faint shared concepts with an exclusive atom under ℓ1; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("crosscoder_planted").of("relu shrunk").mean


TASKS = tasks(
    "crosscoders",
    {
        "20.1": Answer(function(tensor("n"), takes="D₁, D₂, u₁ and u₂"), judge=_judge_difference),
        "20.3": Answer(number(0, 1), measure=shrunk),
    },
)

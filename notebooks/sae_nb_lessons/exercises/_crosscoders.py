"""Exercises of notebook 20: the site of an atom, and a penalty's effect on a faint part."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 1e-3


def difference(first: Tensor, second: Tensor, first_unit: float, second_unit: float) -> Tensor:
    """Return ‖d_2j‖ / (‖d_1j‖ + ‖d_2j‖), norms in units of their models."""
    a, b = first.norm(dim=1) / first_unit, second.norm(dim=1) / second_unit
    return b / (a + b)


_A = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
_B = torch.tensor([[5.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
_DRAWS = torch.Generator().manual_seed(0)
_CASES: dict[str, tuple[Tensor, Tensor, float, float]] = {
    "four atoms and units of 2 and 5": (
        torch.randn(4, 3, generator=_DRAWS),
        torch.randn(4, 6, generator=_DRAWS),
        2.0,
        5.0,
    ),
    "one unit for both": (_A, _B, 1.0, 1.0),
    "a second model that is ten times as loud": (_A, 10 * _B, 1.0, 10.0),
    "a first model in units of 4": (_A, _B, 4.0, 1.0),
}

_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You left the units out: a model that is ten times as loud would own every atom.", "Divide each norm by its model's unit first.", lambda a, b, u, v: difference(a, b, 1.0, 1.0)),  # noqa: ARG005
        ("You multiply by the units, or exchanged the two.", "The first model's norms are divided by u₁, the second's by u₂.", lambda a, b, u, v: difference(a, b, 1 / u, 1 / v)),
        ("Only the second model is in its unit.", "Both norms: each divided by its own.", lambda a, b, u, v: difference(a, b, 1.0, v)),  # noqa: ARG005
        ("Only the first model is in its unit.", "Both norms: each divided by its own.", lambda a, b, u, v: difference(a, b, u, 1.0)),  # noqa: ARG005
        ("That is the share of the first model: yours is 1 where it should be 0.", "The second stands above the bar.", lambda a, b, u, v: difference(b, a, v, u)),
        ("You take squared norms.", "`norm(dim=1)` as it is.", lambda a, b, u, v: (b / v).square().sum(1) / ((a / u).square().sum(1) + (b / v).square().sum(1))),
        ("You add absolute values.", "`norm(dim=1)` is the root of the sum of squares.", lambda a, b, u, v: (b / v).abs().sum(1) / ((a / u).abs().sum(1) + (b / v).abs().sum(1))),
        ("You divide the second by the first. An atom of the second model alone would be infinite.", "Divide by the sum of both.", lambda a, b, u, v: b.norm(dim=1) / v / (a.norm(dim=1) / u)),
        ("That is a difference, between −1 and 1.", "Only the second stands above the bar.", lambda a, b, u, v: 2 * difference(a, b, u, v) - 1),
        ("You divide by the length of both parts together.", "By the sum of the two lengths.", lambda a, b, u, v: b.norm(dim=1) / v / torch.hypot(a.norm(dim=1) / u, b.norm(dim=1) / v)),
        ("You divide by the larger of both.", "By their sum.", lambda a, b, u, v: b.norm(dim=1) / v / torch.maximum(a.norm(dim=1) / u, b.norm(dim=1) / v)),
    )
)  # fmt: skip


def _judge_difference(
    mine: Callable[[Tensor, Tensor, float, float], Tensor],
) -> Mistake | str | None:
    return diagnose(mine, difference, _CASES, _SLIPS, atol=CLOSE)


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

"""Exercises of notebook 05: what steering costs, what an untrained SAE would do, and which part is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._seven import judge_strength, measure_share

COST = 0.4338
"""½ ln(½ / σ(2)) + ½ ln(½ / σ(−2)) nats."""

CLOSE = 0.01


def _judge_cost(answer: float) -> str | None:
    if abs(answer - COST) <= CLOSE:
        return None
    if abs(answer - 0.328) <= CLOSE:
        return "That is KL(steered‖clean). The clean answer is what is expected: KL(clean‖steered)."
    if abs(answer - COST / 0.6931) <= CLOSE:
        return "That is in bits. Nats: natural logarithms."
    return f"With logits (0, 0) → (2, 0) the chances become 0.881 and 0.119; not {answer:g} nats."


@cache
def untrained_success() -> float:
    """Return the success of the atom chosen in the same way in an untrained SAE; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("steering_science").of("digits, untrained").mean


_E = torch.eye(4)
_CASES: dict[str, tuple[Tensor, Tensor]] = {
    "a direction that is read": (_E[0], _E[:2]),
    "a direction that nobody reads": (_E[3], _E[:2]),
    "half of each": (_E[0] + _E[3], _E[:2]),
    "a reader whose rows are not orthogonal": (
        torch.tensor([1.0, 2.0, 0.0, 2.0]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]),
    ),
    "the same, three times as long": (
        torch.tensor([3.0, 6.0, 0.0, 6.0]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]),
    ),
}


def read_share(v: Tensor, reader: Tensor) -> float:
    """Return ‖v_row‖² / ‖v‖², v_row the part of v in the span of the reader's rows."""
    wide = reader.double()
    part = torch.linalg.pinv(wide) @ (wide @ v.double())
    return float(part.square().sum() / v.double().square().sum())


def _judge_share(mine: Callable[[Tensor, Tensor], float]) -> str | None:
    for name, (v, reader) in _CASES.items():
        answer, expected = mine(v.clone(), reader.clone()), read_share(v, reader)
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.3g}, and it is {expected:.3g}."
    return None


TASKS = tasks(
    "steering",
    {
        "05.3": Answer(number(), judge=_judge_cost),
        "05.4": Answer(number(-5, 10), measure=untrained_success),
        "05.5": Answer(function(number(), takes="v and W"), judge=_judge_share),
        "05.1": Answer(number(), judge=judge_strength),
        "05.2": Answer(number(), measure=measure_share),
    },
)

"""Exercises of notebook 17: who sets the length of a prediction, what order is worth, and a cosine in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_studies.temporal import lag_cosine
from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

TOLERANCE = 0.02
CLOSE = 1e-3


# --- 17.1: who sets the length --------------------------------------------------------------------


def _judge_length(answer: float) -> str | None:
    if abs(answer - 3.0) <= TOLERANCE:
        return None
    return (
        "The predicted part is the projection of x = (3, 4) on the direction (10, 0). Its length is "
        f"⟨p, x⟩ / ‖p‖, and 10 cancels; {answer:g} it is not."
    )


# --- 17.3: what order is worth --------------------------------------------------------------------


@cache
def lead_without_order() -> float:
    """Return the lag-1 cosine of predicted less novel codes, tokens shuffled; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("temporal").of("temporal order lost lag-1 lead").mean


# --- 17.2: a cosine in time -----------------------------------------------------------------------


def _case(seed: int, width: int) -> Tensor:
    steps = torch.randn(1, 30, width, generator=torch.Generator().manual_seed(seed))
    return steps + steps.roll(1, dims=1)


_CASES = {
    "a token that never changes": torch.tensor([[1.0, 2.0]]).expand(5, 2),
    "a token that turns back and forth": torch.tensor([[1.0], [-2.0], [3.0], [-4.0]]),
    "tokens that share half with the one before": _case(0, 6)[0],
    "the same, a hundred times as long vectors": 100 * _case(1, 9)[0],
}


def _judge_lag(mine: Callable[[Tensor], float]) -> str | None:
    for name, x in _CASES.items():
        answer, expected = mine(x.clone()), lag_cosine(x, centre=False)
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.3g}, and it is {expected:.3g}."
    return None


# --- 17.4: growth on text -------------------------------------------------------------------------


@cache
def growth_on_text() -> float:
    """Rank correlation of position and dimension on tiny-gpt; over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("temporal").of("text growth").mean


TASKS = tasks(
    "time",
    {
        "17.1": Answer(number(0), judge=_judge_length),
        "17.3": Answer(number(-1, 1), measure=lead_without_order),
        "17.2": Answer(function(number(), takes="a sequence"), judge=_judge_lag),
        "17.4": Answer(number(-1, 1), measure=growth_on_text),
    },
)

"""Exercises of notebook 09: who sets the length of a prediction, what order is worth, and a cosine in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.exercises.answers import function, number
from sae_nb.exercises.kit import Task
from sae_nb.temporal.smoothness import lag_cosine

TOLERANCE = 0.02
CLOSE = 1e-3


# --- 09.1: who sets the length --------------------------------------------------------------------


def _judge_length(answer: float) -> str | None:
    if abs(answer - 3.0) <= TOLERANCE:
        return None
    return (
        "The predicted part is the projection of x = (3, 4) on the direction (10, 0). Its length is "
        f"⟨p, x⟩ / ‖p‖, and 10 cancels; {answer:g} it is not."
    )


# --- 09.2: what order is worth --------------------------------------------------------------------


@cache
def lead_without_order() -> float:
    """Lag-1 cosine of predicted less novel codes, tokens in an order of chance; over recorded seeds."""
    from sae_nb.proofs.committed import recorded

    return recorded("temporal").of("temporal order lost lag-1 lead").mean


# --- 09.3: a cosine in time -----------------------------------------------------------------------


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


# --- 09.4: growth on text -------------------------------------------------------------------------


@cache
def growth_on_text() -> float:
    """Rank correlation of position and dimension on tiny-gpt; over recorded seeds."""
    from sae_nb.proofs.committed import recorded

    return recorded("temporal").of("text growth").mean


TASKS = (
    Task(
        id="09.1",
        title="Who sets the length?",
        question=(
            "In the published form the past suggests a direction, and the token is projected on it. The "
            "token is x = (3, 4), the past suggests p = (10, 0). How long is the predicted part?"
        ),
        form=number(0),
        difficulty="warm-up",
        minutes=2,
        judge=_judge_length,
        why=(
            "Not the past but the token itself says how long its predicted part is, and it can even turn it "
            "around. So a part of the fit is not foresight: that is why there is a strict form."
        ),
        hints=(
            "The predicted part is a · p with a = ⟨p, x⟩ / ‖p‖².",
            "a = 30 / 100, and p is 10 long.",
        ),
    ),
    Task(
        id="09.2",
        title="What is order worth?",
        question=(
            "On text, predicted codes of neighbouring tokens are more alike than novel ones (lag-1 cosine). "
            "Now put the codes of each text in an order of chance. By how much do predicted codes still "
            "lead? (0: not at all.)"
        ),
        form=number(-1, 1),
        difficulty="core",
        minutes=2,
        measure=lead_without_order,
        why=(
            "What is left is what all tokens of one text share, its topic; what is gone is what a token "
            "shares with its neighbour and not with the rest."
        ),
        hints=(
            "If predicted codes knew the text alone, order would not matter.",
            "Less than with the right order, and more than nothing.",
        ),
    ),
    Task(
        id="09.3",
        title="Write the lag-1 cosine",
        question=(
            "Write a function that takes one sequence of shape (time, width) and returns the mean cosine of "
            "each token with the one before it. Do not centre."
        ),
        form=function(number(), takes="a sequence"),
        difficulty="core",
        minutes=5,
        judge=_judge_lag,
        why=(
            "One number for how slowly something moves: 1 for what stays, 0 for what is new each time. Noise "
            "around a large common mean has nearly 1, too, which is why measurements here centre first."
        ),
        hints=(
            "Neighbours are `x[1:]` and `x[:-1]`.",
            "`torch.cosine_similarity(…, dim=1)`, then the mean.",
        ),
    ),
    Task(
        id="09.4",
        title="Does context open new directions?",
        question=(
            "The paper finds that later tokens use more directions than earlier ones. In tiny-gpt (4 blocks, "
            "96 tokens), what is the rank correlation of position and effective dimension?"
        ),
        form=number(-1, 1),
        difficulty="stretch",
        minutes=3,
        measure=growth_on_text,
        why=(
            "The same statistic finds planted growth without fail, so the tool is not to blame: in a model "
            "this small, with so short a past, there is none like the paper's to find."
        ),
        hints=(
            "A claim about models with billions of weights need not hold in one with a million.",
            "The paper says 1.",
        ),
    ),
)

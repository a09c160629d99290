"""Exercises of notebook 17: who sets the length of a prediction, what order is worth, and a cosine in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_studies.temporal import lag_cosine
from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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
    "tokens that share half with the one before": _case(0, 6)[0],
    "a token that never changes": torch.tensor([[1.0, 2.0]]).expand(5, 2),
    "a token that turns back and forth": torch.tensor([[1.0], [-2.0], [3.0], [-4.0]]),
    "the same, a hundred times as long vectors": 100 * _case(1, 9)[0],
}


def _cosines(a: Tensor, b: Tensor, dim: int = 1) -> Tensor:
    return torch.cosine_similarity(a, b, dim=dim)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You take dot products: long vectors count more, and nothing keeps it below 1.", "Divide by both lengths, or use `torch.cosine_similarity`.", lambda x: (x[1:] * x[:-1]).sum(dim=1).mean()),
        ("You centred first. Here the cosine is taken of the tokens as they are.", "Leave `x - x.mean(dim=0)` out.", lambda x: _cosines(x[1:] - x.mean(dim=0), x[:-1] - x.mean(dim=0)).mean()),
        ("You compare tokens two places apart.", "The one before: `x[1:]` and `x[:-1]`.", lambda x: _cosines(x[2:], x[:-2]).mean()),
        ("You compare each token with itself.", "The one before: `x[1:]` and `x[:-1]`.", lambda x: _cosines(x, x).mean()),
        ("You return the sum.", "The mean.", lambda x: _cosines(x[1:], x[:-1]).sum()),
        ("You divide by the number of tokens, and there is one pair fewer.", "`.mean()` over the pairs.", lambda x: _cosines(x[1:], x[:-1]).sum() / len(x)),
        ("You drop the sign: a token that turns round would look the same.", "Without `abs`.", lambda x: _cosines(x[1:], x[:-1]).abs().mean()),
        ("Your cosines run along time, one for each column.", "`dim=1`: one for each pair of tokens.", lambda x: _cosines(x[1:], x[:-1], dim=0).mean()),
        ("You compare the first token with the last one, too: `roll` leads round.", "`x[1:]` and `x[:-1]`, without `roll`.", lambda x: _cosines(x, x.roll(1, dims=0)).mean()),
        ("You compare every token with the first.", "With the one before it: `x[:-1]`.", lambda x: _cosines(x[1:], x[:1]).mean()),
        ("You take one cosine of all numbers together, in which long tokens decide.", "A cosine for each pair, then the mean.", lambda x: _cosines(x[1:].flatten(), x[:-1].flatten(), dim=0)),
        ("You take the cosine of all pairs of tokens, near or far.", "Only of neighbours: `x[1:]` and `x[:-1]`.", lambda x: _cosines(x[:, None], x[None], dim=2).mean()),
    )
)  # fmt: skip


def _judge_lag(mine: Callable[[Tensor], float]) -> Mistake | str | None:
    cases = {name: (x,) for name, x in _CASES.items()}
    return diagnose(mine, lambda x: lag_cosine(x, centre=False), cases, _SLIPS, atol=CLOSE)


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

"""Exercises of notebook 29: how far an answer moved, and how often the first outcome is the planted one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

# --- 29.1: how far an answer moved ----------------------------------------------------------------


def moved(before: Tensor, after: Tensor) -> Tensor:
    """Return KL(before ‖ after) of every row of logits, (n,), in nats."""
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _slips() -> tuple[Slip, ...]:
    def made(change: str, before: Tensor, after: Tensor) -> Tensor:
        p, q = before.log_softmax(-1), after.log_softmax(-1)
        right = moved(before, after)
        middle = ((p.exp() + q.exp()) / 2).log()
        ways = {
            "reversed": moved(after, before),
            "sign": -right,
            "bits": right / torch.tensor(2.0).log(),
            "mean": right / before.shape[-1],
            "logits": (p.exp() * (before - after)).sum(-1),
            "cross": -(p.exp() * q).sum(-1),
            "entropy": (p.exp() * p).sum(-1) - (q.exp() * q).sum(-1),
            "total": (p.exp() - q.exp()).abs().sum(-1),
            "unweighted": (p - q).sum(-1),
            "middle": ((p.exp() * (p - middle)).sum(-1) + (q.exp() * (q - middle)).sum(-1)) / 2,
        }
        return ways[change]

    told = {
        "reversed": ("The two models are exchanged.", "The weights are p, the first model's probabilities."),
        "sign": ("Yours is below 0, and a divergence never is.", "log p minus log q, not the other way round."),
        "bits": ("Yours is in bits.", "Nats: the natural logarithm."),
        "mean": ("You take the mean over outcomes.", "The sum: each outcome is weighted by its probability already."),
        "logits": ("You subtract logits: a constant added to all of them would change your answer.", "Take `log_softmax` of both first."),
        "cross": ("That is the cross-entropy: it is not 0 where both models agree.", "Subtract the first model's own entropy: p (log p − log q)."),
        "entropy": ("That is how much surer one answer is than the other: two sure answers that differ would count as none.", "Weigh both logarithms by p."),
        "total": ("That is the sum of the differences of probabilities.", "Differences of logarithms, weighted by p."),
        "unweighted": ("Every outcome counts alike in yours, likely or not.", "Weigh each by p."),
        "middle": ("That is the divergence from the mean of both (Jensen and Shannon's).", "Compare p with q directly."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _logits(seed: int, n: int, outcomes: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    before = 2 * torch.randn(n, outcomes, generator=draws)
    return before, before + torch.randn(n, outcomes, generator=draws) + 3.0


_PAIRS = {
    "4 places and 5 outcomes": _logits(0, 4, 5),
    "2 places and 30 outcomes": _logits(1, 2, 30),
}


def _judge_moved(mine: Callable[..., Tensor]) -> Mistake | str | None:
    return diagnose(mine, moved, _PAIRS, _slips())


# --- 29.2: the outcome that rises most ------------------------------------------------------------


@cache
def named_first() -> float:
    """Return the share of planted changes whose outcome rises most; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("model_differences").of("outcome first").mean


TASKS = tasks(
    "changes",
    {
        "29.1": Answer(
            function(tensor("n"), takes="logits before and after, (n, outcomes)"),
            judge=_judge_moved,
        ),
        "29.2": Answer(number(0, 1), measure=named_first),
    },
)

"""Exercises of notebook 08: predicted and measured change, the induction head, and the worth of a circuit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005
TIME, PERIOD = 8, 4
"""Of the texts that heads are judged on: four words, and the same four again."""


@cache
def share_that_happens() -> float:
    """Return measured by predicted change, of atoms of tiny-gpt; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("attribution_graphs").of("slope").mean


def induction(attention: Tensor, period: int) -> float:
    """Return how much of a head's attention is at the token after the earlier copy, where there is one."""
    now = torch.arange(period, len(attention))
    return float(attention[now, now - period + 1].mean())


def _head(back: int) -> Tensor:
    """A head that looks so many tokens back, or at the first token."""
    attention = torch.zeros(TIME, TIME)
    now = torch.arange(TIME)
    attention[now, (now - back).clamp(min=0)] = 1.0
    return attention


_CASES: dict[str, Tensor] = {
    "an induction head": _head(PERIOD - 1),
    "a head that looks at the token before": _head(1),
    "a head that looks at the earlier copy itself": _head(PERIOD),
    "a head that looks everywhere alike": torch.ones(TIME, TIME).tril()
    / torch.arange(1.0, TIME + 1)[:, None],
}


def _judge_induction(mine: Callable[[Tensor, int], float]) -> str | None:
    for name, attention in _CASES.items():
        answer, expected = mine(attention.clone(), PERIOD), induction(attention, PERIOD)
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.2f}, and it is {expected:.2f}."
    return None


@cache
def right_without_the_circuit() -> float:
    """Return tiny-induction's share of correct answers with its known circuit held at its mean."""
    import sae_nb as sn

    return sn.studies.circuits.known_circuit(sn.load_model("tiny-induction")).without


TASKS = tasks(
    "circuits",
    {
        "08.2": Answer(number(0, 2), measure=share_that_happens),
        "08.3": Answer(
            function(number(0, 1), takes="a head's attention (time, time) and the period"),
            judge=_judge_induction,
        ),
        "08.4": Answer(number(0, 1), measure=right_without_the_circuit),
    },
)

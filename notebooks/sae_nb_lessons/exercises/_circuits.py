"""Exercises of notebook 08: predicted and measured change, the induction head, and the worth of a circuit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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


def _drawn(time: int) -> Tensor:
    """A head whose attention is drawn: no two places are alike, so a mistake shows which it is."""
    scores = 2 * torch.randn(time, time, generator=torch.Generator().manual_seed(time))
    return scores.masked_fill(torch.ones(time, time).triu(1) > 0, -torch.inf).softmax(dim=1)


_CASES: dict[str, Tensor] = {
    "an induction head": _head(PERIOD - 1),
    "a head that looks at the token before": _head(1),
    "a head that looks at the earlier copy itself": _head(PERIOD),
    "a head that looks everywhere alike": torch.ones(TIME, TIME).tril()
    / torch.arange(1.0, TIME + 1)[:, None],
    "a head drawn at random": _drawn(TIME),
    "a head drawn at random, 11 words of period 3": _drawn(11),
}


def _looks(a: Tensor, period: int, further: int, start: int = 0) -> Tensor:
    """Attention from each word that has an earlier copy to the word so many places after that copy."""
    now = torch.arange(period + start, len(a))
    return a[now, now - period + further]


_INDUCTION_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "You look at the earlier copy itself. Induction looks at the word after it.",
            "Column t − period + 1.",
            lambda a, p: _looks(a, p, 0).mean(),
        ),
        (
            "You look two words after the earlier copy: one too far.",
            "Column t − period + 1.",
            lambda a, p: _looks(a, p, 2).mean(),
        ),
        (
            "You look at the word before the earlier copy: the sign of the 1 is turned.",
            "Column t − period + 1.",
            lambda a, p: _looks(a, p, -1, 1).mean(),
        ),
        (
            "That is the score of a head that looks at the word before.",
            "How many words back is the earlier copy? `period`.",
            lambda a, p: a.diagonal(-1).mean(),  # noqa: ARG005
        ),
        (
            "Rows and columns are exchanged: rows are the words that look.",
            "`attention[now, there]`",
            lambda a, p: _looks(a.T, p, 1).mean(),
        ),
        (
            "You return the sum over words. The score is their mean.",
            "`.mean()`",
            lambda a, p: _looks(a, p, 1).sum(),
        ),
        (
            "You divide by all words. Only those with an earlier copy count.",
            "`len(attention) - period` of them.",
            lambda a, p: _looks(a, p, 1).sum() / len(a),
        ),
        (
            "The first word that has an earlier copy, word `period`, is missing.",
            "`range(period, len(attention))`",
            lambda a, p: _looks(a, p, 1, 1).mean(),
        ),
        (
            "You begin one word too early: word period − 1 has no earlier copy.",
            "`range(period, len(attention))`",
            lambda a, p: a.diagonal(1 - p).mean(),
        ),
        (
            "The last word is missing.",
            "`range(period, len(attention))` ends with it.",
            lambda a, p: _looks(a, p, 1)[:-1].mean(),
        ),
        (
            "You look at the last word alone.",
            "The mean over all words that have an earlier copy.",
            lambda a, p: _looks(a, p, 1)[-1],
        ),
        (
            "You count how often that place has the most attention. How much is asked.",
            "The attention itself, and its mean.",
            lambda a, p: (a[p:].argmax(dim=1) == torch.arange(1, len(a) - p + 1)).double().mean(),
        ),
    )
)


def _judge_induction(mine: Callable[[Tensor, int], float]) -> Mistake | str | None:
    cases = {name: (a, PERIOD if len(a) == TIME else 3) for name, a in _CASES.items()}
    return diagnose(mine, induction, cases, _INDUCTION_SLIPS)


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
            function(number(), takes="a head's attention (time, time) and the period"),
            judge=_judge_induction,
        ),
        "08.4": Answer(number(0, 1), measure=right_without_the_circuit),
    },
)

"""Exercises of notebook 14: what is found by accident, q by hand, and groups by all atoms."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4


def _judge_by_accident(answer: float) -> str | None:
    if abs(answer - 20) <= CLOSE:
        return None
    if abs(answer - 0.05) <= CLOSE:
        return "That is the chance of each one. How many of the 400 is it?"
    if answer == 0:
        return "Nothing differs, but each test is wrong with a chance of 0.05."
    return f"Each of 400 tests is wrong with a chance of 0.05; that does not make {answer:g}."


def corrected(p: Tensor) -> Tensor:
    """Return q of Benjamini and Hochberg: the smallest n p / rank of this p and all larger ones."""
    order = p.argsort(descending=True)
    ranks = torch.arange(len(p), 0, -1)
    q = torch.empty_like(p)
    q[order] = (p[order] * len(p) / ranks).cummin(dim=0).values
    return q


_CASES: dict[str, list[float]] = {
    "p that rise": [0.001, 0.01, 0.3, 0.9],
    "p in any order": [0.3, 0.001, 0.9, 0.01],
    "a larger p with a smaller n p / rank": [0.01, 0.012, 0.013, 0.8],
    "p near 1": [0.9, 0.95, 1.0],
}


def _judge_corrected(mine: Callable[[Tensor], Tensor]) -> str | None:
    for name, p in _CASES.items():
        given = torch.tensor(p, dtype=torch.float64)
        answer, expected = mine(given.clone()).double(), corrected(given)
        if len(answer) != len(expected) or not torch.allclose(answer, expected, atol=CLOSE):
            got, want = ([round(v, 3) for v in values.tolist()] for values in (answer, expected))
            return f"For {name} yours gives {got}, and it is {want}."
    return None


@cache
def by_all_atoms() -> float:
    """Return the adjusted Rand index of groups by all atoms against the person; mean over recorded seeds."""
    from sae_nb_lessons.reproductions import recorded

    return recorded("documents").of("person: all atoms").mean


TASKS = tasks(
    "corpora",
    {
        "14.1": Answer(number(0), judge=_judge_by_accident),
        "14.2": Answer(function(tensor("n"), takes="p (n,)"), judge=_judge_corrected),
        "14.3": Answer(number(-1, 1), measure=by_all_atoms),
    },
)

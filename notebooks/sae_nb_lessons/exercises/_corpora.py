"""Exercises of notebook 21: what is found by accident, q by hand, groups by all atoms, and few texts that hold much."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
SHARE_CLOSE = 0.005


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
    from sae_nb_studies.reproductions import recorded

    return recorded("documents").of("person: all atoms").mean


def _judge_any_of_ten(answer: float) -> str | None:
    if abs(answer - (1 - 0.9**10)) <= SHARE_CLOSE:
        return None
    if abs(answer - 0.9**10) <= SHARE_CLOSE:
        return "That is the share in which none of them fires."
    if abs(answer - 1) <= SHARE_CLOSE:
        return "Several may fire in the same story: the shares do not add up."
    return (
        f"All ten are quiet in a share of 0.9 · 0.9 · …, ten times; that does not leave {answer:g}."
    )


def greedy(has: Tensor, n: int) -> Tensor:
    """Return n documents, each the one with the most atoms that those before it lack."""
    covered = torch.zeros(has.shape[1], dtype=torch.bool)
    chosen: list[int] = []
    for _ in range(n):
        gains = (has & ~covered).sum(dim=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        covered |= has[chosen[-1]]
    return torch.tensor(chosen)


def _table(*rows: str) -> Tensor:
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


_TABLES: dict[str, tuple[Tensor, int]] = {
    "documents that share no atom": (_table("x.....", ".xx...", "...xxx"), 3),
    "two large documents that are alike": (_table("xxxx..", "xxx...", "....xx"), 2),
    "nothing left to gain": (_table("xxx", "xx.", "x.."), 3),
}


def _judge_greedy(mine: Callable[[Tensor, int], Tensor]) -> str | None:
    for name, (has, n) in _TABLES.items():
        answer = mine(has.clone(), n)
        problem = _problem(has, n, answer)
        if problem:
            return f"For {name} yours gives {[int(v) for v in answer]}: {problem}"
    return None


def _problem(has: Tensor, n: int, answer: Tensor) -> str | None:
    """Whether every step gains what a step can; which of two equal documents is taken does not matter."""
    chosen = [int(value) for value in answer]
    if len(chosen) != n:
        return f"that is not {n} documents."
    if len(set(chosen)) != n or not all(0 <= i < len(has) for i in chosen):
        return "each must be the number of a document, and none may be taken twice."
    covered = torch.zeros(has.shape[1], dtype=torch.bool)
    for step, document in enumerate(chosen, start=1):
        gains = (has & ~covered).sum(dim=1)
        gains[chosen[: step - 1]] = -1
        best = int(gains.argmax())
        if gains[document] < gains[best]:
            gained = int(gains[document])
            return f"at step {step} document {best} adds {int(gains[best])} atoms, and {document} {gained}."
        covered |= has[document]
    return None


TASKS = tasks(
    "corpora",
    {
        "21.1": Answer(number(0), judge=_judge_by_accident),
        "21.2": Answer(function(tensor("n"), takes="p (n,)"), judge=_judge_corrected),
        "21.4": Answer(number(-1, 1), measure=by_all_atoms),
        "21.6": Answer(number(0, 1), judge=_judge_any_of_ten),
        "21.5": Answer(
            function(tensor("n"), takes="a truth table (documents, atoms) and n"),
            judge=_judge_greedy,
        ),
    },
)

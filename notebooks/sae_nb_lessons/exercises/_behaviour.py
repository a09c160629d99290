"""Exercises of notebook 15: atoms joined by "or", a few documents that hold much, and a score that cannot rank."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005


def _judge_any_of_ten(answer: float) -> str | None:
    if abs(answer - (1 - 0.9**10)) <= CLOSE:
        return None
    if abs(answer - 0.9**10) <= CLOSE:
        return "That is the share in which none of them fires."
    if abs(answer - 1) <= CLOSE:
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


_CASES: dict[str, tuple[Tensor, int]] = {
    "documents that share no atom": (_table("x.....", ".xx...", "...xxx"), 3),
    "two large documents that are alike": (_table("xxxx..", "xxx...", "....xx"), 2),
    "nothing left to gain": (_table("xxx", "xx.", "x.."), 3),
}


def _judge_greedy(mine: Callable[[Tensor, int], Tensor]) -> str | None:
    for name, (has, n) in _CASES.items():
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


@cache
def random_tpp() -> float:
    """Return the TPP of random directions on tiny-gpt; mean over recorded seeds."""
    from sae_nb_lessons.reproductions import recorded

    return recorded("bench_references").of("tiny-gpt tpp random").mean


TASKS = tasks(
    "behaviour",
    {
        "15.1": Answer(number(0, 1), judge=_judge_any_of_ten),
        "15.2": Answer(
            function(tensor("n"), takes="a truth table (documents, atoms) and n"),
            judge=_judge_greedy,
        ),
        "15.3": Answer(number(-1, 1), measure=random_tpp),
    },
)

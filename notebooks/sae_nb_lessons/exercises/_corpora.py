"""Exercises of notebook 21: what is found by accident, q by hand, groups by all atoms, and few texts that hold much."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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
    "seven p in any order": [0.04, 0.9, 0.03, 0.035, 0.2, 0.001, 0.6],
}


def _ranks(p: Tensor) -> Tensor:
    return p.argsort().argsort() + 1


def _least_so_far(p: Tensor, ranks: Tensor) -> Tensor:
    """Return n p / ranks, and of that the smallest at this p or a larger one."""
    order = p.argsort(descending=True)
    q = p.clone()
    q[order] = (p * len(p) / ranks)[order].cummin(dim=0).values
    return q


def _rising(p: Tensor, way: Callable[[Tensor], Tensor], times: Tensor) -> Tensor:
    order, q = p.argsort(), p.clone()
    q[order] = way((p * times)[order])
    return q


_Q_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("That is Bonferroni's: every p times n, which finds hardly anything among many atoms.", "Divide by the rank as well: n · p / rank.", lambda p: (p * len(p)).clamp_max(1)),
        ("You stop at n · p / rank. A larger p may have a smaller one, and it counts for this p, too.", "From the largest p down: `cummin`.", lambda p: p * len(p) / _ranks(p)),
        ("Your q come sorted, and not in the order of the p.", "Put them back: `q[order] = …`.", lambda p: corrected(p).sort().values),
        ("Your q come sorted from large to small, and not in the order of the p.", "Put them back: `q[order] = …`.", lambda p: corrected(p).sort(descending=True).values),
        ("You take the largest so far. A q may only be lowered by larger p.", "From the largest p down, the smallest: `cummin`.", lambda p: _rising(p, lambda r: r.cummax(0).values, len(p) / _ranks(p))),
        ("You take the smallest so far from the wrong end: all q become that of the smallest p.", "Begin with the largest p: `argsort(descending=True)`.", lambda p: _rising(p, lambda r: r.cummin(0).values, len(p) / _ranks(p))),
        ("You multiply by n and leave the rank out.", "n · p / rank, the smallest p having rank 1.", lambda p: p * len(p)),
        ("You divide by the rank and leave n out: ten times as many atoms would change nothing.", "n · p / rank.", lambda p: _least_so_far(p, len(p) * _ranks(p))),
        ("Your ranks run the wrong way: the smallest p has rank 1.", "With p sorted from large to small, ranks go from n down to 1.", lambda p: _least_so_far(p, len(p) + 1 - _ranks(p))),
        ("Your ranks begin at 2: there is one too many.", "The smallest p has rank 1, the largest rank n.", lambda p: _least_so_far(p, 1 + _ranks(p))),
        ("You use the place in the list as the rank. The list is in any order.", "Sort first, then number.", lambda p: _least_so_far(p, torch.arange(1, len(p) + 1))),
        ("That is Holm's: the smallest p times n, the next times n − 1, the largest so far.", "n · p / rank, and the smallest from the largest p down.", lambda p: _rising(p, lambda r: r.cummax(0).values, len(p) + 1 - _ranks(p)).clamp_max(1)),
        ("You return the p themselves.", "n · p / rank, and of that the smallest at this p or a larger one.", lambda p: p),
    )
)  # fmt: skip


def _judge_corrected(mine: Callable[[Tensor], Tensor]) -> Mistake | str | None:
    cases = {name: (torch.tensor(p, dtype=torch.float64),) for name, p in _CASES.items()}
    return diagnose(mine, corrected, cases, _Q_SLIPS)


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
    "a document that is part of the first one": (
        _table("xxxxxx.......", "......xxxxx..", "xxxx.........", "...........xx"),
        4,
    ),
    "a document between two others": (
        _table("......xxx.", "xx.....xxx", "xxxxx.....", "..xxxxx...", "x........x"),
        4,
    ),
    "a document that is part of the second one": (
        _table("xxxxx......", ".....xxxx..", ".....xxx...", ".........xx"),
        3,
    ),
    "nothing left to gain": (_table("xxx", "xx.", "x.."), 3),
}


def _stepwise(gain: Callable[[Tensor, list[int]], Tensor]) -> Callable[[Tensor, int], Tensor]:
    """Return the choice of n documents by a gain of one's own, of (has, what was chosen)."""

    def choose(has: Tensor, n: int) -> Tensor:
        chosen: list[int] = []
        for _ in range(n):
            gains = gain(has, chosen).clone()
            gains[chosen] = -100
            chosen.append(int(gains.argmax()))
        return torch.tensor(chosen)

    return choose


def _covered(has: Tensor, chosen: list[int]) -> Tensor:
    return has[chosen].any(dim=0)


def _gains(has: Tensor, n: int) -> Tensor:
    chosen = greedy(has, n)
    covered = [_covered(has, chosen[:i].tolist()) for i in range(n)]
    return torch.stack(
        [(has[j] & ~before).sum() for j, before in zip(chosen, covered, strict=True)]
    )


_GREEDY_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You take the largest documents, whatever they share.", "After each choice, its atoms are no longer a gain: `left & ~has[best]`.", _stepwise(lambda has, _: has.sum(dim=1))),
        ("The same document is taken twice: nothing was crossed out after it was chosen.", "Take its atoms from what is left, and give it −1.", lambda has, n: has.sum(dim=1).argmax().repeat(n)),
        ("You take the one that adds least.", "The most new atoms: `argmax`.", _stepwise(lambda has, chosen: -(has & ~_covered(has, chosen)).sum(dim=1))),
        ("You count the atoms that were there before.", "Those that no document before has: `has & ~covered`.", _stepwise(lambda has, chosen: (has & _covered(has, chosen)).sum(dim=1) if chosen else has.sum(dim=1))),
        ("You compare with the last document alone.", "With all that were chosen before: keep what is left.", _stepwise(lambda has, chosen: (has & ~_covered(has, chosen[-1:])).sum(dim=1))),
        ("You take the first n documents.", "At each step, the one with the most new atoms.", lambda has, n: torch.arange(n)),  # noqa: ARG005
        ("Your numbers are right and come sorted.", "In the order in which they are chosen.", lambda has, n: greedy(has, n).sort().values),
        ("You return how many atoms each adds.", "The numbers of the documents.", _gains),
        ("You return one document too few.", "n rounds: `for _ in range(n)`.", lambda has, n: greedy(has, n)[:-1]),
        ("You stop where nothing new is left. n documents are asked for.", "Give those that are chosen −1, and go on.", lambda has, n: greedy(has, n)[_gains(has, n) > 0]),
        ("You take the share of new atoms in a document, and a short one wins.", "Their number.", _stepwise(lambda has, chosen: (has & ~_covered(has, chosen)).sum(dim=1) / has.sum(dim=1))),
    )
)  # fmt: skip


def _judge_greedy(mine: Callable[[Tensor, int], Tensor]) -> Mistake | str | None:
    for name, (has, n) in _TABLES.items():
        answer = mine(has.clone(), n)
        problem = _problem(has, n, answer)
        if problem:
            named = diagnose(mine, greedy, _TABLES, _GREEDY_SLIPS)
            shown = f"For {name} yours gives {[int(v) for v in answer]}: {problem}"
            return named if isinstance(named, Mistake) else shown
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

"""Exercises of notebook 15: what a band is, what the cut must be, and a dynamic programme of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.dynamics import segment_phases
from sae_nb_lessons.exercises._answers import function, number, whole_numbers
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose


# --- 15.1: where to cut ---------------------------------------------------------------------------


def _judge_cuts(answer: list[int]) -> str | None:
    cuts = sorted(answer)
    if cuts == [4, 8]:
        return None
    if cuts in ([5, 9], [3, 7]):
        return "One off: a cut is named by the last layer before it, counted from 1."
    return "Layers 1–4 are one block applied four times; so are 5–8, and so are 9–12."


# --- 15.2: exchanging layers ----------------------------------------------------------------------


@cache
def swap_drop() -> float:
    """Measure the share of answers that tiny-vit-tied loses when layers 1 and 9 are swapped."""
    from sae_nb.data import scenes
    from sae_nb_studies.dynamics import swap_layers
    from sae_nb.models import load_model

    pictures = scenes(64, seed=7, split="test")
    found = swap_layers(load_model("tiny-vit-tied"), pictures, pictures.digit, pairs=[(1, 9)])
    return float(found.drop[0, 8])


# --- 15.4: the best cut ---------------------------------------------------------------------------


def _similarity(n: int, seed: int) -> Tensor:
    drawn = torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 1 - (drawn + drawn.T) / 2


def _planted(first: int, second: int) -> Tensor:
    phase = torch.tensor([0] * first + [1] * second)
    return (phase[:, None] == phase).double()


_CASES = {
    **{
        f"two planted phases of {a} and {b} layers": _planted(a, b)
        for a, b in ((5, 3), (1, 6), (6, 1), (2, 6), (6, 2), (3, 2))
    },
    **{
        f"random similarities of {n} layers": _similarity(n, seed)
        for n, seed in ((7, 7), (10, 10), (12, 12), (9, 9), (8, 4))
    },
    "three layers of which the last differs": _planted(2, 1),
    "two layers": _planted(1, 1),
}


def _least(
    cost: Callable[[Tensor, int], Tensor], start: int = 1, stop: int = 0
) -> Callable[[Tensor], int]:
    """Return the search for the cut of least cost, from `start` to n − 1 − `stop`."""
    return lambda s: min(range(start, len(s) - stop), key=lambda cut: float(cost(s, cut)))


def _within(s: Tensor, cut: int) -> Tensor:
    return (1 - s[:cut, :cut]).sum() + (1 - s[cut:, cut:]).sum()


_best = _least(_within)
_SHORT = "Every c from 1 to n − 1: a phase may be one layer. `range(1, n)` leaves n out."

_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("One too few: you return the index of the last layer of the first phase, counted from 0.", "After how many layers? That is c of `S[:c, :c]`.", lambda s: _best(s) - 1),
        ("One too many.", "After how many layers? That is c of `S[:c, :c]`.", lambda s: _best(s) + 1),
        ("You cut in the middle, whatever the similarities are.", "Try every cut, and keep the one with the least sum.", lambda s: len(s) // 2),
        ("You cut where two neighbours are least alike. All pairs within a phase count, not neighbours alone.", "Add `1 - S` over both squares on the diagonal.", lambda s: int(s.diagonal(1).argmin()) + 1),
        ("That is the worst cut.", "The least sum: `min`, or minus the sum.", lambda s: max(range(1, len(s)), key=lambda c: float(_within(s, c)))),
        ("You never leave one layer alone, neither first nor last.", _SHORT, _least(_within, 2, 1)),
        ("You never try the last cut, which leaves the last layer alone.", _SHORT, _least(_within, 1, 1)),
        ("You never try the first cut, which leaves the first layer alone.", _SHORT, _least(_within, 2)),
        ("You begin with phases of three layers.", _SHORT, _least(_within, 3, 2)),
        ("You add up the first phase alone, and the shortest one is always the cheapest.", "Both phases: `S[:c, :c]` and `S[c:, c:]`.", _least(lambda s, c: (1 - s[:c, :c]).sum())),
        ("You add up the second phase alone, and the shortest one is always the cheapest.", "Both phases: `S[:c, :c]` and `S[c:, c:]`.", _least(lambda s, c: (1 - s[c:, c:]).sum())),
        ("You take the mean of each phase, so that two layers weigh as much as ten.", "Sums over pairs.", _least(lambda s, c: (1 - s[:c, :c]).mean() + (1 - s[c:, c:]).mean())),
        ("You square what is missing to 1.", "`(1 - S[:c, :c]).sum()`.", _least(lambda s, c: (1 - s[:c, :c]).square().sum() + (1 - s[c:, c:]).square().sum())),
        ("You add similarities within phases and look for the least: that is where phases are most unlike themselves.", "`1 - S`, or look for the largest.", _least(lambda s, c: s[:c, :c].sum() + s[c:, c:].sum())),
        ("You add similarities between the two phases. A short phase has few such pairs, so it always looks good.", "Pairs within a phase, with `1 - S`.", _least(lambda s, c: s[:c, c:].sum())),
    )
)  # fmt: skip


def _judge_cut(mine: Callable[[Tensor], float]) -> Mistake | str | None:
    cases = {name: (similarity,) for name, similarity in _CASES.items()}
    return diagnose(mine, lambda s: segment_phases(s, 2, min_len=1).cuts[1], cases, _SLIPS)


TASKS = tasks(
    "depth",
    {
        "15.1": Answer(whole_numbers(2), judge=_judge_cuts),
        "15.2": Answer(number(0, 1), measure=swap_drop),
        "15.4": Answer(function(number(), takes="a matrix of similarities"), judge=_judge_cut),
    },
)

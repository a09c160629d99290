"""Exercises of notebook 15: what a band is, what the cut must be, and a dynamic programme of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.dynamics import segment_phases
from sae_nb_lessons.exercises._answers import function, number, whole_numbers
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4


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


_PHASE = torch.tensor([0] * 5 + [1] * 3)
_PLANTED = (_PHASE[:, None] == _PHASE).double()
_CASES = {
    "two planted phases of 5 and 3 layers": _PLANTED,
    "random similarities of 7 layers": _similarity(7, 0),
    "random similarities of 10 layers": _similarity(10, 3),
}


def _judge_cut(mine: Callable[[Tensor], float]) -> str | None:
    for name, similarity in _CASES.items():
        expected = segment_phases(similarity, 2, min_len=1).cuts[1]
        answer = mine(similarity.clone())
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours cuts after layer {answer:g}; least is left after {expected}."
    return None


TASKS = tasks(
    "depth",
    {
        "15.1": Answer(whole_numbers(2), judge=_judge_cuts),
        "15.2": Answer(number(0, 1), measure=swap_drop),
        "15.4": Answer(function(number(), takes="a matrix of similarities"), judge=_judge_cut),
    },
)

"""Exercises of notebook 07: what a band is, what the cut must be, and a dynamic programme of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.dynamics.phases import segment_phases
from sae_nb.exercises.answers import function, number, whole_numbers
from sae_nb.exercises.kit import Task

CLOSE = 1e-4


# --- 07.1: where to cut ---------------------------------------------------------------------------


def _judge_cuts(answer: list[int]) -> str | None:
    cuts = sorted(answer)
    if cuts == [4, 8]:
        return None
    if cuts in ([5, 9], [3, 7]):
        return "One off: a cut is named by the last layer before it, counted from 1."
    return "Layers 1–4 are one block applied four times; so are 5–8, and so are 9–12."


# --- 07.2: exchanging layers ----------------------------------------------------------------------


@cache
def swap_drop() -> float:
    """Share of answers that tiny-vit-tied loses when layers 1 and 9 change places."""
    from sae_nb.data import scenes
    from sae_nb.dynamics.layer_swap import swap_layers
    from sae_nb.models import load_model

    pictures = scenes(64, seed=7, split="test")
    found = swap_layers(load_model("tiny-vit-tied"), pictures, pictures.digit, pairs=[(1, 9)])
    return float(found.drop[0, 8])


# --- 07.3: the best cut ---------------------------------------------------------------------------


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


TASKS = (
    Task(
        id="07.1",
        title="Where are the phases?",
        question=(
            "`tiny-vit-tied` has three blocks; the first is applied four times, then the second four "
            "times, then the third. After which two layers must three phases be cut?"
        ),
        form=whole_numbers(2),
        difficulty="warm-up",
        minutes=1,
        judge=_judge_cuts,
        why=(
            "A network whose phases are known is the positive control: a method that does not find "
            "these has nothing to say about a network whose phases are not known."
        ),
        hints=("A cut is named by the last layer before it.", "Four and four and four."),
    ),
    Task(
        id="07.2",
        title="Exchange two layers",
        question=(
            "Layers 1 and 9 of `tiny-vit-tied` change places: the first of the first phase and the "
            "first of the third. What share of its answers turns wrong?"
        ),
        form=number(0, 1),
        difficulty="core",
        minutes=2,
        measure=swap_drop,
        why=(
            "Within a phase nothing at all is lost, since the layers are one block. Far across it most "
            "is, and so it would be in any network: that is why phases are judged at equal distance. "
            "Layers 4 and 5, of two phases and next to each other, lose a twentieth."
        ),
        hints=(
            "Exchanging 1 and 4 changes nothing at all: why?",
            "The third block would begin on states that only the first has ever seen.",
        ),
    ),
    Task(
        id="07.3",
        title="Write the cut",
        question=(
            "Write a function that takes similarities of layers, shape (n, n), and returns after how "
            "many layers to cut into two phases, so that the sum of 1 − similarity over all pairs "
            "within a phase is least. A phase may be one layer."
        ),
        form=function(number(), takes="a matrix of similarities"),
        difficulty="core",
        minutes=6,
        judge=_judge_cut,
        why=(
            "With two phases every cut can be tried. With k of them the best cut of the first j layers "
            "follows from that of fewer: that is the dynamic programme, k · n² steps instead of all cuts."
        ),
        hints=(
            "Try every cut c from 1 to n − 1 and add up `1 - S` over the two squares on the diagonal.",
            "`(1 - S[:c, :c]).sum() + (1 - S[c:, c:]).sum()` counts every pair twice: no matter, but "
            "the diagonal must count the same for every cut.",
        ),
    ),
)

"""Exercises of notebook 05: what stability ignores, a shared start, and a measure of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.evaluation.matching import match_atoms
from sae_nb.exercises.answers import function, number
from sae_nb.exercises.kit import Task

CLOSE = 1e-3


# --- 05.1: a shuffled copy ------------------------------------------------------------------------


def _judge_shuffled(answer: float) -> str | None:
    if abs(answer - 1) <= CLOSE:
        return None
    return "Every atom has an exact copy in the other dictionary; only the places differ."


# --- 05.2: a shared start -------------------------------------------------------------------------


@cache
def shared_start() -> float:
    """Stability of TopK trained twice from one first dictionary; mean over the recorded seeds."""
    from sae_nb.proofs.committed import recorded

    return recorded("archetypal_stability").of("TopK shared start stability").mean


# --- 05.3: stability ------------------------------------------------------------------------------


def _atoms(n_atoms: int, d_in: int, seed: int) -> Tensor:
    rows = torch.randn(n_atoms, d_in, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows.double(), dim=1)


_ANGLES = torch.deg2rad(torch.tensor([[0.0, 10.0], [5.0, 90.0]], dtype=torch.float64))
_PLANE = torch.stack([_ANGLES.cos(), _ANGLES.sin()], dim=2)
_CASES = {
    "a shuffled copy": (_atoms(12, 6, 0), _atoms(12, 6, 0).flip(0)),
    "two atoms that want the same one": (_PLANE[0], _PLANE[1]),
    "random atoms": (_atoms(20, 6, 1), _atoms(20, 6, 2)),
}


def _judge_stability(mine: Callable[[Tensor, Tensor], float]) -> str | None:
    for name, (first, second) in _CASES.items():
        answer = mine(first.clone(), second.clone())
        expected = float(match_atoms(first, second)[2].mean())
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.3f}, and one-to-one it is {expected:.3f}."
    return None


TASKS = (
    Task(
        id="05.1",
        title="A shuffled copy",
        question="The second dictionary is the first with its atoms shuffled. What is their stability?",
        form=number(-1, 1),
        difficulty="warm-up",
        minutes=1,
        judge=_judge_shuffled,
        why=(
            "The order of atoms means nothing, so atoms are matched first, one to one, for the largest "
            "sum of cosines. Random directions are matched, too: that is why their floor is not 0."
        ),
        hints=(
            "Atoms are matched before they are compared.",
            "What is the cosine of an atom with its own copy?",
        ),
    ),
    Task(
        id="05.2",
        title="What does a shared start do?",
        question=(
            "A plain TopK, nothing held anywhere, trained twice on other batches: stability 0.58. Now "
            "both trainings begin with the same dictionary and encoder. What is it then?"
        ),
        form=number(0, 1),
        difficulty="core",
        minutes=2,
        measure=shared_start,
        why=(
            "As stable as the archetypal SAE that shares its candidates, with no constraint at all. "
            "So stability under a shared start says little about the constraint."
        ),
        hints=("How far does an atom travel in a training?", "Centroids themselves reach 0.88."),
    ),
    Task(
        id="05.3",
        title="Write stability",
        question=(
            "Write a function that takes two dictionaries of unit atoms, shape (n, d) each, matches "
            "their atoms one to one for the largest sum of cosines, and returns the mean cosine."
        ),
        form=function(number(), takes="two dictionaries"),
        difficulty="core",
        minutes=6,
        judge=_judge_stability,
        why=(
            "One to one is the point: if every atom may take its nearest, ten copies of one atom look "
            "perfectly stable against any dictionary that has it."
        ),
        hints=(
            "All cosines at once, `first @ second.T`. The largest of each row is not one to one.",
            "`scipy.optimize.linear_sum_assignment` matches; it takes `maximize=True`.",
        ),
    ),
)

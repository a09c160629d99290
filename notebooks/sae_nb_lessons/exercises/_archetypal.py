"""Exercises of notebook 14: what stability ignores, a shared start, and a measure of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.evaluation import match_atoms
from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-3


# --- 14.1: a shuffled copy ------------------------------------------------------------------------


def _judge_shuffled(answer: float) -> str | None:
    if abs(answer - 1) <= CLOSE:
        return None
    return "Every atom has an exact copy in the other dictionary; only the places differ."


# --- 14.4: a shared start -------------------------------------------------------------------------


@cache
def shared_start() -> float:
    """Return the stability of TopK trained twice from the same initial dictionary; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("archetypal_stability").of("TopK shared start stability").mean


# --- 14.2: stability ------------------------------------------------------------------------------


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


TASKS = tasks(
    "archetypal",
    {
        "14.1": Answer(number(-1, 1), judge=_judge_shuffled),
        "14.4": Answer(number(0, 1), measure=shared_start),
        "14.2": Answer(function(number(), takes="two dictionaries"), judge=_judge_stability),
    },
)

"""Exercises of notebook 12: what absorption does to an atom, what causes it, and the Babel function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.evaluation import babel
from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

TOLERANCE = 0.01  # an answer rounded to two digits is right
CLOSE = 1e-3


# --- 12.1: an atom that holds two concepts --------------------------------------------------------


def _judge_absorbed(answer: float) -> str | None:
    if abs(answer**2 - 0.5) <= 2 * TOLERANCE:
        return None
    return (
        f"Parent and child are orthogonal and in the atom in equal parts, so the cosine with each is the "
        f"same and their squares add up to 1; twice {answer:g}² is {2 * answer**2:.3g}."
    )


# --- 12.3: what causes it -------------------------------------------------------------------------


@cache
def parent_in_children_alone() -> float:
    """Return the PC of BatchTopK where children occur without their parents; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("hierarchy").of("batch_topk PC, no hierarchy").mean


# --- 12.4: the Babel function ---------------------------------------------------------------------


def _random_atoms(n_atoms: int, d_in: int, seed: int) -> Tensor:
    rows = torch.randn(n_atoms, d_in, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows.double(), dim=1)


_CASES = {
    "orthogonal atoms": torch.eye(4, dtype=torch.float64),
    "two opposite pairs": torch.tensor(
        [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64
    ),
    "nine random atoms of width four": _random_atoms(9, 4, seed=1),
}


def _judge_babel(mine: Callable[[Tensor, int], float]) -> str | None:
    for name, atoms in _CASES.items():
        for r in (1, 2, 3):
            answer, expected = mine(atoms.clone(), r), babel(atoms, [r])[0]
            if abs(answer - expected) > CLOSE:
                return f"For {name} and r = {r} yours gives {answer:.3g}, and it is {expected:.3g}."
    return None


TASKS = tasks(
    "hierarchy",
    {
        "12.1": Answer(number(-1, 1), judge=_judge_absorbed),
        "12.3": Answer(number(-1, 1), measure=parent_in_children_alone),
        "12.4": Answer(function(number(), takes="a dictionary and r"), judge=_judge_babel),
    },
)

"""Exercises of notebook 03: what absorption does to an atom, what causes it, and the Babel function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.evaluation.coherence import babel
from sae_nb.exercises.answers import function, number
from sae_nb.exercises.kit import Task

TOLERANCE = 0.01  # an answer rounded to two digits is right
CLOSE = 1e-3


# --- 03.1: an atom that holds two concepts --------------------------------------------------------


def _judge_absorbed(answer: float) -> str | None:
    if abs(answer**2 - 0.5) <= 2 * TOLERANCE:
        return None
    return (
        f"Parent and child are orthogonal and in the atom in equal parts, so the cosine with each is the "
        f"same and their squares add up to 1; twice {answer:g}² is {2 * answer**2:.3g}."
    )


# --- 03.2: what causes it -------------------------------------------------------------------------


@cache
def parent_in_children_alone() -> float:
    """PC of BatchTopK where children come without their parents; mean over the recorded seeds."""
    from sae_nb.proofs.committed import recorded

    return recorded("hierarchy").of("batch_topk PC, no hierarchy").mean


# --- 03.3: the Babel function ---------------------------------------------------------------------


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


TASKS = (
    Task(
        id="03.1",
        title="An atom that holds two concepts",
        question=(
            "A child never comes without its parent. An encoder that may use one atom per input gives "
            "the two one atom, along parent + child (orthogonal, equally strong). What is the cosine "
            "of this atom with the parent?"
        ),
        form=number(-1, 1),
        difficulty="warm-up",
        minutes=2,
        judge=_judge_absorbed,
        why=(
            "This is absorption: the child's atom says parent, too, and the parent's own atom falls "
            "silent whenever the child is there. PC, the mean cosine of parents and children, sees it."
        ),
        hints=(
            "Write parent = (1, 0), child = (0, 1), and make parent + child a unit vector.",
            "(1, 1) / √2.",
        ),
    ),
    Task(
        id="03.2",
        title="Is it the hierarchy?",
        question=(
            "BatchTopK puts a third of the parent into its children: PC is 0.33 on the tree. Now the "
            "same concepts come as often, but the children of one vector are handed to another: none "
            "follows from anything. What is PC then?"
        ),
        form=number(-1, 1),
        difficulty="core",
        minutes=2,
        measure=parent_in_children_alone,
        why=(
            "Nothing is absorbed where nothing follows from anything. So it was neither the atoms nor "
            "the sparsity but that a child tells of its parent, which saves an atom."
        ),
        hints=(
            "What does an encoder save with an atom for parent + child? When does it?",
            "Random atoms have about 0 as well.",
        ),
    ),
    Task(
        id="03.3",
        title="Write the Babel function",
        question=(
            "Write a function that takes unit atoms of shape (n, d) and r, and returns "
            "μ₁(r): the largest sum, over atoms, of the r largest |cosines| with other atoms."
        ),
        form=function(number(), takes="a dictionary and r"),
        difficulty="core",
        minutes=6,
        judge=_judge_babel,
        why=(
            "μ₁(1) is the coherence, one pair; μ₁(r) says how well r atoms together can stand in for "
            "another one. Matching pursuit needs it small only among atoms that are used together."
        ),
        hints=(
            "All cosines at once: `dictionary @ dictionary.T`. Which of them do not count?",
            "Take absolute values and `fill_diagonal_(0)`.",
            "`.topk(r, dim=1).values.sum(dim=1).max()`.",
        ),
    ),
)

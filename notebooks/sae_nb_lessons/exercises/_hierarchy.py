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
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

TOLERANCE = 0.01  # an answer rounded to two digits is right
CLOSE = 1e-3


# --- 12.1: an atom that holds two concepts --------------------------------------------------------


def _judge_absorbed(answer: float) -> str | None:
    if abs(answer**2 - 0.5) <= 2 * TOLERANCE:
        return None if answer > 0 else "The atom lies along parent + child, not against it."
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
    "four atoms that all turn away from each other": F.normalize(
        torch.eye(4, dtype=torch.float64) - 0.25, dim=1
    ),
}


def _cosines(atoms: Tensor) -> Tensor:
    return (atoms @ atoms.T).abs().fill_diagonal_(0)


def _sums(cosines: Tensor, r: int) -> Tensor:
    return cosines.topk(min(r, len(cosines)), dim=1).values.sum(dim=1)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Each atom counts itself: its cosine with itself is 1.", "`fill_diagonal_(0)` before the largest are taken.", lambda d, r: _sums((d @ d.T).abs(), r).max()),
        ("You keep the sign. An opposite atom stands in as well as one that points the same way.", "`.abs()` of all cosines first.", lambda d, r: _sums((d @ d.T).fill_diagonal_(0), r).max()),
        ("You take the sign away after the largest were chosen, so that opposite atoms are never among them.", "`.abs()` before `topk`.", lambda d, r: (d @ d.T).fill_diagonal_(0).topk(r, dim=1).values.abs().sum(dim=1).max()),
        ("You return the atom that is covered least. One that is covered well is what deceives a pursuit.", "The largest of the sums: `.max()`.", lambda d, r: _sums(_cosines(d), r).min()),
        ("You return the mean over atoms.", "The largest of the sums: `.max()`.", lambda d, r: _sums(_cosines(d), r).mean()),
        ("You divide the sum by r.", "The r cosines are added, and that is all.", lambda d, r: _sums(_cosines(d), r).max() / r),
        ("That is μ₁(1), the coherence, whatever r is.", "The r largest of each row: `topk(r, dim=1)`.", lambda d, r: _sums(_cosines(d), 1 + 0 * r).max()),
        ("You add the cosines with all other atoms, whatever r is.", "The r largest of each row: `topk(r, dim=1)`.", lambda d, r: _cosines(d).sum(dim=1).max() + 0 * r),
        ("That is the cosine at place r alone, not the sum of the r largest.", "`.values.sum(dim=1)`.", lambda d, r: _cosines(d).topk(r, dim=1).values[:, -1].max()),
        ("You take one cosine fewer than r.", "A slice `[:r]` holds r; `topk(r)` does, too.", lambda d, r: _sums(_cosines(d), r - 1).max()),
        ("You take one cosine more than r.", "A slice `[:r]` holds r; `topk(r)` does, too.", lambda d, r: _sums(_cosines(d), r + 1).max()),
        ("You add squares of cosines.", "Absolute values: `.abs()`.", lambda d, r: _sums(_cosines(d).square(), r).max()),
    )
)  # fmt: skip


def _judge_babel(mine: Callable[[Tensor, int], float]) -> Mistake | str | None:
    cases = {f"{name} and r = {r}": (d, r) for name, d in _CASES.items() for r in (1, 2, 3)}
    return diagnose(mine, lambda d, r: babel(d, [r])[0], cases, _SLIPS, atol=CLOSE)


TASKS = tasks(
    "hierarchy",
    {
        "12.1": Answer(number(-1, 1), judge=_judge_absorbed),
        "12.3": Answer(number(-1, 1), measure=parent_in_children_alone),
        "12.4": Answer(function(number(), takes="a dictionary and r"), judge=_judge_babel),
    },
)

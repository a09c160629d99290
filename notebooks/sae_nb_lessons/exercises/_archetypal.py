"""Exercises of notebook 14: what stability ignores, a shared start, and a measure of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sae_nb.evaluation import match_atoms
from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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


def _assigned(cosines: Tensor, **options: bool) -> Tensor:
    return cosines[linear_sum_assignment(cosines, **options)]


def _greedily(cosines: Tensor) -> Tensor:
    """Return the largest cosine, then the largest between atoms that are left, and so on."""
    left, found = cosines.clone(), []
    for _ in range(len(left)):
        row, column = divmod(int(left.argmax()), left.shape[1])
        found.append(left[row, column].clone())
        left[row], left[:, column] = -torch.inf, -torch.inf
    return torch.stack(found)


def _on_cosines(way: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda first, second: way(first @ second.T)


_SLIPS = tuple(
    Slip(said, hint, _on_cosines(way))
    for said, hint, way in (
        ("You compare atoms at the same place. Places mean nothing: match the atoms first.", "`linear_sum_assignment` finds who belongs to whom.", lambda c: c.diagonal().mean()),
        ("Each atom of the first takes its nearest, so that several may take the same one.", "One to one: `linear_sum_assignment(cosines, maximize=True)`.", lambda c: c.max(dim=1).values.mean()),
        ("Each atom of the second takes its nearest, so that several may take the same one.", "One to one: `linear_sum_assignment(cosines, maximize=True)`.", lambda c: c.max(dim=0).values.mean()),
        ("The mean of nearest atoms in both directions is not one to one either.", "One to one: `linear_sum_assignment(cosines, maximize=True)`.", lambda c: (c.max(dim=0).values.mean() + c.max(dim=1).values.mean()) / 2),
        ("You match for the smallest sum: it minimises unless it is asked not to.", "`maximize=True`, or minus the cosines.", lambda c: _assigned(c).mean()),
        ("You take the best pair, then the best of what is left. An early pair may cost the others more than it gains.", "All pairs at once: `linear_sum_assignment`.", lambda c: _greedily(c).mean()),
        ("You return the sum over the pairs.", "Their mean.", lambda c: _assigned(c, maximize=True).sum()),
        ("You match absolute cosines: an atom and its opposite count as the same.", "Keep the sign; an atom only ever adds.", lambda c: _assigned(c.abs(), maximize=True).mean()),
        ("You return the worst pair.", "The mean over all pairs.", lambda c: _assigned(c, maximize=True).min()),
        ("You return the median of the pairs.", "The mean over all pairs.", lambda c: _assigned(c, maximize=True).median()),
        ("You return the mean of all cosines: most of them are of atoms that have nothing to do with each other.", "Only those of the matched pairs.", lambda c: c.mean()),
        ("You return the best pair of all.", "The mean over all pairs.", lambda c: c.max()),
    )
)  # fmt: skip


def _judge_stability(mine: Callable[[Tensor, Tensor], float]) -> Mistake | str | None:
    return diagnose(mine, lambda a, b: match_atoms(a, b)[2].mean(), _CASES, _SLIPS, atol=CLOSE)


TASKS = tasks(
    "archetypal",
    {
        "14.1": Answer(number(-1, 1), judge=_judge_shuffled),
        "14.4": Answer(number(0, 1), measure=shared_start),
        "14.2": Answer(function(number(), takes="two dictionaries"), judge=_judge_stability),
    },
)

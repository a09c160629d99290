"""Exercises of lab 02: the top-down map, the objective of silence, and what too few units do to a ring."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 0.005


def top_down(z: Tensor, ridge: float) -> Tensor:
    """Return P = (ZZᵀ + ωI)⁻¹Z."""
    return torch.linalg.solve(z @ z.T + ridge * torch.eye(len(z)), z)


def _ridge(z: Tensor, ridge: float, gram: Callable[[Tensor], Tensor] = lambda gram: gram) -> Tensor:
    return gram(z @ z.T) + ridge * torch.eye(len(z))


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("That is right for ω = 0.", "What does the price on atoms add to ZZᵀ? `ridge * torch.eye(len(z))`.", lambda z, w: top_down(z, 0 * w)),
        ("You add ω to every entry of ZZᵀ, not to its diagonal alone.", "The identity has a row per atom: `torch.eye(len(z))`.", lambda z, w: torch.linalg.solve(z @ z.T + w, z)),
        ("You multiply by ZZᵀ + ωI. P has its inverse.", "`torch.linalg.solve(…, z)`.", lambda z, w: _ridge(z, w) @ z),
        ("You stop at the inverse: it has a column per atom, and P one per input.", "Times Z.", lambda z, w: torch.linalg.inv(_ridge(z, w))),
        ("You return ZZᵀ. P has a row per atom and a column per input.", "Add ωI, invert, and multiply by Z.", lambda z, w: z @ z.T),  # noqa: ARG005
        ("You divide by each entry. The inverse of a matrix is another thing.", "`torch.linalg.solve(…, z)`.", lambda z, w: 1 / _ridge(z, w) @ z),
        ("Rows and columns are exchanged: P has a row per atom.", "(atoms, inputs), as Z itself.", lambda z, w: top_down(z, w).T),
        ("You take ω squared.", "ω as it is, on the diagonal.", lambda z, w: top_down(z, w**2)),
        ("You subtract ω.", "ZZᵀ + ωI: a price makes every code smaller.", lambda z, w: top_down(z, -w)),
        ("You divide ZZᵀ by the number of inputs, so that ω weighs more.", "The sum, as it is.", lambda z, w: torch.linalg.solve(_ridge(z, w, lambda gram: gram / z.shape[1]), z)),
        ("You multiply ω by the number of inputs.", "ω as it is, on the diagonal.", lambda z, w: top_down(z, w * z.shape[1])),
        ("You use only the diagonal of ZZᵀ: atoms that fire together would not know of each other.", "All of it.", lambda z, w: torch.linalg.solve(_ridge(z, w, lambda gram: gram.diagonal().diag()), z)),
    )
)  # fmt: skip


def _judge_top_down(mine: Callable[[Tensor, float], Tensor]) -> Mistake | str | None:
    z = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    return diagnose(mine, top_down, {f"ω = {w:g}": (z, w) for w in (0.5, 2.0)}, _SLIPS, atol=1e-3)


def _judge_silence(answer: float) -> str | None:
    if abs(answer - 250) <= CLOSE:
        return None
    if abs(answer - 500) <= CLOSE:
        return "Do not forget the ½."
    return f"With Z = 0 the inverse is I, and tr K is 500; not {answer:g}."


@cache
def pieces_at_little_sparsity() -> float:
    """Return the share of units with one piece of the ring at sparsity .02; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_similarity").of("one piece, little sparsity").mean


TASKS = tasks(
    "similarity",
    {
        "lab_02.1": Answer(
            function(tensor("atoms", "inputs"), takes="codes (atoms, inputs) and ω"),
            judge=_judge_top_down,
        ),
        "lab_02.2": Answer(number(), judge=_judge_silence),
        "lab_02.3": Answer(number(0, 1), measure=pieces_at_little_sparsity),
    },
)

"""Exercises of lab 02: the top-down map, the objective of silence, and what too few units do to a ring."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005


def top_down(z: Tensor, ridge: float) -> Tensor:
    """Return P = (ZZᵀ + ωI)⁻¹Z."""
    return torch.linalg.solve(z @ z.T + ridge * torch.eye(len(z)), z)


def _judge_top_down(mine: Callable[[Tensor, float], Tensor]) -> str | None:
    z = torch.rand(3, 7, generator=torch.Generator().manual_seed(0))
    for ridge in (0.5, 2.0):
        answer, expected = mine(z.clone(), ridge), top_down(z, ridge)
        if answer.shape != expected.shape:
            return f"P has a row per atom and a column per input, {tuple(expected.shape)}, not {tuple(answer.shape)}."
        if torch.allclose(answer.float(), top_down(z, 0.0), atol=CLOSE):
            return "That is right for ω = 0. What does the price on atoms add to ZZᵀ?"
        if not torch.allclose(answer.float(), expected, atol=CLOSE):
            return f"For ω = {ridge:g} yours begins with {answer[0, 0]:.3f}, and it is {expected[0, 0]:.3f}."
    return None


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

"""Exercises of notebook 25: a share of variance, what notices corruption, and which gaps are found."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005


def _judge_total(answer: float) -> str | None:
    if abs(answer - 0.8) <= CLOSE:
        return None
    if abs(answer - 2 / 3) <= CLOSE:
        return "That is a share of the sum. Variance grows with the square: 2² against 1²."
    if abs(answer - 0.2) <= CLOSE:
        return "That is the other one's."
    return f"Var(2a) is four times Var(b), and both together are all of it; not {answer:g}."


def auroc(clean: Tensor, corrupted: Tensor) -> float:
    """Return the chance that a corrupted image scores higher than a clean one; a tie counts half."""
    higher = corrupted[:, None] - clean[None, :]
    return float(((higher > 0).double() + 0.5 * (higher == 0).double()).mean())


_CASES: dict[str, tuple[list[float], list[float]]] = {
    "scores that are apart": ([0.1, 0.2, 0.3], [0.7, 0.8]),
    "scores that overlap": ([0.1, 0.4, 0.5], [0.3, 0.6]),
    "the same score for all": ([0.5, 0.5], [0.5, 0.5]),
    "a score that is lower for corrupted images": ([0.7, 0.8, 0.9], [0.1, 0.2]),
}


def _judge_auroc(mine: Callable[[Tensor, Tensor], float]) -> str | None:
    for name, (clean, corrupted) in _CASES.items():
        given = torch.tensor(clean), torch.tensor(corrupted)
        answer, expected = mine(given[0].clone(), given[1].clone()), auroc(*given)
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.2f}, and it is {expected:.2f}."
    return None


@cache
def textures_found() -> float:
    """Return the share of textures whose absence an atom of that texture reveals; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("vision_concepts").of("texture, found").mean


TASKS = tasks(
    "vision",
    {
        "25.1": Answer(number(0, 1), judge=_judge_total),
        "25.4": Answer(
            function(number(0, 1), takes="scores of clean (n,) and of corrupted images (m,)"),
            judge=_judge_auroc,
        ),
        "25.3": Answer(number(0, 1), measure=textures_found),
    },
)

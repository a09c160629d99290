"""Exercises of lab 10: attention over patches, what it costs, and what is found by chance."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
A, B = 0.6, 0.8


def guess(query: Tensor, patches: Tensor, centres: Tensor, a: float, b: float) -> Tensor:
    """Estimate a pixel from its noisy neighbourhood: the mean of centres, weighted by likelihood."""
    apart = (query - a * patches).square().sum(dim=1)
    return (-apart / (2 * b**2)).softmax(dim=0) @ centres


def _judge_guess(mine: Callable[[Tensor, Tensor, Tensor, float, float], Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(12, 9, generator=generator)
    query, centres = A * patches[3] + B * torch.randn(9, generator=generator), patches[:, 4]
    given = (query, patches, centres)
    answer = mine(query.clone(), patches.clone(), centres.clone(), A, B).float()
    if torch.allclose(answer, guess(*given, A, B), atol=CLOSE):
        return None
    if torch.allclose(answer, guess(*given, 1.0, B), atol=CLOSE):
        return "The patches have to fade as the image did: compare the query with a · p."
    apart = (query - A * patches).square().sum(dim=1)
    if torch.allclose(answer, (-apart / (2 * B)).softmax(dim=0) @ centres, atol=CLOSE):
        return "The temperature is the variance: divide by 2 b², not by 2 b."
    if torch.allclose(answer, centres[apart.argmin()], atol=CLOSE):
        return "That is the nearest patch, the step of matching pursuit. The best guess is a mean over all, by softmax."
    return "It differs from Σ w · centres with w = softmax(−‖query − a p‖² / 2 b²)."


def _judge_times(answer: float) -> str | None:
    if abs(answer - 16) <= 0.1:
        return None
    if abs(answer - 4) <= 0.1:
        return "There are four times the pixels that ask, and four times the patches that they ask."
    return "Count pixels that ask, and patches that are asked, before and after."


@cache
def by_chance() -> float:
    """Return the share of held-out 7 × 7 patches that are in a training image; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_patch_mosaic").of("7 × 7 of held out").mean


TASKS = tasks(
    "mosaics",
    {
        "lab_10.1": Answer(
            function(tensor(), takes="query (pixels,), patches (n, pixels), centres (n,), a and b"),
            judge=_judge_guess,
        ),
        "lab_10.2": Answer(number(1, 1000), judge=_judge_times),
        "lab_10.3": Answer(number(0, 1), measure=by_chance),
    },
)

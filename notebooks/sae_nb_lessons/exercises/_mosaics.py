"""Exercises of lab 10: attention over patches, what it costs, and what is found by chance."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

A, B = 0.6, 0.8


def guess(query: Tensor, patches: Tensor, centres: Tensor, a: float, b: float) -> Tensor:
    """Estimate a pixel from its noisy neighbourhood: the mean of centres, weighted by likelihood."""
    apart = (query - a * patches).square().sum(dim=1)
    return (-apart / (2 * b**2)).softmax(dim=0) @ centres


def _weighed(
    weights: Callable[[Tensor, float], Tensor], a: float | None = None
) -> Callable[..., Tensor]:
    """Return the guess with weights of one's own, of squared distances and b."""

    def made(query: Tensor, patches: Tensor, centres: Tensor, fade: float, b: float) -> Tensor:
        apart = (query - (fade if a is None else a) * patches).square().sum(dim=1)
        return weights(apart, b) @ centres

    return made


def _soft(logits: Tensor) -> Tensor:
    return logits.softmax(dim=0)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You compare the query with patches that have not faded.", "The patches have to fade as the image did: compare the query with a · p.", _weighed(lambda s, b: _soft(-s / (2 * b**2)), 1.0)),
        ("You fade the query, not the patches.", "`query - a * patches`.", lambda q, p, c, a, b: _soft(-(a * q - p).square().sum(dim=1) / (2 * b**2)) @ c),
        ("You divide by 2 b.", "The temperature is the variance: divide by 2 b².", _weighed(lambda s, b: _soft(-s / (2 * b)))),
        ("You divide by b², without the 2.", "Divide by 2 b².", _weighed(lambda s, b: _soft(-s / b**2))),
        ("b is not in yours: a noisier image must trust more patches.", "Divide by 2 b².", _weighed(lambda s, b: _soft(-s))),  # noqa: ARG005
        ("The sign is missing: the patches that are least alike weigh most.", "softmax(−distance² / 2 b²).", _weighed(lambda s, b: _soft(s / (2 * b**2)))),
        ("You use distances, not their squares.", "`.square().sum(dim=1)`.", _weighed(lambda s, b: _soft(-s.sqrt() / (2 * b**2)))),
        ("You take the mean of the squares over pixels: a larger patch would say no more than a small one.", "Their sum.", lambda q, p, c, a, b: _soft(-(q - a * p).square().mean(dim=1) / (2 * b**2)) @ c),
        ("Your weights do not sum to 1.", "`.softmax(dim=0)` divides by their sum.", _weighed(lambda s, b: (-s / (2 * b**2)).exp())),
        ("That is the nearest patch, the step of matching pursuit.", "The best guess is a mean over all, by softmax.", _weighed(lambda s, b: (s == s.min()).to(s.dtype))),  # noqa: ARG005
        ("All patches weigh the same in yours.", "softmax(−distance² / 2 b²).", _weighed(lambda s, b: torch.ones_like(s) / len(s))),  # noqa: ARG005
        ("You weigh by products of query and patch, and leave out how long a patch is: a bright one wins.", "By squared distances of the query from a · p.", lambda q, p, c, a, b: _soft(a * (p @ q) / b**2) @ c),
        ("You divide the guess by a. The centres are clean already.", "The mean of the centres as they are.", lambda q, p, c, a, b: guess(q, p, c, a, b) / a),
    )
)  # fmt: skip


def _judge_guess(
    mine: Callable[[Tensor, Tensor, Tensor, float, float], Tensor],
) -> Mistake | str | None:
    cases = {}
    for seed, (a, b) in enumerate(((A, B), (0.8, 0.6))):
        generator = torch.Generator().manual_seed(seed)
        patches = torch.randn(12, 9, generator=generator)
        query = a * patches[3] + b * torch.randn(9, generator=generator)
        cases[f"12 patches, a = {a:g} and b = {b:g}"] = (query, patches, patches[:, 4], a, b)
    return diagnose(mine, guess, cases, _SLIPS)


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

"""Exercises of notebook 25: a share of variance, what notices corruption, and which gaps are found."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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
    "scores of which two are the same": ([0.1, 0.2, 0.3, 0.9], [0.8, 0.3, 0.15]),
    "the same score for all": ([0.5, 0.5], [0.5, 0.5]),
    "a score that is lower for corrupted images": ([0.7, 0.8, 0.9], [0.1, 0.2]),
}


def _pairs(clean: Tensor, corrupted: Tensor) -> Tensor:
    return corrupted[:, None] - clean[None]


def _wins(clean: Tensor, corrupted: Tensor) -> Tensor:
    return (_pairs(clean, corrupted) > 0).double()


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("The same score for both counts as a defeat in yours.", "Add one half for every pair with the same score.", lambda a, b: _wins(a, b).mean()),
        ("The same score for both counts as a victory in yours.", "One half for every pair with the same score.", lambda a, b: 1 - _wins(b, a).mean()),
        ("Yours is the chance that a clean image scores higher.", "`corrupted[:, None] - clean[None, :]`, above 0.", lambda a, b: auroc(b, a)),
        ("You take the better side, so that a score that is lower for corrupted images looks good.", "Below ½ says that it falls: leave it so.", lambda a, b: max(auroc(a, b), auroc(b, a))),
        ("You return the difference of the mean scores, which has the scale of the scores.", "Count the pairs in which the corrupted image is higher.", lambda a, b: b.mean() - a.mean()),
        ("You count pairs.", "Divide by the number of pairs: the mean.", lambda a, b: auroc(a, b) * len(a) * len(b)),
        ("Yours goes from −1 to 1 and is 0 where a score notices nothing.", "A tie is one half, a defeat 0.", lambda a, b: 2 * auroc(a, b) - 1),
        ("You compare with the mean of the clean scores.", "With every one of them: all pairs.", lambda a, b: (b > a.mean()).double().mean()),
        ("You compare with the highest clean score.", "With every one of them: all pairs.", lambda a, b: (b > a.max()).double().mean()),
        ("You compare with the median clean score.", "With every one of them: all pairs.", lambda a, b: (b > a.median()).double().mean()),
        ("You compare images at the same place. They are no pairs: each may be drawn with each.", "`corrupted[:, None] - clean[None, :]`.", lambda a, b: (b[: len(a)] > a[: len(b)]).double().mean()),
        ("You compare the mean scores, and answer 0 or 1.", "Count the pairs in which the corrupted image is higher.", lambda a, b: float(b.mean() > a.mean())),
    )
)  # fmt: skip


def _judge_auroc(mine: Callable[[Tensor, Tensor], float]) -> Mistake | str | None:
    cases = {name: tuple(map(torch.tensor, given)) for name, given in _CASES.items()}
    return diagnose(mine, auroc, cases, _SLIPS)


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
            function(number(), takes="scores of clean (n,) and of corrupted images (m,)"),
            judge=_judge_auroc,
        ),
        "25.3": Answer(number(0, 1), measure=textures_found),
    },
)

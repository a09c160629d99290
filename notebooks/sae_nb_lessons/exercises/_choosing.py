"""Exercises of notebook 13: what an average atom does, what PCA reaches, and who is best at an equal L0."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.0005


def _judge_share(answer: float) -> str | None:
    if abs(answer - 8 / 128) <= CLOSE:
        return None
    if abs(answer - 1 / 128) <= CLOSE:
        return "That would be one atom per row. It is 8."
    return f"In 128 rows there are 8 · 128 firings, for 128 atoms; not {answer:g} of the rows each."


@cache
def pca_r2() -> float:
    """R² of PCA with 8 of 64 components per row, on images that it was not fitted to."""
    import sae_nb as sn

    model = sn.load_model("tiny-vit")
    seen, unseen = (
        sn.data.scenes(60, seed=5).images,
        sn.data.scenes(30, seed=6, split="test").images,
    )
    acts, test = (
        sn.capture(model, some, "resid_post.6", progress=False).x for some in (seen, unseen)
    )
    return sn.evaluation.explained_variance(test, sn.fit_classical(acts, "PCA", 64, k=8)(test))


def best(r2: Tensor, l0: Tensor, wanted: float) -> int:
    """Return the place of the highest R² among those whose L0 is at most a fifth away."""
    near = (l0 - wanted).abs() <= wanted / 5
    return int(torch.where(near, r2, -torch.inf).argmax())


_CASES: dict[str, tuple[list[float], list[float], float]] = {
    "all at the L0 wanted": ([0.7, 0.9, 0.8], [8, 8, 8], 8),
    "the best of all with twice the atoms": ([0.95, 0.80, 0.85], [16, 8, 8], 8),
    "the best of all with half the atoms": ([0.80, 0.95, 0.70], [8, 4, 8], 8),
    "one that is 15 % above": ([0.80, 0.85], [8, 9.2], 8),
    "R² below zero": ([-0.2, -0.1, 0.9], [32, 33, 64], 32),
}


def _judge_best(mine: Callable[[Tensor, Tensor, float], int]) -> str | None:
    for name, (r2, l0, wanted) in _CASES.items():
        given = torch.tensor(r2), torch.tensor(l0, dtype=torch.float32)
        answer, expected = mine(given[0].clone(), given[1].clone(), wanted), best(*given, wanted)
        if answer != expected:
            return f"For {name} yours gives {answer}, and it is {expected}."
    return None


TASKS = tasks(
    "choosing",
    {
        "13.1": Answer(number(0, 1), judge=_judge_share),
        "13.2": Answer(number(0, 1), measure=pca_r2),
        "13.3": Answer(
            function(whole_number(), takes="r2, l0 and the L0 wanted"), judge=_judge_best
        ),
    },
)

"""Exercises of notebook 03: R² by hand, what is clear, which dictionary, and which benchmark ranks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import (
    Form,
    WrongForm,
    describe,
    function,
    number,
    whole_number,
)
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005
SHARE_CLOSE = 0.0005


# --- 03.4: R² by hand -----------------------------------------------------------------------------


def _judge_r2(answer: float) -> str | None:
    if abs(answer - 0.6) <= CLOSE:
        return None
    if abs(answer - 7 / 11) <= CLOSE:
        return (
            "That is R² about one mean for all numbers, 1.5: it inflates wherever dimensions have means "
            "of their own. Each dimension has its own: (1, 2)."
        )
    if abs(answer - 0.8) <= CLOSE:
        return "That is about zero. Take the mean of each dimension, (1, 2), off first."
    return (
        f"Errors make 4; the rows lie 10 (squared, in all) from their mean (1, 2). Not {answer:g}."
    )


# --- 03.2: what a random dictionary keeps ---------------------------------------------------------


@cache
def random_accuracy() -> float:
    """Measure the accuracy of tiny-vit on 40 images when the control of its SAE replaces the SAE."""
    import sae_nb as sn

    sae, model = sn.load_sae("tiny-vit/resid_post.6"), sn.load_model("tiny-vit")
    pictures = sn.data.scenes(40, seed=7, split="test")
    acts = sn.capture(model, pictures.images, str(sae.hook_point), progress=False)
    labels = torch.as_tensor(pictures.digit)
    report = sn.evaluate(sae, acts, model, labels=labels, n_bootstrap=0)
    return float(report["accuracy"].control or 0.0)


# --- 03.3: when is a number clear? ----------------------------------------------------------------


def _as_truth(answer: Any) -> bool:
    if isinstance(answer, bool | np.bool_) or (
        isinstance(answer, torch.Tensor) and answer.dtype == torch.bool and answer.numel() == 1
    ):
        return bool(answer)
    raise WrongForm(f"expected True or False, got {describe(answer)}")


TRUTH = Form(says="True or False", convert=_as_truth)

_CASES: tuple[tuple[str, tuple[float, float, float, float], bool], ...] = (
    ("0.9, interval 0.8 … 0.95, control 0.5", (0.9, 0.8, 0.95, 0.5), True),
    ("0.9, interval 0.8 … 0.95, control 0.85", (0.9, 0.8, 0.95, 0.85), False),
    ("0.3, interval 0.28 … 0.32, control 0.5", (0.3, 0.28, 0.32, 0.5), False),
    ("0.5, interval 0.45 … 0.55, control 0.55", (0.5, 0.45, 0.55, 0.55), False),
)


def _judge_clear(mine: Callable[[float, float, float, float], bool]) -> str | None:
    for words, values, expected in _CASES:
        answer = mine(*values)
        if answer != expected:
            return f"For {words} yours says {answer}, and it is {expected}."
    return None


# --- 03.5 to 03.7: an equal L0 --------------------------------------------------------------------


def _judge_average(answer: float) -> str | None:
    if abs(answer - 8 / 128) <= SHARE_CLOSE:
        return None
    if abs(answer - 1 / 128) <= SHARE_CLOSE:
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


_RUNS: dict[str, tuple[list[float], list[float], float]] = {
    "all at the L0 wanted": ([0.7, 0.9, 0.8], [8, 8, 8], 8),
    "the best of all with twice the atoms": ([0.95, 0.80, 0.85], [16, 8, 8], 8),
    "the best of all with half the atoms": ([0.80, 0.95, 0.70], [8, 4, 8], 8),
    "one that is 15 % above": ([0.80, 0.85], [8, 9.2], 8),
    "R² below zero": ([-0.2, -0.1, 0.9], [32, 33, 64], 32),
}


def _judge_best(mine: Callable[[Tensor, Tensor, float], int]) -> str | None:
    for name, (r2, l0, wanted) in _RUNS.items():
        given = torch.tensor(r2), torch.tensor(l0, dtype=torch.float32)
        answer, expected = mine(given[0].clone(), given[1].clone(), wanted), best(*given, wanted)
        if answer != expected:
            return f"For {name} yours gives {answer}, and it is {expected}."
    return None


# --- 03.8: a score for random directions ----------------------------------------------------------


@cache
def random_tpp() -> float:
    """Return the TPP of random directions on tiny-gpt; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("bench_references").of("tiny-gpt tpp random").mean


TASKS = tasks(
    "evaluation",
    {
        "03.4": Answer(number(), judge=_judge_r2),
        "03.2": Answer(number(0, 1), measure=random_accuracy),
        "03.3": Answer(function(TRUTH, takes="value, low, high, control"), judge=_judge_clear),
        "03.5": Answer(number(0, 1), judge=_judge_average),
        "03.6": Answer(number(0, 1), measure=pca_r2),
        "03.7": Answer(
            function(whole_number(), takes="r2, l0 and the L0 wanted"), judge=_judge_best
        ),
        "03.8": Answer(number(-1, 1), measure=random_tpp),
    },
)

"""Exercises of notebook 10: R² by hand, what a random dictionary keeps, and when a number is clear."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from sae_nb_lessons.exercises._answers import Form, WrongForm, describe, function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005


# --- 10.1: R² by hand -----------------------------------------------------------------------------


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


# --- 10.2: what a random dictionary keeps ---------------------------------------------------------


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


# --- 10.3: when is a number clear? ----------------------------------------------------------------


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


TASKS = tasks(
    "evaluation",
    {
        "10.1": Answer(number(), judge=_judge_r2),
        "10.2": Answer(number(0, 1), measure=random_accuracy),
        "10.3": Answer(function(TRUTH, takes="value, low, high, control"), judge=_judge_clear),
    },
)

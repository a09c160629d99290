"""Exercises of notebook 10: R² by hand, what a random dictionary keeps, and when a number is clear."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from sae_nb.exercises.answers import Form, WrongForm, describe, function, number
from sae_nb.exercises.kit import Task

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
    """Accuracy of tiny-vit on 40 pictures with the control of its SAE in the place of the SAE."""
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
        if mine(*values) != expected:
            return f"For {words} yours says {mine(*values)}, and it is {expected}."
    return None


TASKS = (
    Task(
        id="10.1",
        title="R² by hand",
        question=(
            "Two rows: (0, 0) and (2, 4). Their reconstructions: (1, 1) and (1, 3). What is the pooled "
            "R², 1 − Σ‖x − x̂‖² / Σ‖x − μ‖²?"
        ),
        form=number(),
        difficulty="warm-up",
        minutes=3,
        judge=_judge_r2,
        why=(
            "μ is the mean of each dimension. One library takes a single mean over all numbers and reports "
            "0.64 for the same rows; with larger offsets 0.75 reads as 0.98."
        ),
        hints=("μ = (1, 2).", "Each error is (∓1, ∓1): together 4. Each row is (∓1, ∓2) from μ."),
    ),
    Task(
        id="10.2",
        title="How much does a random dictionary keep?",
        question=(
            "In the place of the SAE comes a dictionary of random directions, with as many atoms and the "
            "same L0. Which share of the pictures does tiny-vit still read rightly? (0 … 1; clean: about 1)"
        ),
        form=number(0, 1),
        difficulty="core",
        minutes=2,
        measure=random_accuracy,
        why=(
            "A score that random directions nearly reach says little about an SAE. ΔCE and KL, in nats, "
            "still tell them apart where accuracy is saturated."
        ),
        hints=(
            "512 random directions in 64 dimensions, 16 at a time: how much of a vector is left over?",
            "Predicting the mean row reads about a sixth. It is far above that.",
        ),
    ),
    Task(
        id="10.3",
        title="When is a number clear of its control?",
        question=(
            "Write a function of value, low, high (its 95 % interval) and control that says whether the "
            "value is better than the control and the control not within its interval. Higher is better."
        ),
        form=function(TRUTH, takes="value, low, high, control"),
        difficulty="core",
        minutes=4,
        judge=_judge_clear,
        why=(
            "That is what decides between a blue dot and a red ✕, with one more rule: nearer than a "
            "twentieth is not clear either, for another random dictionary would differ by as much."
        ),
        hints=(
            "Two conditions, joined by `and`.",
            "`value > control and not low <= control <= high`",
        ),
    ),
)

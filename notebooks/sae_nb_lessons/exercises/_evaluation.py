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
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 0.005
FIRES, OFF = (8 / 128, 0.062, 0.063), 1e-6
"""The share of 03.5, and what three places make of it."""


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


# --- 03.1: what a random dictionary keeps ---------------------------------------------------------


@cache
def random_accuracy() -> float:
    """Measure the accuracy of tiny-vit on the lesson's images when the control of its SAE replaces the SAE."""
    import sae_nb as sn

    sae, model = sn.load_sae("tiny-vit/resid_post.6"), sn.load_model("tiny-vit")
    pictures = sn.data.scenes(36, seed=5, split="test")
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


def is_clear(value: float, low: float, high: float, control: float) -> bool:
    """Return whether a value is above its control, and the control outside the value's interval."""
    return value > control and not low <= control <= high


_CASES = {
    f"{value:g}, interval {low:g} … {high:g}, control {control:g}": (value, low, high, control)
    for value, low, high, control in (
        (0.9, 0.8, 0.95, 0.5),
        (0.9, 0.8, 0.95, 0.85),
        (0.3, 0.28, 0.32, 0.5),
        (0.5, 0.45, 0.55, 0.53),
        (0.9, 0.88, 0.99, 0.86),
        (0.9, 0.6, 0.95, 0.65),
        (-0.1, -0.2, -0.05, -0.5),
        (0.9, 0.8, 0.95, 0.8),
        (0.97, 0.8, 0.95, 0.9),
        (0.97, 0.8, 0.95, 0.96),
        (0.97, 0.8, 0.95, 0.97),
    )
}

_CLEAR_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "You ask whether the value is above the control, and ignore the interval.",
            "The control must also lie outside low … high.",
            lambda v, l, h, c: v > c,  # noqa: ARG005
        ),
        (
            "A control far above the value is outside the interval too.",
            "The value must also be the larger one.",
            lambda v, l, h, c: not l <= c <= h,  # noqa: ARG005
        ),
        (
            "One of the two conditions is enough in yours. Both must hold.",
            "`and`, not `or`.",
            lambda v, l, h, c: v > c or not l <= c <= h,
        ),
        (
            "Yours says True where the control lies inside the interval: turned round.",
            "`not low <= control <= high`",
            lambda v, l, h, c: l <= c <= h,  # noqa: ARG005
        ),
        (
            "Yours wants the control above the value. Higher is better here.",
            "`value > control`",
            lambda v, l, h, c: v < c and not l <= c <= h,
        ),
        (
            "You compare with half the width of the interval. An interval need not be symmetric.",
            "Compare the control with `low` and `high` themselves.",
            lambda v, l, h, c: v - c > (h - l) / 2,
        ),
        (
            "You compare the control with the upper end. The lower end is nearer to it.",
            "Where is the control if the value beats it clearly? Below `low`.",
            lambda v, l, h, c: c < h,  # noqa: ARG005
        ),
        (
            "A value that is as large as its control is not above it.",
            "`value > control`",
            lambda v, l, h, c: v >= c and not l <= c <= h,
        ),
        (
            "A control on an end of the interval is not outside it.",
            "`not low <= control <= high`",
            lambda v, l, h, c: v > c and not l < c < h,
        ),
        (
            "You use a fixed margin. The interval is the margin.",
            "Compare the control with `low` and `high`.",
            lambda v, l, h, c: v - c > 0.05,  # noqa: ARG005
        ),
        (
            "You compare by a ratio, which means nothing where numbers are negative.",
            "Compare the control with `low` and `high`.",
            lambda v, l, h, c: v / c > 1.1,  # noqa: ARG005
        ),
        (
            "Yours says False whatever it is given: is it the value that you compare with its own interval?",
            "It is the control that has to be outside.",
            lambda v, l, h, c: not l <= v <= h,  # noqa: ARG005
        ),
        (
            "Yours says True whatever it is given.",
            "Use all four numbers.",
            lambda v, l, h, c: True,  # noqa: ARG005
        ),
    )
)


def _judge_clear(mine: Callable[[float, float, float, float], bool]) -> Mistake | str | None:
    problem = diagnose(mine, is_clear, _CASES, _CLEAR_SLIPS)
    if not isinstance(problem, str):
        return problem
    name, given = next((n, g) for n, g in _CASES.items() if mine(*g) != is_clear(*g))
    return f"For {name} yours says {not is_clear(*given)}, and it is {is_clear(*given)}."


# --- 03.5 to 03.7: an equal L0 --------------------------------------------------------------------


def _judge_average(answer: float) -> str | None:
    if min(abs(answer - share) for share in FIRES) <= OFF:
        return None
    if abs(answer - 1 / 128) <= 0.0005:
        return "That would be one atom per row. It is 8."
    return f"In 128 rows there are 8 · 128 firings, for 128 atoms; not {answer:g} of the rows each."


@cache
def pca_r2() -> float:
    """R² of PCA with 8 of 64 components per row, on images that it was not fitted to."""
    import sae_nb as sn

    model = sn.load_model("tiny-vit")
    seen, unseen = (
        sn.data.scenes(160, seed=5).images,
        sn.data.scenes(50, seed=6, split="test").images,
    )
    acts, test = (
        sn.capture(model, some, "resid_post.6", progress=False).x for some in (seen, unseen)
    )
    return sn.evaluation.explained_variance(test, sn.fit_classical(acts, "PCA", 64, k=8)(test))


def best(r2: Tensor, l0: Tensor, wanted: float) -> int:
    """Return the place of the highest R² among those whose L0 is at most a fifth away."""
    near = (l0 - wanted).abs() <= wanted / 5
    return int(torch.where(near, r2, -torch.inf).argmax())


def _among(near: Tensor, score: Tensor) -> int:
    return int(torch.where(near, score, -torch.inf).argmax())


_BEST_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "Your winner is the best of all, whatever its L0.",
            "First: who may take part?",
            lambda r, l, w: int(r.argmax()),  # noqa: ARG005
        ),
        (
            "This is the place among those that may take part, not among all.",
            "Keep everyone in the list, and give those that may not take part −∞.",
            lambda r, l, w: int(r[(l - w).abs() <= w / 5].argmax()),
        ),
        (
            "You give those that may not take part an R² of 0. Where all others are below zero, 0 wins.",
            "Minus infinity: `torch.where(near, r2, -torch.inf)`.",
            lambda r, l, w: int((r * ((l - w).abs() <= w / 5)).argmax()),
        ),
        (
            "You take the one whose L0 is nearest. Among those that are near enough, R² decides.",
            "A fifth away is near enough.",
            lambda r, l, w: int((l - w).abs().argmin()),  # noqa: ARG005
        ),
        (
            "You let those with a smaller L0 take part, however small.",
            "Too few atoms is as far away as too many: `abs`.",
            lambda r, l, w: _among(l - w <= w / 5, r),
        ),
        (
            "You let those with a larger L0 take part, however large.",
            "`abs(l0 - wanted)`",
            lambda r, l, w: _among(w - l <= w / 5, r),
        ),
        (
            "Only an L0 that is exactly what was wanted takes part in yours.",
            "Up to a fifth away.",
            lambda r, l, w: _among(l == w, r),
        ),
        (
            "You shut out everyone above the L0 that was wanted.",
            "Up to a fifth above takes part, too.",
            lambda r, l, w: _among((l <= w) & (l >= w * 4 / 5), r),
        ),
        (
            "You take a fifth of each one's own L0. It is a fifth of what was wanted.",
            "`wanted / 5`",
            lambda r, l, w: _among((l - w).abs() <= l / 5, r),
        ),
        (
            "Your limit is .2 atoms. A fifth is a share of what was wanted.",
            "`wanted / 5`",
            lambda r, l, w: _among((l - w).abs() <= 0.2, r),
        ),
        (
            "You divide R² by L0. That is another question, and a small L0 wins it.",
            "R² alone, among those that are near.",
            lambda r, l, w: int((r / l).argmax()),  # noqa: ARG005
        ),
        (
            "This one has the lowest R² of those that take part.",
            "`argmax`",
            lambda r, l, w: int(torch.where((l - w).abs() <= w / 5, r, torch.inf).argmin()),
        ),
        (
            "An L0 exactly a fifth away takes part: at most.",
            "`<=`",
            lambda r, l, w: _among((l - w).abs() < w / 5, r),
        ),
        (
            "You give those that may not take part an R² of −1. There are dictionaries that are worse.",
            "Minus infinity: `torch.where(near, r2, -torch.inf)`.",
            lambda r, l, w: int(torch.where((l - w).abs() <= w / 5, r, -1.0).argmax()),
        ),
        (
            "Your limit is 1.6 atoms, right where 8 were wanted. A fifth is a share of what was wanted.",
            "`wanted / 5`",
            lambda r, l, w: _among((l - w).abs() <= 1.6, r),
        ),
        (
            "You count from 1.",
            "The first place is 0.",
            lambda r, l, w: best(r, l, w) + 1,
        ),
    )
)

_RUNS: dict[str, tuple[Tensor, Tensor, float]] = {
    name: (torch.tensor(r2), torch.tensor(l0), wanted)
    for name, (r2, l0, wanted) in {
        "all at the L0 wanted": ([0.7, 0.9, 0.8], [8.0, 8.0, 8.0], 8.0),
        "the best of all with twice the atoms": ([0.95, 0.80, 0.85], [16.0, 8.0, 8.0], 8.0),
        "the best of all with half the atoms": ([0.80, 0.95, 0.70], [8.0, 4.0, 8.0], 8.0),
        "one that is 1 % above": ([0.80, 0.85], [8.0, 8.1], 8.0),
        "one that is 15 % above": ([0.80, 0.85], [8.0, 9.2], 8.0),
        "one that is 15 % below": ([0.80, 0.85], [8.0, 6.8], 8.0),
        "one that is 22 % above": ([0.80, 0.85], [8.0, 9.8], 8.0),
        "one that is 19 % above": ([0.80, 0.85], [100.0, 119.0], 100.0),
        "one that is exactly a fifth below": ([0.80, 0.85], [10.0, 8.0], 10.0),
        "R² below zero": ([-0.2, -0.1, 0.9], [32.0, 33.0, 64.0], 32.0),
        "R² below −1": ([-3.0, -2.0, 0.9], [32.0, 33.0, 64.0], 32.0),
    }.items()
}


def _judge_best(mine: Callable[[Tensor, Tensor, float], int]) -> Mistake | str | None:
    return diagnose(mine, best, _RUNS, _BEST_SLIPS)


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
        "03.1": Answer(number(0, 1), measure=random_accuracy),
        "03.3": Answer(function(TRUTH, takes="value, low, high, control"), judge=_judge_clear),
        "03.5": Answer(number(0, 1), judge=_judge_average),
        "03.6": Answer(number(0, 1), measure=pca_r2),
        "03.7": Answer(
            function(whole_number(), takes="r2, l0 and the L0 wanted"), judge=_judge_best
        ),
        "03.8": Answer(number(-1, 1), measure=random_tpp),
    },
)

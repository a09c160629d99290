"""Exercises of notebook 13: the nearest point of the simplex, and what a half-space can see."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.architectures.parts._proxes import simplex_threshold
from sae_nb_lessons.exercises._answers import WrongForm, function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

TOLERANCE = 0.02  # an answer rounded to two digits is right
CLOSE = 1e-4


def _nearest(v: Tensor) -> Tensor:
    return torch.relu(v - simplex_threshold(v[None])[0])


# --- 13.1: by hand --------------------------------------------------------------------------------

POINT = torch.tensor([0.9, 0.5, -0.2], dtype=torch.float64)


def _judge_point(answer: Tensor) -> str | None:
    problem = _off_the_simplex(answer, TOLERANCE)
    if problem is not None:
        return f"Yours {problem}."
    away, least = float((answer - POINT).norm()), float((_nearest(POINT) - POINT).norm())
    if float((answer - _nearest(POINT)).norm()) <= TOLERANCE:
        return None
    return f"Yours is on the simplex, at a distance of {away:.3f}; there is a point at {least:.3f}."


def _off_the_simplex(z: Tensor, tolerance: float) -> str | None:
    if float(z.min()) < -tolerance:
        return f"has a negative entry, {float(z.min()):.3g}"
    if abs(float(z.sum()) - 1) > tolerance:
        return f"sums to {float(z.sum()):.3g}, not to 1"
    return None


# --- 13.3: what a half-space sees -----------------------------------------------------------------


@cache
def best_half_space() -> float:
    """F1 of the best ReLU and TopK latents for an inner concept; mean over the recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("separability").of("others, best inner F1").mean


# --- 13.2: a function -----------------------------------------------------------------------------

_CASES = {
    "a point of the simplex": torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64),
    "(0.9, 0.5, −0.2)": POINT,
    "one large entry": torch.tensor([5.0, 0.0, 1.0, 2.0], dtype=torch.float64),
    "all entries negative": torch.tensor([-1.0, -1.2, -3.0], dtype=torch.float64),
    "twenty random numbers": torch.randn(
        20, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ),
}


def _judge_projection(project: Callable[[Tensor], Tensor]) -> str | None:
    for name, v in _CASES.items():
        answer, best = project(v.clone()), _nearest(v)
        if answer.shape != v.shape:
            raise WrongForm(f"for {len(v)} numbers your function returned {len(answer)}")
        problem = _off_the_simplex(answer, CLOSE)
        if problem is not None:
            return f"For {name} yours {problem}."
        if float((answer - best).norm()) > CLOSE:
            away, least = float((answer - v).norm()), float((best - v).norm())
            return f"For {name} yours is {away:.4g} away, and there is a point {least:.4g} away."
    return None


TASKS = tasks(
    "projections",
    {
        "13.1": Answer(tensor(3), judge=_judge_point),
        "13.3": Answer(number(0, 1), measure=best_half_space),
        "13.2": Answer(
            function(tensor(None), takes="one tensor of shape (n,)"), judge=_judge_projection
        ),
    },
)

"""Exercises of notebook 04: the nearest point of the simplex, and what a half-space can see."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.architectures.proxes.simplex import simplex_threshold
from sae_nb.exercises.answers import WrongForm, function, number, tensor
from sae_nb.exercises.kit import Task

TOLERANCE = 0.02  # an answer rounded to two digits is right
CLOSE = 1e-4


def _nearest(v: Tensor) -> Tensor:
    return torch.relu(v - simplex_threshold(v[None])[0])


# --- 04.1: by hand --------------------------------------------------------------------------------

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


# --- 04.2: what a half-space sees -----------------------------------------------------------------


@cache
def best_half_space() -> float:
    """F1 of the best ReLU and TopK latents for an inner concept; mean over the recorded seeds."""
    from sae_nb.proofs.committed import recorded

    return recorded("separability").of("others, best inner F1").mean


# --- 04.3: a function -----------------------------------------------------------------------------

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


TASKS = (
    Task(
        id="04.1",
        title="The nearest point of the simplex",
        question=(
            "SpaDE's encoder projects on the simplex: no entry negative, all together 1. Which point "
            "of it is nearest to (0.9, 0.5, −0.2)?"
        ),
        form=tensor(3),
        difficulty="warm-up",
        minutes=3,
        judge=_judge_point,
        why=(
            "The same θ is taken off every entry, and what falls below 0 stays there. θ depends on the "
            "whole input: that is how a code gets as many atoms as it needs, and nobody set k."
        ),
        hints=(
            "Take the same amount θ off every entry, and cut at 0.",
            "Suppose two stay: (0.9 − θ) + (0.5 − θ) = 1.",
        ),
    ),
    Task(
        id="04.2",
        title="What can a half-space see?",
        question=(
            "Three outer clouds, three inner ones, equally many points. One latent, on beyond a "
            'straight line or among the k largest, shall say "it is this inner cloud". A latent that '
            "is always on has an F1 of 0.29. What do the best latents of ReLU and TopK reach?"
        ),
        form=number(0, 1),
        difficulty="core",
        minutes=3,
        measure=best_half_space,
        why=(
            "Any half-plane that holds an inner cloud also holds an outer one, or most of one. "
            "Training cannot help it: the shape of what a latent sees was chosen with the encoder."
        ),
        hints=(
            "How many points lie in a half-plane that holds the whole inner cloud, at the least?",
            "With all of it and one more cloud: precision ½, recall 1.",
        ),
    ),
    Task(
        id="04.3",
        title="Write the projection",
        question=(
            "Write a function that takes n numbers and returns the nearest point of the simplex: no "
            "entry negative, their sum 1."
        ),
        form=function(tensor(None), takes="one tensor of shape (n,)"),
        difficulty="stretch",
        minutes=8,
        judge=_judge_projection,
        why=(
            "Sorting is all it takes. `SpaDE` is this function behind 2λ⟨x, a_j⟩ − λ‖a_j‖², minus "
            "the squared distances to prototypes up to a term that all atoms share: near ones stay."
        ),
        hints=(
            "Sort in falling order, u. If i entries stay, θ = (u_1 + … + u_i − 1) / i.",
            "How many stay? The last i with u_i > θ_i. `cumsum` gives every θ_i at once.",
            "`theta = (u.cumsum(0) - 1) / torch.arange(1, len(v) + 1)`, `kept = (u > theta).sum()`, "
            "then `(v - theta[kept - 1]).clamp(min=0)`.",
        ),
    ),
)

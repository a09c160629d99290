"""Exercises of notebook 13: the nearest point of the simplex, and what a half-space can see."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.architectures import SimplexProx
from sae_nb_lessons.exercises._answers import WrongForm, function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

TOLERANCE = 0.02  # an answer rounded to two digits is right
CLOSE = 1e-4


def _nearest(v: Tensor) -> Tensor:
    return SimplexProx().dense(v[None])[0]


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
    "twenty random numbers": torch.randn(
        20, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ),
    "all entries negative": torch.tensor([-1.0, -1.2, -3.0], dtype=torch.float64),
}


def _theta(u: Tensor, more: int = 0) -> Tensor:
    """Return θ for numbers in falling order, with `more` entries kept than the nearest point has."""
    thetas = (u.cumsum(0) - 1) / torch.arange(1, len(u) + 1)
    return thetas[((u > thetas).sum() - 1 + more).clamp(0, len(u) - 1)]


def _falling(v: Tensor) -> Tensor:
    return v.sort(descending=True).values


def _shifted(v: Tensor) -> Tensor:
    return v - (v.sum() - 1) / len(v)


def _scaled(v: Tensor) -> Tensor:
    return v / (v.sum() + 1e-12)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You cut at 0 and divide by the sum. The nearest point takes the same amount off every entry instead.", "`(v - theta).clamp(min=0)`: which θ makes the sum 1?", lambda v: _scaled(v.clamp(min=0))),
        ("That is a softmax: no entry of it is ever 0, and it is not the nearest point.", "`(v - theta).clamp(min=0)`: which θ makes the sum 1?", lambda v: v.softmax(dim=0)),
        ("You cut at 0 and leave the sum as it is.", "Take θ off every entry first, so that what stays sums to 1.", lambda v: v.clamp(min=0)),
        ("You take the same amount off every entry and leave some below 0.", "Entries below 0 become 0, and then θ must be larger: only those that stay pay.", _shifted),
        ("You cut at 0 after the sum was made 1, and that adds to the sum again.", "θ is that of the entries that stay: (u_1 + … + u_i − 1) / i, u in falling order.", lambda v: _shifted(v).clamp(min=0)),
        ("You make the sum 1, cut at 0, and divide by the new sum. Dividing is not what the nearest point does.", "θ is that of the entries that stay: (u_1 + … + u_i − 1) / i.", lambda v: _scaled(_shifted(v).clamp(min=0))),
        ("You take absolute values and divide by their sum, so negative entries become large.", "Negative entries become 0.", lambda v: _scaled(v.abs())),
        ("You keep one entry too many: θ is that of kept + 1.", "Python counts from 0: `theta[kept - 1]`.", lambda v: (v - _theta(_falling(v), 1)).clamp(min=0)),
        ("You keep one entry too few.", "The last i with u_i > θ_i belongs to those that stay.", lambda v: (v - _theta(_falling(v), -1)).clamp(min=0)),
        ("You did not sort: the sums have to begin with the largest entry.", "`v.sort(descending=True)`.", lambda v: (v - _theta(v)).clamp(min=0)),
        ("Your numbers are right and come in falling order, not at their places.", "Sort to find θ, then take it off `v` itself.", lambda v: (_falling(v) - _theta(_falling(v))).clamp(min=0)),
        ("All weight is on the largest entry. That is the nearest corner, not the nearest point.", "Several entries may stay: the last i with u_i > θ_i.", lambda v: (v == v.max()).double()),
        ("You divide by the length, so the squares sum to 1.", "The entries themselves sum to 1.", lambda v: v.clamp(min=0) / (v.clamp(min=0).norm() + 1e-12)),
    )
)  # fmt: skip


def _judge_projection(project: Callable[[Tensor], Tensor]) -> Mistake | str | None:
    cases = {name: (v,) for name, v in _CASES.items() if float(v.max()) > 0}
    named = diagnose(project, _nearest, cases, _SLIPS)
    if isinstance(named, Mistake):
        return named
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

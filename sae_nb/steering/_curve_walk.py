"""A walk along a curve: what a model answers at each step, along it and on the chord to the same end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_real
from sae_nb.steering._answers import Answers
from sae_nb.steering._request import check_width

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.geometry import Curve
    from sae_nb.models import LiveModel

MOST_STEPS = 48
"""Steps of a walk, one for each value passed: as many runs along the curve, and on the chord. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveWalk:
    """Answers of a model while a state is moved along a curve, and straight to the same end."""

    start: float
    """Coordinate of the curve's nearest point to the state, where the walk begins."""

    by: float
    """How far it goes, in units of the coordinate; negative: backwards."""

    places: Float[np.ndarray, " steps"]
    """Coordinate at each step; on a closed curve from 0 to the period."""

    path: Float[np.ndarray, "steps outcomes"]
    """Probability of every outcome along the curve."""

    chord: Float[np.ndarray, "steps outcomes"]
    """The same on the straight line between the walk's ends."""

    before: Float[np.ndarray, " outcomes"]
    """Without a change."""


def walk_along(
    model: LiveModel,
    inputs: Inputs,
    hook_point: str,
    curve: Curve,
    by: float,
    *,
    positions: Any = "last",
) -> CurveWalk:
    """Move the state of one input along a curve and straight, and read the model's answer at each step.

    A step is as far as two values of the curve are apart, in the middle. At step s of N the state h becomes
    h + c(u + s·by/N) − c(u), u the coordinate of the nearest point of the curve: what is off the curve stays.
    Straight it becomes h + (s/N) (c(u + by) − c(u)).
    """
    by = check_real(by, name="by")
    check_width(model, model.hook_point(hook_point), len(curve.mean), "the curve")
    answers = Answers(model, inputs, hook_point, positions=positions, scored=True)
    seen: list[Tensor] = []

    def look(x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        seen.append(x.detach().reshape(-1, x.shape[-1])[-1])
        return x

    answers.under(answers.replacing(look))
    u = float(curve.nearest(seen[0][None])[0][0])
    if not curve.closed:
        by = min(max(by, float(curve.values[0]) - u), float(curve.values[-1]) - u)
    apart = float(np.median(np.diff(curve.values)))
    n_steps = min(max(round(abs(by) / apart), 1), MOST_STEPS)
    shares = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    points, first = curve.at((u + shares * by).tolist()), curve.at(u)
    straight = shares[:, None].to(first) * (points[-1] - first)

    def answered(offsets: Float[Tensor, "steps d"]) -> Float[np.ndarray, "steps outcomes"]:
        found = [answers.under(answers.replacing(_adding(row)))[0] for row in offsets]
        return torch.stack(found).double().softmax(dim=-1).cpu().numpy()

    places = (u + shares * by).numpy()
    return CurveWalk(
        start=u,
        by=by,
        places=places % curve.period if curve.closed and curve.period else places,
        path=answered(points - first),
        chord=answered(straight),
        before=answers.clean[0].double().softmax(dim=-1).cpu().numpy(),
    )


def _adding(row: Float[Tensor, " d"]) -> Any:
    return lambda x: x + row.to(x)

"""Values that a curve was not fitted on: what a model reads at their places on it, and off it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.geometry import Curve, curve as fit_curve
from sae_nb.steering._answers import Answers
from sae_nb.steering._request import check_width

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

FEWEST_KNOWN, FEWEST_HIDDEN = 5, 2
"""Values through which a curve is drawn, and that are left out; of a curve with fewer nothing is read. Ours."""

N_SHUFFLED = 5
"""Curves through shuffled values, each read at every value left out. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveReading:
    """Which value a model reads at each value left out: on the curve, half-way between neighbours, by chance.

    Right is the value itself: the answer is the one that the model gives at that value's own mean state.
    """

    fitted: Curve
    """Through half of the values."""

    hidden: Float[np.ndarray, " hidden"]
    """The values left out, rising."""

    on_curve: Float[np.ndarray, " hidden"]
    """The value that is read where the fitted curve has each of them."""

    between: Float[np.ndarray, "hidden 2"]
    """Its nearest known values on either side."""

    half_way: Float[np.ndarray, " hidden"]
    """The value that is read in the middle of the straight line between those."""

    shuffled: Float[np.ndarray, "curves hidden"]
    """The value that is read on curves through the known values' states in random order."""

    @property
    def n_right(self) -> int:
        """How many are read right on the curve."""
        return int((self.on_curve == self.hidden).sum())

    @property
    def n_half_way(self) -> int:
        """How many are read right half-way between their neighbours."""
        return int((self.half_way == self.hidden).sum())

    @property
    def n_shuffled(self) -> int:
        """How many are read right on the best of the shuffled curves."""
        return int((self.shuffled == self.hidden).sum(axis=1).max(initial=0))


def read_hidden(
    model: LiveModel,
    text: str,
    hook_point: str,
    curve: Curve,
    *,
    positions: Any = "last",
    seed: int = 0,
) -> CurveReading | None:
    """Fit a curve through half of a curve's values, and read the model's answer at the others; None: too few.

    The state of one text is replaced: by the fitted curve's point, by the middle between the mean states of
    the nearest known values, by points of curves through shuffled values. Of the model's outcomes those count
    that it answers at the mean state of one of the values.
    """
    check_width(model, model.hook_point(hook_point), len(curve.mean), "the curve")
    values, n = curve.values, len(curve.values)
    n_known = max((n + 1) // 2, FEWEST_KNOWN)
    if n - n_known < FEWEST_HIDDEN:
        return None
    rng = np.random.default_rng(seed)
    # An open curve ends at its ends: nothing is left out beyond them.
    ends = np.array([], int) if curve.closed else np.array([0, n - 1])
    inside = rng.permutation(np.setdiff1d(np.arange(n), ends))
    split = n_known - len(ends)
    known, hidden = np.sort([*ends, *inside[:split]]), np.sort(inside[split:])

    def fitted(order: np.ndarray) -> Curve:
        rows = curve.states[torch.from_numpy(known)]
        return fit_curve(
            rows, values[order], closed=curve.closed, period=curve.period, n_shuffled=1, seed=seed
        )

    def read(states: Float[Tensor, "n d"]) -> Float[Tensor, "n outcomes"]:
        answers = Answers(
            model,
            [text] * len(states),
            hook_point,
            positions=positions,
            batch_size=len(states),
            scored=True,
        )
        return answers.under(answers.replacing(lambda h: states[:, None].to(h).expand_as(h))).cpu()

    own = read(curve.states).argmax(dim=1).numpy()
    outcomes = np.unique(own)

    def nearest(states: Float[Tensor, "n d"]) -> Float[np.ndarray, " n"]:
        """Of each state the value whose own answer is given there; of several the nearest to its place."""
        said = outcomes[read(states)[:, torch.from_numpy(outcomes)].argmax(dim=1).numpy()]
        far = np.abs(values[None] - values[hidden][:, None])
        if curve.closed and curve.period:
            far = np.minimum(far, curve.period - far)
        return values[np.where(own[None] == said[:, None], far, np.inf).argmin(axis=1)]

    # Of a closed curve the first known value comes after the last.
    place = np.searchsorted(known, hidden)
    between = np.stack([known[place - 1], known[place % n_known]], axis=1)
    through = fitted(known)
    places = values[hidden].tolist()
    return CurveReading(
        fitted=through,
        hidden=values[hidden],
        on_curve=nearest(through.at(places)),
        between=values[between],
        half_way=nearest(curve.states[torch.from_numpy(between)].mean(dim=1)),
        shuffled=np.stack(
            [nearest(fitted(rng.permutation(known)).at(places)) for _ in range(N_SHUFFLED)]
        ),
    )

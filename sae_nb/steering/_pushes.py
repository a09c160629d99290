"""Pushes: how alike an atom's effect is over inputs, and over how many outcomes it spreads.

An atom is added at each position: once as strong as it is where it fires strongly, which shows how alike its
effect is; then as much of it as moves the answers by a given KL, mean over the inputs. Spread depends on the
length of the push, so atoms are compared at the same cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.models._prefix_cache import PrefixCache
from sae_nb.steering._answers import Answers
from sae_nb.steering._calibration import StrengthSearch

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

MOST_RUNS = 10
NEAR_ENOUGH = 0.2
"""Share of the KL by which it may be missed: about a tenth of the length. Ours."""

MOST_INPUTS = 64
"""In one batch; of more, blocks below the push are run every time."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """One direction, pushed."""

    stability: float
    kl: float
    """At the usual strength: `stability_of` the answers, and KL(clean‖pushed) in nats, mean over the inputs."""

    amount: float
    spread: float
    """At equal KL: multiple of the unit direction, `spread_of` the answers; NaN where it is out of reach."""


class Pushes:
    """The same inputs answered under one push after another; blocks below the push are run once."""

    def __init__(
        self,
        model: LiveModel,
        inputs: Inputs,
        hook_point: str,
        target_kl: float,
    ) -> None:
        self._answers = Answers(model, inputs, hook_point, batch_size=MOST_INPUTS, scored=True)
        if self._answers.n < 2:
            raise ValueError(
                "`inputs` must be two at least, for effects on them are compared, got 1. Pass more."
            )
        self._target = target_kl
        point = model.hook_point(hook_point)
        self._below = PrefixCache(model, [point], edited=True)
        with model.lock, self._below.noted():
            self._answers.under(self._answers.replacing(lambda x: x))

    @property
    def answers(self) -> Answers:
        """The inputs and their clean answers."""
        return self._answers

    def push(self, unit: Float[Tensor, " d_in"], usual: float) -> Push:
        """Push by `usual`, and from there on look for what reaches the KL."""
        model, pushed, kls = self._answers.model, dict[float, Tensor](), dict[float, float]()

        def kl_at(factor: float) -> float:
            pushed[factor] = self._answers.add(unit, factor * usual)
            kls[factor] = float(self._answers.kl(pushed[factor]).mean())
            return kls[factor]

        search = StrengthSearch(kl_at, self._target, tolerance=NEAR_ENOUGH * self._target)
        with model.lock, self._below.left_out():
            factor = search.find(MOST_RUNS, max(1.0, StrengthSearch.LARGEST / usual))
        clean = self._answers.clean
        return Push(
            stability=stability_of(clean, pushed[1.0]),
            kl=kls[1.0],
            amount=factor * usual if search.reached else math.nan,
            spread=spread_of(clean, pushed[factor]) if search.reached else math.nan,
        )


def stability_of(clean: Float[Tensor, "n outcomes"], pushed: Float[Tensor, "n outcomes"]) -> float:
    """Return the mean cosine between the changes that a push makes to the answers of two inputs.

    Changes are of log-probabilities, centred over the outcomes. 1: every input is changed alike; 0: no more
    alike than unrelated changes.

    >>> import torch
    >>> clean = torch.zeros(2, 3)
    >>> stability_of(clean, torch.tensor([[1.0, 0, 0], [2.0, 0, 0]]))
    1.0
    """
    change = pushed.float().log_softmax(dim=-1) - clean.float().log_softmax(dim=-1)
    unit = normalize((change - change.mean(dim=-1, keepdim=True)).double(), dim=-1)
    n = len(unit)
    total = float(unit.sum(dim=0).square().sum() - unit.square().sum())
    return round(total / (n * (n - 1)), 12)


def spread_of(clean: Float[Tensor, "n outcomes"], pushed: Float[Tensor, "n outcomes"]) -> float:
    """Return over how many outcomes a push spreads: (Σ|Δp|)² / Σ Δp² of an answer, mean over the inputs.

    >>> import torch
    >>> clean = torch.zeros(1, 3)
    >>> round(spread_of(clean, torch.tensor([[0.0, 0.0, 50.0]])), 3)  # Δp = −1/3, −1/3, 2/3
    2.667
    """
    change = pushed.double().softmax(dim=-1) - clean.double().softmax(dim=-1)
    energy = change.square().sum(dim=-1)
    found = change.abs().sum(dim=-1).square() / energy.clamp_min(1e-300)
    return float(found.mean())

"""Pushes at equal KL: how alike an atom's effect is over inputs, and over how many outcomes it spreads.

An atom is added at each position, as much of it as moves the answers by a given KL, mean over the inputs; so
atoms are compared at the same cost, not at the same length.
"""

from __future__ import annotations

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

    amount: float
    """Multiple of the unit direction."""

    kl: float
    reached: bool
    """KL(clean‖pushed) in nats, mean over the inputs; whether it is what was asked for."""

    stability: float
    spread: float
    """`stability_of` and `spread_of` of the answers."""


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

    def push(self, unit: Float[Tensor, " d_in"], guess: float) -> Push:
        """Push by as much as reaches the KL, looked for from `guess` on."""
        model, tried = self._answers.model, dict[float, Tensor]()

        def kl_at(factor: float) -> float:
            tried[factor] = self._answers.add(unit, factor * guess)
            return float(self._answers.kl(tried[factor]).mean())

        search = StrengthSearch(kl_at, self._target, tolerance=NEAR_ENOUGH * self._target)
        with model.lock, self._below.left_out():
            factor = search.find(MOST_RUNS, StrengthSearch.LARGEST / guess)
        clean, pushed = self._answers.clean, tried[factor]
        return Push(
            amount=factor * guess,
            kl=search.kl,
            reached=search.reached,
            stability=stability_of(clean, pushed),
            spread=spread_of(clean, pushed),
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

"""SAEs with a sparsity penalty on every code, its weight fixed or adapted to a target L0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures.parts._proxes import Prox, Rows, keep_above
from sae_nb.checks import Weight, between, check_count, check_real
from sae_nb.codes import SparseCodes

GAIN = 0.01
"""Largest relative change of the penalty's weight in a step. mpsae/MP-SAE changes it by 3e-4 in runs of
15 000 steps; ours has to arrive within hundreds."""


class Adaptive(nn.Module):
    """A factor on a sparsity weight: it rises while inputs use more atoms than they should.

    price ← price · exp(η · clip(log(L0 / L0*), −1, 1)), η = 0.01, so it settles where L0 = L0*.

    Source: A change by the sign of L0 − L0*: mpsae/MP-SAE, sae.py. Ours is proportional near the
    target, so it comes to rest.
    """

    price: Tensor

    def __init__(self, l0: float | None) -> None:
        super().__init__()
        self.l0 = l0
        self.register_buffer("price", torch.ones(()))

    @torch.no_grad()
    def forward(
        self,
        codes: SparseCodes,
        rows: int,
        over_atoms: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return the weight of the penalty after a batch."""
        if self.l0 is not None:
            entries = (codes.values > 0).sum()
            used = (entries if over_atoms is None else over_atoms(entries)) / (rows * self.l0)
            step = used.clamp_min(1e-3).log().clamp(-1.0, 1.0)
            self.price.mul_((GAIN * step).exp())
        return self.price.clone()


def check_l0(l0: float, n_atoms: int) -> float:
    """Refuse a target that no code can meet."""
    most, do = check_count(n_atoms, name="n_atoms"), "It counts atoms per input."
    check_real(l0, name="l0")
    return float(between(l0, 0, most, name="l0", ends="(]", high_name="n_atoms", do=do))


START = 0.25
"""Atoms per input before training, as a share of d_in, unless a target is given. Ours."""

RAMP = 0.05
"""Share of the run over which the penalty sets in (April-2024 recipe)."""


@dataclass(eq=False, repr=False)
class Priced(OneStep):
    """The common parts of ReLU and Gated: λ, its target, and biases with which few pre-codes begin
    positive.
    """

    _: KW_ONLY
    sparsity: Weight
    l0: float | None = None
    aux_weight: Weight = 0.0

    live_numbers = ("sparsity", "aux_weight")
    resampled_length = 0.2  # saprmarks/dictionary_learning, trainers/standard.py

    def __post_init__(self) -> None:
        if self.l0 is not None:
            self.l0 = check_l0(self.l0, self.n_atoms)
        super().__post_init__()
        self.price = Adaptive(self.l0)

    def _begin(self, x: Rows) -> None:
        start = START * self.d_in if self.l0 is None else 2 * self.l0
        theta = self._first_threshold(x, min(start, self.n_atoms / 2))
        self.encoder.bias.fill_(-float(theta * self.scaling.scale))

    def _prox(self, k: int | None) -> Prox:
        return keep_above(0.0)

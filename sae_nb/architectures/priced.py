"""Priced: SAEs whose sparsity is a price on every code, fixed or adapted to a wanted L0."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.initialisation import first_threshold
from sae_nb.architectures.one_step import OneStep, check_weight
from sae_nb.architectures.proxes import Prox, ThresholdProx
from sae_nb.architectures.sparsity import Adaptive, check_l0

START = 0.25
"""Atoms per input before training, as a share of d_in, where no target says otherwise. Ours."""

RAMP = 0.05
"""Share of the run over which the penalty sets in (April-2024 recipe)."""


class Priced(OneStep):
    """What ReLU and Gated share: λ, its target, and biases with which few pre-codes begin positive.

    Parameters
    ----------
    d_in, n_atoms
        As for every SAE.
    sparsity
        λ, at least 0.
    l0
        Atoms per input to aim at; None: λ stays.
    **common
        As for `OneStep`.
    """

    live_numbers = ("sparsity", "aux_weight")
    birth_length = 0.2  # saprmarks/dictionary_learning, trainers/standard.py
    _settings = ("sparsity", "l0")

    def __init__(
        self, d_in: int, n_atoms: int, *, sparsity: float, l0: float | None, **common: Any
    ) -> None:
        checked = check_weight(sparsity, "sparsity")
        target = None if l0 is None else check_l0(l0, n_atoms)
        super().__init__(d_in, n_atoms, **common)
        self.sparsity, self.l0 = checked, target
        self.price = Adaptive(target)

    def _begin(self, x: Float[Tensor, "rows d_in"]) -> None:
        start = START * self.d_in if self.l0 is None else 2 * self.l0
        theta = first_threshold(x, self.encoder, self.bias, min(start, self.n_atoms / 2))
        self.encoder.bias.fill_(-float(theta * self.scaling.scale))

    def _prox(self, k: Any) -> Prox:  # noqa: ARG002
        return ThresholdProx(0.0)

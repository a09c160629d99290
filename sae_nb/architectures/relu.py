"""ReLU: every positive pre-code is kept, and an ℓ1 penalty makes few of them positive."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.initialisation import first_threshold
from sae_nb.architectures.one_step import OneStep, Parts, Revival, check_weight
from sae_nb.architectures.proxes import Prox, ThresholdProx
from sae_nb.architectures.recipe import ramp
from sae_nb.architectures.sparsity import Adaptive, check_l0
from sae_nb.codes import SparseCodes

SPARSITY = 0.15
"""Default weight of ℓ1. λ = 5 of the April-2024 recipe at d_in 768 is 0.18 in our units."""

START = 0.25
"""Atoms per input before training, as a share of d_in, where no target says otherwise. Ours."""

RAMP = 0.05
"""Share of the run over which the penalty sets in (April-2024 recipe)."""


class ReLU(OneStep):
    """A sparse autoencoder whose sparsity is a price: z = [(x − b)Eᵀ + a]₊,  x̂ = zD + b.

    Trained on ‖x − x̂‖² / V + λ Σ_j z_j / √V with V = E‖x − μ‖²: λ / 2 of the typical length of x is
    what a lone atom loses (shrinkage). With ‖d_j‖ = 1 this is the April-2024 objective,
    λ' Σ_j z_j ‖d_j‖, after its norms are folded into the codes; its λ' is λ √d_in on its inputs of
    length √d_in. λ sets in over the first 5 % of the run.

    Parameters
    ----------
    d_in
        Width of an activation.
    n_atoms
        Rows of the dictionary.
    sparsity
        λ, at least 0.
    l0
        Atoms per input to aim at: λ then adapts while it trains, from `sparsity` on. None: λ stays.
    aux_k
        Most dead atoms per input in the auxiliary loss. None: half of d_in.
    aux_weight
        Weight of AuxK; the recipe has none.
    revival
        How dead atoms return: by the auxiliary loss ("auxk" or "push-up", weighted by `aux_weight`),
        or reborn as what some input was left with ("resample").
    generator
        Draws the first dictionary; None is torch's global generator.

    Raises
    ------
    TypeError
        If an argument is not a number of its kind.
    ValueError
        If a size or weight is out of range.

    Source
    ------
    Conerly et al., "Update on how we train SAEs", Transformer Circuits, April 2024. Adapting λ to a
    target L0: mpsae/MP-SAE, sae.py. Ours starts with few positive pre-codes, by a bias read off the
    first activations, where others start with half of all.

    Example
    -------
    >>> sae = ReLU(d_in=4, n_atoms=8, generator=torch.Generator().manual_seed(0))
    >>> bool((sae.encode(torch.ones(3, 4)).values > 0).all())
    True
    """

    live_numbers = ("sparsity", "aux_weight")
    birth_length = 0.2  # saprmarks/dictionary_learning, trainers/standard.py
    _settings = ("sparsity", "l0")

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        *,
        sparsity: float = SPARSITY,
        l0: float | None = None,
        aux_k: int | None = None,
        aux_weight: float = 0.0,
        revival: Revival = "auxk",
        generator: torch.Generator | None = None,
    ) -> None:
        checked = check_weight(sparsity, "sparsity")
        target = None if l0 is None else check_l0(l0, n_atoms)
        super().__init__(
            d_in, n_atoms, aux_k=aux_k, aux_weight=aux_weight, revival=revival, generator=generator
        )
        self.sparsity, self.l0 = checked, target
        self.price = Adaptive(target)

    def _begin(self, x: Float[Tensor, "rows d_in"]) -> None:
        start = START * self.d_in if self.l0 is None else 2 * self.l0
        theta = first_threshold(x, self.encoder, self.bias, min(start, self.n_atoms / 2))
        self.encoder.bias.fill_(-float(theta * self.scaling.scale))

    def _prox(self, k: Any) -> Prox:  # noqa: ARG002
        return ThresholdProx(0.0)

    def _terms(
        self,
        x: Float[Tensor, "rows d_in"],
        candidates: SparseCodes,  # noqa: ARG002
        codes: SparseCodes,
        step_fraction: float,
    ) -> Parts:
        l1 = self.over_atoms(codes.values.sum()) / (len(x) * self.scaling.variance.sqrt())
        price = self.price(codes, len(x), self.over_atoms) if self.training else 1.0
        return {"l1": (self.sparsity * ramp(step_fraction, RAMP) * price, l1)}

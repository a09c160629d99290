"""ReLU: every positive pre-code is kept, and an ℓ1 penalty makes few of them positive."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from sae_nb.architectures._recipe import LossTerms, ramp
from sae_nb.architectures._sparsity import RAMP, Priced
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Weight, checked
from sae_nb.codes import SparseCodes

SPARSITY = 0.15
"""Default weight of ℓ1. λ = 5 of the April-2024 recipe at d_in 768 is 0.18 in our units."""


@checked
@dataclass(eq=False, repr=False)
class ReLU(Priced):
    """A sparse autoencoder with a sparsity penalty: z = [(x − b)Eᵀ + a]₊,  x̂ = zD + b.

    Trained on ‖x − x̂‖² / V + λ Σ_j z_j / √V with V = E‖x − μ‖²: λ / 2 of the typical length of x is
    what a lone atom loses (shrinkage). With ‖d_j‖ = 1 this is the April-2024 objective,
    λ' Σ_j z_j ‖d_j‖, after its norms are folded into the codes; its λ' is λ √d_in on its inputs of
    length √d_in. λ sets in over the first 5 % of the run.

    Parameters
    ----------
    sparsity
        λ, at least 0.
    l0
        Atoms per input to aim at: λ then adapts while it trains, from `sparsity` on. None: λ stays.
    aux_weight
        Weight of AuxK; the recipe has none.
    d_in, n_atoms, aux_k, revival, generator
        As in `TopK`.

    Source
    ------
    Conerly et al., "Update on how we train SAEs", Transformer Circuits, April 2024. Adapting λ to a
    target L0: mpsae/MP-SAE, sae.py. Ours starts with few positive pre-codes, by a bias read off the
    first activations, where others start with half of all.

    Example
    -------
    >>> import torch
    >>> sae = ReLU(d_in=4, n_atoms=8, generator=torch.Generator().manual_seed(0))
    >>> bool((sae.encode(torch.ones(3, 4)).values > 0).all())
    True
    """

    _: KW_ONLY
    sparsity: Weight = SPARSITY

    fixed_codes = True

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        prices = self.over_atoms(self._prices(codes).sum())
        l1 = prices / (len(target) * self.scaling.variance.sqrt())
        l1_multiplier = self.price(codes, len(target), self.over_atoms) if self.training else 1.0
        return {"l1": (self.sparsity * ramp(step_fraction, RAMP) * l1_multiplier, l1)}

"""Thresholds by atom: the pre-codes above θ_j, unchanged; θ = 0 is the ReLU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb import kernels
from sae_nb.codes import SparseCodes
from sae_nb.kernels import reference


@dataclass(frozen=True, eq=False)
class ThresholdProx:
    """z_j = u_j where u_j > θ_j, else 0.

    With θ ≥ 0 it is the prox of g(z) = Σ_j ½ θ_j² 1[z_j ≠ 0] over z ≥ 0 (`HardProx` with one λ per
    atom, and exact sparse tiles); with θ = 0, of the constraint z ≥ 0 alone. Negative thresholds let
    negative pre-codes pass.

    Source
    ------
    Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
    autoencoders", arXiv 2407.14435.

    Example
    -------
    >>> ThresholdProx(torch.tensor([2.0, 0.0]))(torch.tensor([[1.0, 3.0], [4.0, -2.0]])).to_dense().tolist()
    [[0.0, 3.0], [4.0, 0.0]]
    """

    thresholds: Float[Tensor, " n_atoms"] | float
    """θ, one number or one per atom, in the units of the pre-codes; constants."""

    def __call__(self, pre_codes: Float[Tensor, "rows n_atoms"]) -> SparseCodes:
        """The entries above their threshold."""
        thresholds = torch.as_tensor(self.thresholds, dtype=pre_codes.dtype)
        return reference.above(pre_codes, thresholds)

    def of_affine(
        self,
        x: Float[Tensor, "rows d_in"],
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        centre: Float[Tensor, " d_in"] | None,
    ) -> SparseCodes:
        """The pre-codes above their threshold, in tiles.

        Parameters
        ----------
        x
            Inputs.
        weight, bias, centre
            The affine map.
        """
        limits = self.thresholds
        return kernels.threshold_encode(x, weight, bias, thresholds=limits, centre=centre)

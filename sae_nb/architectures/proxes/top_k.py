"""TopK as a projection: the k largest positive pre-codes of each row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb import kernels
from sae_nb.architectures.proxes.penalty import Penalty
from sae_nb.architectures.proxes.thresholding import forbid
from sae_nb.codes import SparseCodes
from sae_nb.kernels import reference


@dataclass(frozen=True)
class TopKProx(Penalty):
    """Projection on the non-negative k-sparse codes: [TopK_k(u)]₊.

    g(z) = 0 where z ≥ 0 and ‖z‖₀ ≤ k, and ∞ elsewhere. Not convex.

    Example
    -------
    >>> TopKProx(1)(torch.tensor([[1.0, 3.0], [-1.0, -2.0]])).to_dense().tolist()
    [[0.0, 3.0], [0.0, 0.0]]
    """

    convex = False

    k: int
    """Most entries per row."""

    def __call__(self, pre_codes: Float[Tensor, "rows n_atoms"]) -> SparseCodes:
        """The k largest positive entries of each row."""
        return reference.topk(pre_codes, self.k)

    def of_affine(
        self,
        x: Float[Tensor, "rows d_in"],
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        centre: Float[Tensor, " d_in"] | None,
    ) -> SparseCodes:
        """The k largest positive pre-codes of each row, in tiles.

        Parameters
        ----------
        x
            Inputs.
        weight, bias, centre
            The affine map.
        """
        return kernels.topk_encode(x, weight, bias, k=self.k, centre=centre)

    def dense(
        self,
        v: Float[Tensor, "rows n_atoms"],
        step: float = 1.0,  # noqa: ARG002
    ) -> Float[Tensor, "rows n_atoms"]:
        """The same with its zeros; a projection is the same for every step.

        Parameters
        ----------
        v, step
            As in `Penalty.dense`.
        """
        largest = v.topk(self.k, dim=1)
        return torch.zeros_like(v).scatter(1, largest.indices, torch.relu(largest.values))

    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """0 where z is allowed, ∞ elsewhere.

        Parameters
        ----------
        z
            Dense codes.
        """
        forbidden = (z < 0).any(dim=1) | ((z != 0).sum(dim=1) > self.k)
        return forbid(z.new_zeros(len(z)), forbidden)

"""TopK as a projection: the k largest positive pre-codes of each row."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sae_nb import kernels
from sae_nb.codes import SparseCodes
from sae_nb.kernels import reference


@dataclass(frozen=True)
class TopKProx:
    """Projection on the non-negative k-sparse codes: [TopK_k(u)]₊.

    g(z) = 0 where z ≥ 0 and ‖z‖₀ ≤ k, and ∞ elsewhere.

    Example
    -------
    >>> import torch
    >>> TopKProx(1)(torch.tensor([[1.0, 3.0], [-1.0, -2.0]])).to_dense().tolist()
    [[0.0, 3.0], [0.0, 0.0]]
    """

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
        """The k largest positive pre-codes of each row, in tiles."""
        return kernels.topk_encode(x, weight, bias, k=self.k, centre=centre)

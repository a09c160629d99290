"""BatchTopK as a projection: the rows · k largest positive pre-codes of a whole batch."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sae_nb import kernels
from sae_nb.codes import SparseCodes
from sae_nb.kernels import reference


@dataclass(frozen=True)
class BatchTopKProx:
    """Projection of a batch on the non-negative codes with rows · k entries altogether.

    It is a prox of the batch, not of its rows: who shares a batch shares its entries.

    Source
    ------
    Bussmann et al., "BatchTopK sparse autoencoders", arXiv 2412.06410.

    Example
    -------
    >>> import torch
    >>> BatchTopKProx(1)(torch.tensor([[1.0, 3.0], [2.0, -2.0]])).to_dense().tolist()
    [[0.0, 3.0], [2.0, 0.0]]
    """

    k: float
    """Entries per row on average; need not be whole."""

    def __call__(self, pre_codes: Float[Tensor, "rows n_atoms"]) -> SparseCodes:
        """The largest positive entries of all rows together."""
        return reference.batch_topk(pre_codes, round(self.k * len(pre_codes)))

    def of_affine(
        self,
        x: Float[Tensor, "rows d_in"],
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        centre: Float[Tensor, " d_in"] | None,
    ) -> SparseCodes:
        """The largest positive pre-codes of all rows together, in tiles.

        Parameters
        ----------
        x
            Inputs.
        weight, bias, centre
            The affine map.
        """
        return kernels.batch_topk_encode(x, weight, bias, k=self.k, centre=centre)

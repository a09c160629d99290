"""AbsTopK as a projection: the k entries of largest magnitude in each row, with their sign."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sae_nb import kernels
from sae_nb.architectures.proxes.penalty import Penalty
from sae_nb.architectures.proxes.thresholding import forbid
from sae_nb.codes import SparseCodes
from sae_nb.kernels import reference


@dataclass(frozen=True)
class AbsTopKProx(Penalty):
    """Projection on the k-sparse codes of either sign: H_k(u).

    g(z) = 0 where ‖z‖₀ ≤ k, and ∞ elsewhere. Not convex.

    Source
    ------
    "AbsTopK: Rethinking sparse autoencoders for bidirectional features", arXiv 2510.00404.

    Example
    -------
    >>> import torch
    >>> AbsTopKProx(1)(torch.tensor([[1.0, -3.0], [-1.0, 0.5]])).to_dense().tolist()
    [[0.0, -3.0], [-1.0, 0.0]]
    """

    convex = False

    k: int
    """Most entries per row."""

    def __call__(self, pre_codes: Float[Tensor, "rows n_atoms"]) -> SparseCodes:
        """The k entries of largest magnitude of each row."""
        return reference.topk(pre_codes, self.k, signed=True)

    def of_affine(
        self,
        x: Float[Tensor, "rows d_in"],
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        centre: Float[Tensor, " d_in"] | None,
    ) -> SparseCodes:
        """The k pre-codes of largest magnitude of each row, in tiles.

        Parameters
        ----------
        x
            Inputs.
        weight, bias, centre
            The affine map.
        """
        return kernels.topk_encode(x, weight, bias, k=self.k, centre=centre, signed=True)

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
        return reference.topk(v, self.k, signed=True).to_dense()

    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """0 where z is allowed, ∞ elsewhere.

        Parameters
        ----------
        z
            Dense codes.
        """
        return forbid(z.new_zeros(len(z)), (z != 0).sum(dim=1) > self.k)

"""Thresholding: soft, the proximal map of a weighted ℓ1 norm, and hard, that of counting entries."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.proxes.penalty import Penalty, tile_of


@dataclass(frozen=True, eq=False)
class SoftProx(Penalty):
    """g(z) = Σ_j λ_j |z_j|, over z ≥ 0 if asked: shrink by t λ_j, and keep what is left.

    Non-negative, it is a ReLU with threshold, [v − t λ]₊. With a weight per input and atom it is the
    locality-weighted penalty of WLSC.

    Source
    ------
    Daubechies, Defrise and De Mol, 2004; per-input weights: "Clustering Inductive Biases with
    Unrolled Networks", arXiv 2402.10213.

    Example
    -------
    >>> SoftProx(1.0).dense(torch.tensor([[3.0, -2.0, 0.5]])).tolist()
    [[2.0, -1.0, 0.0]]
    >>> SoftProx(1.0, nonnegative=True).dense(torch.tensor([[3.0, -2.0, 0.5]])).tolist()
    [[2.0, 0.0, 0.0]]
    """

    weight: float | Float[Tensor, "*rows n_atoms"]
    """λ ≥ 0 in units of x times units of an atom: one number, one per atom, or one per row and atom."""

    nonnegative: bool = False
    """Whether codes must be ≥ 0."""

    def dense(
        self, v: Float[Tensor, "rows n_atoms"], step: float = 1.0
    ) -> Float[Tensor, "rows n_atoms"]:
        """Shrink by step · λ.

        Parameters
        ----------
        v, step
            As in `Penalty.dense`.
        """
        threshold = step * self.weight
        kept = torch.relu(v - threshold)
        return kept if self.nonnegative else kept - torch.relu(-v - threshold)

    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """Σ_j λ_j |z_j|.

        Parameters
        ----------
        z
            Dense codes.
        """
        value = (self.weight * z.abs()).sum(dim=1)
        return forbid(value, (z < 0).any(dim=1)) if self.nonnegative else value

    def of_rows(self, rows: slice) -> SoftProx:
        """With the weights of these rows.

        Parameters
        ----------
        rows
            The tile.
        """
        return replace(self, weight=tile_of(self.weight, rows))


@dataclass(frozen=True, eq=False)
class HardProx(Penalty):
    """g(z) = λ ‖z‖₀, over z ≥ 0 if asked: keep v_j where v_j² > 2 t λ, unchanged.

    Not convex: solvers find a point no small step improves, which depends on where they start.

    Source
    ------
    Blumensath and Davies, "Iterative thresholding for sparse approximations", 2008.

    Example
    -------
    >>> HardProx(2.0).dense(torch.tensor([[3.0, -2.5, 2.0]])).tolist()
    [[3.0, -2.5, 0.0]]
    """

    convex = False

    weight: float
    """λ ≥ 0: what one more entry must gain in ½‖x − x̂‖²."""

    nonnegative: bool = False
    """Whether codes must be ≥ 0."""

    def dense(
        self, v: Float[Tensor, "rows n_atoms"], step: float = 1.0
    ) -> Float[Tensor, "rows n_atoms"]:
        """Keep what is larger than √(2 step λ).

        Parameters
        ----------
        v, step
            As in `Penalty.dense`.
        """
        size = v if self.nonnegative else v.abs()
        return torch.where(size > (2 * step * self.weight) ** 0.5, v, torch.zeros_like(v))

    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """λ ‖z‖₀.

        Parameters
        ----------
        z
            Dense codes.
        """
        value = self.weight * (z != 0).sum(dim=1).to(z.dtype)
        return forbid(value, (z < 0).any(dim=1)) if self.nonnegative else value


def forbid(
    value: Float[Tensor, " rows"], forbidden: Float[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """∞ where a row is not allowed, its value elsewhere.

    Parameters
    ----------
    value
        g where it is finite.
    forbidden
        True where a row breaks the constraint.
    """
    return value.masked_fill(forbidden, torch.inf)

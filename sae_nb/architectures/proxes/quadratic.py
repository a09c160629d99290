"""Quadratic penalties: none at all, and a ridge. Their codes are dense."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.proxes.penalty import Penalty, tile_of


@dataclass(frozen=True, eq=False)
class RidgeProx(Penalty):
    """g(z) = ½ Σ_j α_j z_j²: v_j / (1 + t α_j). A Gaussian prior with precisions α.

    Example
    -------
    >>> import torch
    >>> RidgeProx(1.0).dense(torch.tensor([[3.0, -2.0]])).tolist()
    [[1.5, -1.0]]
    """

    precision: float | Float[Tensor, "*rows n_atoms"]
    """α ≥ 0: one number, one per atom, or one per row and atom."""

    def dense(
        self, v: Float[Tensor, "rows n_atoms"], step: float = 1.0
    ) -> Float[Tensor, "rows n_atoms"]:
        """Divide by 1 + step · α.

        Parameters
        ----------
        v, step
            As in `Penalty.dense`.
        """
        return v / (1 + step * self.precision)

    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """½ Σ_j α_j z_j².

        Parameters
        ----------
        z
            Dense codes.
        """
        return 0.5 * (self.precision * z.square()).sum(dim=1)

    def of_rows(self, rows: slice) -> RidgeProx:
        """With the precisions of these rows.

        Parameters
        ----------
        rows
            The tile.
        """
        return replace(self, precision=tile_of(self.precision, rows))


@dataclass(frozen=True, eq=False)
class IdentityProx(RidgeProx):
    """g(z) = 0: v itself, so that solvers find least squares.

    Example
    -------
    >>> import torch
    >>> IdentityProx().dense(torch.tensor([[3.0, -2.0]])).tolist()
    [[3.0, -2.0]]
    """

    precision: float = field(default=0.0, init=False)

    def of_rows(self, rows: slice) -> IdentityProx:  # noqa: ARG002
        """The same for all rows.

        Parameters
        ----------
        rows
            The tile.
        """
        return self

    def dense(
        self,
        v: Float[Tensor, "rows n_atoms"],
        step: float = 1.0,  # noqa: ARG002
    ) -> Float[Tensor, "rows n_atoms"]:
        """Nothing changes.

        Parameters
        ----------
        v, step
            As in `Penalty.dense`.
        """
        return v

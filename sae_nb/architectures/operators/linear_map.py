"""What a solver needs of a synthesis operator A: both directions, how steep it is, and its atoms."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Operator(Protocol):
    """A linear map from codes to reconstructions. It knows nothing of models, links or penalties."""

    @property
    def n_atoms(self) -> int:
        """Width of a code."""
        ...

    @property
    def d_in(self) -> int:
        """Width of a reconstruction."""
        ...

    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """The matrix of A, one row per entry of a code."""
        ...

    def forward(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows d_in"]:
        """A z of dense codes."""
        ...

    def adjoint(self, r: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows n_atoms"]:
        """Aᵀ r, dense."""
        ...

    def lipschitz(self) -> float:
        """A bound on ‖A‖²: 1 / lipschitz is a safe step for ½‖x − A z‖²."""
        ...

    def energy(self) -> Float[Tensor, " n_atoms"]:
        """‖a_j‖² of each atom, the diagonal of AᵀA."""
        ...

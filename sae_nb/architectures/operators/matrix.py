"""Operators that are a matrix: A z = z D. Subclasses say where D comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode, squared_error


class MatrixOperator(ABC):
    """Everything that follows from a dictionary D, however it is parametrised."""

    @abstractmethod
    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """The effective dictionary D, with its gradient."""

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.atoms().shape[0]

    @property
    def d_in(self) -> int:
        """Width of an atom."""
        return self.atoms().shape[1]

    def synthesise(
        self, codes: SparseCodes, bias: Float[Tensor, " d_in"] | None = None
    ) -> Float[Tensor, "rows d_in"]:
        """A z + b.

        Parameters
        ----------
        codes
            Strengths and atoms.
        bias
            Added to every row.
        """
        return decode(codes, self.atoms(), bias)

    def squared_error(
        self,
        codes: SparseCodes,
        bias: Float[Tensor, " d_in"] | None,
        target: Float[Tensor, "rows d_in"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "rows d_in"], Float[Tensor, "rows d_in"]]:
        """Σ‖target − (A z + b)‖², with A z + b and the residual as constants.

        Parameters
        ----------
        codes
            Strengths and atoms.
        bias
            Added to every row.
        target
            What the rows should be.
        """
        return squared_error(codes, self.atoms(), bias, target)

    def forward(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows d_in"]:
        """A z of dense codes, inside a solver.

        Parameters
        ----------
        z
            Dense codes.
        """
        return z @ self.atoms()

    def adjoint(self, r: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows n_atoms"]:
        """Aᵀ r = r Dᵀ, the correlations of each row with every atom; dense.

        Parameters
        ----------
        r
            Rows, usually residuals.
        """
        return r @ self.atoms().T

    def lipschitz(self) -> float:
        """‖A‖², the largest curvature of ½‖x − A z‖²: 1 / lipschitz is a safe step."""
        atoms = self.atoms().detach()
        gram = atoms.T @ atoms if self.d_in < self.n_atoms else atoms @ atoms.T
        return float(torch.linalg.eigvalsh(gram)[-1])

    def energy(self) -> Float[Tensor, " n_atoms"]:
        """‖d_j‖² of each atom."""
        return self.atoms().square().sum(dim=1)

    def project_gradient_(self) -> None:  # noqa: B027 - a dictionary need not be constrained
        """Called before each optimiser step; nothing to do where D is unconstrained."""

    def project_(self) -> None:  # noqa: B027
        """Called after each optimiser step; nothing to do where D is unconstrained."""


class FixedOperator(MatrixOperator):
    """A dictionary somebody gave: A z = z D, of any norms; a gradient reaches the tensor itself.

    Parameters
    ----------
    dictionary
        Atoms.

    Example
    -------
    >>> operator = FixedOperator(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    >>> operator.lipschitz(), operator.energy().tolist()
    (4.0, [4.0, 1.0])
    """

    def __init__(self, dictionary: Float[Tensor, "n_atoms d_in"]) -> None:
        self._dictionary = dictionary

    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """The dictionary as it was given."""
        return self._dictionary

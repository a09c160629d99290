"""The free dictionary: a matrix with unit rows, and its adjoint."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.architectures.operators.free import normal_rows
from sae_nb.architectures.operators.matrix import MatrixOperator

UNIT_GUARD = 1e-12
"""Added to atom norms before dividing, far below any norm that training reaches."""


class DenseOperator(MatrixOperator, nn.Module):
    """A free matrix with unit rows: A z = z D, ‖d_j‖ = 1.

    Parameters
    ----------
    d_in
        Width of an activation.
    n_atoms
        Number of atoms.
    generator
        Draws the first atoms, uniformly on the sphere.

    Source
    ------
    Unit rows by projecting gradients and renormalising: saprmarks/dictionary_learning,
    trainers/trainer.py; Bricken et al., "Towards Monosemanticity".
    """

    def __init__(
        self, d_in: int, n_atoms: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_unit_rows(n_atoms, d_in, generator))

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.weight.shape[0]

    @property
    def d_in(self) -> int:
        """Width of an atom."""
        return self.weight.shape[1]

    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """The effective dictionary D, with its gradient."""
        return self.weight

    @torch.no_grad()
    def project_gradient_(self) -> None:
        """Remove from each row's gradient the part along the atom, which would only change its norm."""
        if self.weight.grad is not None:
            direction = self.weight / (self.weight.norm(dim=1, keepdim=True) + UNIT_GUARD)
            along = torch.linalg.vecdot(self.weight.grad, direction)
            self.weight.grad.addcmul_(along[:, None], direction, value=-1)

    @torch.no_grad()
    def project_(self) -> None:
        """Give every atom unit norm again."""
        self.weight.div_(self.weight.norm(dim=1, keepdim=True) + UNIT_GUARD)


def random_unit_rows(
    n: int, width: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n width"]:
    """Draw directions uniformly on the sphere.

    Parameters
    ----------
    n, width
        How many, of what width.
    generator
        Draws them; None is torch's global generator.
    """
    rows = normal_rows(n, width, generator)
    return rows if rows.is_meta else rows / rows.norm(dim=1, keepdim=True)

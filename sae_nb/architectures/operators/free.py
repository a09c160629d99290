"""The unconstrained dictionary: atoms of any norm, learned in scaled units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.architectures.operators.matrix import MatrixOperator


class FreeOperator(MatrixOperator, nn.Module):
    """A z = z (u · W): a free matrix W, and the length u of its unit in the model's units.

    Norms carry scale, for codes that have none of their own (memberships that sum to 1).

    Parameters
    ----------
    d_in
        Width of an activation.
    n_atoms
        Number of atoms.
    generator
        Draws the first atoms, standard normal.
    """

    unit: Tensor

    def __init__(
        self, d_in: int, n_atoms: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal_rows(n_atoms, d_in, generator))
        self.register_buffer("unit", torch.ones(()))

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.weight.shape[0]

    @property
    def d_in(self) -> int:
        """Width of an atom."""
        return self.weight.shape[1]

    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """The effective dictionary D = u · W, with its gradient."""
        return self.weight * self.unit


def normal_rows(
    n: int, width: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n width"]:
    """Draw rows of standard normal numbers.

    Parameters
    ----------
    n, width
        How many, of what width.
    generator
        Draws them; None is torch's global generator.
    """
    rows = torch.empty(n, width)
    if rows.is_meta:
        return rows
    if generator is None:
        return rows.normal_()
    return rows.copy_(torch.randn(n, width, generator=generator, device=generator.device))

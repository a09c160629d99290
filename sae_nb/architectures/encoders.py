"""The learned adjoint: what a one-step encoder uses in place of Dᵀ."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.architectures.operators import MatrixOperator


class LearnedAdjoint(nn.Module):
    """An affine map to pre-codes, u = r Eᵀ + a.

    Parameters
    ----------
    operator
        The synthesis operator whose adjoint it starts from: E = D, a = 0 (tied, then trained apart).

    Source
    ------
    Gregor and LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    """

    def __init__(self, operator: MatrixOperator) -> None:
        super().__init__()
        atoms = operator.atoms().detach()
        self.weight = nn.Parameter(atoms.clone())
        self.bias = nn.Parameter(atoms.new_zeros(len(atoms)))

    def forward(
        self, r: Float[Tensor, "rows d_in"], scale: Float[Tensor, ""] | float = 1.0
    ) -> Float[Tensor, "rows n_atoms"]:
        """All pre-codes at once, dense: for small inputs, panels and tests.

        Parameters
        ----------
        r
            Centred activations in the model's units.
        scale
            Turns the model's units into the units `bias` is learned in.
        """
        return r @ self.weight.T + self.bias / scale

    @torch.no_grad()
    def rescale_(self, gain: float) -> None:
        """Multiply every pre-code by one number.

        Parameters
        ----------
        gain
            That number.
        """
        self.weight.mul_(gain)
        self.bias.mul_(gain)

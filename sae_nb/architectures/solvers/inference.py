"""What is solved: min_z nll(x, A z + b) + g(z), for one tile of rows, and its safe step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.links import Link
from sae_nb.architectures.operators import Operator
from sae_nb.architectures.proxes import Penalty


@dataclass(frozen=True, eq=False, kw_only=True)
class Inference:
    """One tile of rows to be encoded. Codes are dense here, and only here."""

    operator: Operator
    """A."""

    x: Float[Tensor, "rows d_in"]
    """Data."""

    prox: Penalty
    """g."""

    link: Link
    """nll."""

    bias: Float[Tensor, " d_in"] | None
    """b."""

    start: Float[Tensor, "rows n_atoms"]
    """Codes to begin with."""

    steepness: float
    """`operator.lipschitz() · link.curvature`, computed once for all tiles."""

    differentiable: bool
    """Whether a gradient is wanted at the end."""

    @property
    def step(self) -> float:
        """The largest step that is safe whatever the data: 1 / (‖A‖² · curvature)."""
        return 1.0 / self.steepness if self.steepness > 0 else 1.0

    def eta(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows d_in"]:
        """A z + b.

        Parameters
        ----------
        z
            Dense codes.
        """
        eta = self.operator.forward(z)
        return eta if self.bias is None else eta + self.bias

    def residual(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows d_in"]:
        """X − μ(A z + b); Aᵀ of it is the direction of steepest descent.

        Parameters
        ----------
        z
            Dense codes.
        """
        return self.x - self.link.mean(self.eta(z))

    def proximal_step(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows n_atoms"]:
        """prox_{t g}(z + t Aᵀ residual(z)).

        Parameters
        ----------
        z
            Dense codes.
        """
        moved = z + self.step * self.operator.adjoint(self.residual(z))
        return self.prox.dense(moved, self.step)

    @torch.no_grad()
    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """What is minimised, of each row.

        Parameters
        ----------
        z
            Dense codes.
        """
        return self.link.nll(self.x, self.eta(z)) + self.prox.objective(z)

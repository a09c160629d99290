"""Group shrinkage: atoms that come on and go off together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.proxes.penalty import Penalty
from sae_nb.architectures.proxes.thresholding import forbid


@dataclass(frozen=True, eq=False)
class GroupProx(Penalty):
    """g(z) = λ Σ_G ‖z_G‖₂ over disjoint groups, over z ≥ 0 if asked.

    z_G = [1 − t λ / ‖v_G‖]₊ v_G, of [v]₊ where codes must not be negative.

    Source
    ------
    Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006.

    Example
    -------
    >>> prox = GroupProx(torch.tensor([0, 0, 1]), 1.0)
    >>> [[round(z, 4) for z in row] for row in prox.dense(torch.tensor([[3.0, 4.0, 0.5]])).tolist()]
    [[2.4, 3.2, 0.0]]
    """

    groups: Int[Tensor, " n_atoms"]
    """Group of each atom, counted from 0."""

    weight: float
    """λ ≥ 0."""

    nonnegative: bool = False
    """Whether codes must be ≥ 0."""

    def dense(
        self, v: Float[Tensor, "rows n_atoms"], step: float = 1.0
    ) -> Float[Tensor, "rows n_atoms"]:
        """Shrink each group's norm by step · λ.

        Parameters
        ----------
        v, step
            As in `Penalty.dense`.
        """
        v = torch.relu(v) if self.nonnegative else v
        norms = self.norms(v)
        # A group at zero stays there; dividing by its norm would not be finite.
        safe = torch.where(norms > 0, norms, torch.ones_like(norms))
        factor = torch.relu(1 - step * self.weight / safe) * (norms > 0)
        return v * factor.index_select(1, self.groups.to(v.device))

    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """λ Σ_G ‖z_G‖₂.

        Parameters
        ----------
        z
            Dense codes.
        """
        value = self.weight * self.norms(z).sum(dim=1)
        return forbid(value, (z < 0).any(dim=1)) if self.nonnegative else value

    def norms(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows groups"]:
        """‖z_G‖₂ of every group.

        Parameters
        ----------
        z
            Dense codes.
        """
        groups = self.groups.to(z.device)
        power = z.new_zeros(len(z), int(groups.max()) + 1).index_add(1, groups, z.square())
        # The square root has no slope at 0; where nothing is active, nothing is to be learned.
        positive = power > 0
        return torch.where(positive, power, torch.ones_like(power)).sqrt() * positive

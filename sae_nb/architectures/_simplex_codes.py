"""The common parts of dictionaries whose codes are ≥ 0 and sum to 1: atoms are points among the data."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures.parts._operators import FreeOperator
from sae_nb.architectures.parts._proxes import Matrix, Rows
from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode


class Memberships(SparseAutoencoder):
    """x̂ = μ + zD with z on the simplex: atoms of any norm, in scaled units, that begin at points of the data.

    Memberships sum to 1, so atoms carry any offset: apart from μ there is no bias to learn.
    """

    operator: FreeOperator
    unit_atoms = False

    def _make_atoms(self, d_in: int, n_atoms: int, generator: Generator | None) -> None:
        """Begin as a module, with atoms that are drawn."""
        super().__init__(FreeOperator(d_in, n_atoms, generator=generator))
        del self.pre_bias
        self.register_buffer("pre_bias", torch.zeros(d_in))

    @torch.no_grad()
    def _scale(self, x: Rows, generator: Generator | None) -> None:
        """Read the scaling off the first activations; atoms become some of them."""
        super()._scale(x, generator)
        self.pre_bias.zero_()
        self.operator.unit.copy_(1 / self.scaling.scale)
        where = x.device if generator is None else generator.device
        n_drawn = math.ceil(self.n_atoms / len(x))
        drawn = [torch.randperm(len(x), generator=generator, device=where) for _ in range(n_drawn)]
        chosen = x[torch.cat(drawn)[: self.n_atoms].to(x.device)]
        self.operator.weight.copy_(self._scaled(chosen))

    def _scaled(self, x: Tensor) -> Tensor:
        return (x - self.scaling.mean) * self.scaling.scale


def distance_to_used(x: Rows, codes: SparseCodes, points: Matrix) -> Tensor:
    """Σ_ij z_ij ‖x_i − p_j‖², from what the codes touch alone."""
    centre = decode(codes, points)
    norms, lengths = points.square().sum(dim=1), x.square().sum(dim=1)
    apart = norms[codes.atoms.long()] + lengths[codes.support.rows]
    return (codes.values * apart).sum() - 2 * (x * centre).sum()

"""The nearest point of the probability simplex (sparsemax), with an optional cost per atom."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.proxes.penalty import Penalty, affine, row_tiles, tile_of
from sae_nb.architectures.proxes.thresholding import forbid
from sae_nb.codes import SparseCodes
from sae_nb.kernels.autograd import chosen
from sae_nb.kernels.backends import pick, primitives_of
from sae_nb.kernels.primitives import Entries, PreCodes
from sae_nb.support import index_dtype, offsets_of

FIRST_LOOK = 64
"""Largest entries of a row sorted before looking further; few codes use more (ours)."""

ROUNDING = 1e-4
"""How far a row's sum may be from 1 before the objective calls it forbidden (ours, for fp32)."""


@dataclass(frozen=True, eq=False)
class SimplexProx(Penalty):
    """g(z) = Σ_j c_j z_j over the simplex z ≥ 0, Σ_j z_j = 1: the projection of v − t c.

    z = [v − θ]₊ with θ such that the entries sum to 1. Adding one number to all of v changes
    nothing. With c_j = λ‖x − a_j‖² it is the penalty of K-Deep Simplex; one step of that from zero is
    SpaDE's encoder.

    Source
    ------
    Held, Wolfe and Crowder, 1974; Martins and Astudillo, "From softmax to sparsemax", arXiv
    1602.02068; costs: Tasissa et al., "K-Deep Simplex", arXiv 2012.02134.

    Example
    -------
    >>> SimplexProx().dense(torch.tensor([[1.0, 0.5, -3.0]])).tolist()
    [[0.75, 0.25, 0.0]]
    """

    cost: Float[Tensor, "*rows n_atoms"] | None = None
    """c: one number per atom, or per row and atom; None is 0."""

    def dense(
        self, v: Float[Tensor, "rows n_atoms"], step: float = 1.0
    ) -> Float[Tensor, "rows n_atoms"]:
        """Project v − step · c; differentiable to any order.

        Parameters
        ----------
        v, step
            As in `Penalty.dense`.
        """
        v = self._shifted(v, step)
        kept = v > simplex_threshold(v)
        # On its support z is linear in v: written so, autograd gives g − mean of g there.
        total = (v * kept).sum(dim=1, keepdim=True)
        theta = (total - 1) / kept.sum(dim=1, keepdim=True)
        return torch.relu((v - theta).masked_fill(~kept, 0.0))

    def __call__(self, pre_codes: Float[Tensor, "rows n_atoms"]) -> SparseCodes:
        """The projection of dense pre-codes, sparse."""
        v = self._shifted(pre_codes, 1.0)
        return _on_support(entries_above(v, simplex_threshold(v)))

    def of_affine(
        self,
        x: Float[Tensor, "rows d_in"],
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        centre: Float[Tensor, " d_in"] | None,
    ) -> SparseCodes:
        """The projection of (x − centre) weightᵀ + bias, in tiles, with sparse gradients.

        Parameters
        ----------
        x
            Inputs.
        weight, bias, centre
            The affine map.
        """
        if self.cost is not None and self.cost.ndim == 2:
            return super().of_affine(x, weight, bias, centre)
        if self.cost is not None:
            bias = -self.cost if bias is None else bias - self.cost
        backend = pick("auto", x)
        if backend == "reference":
            return SimplexProx()(affine(x, weight, bias, centre))
        parts = []
        with torch.no_grad():
            for rows in row_tiles(len(x), len(weight)):
                v = SimplexProx()._shifted(affine(x[rows], weight, bias, centre), 1.0)
                parts.append(entries_above(v, simplex_threshold(v)))
        found = SparseCodes.concatenate(parts)
        pre_codes = PreCodes(x.contiguous(), weight, bias, centre)
        entries = Entries(found.values, found.atoms, found.offsets)
        return _on_support(chosen(primitives_of(backend, found.support), pre_codes, entries))

    def _shifted(self, v: Tensor, step: float) -> Tensor:
        # Relative to the largest entry, so that sums of large numbers keep their digits.
        v = v if self.cost is None else v - step * self.cost
        return v - v.detach().max(dim=1, keepdim=True).values

    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """Σ_j c_j z_j on the simplex, ∞ off it.

        Parameters
        ----------
        z
            Dense codes.
        """
        value = z.new_zeros(len(z)) if self.cost is None else (self.cost * z).sum(dim=1)
        off = (z.sum(dim=1) - 1).abs() > ROUNDING
        return forbid(value, off | (z < 0).any(dim=1))

    def of_rows(self, rows: slice) -> SimplexProx:
        """With the costs of these rows.

        Parameters
        ----------
        rows
            The tile.
        """
        return self if self.cost is None else replace(self, cost=tile_of(self.cost, rows))


def entries_above(
    v: Float[Tensor, "rows n_atoms"], threshold: Float[Tensor, "rows 1"]
) -> SparseCodes:
    """The entries of each row above its threshold, as they are.

    Parameters
    ----------
    v, threshold
        Dense rows, and one number for each.
    """
    row, atom = (v > threshold).nonzero(as_tuple=True)
    offsets = offsets_of(torch.bincount(row, minlength=len(v)))
    return SparseCodes(v[row, atom], atom.to(index_dtype(v.shape[1])), offsets, v.shape[1])


def _on_support(entries: SparseCodes) -> SparseCodes:
    """Entries of each row lowered by one number, so that they sum to 1."""
    row = entries.support.rows
    total = entries.values.new_zeros(len(entries)).index_add(0, row, entries.values)
    theta = (total - 1) / entries.l0
    return entries.with_values(torch.relu(entries.values - theta[row]))


@torch.no_grad()
def simplex_threshold(v: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows 1"]:
    """θ with Σ_j [v_j − θ]₊ = 1, exactly: by sorting as many of the largest entries as needed.

    With u the entries in falling order, θ_i = (u_1 + … + u_i − 1) / i for the last i with u_i > θ_i.

    Parameters
    ----------
    v
        Rows to be projected on the simplex.
    """
    n_atoms = v.shape[1]
    looked_at = min(FIRST_LOOK, n_atoms)
    while True:
        u = v.topk(looked_at, dim=1).values
        counts = torch.arange(1, looked_at + 1, device=v.device, dtype=v.dtype)
        theta = (u.cumsum(dim=1) - 1) / counts
        n_kept = (u > theta).sum(dim=1, keepdim=True)
        if looked_at == n_atoms or int(n_kept.max()) < looked_at:
            return theta.gather(1, n_kept - 1)  # NaN keeps nothing: an error, not a silent zero
        looked_at = min(4 * looked_at, n_atoms)

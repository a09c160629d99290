"""Proxes: the penalties g that make codes sparse, as prox_{t g}(v) = argmin_z ½‖z − v‖² + t g(z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb import kernels
from sae_nb.checks import checked
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import Support
from sae_nb.kernels._coding import FEW
from sae_nb.kernels._reference import above

_Numbers = TypeVar("_Numbers", float, Tensor, float | Tensor)

Rows = Float[Tensor, "rows d_in"]
Dense = Float[Tensor, "rows n_atoms"]
PerRow = Float[Tensor, " rows"]
Matrix = Float[Tensor, "n_atoms d_in"]
Bias = Float[Tensor, " n_atoms"] | None
Centre = Float[Tensor, " d_in"] | None

TILE_ENTRIES = 8 * 2**20
"""Dense entries of a tile of pre-codes: 32 MB in fp32, as in `kernels`."""


@runtime_checkable
class Prox(Protocol):
    """The functions of a penalty g that a one-step encoder needs."""

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The proximal map of dense pre-codes."""

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Return the proximal map of (x − centre) weightᵀ + bias, without keeping it."""


class Penalty(ABC):
    """A penalty g with its value, and its proximal map for any step.

    A subclass writes `dense` and `objective`; the sparse faces (`Prox`) follow.
    """

    convex: ClassVar[bool] = True
    """Whether g is convex, so that solvers find the minimum from anywhere."""

    @abstractmethod
    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Return argmin_z ½‖z − v‖² + step · g(z), zeros included: for tiles inside a solver."""

    @abstractmethod
    def objective(self, z: Dense) -> PerRow:
        """Return g of each row, ∞ where it is not allowed."""

    def of_rows(self, rows: slice) -> Penalty:
        """Return the penalty of a tile of rows, where it differs from row to row."""
        return self

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The proximal map of dense pre-codes, sparse."""
        return SparseCodes.from_dense(self.dense(pre_codes))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Apply the proximal map to (x − centre) weightᵀ + bias, in tiles."""
        tiles = row_tiles(len(x), len(weight))
        return SparseCodes.concatenate(
            self.of_rows(rows)(affine(x[rows], weight, bias, centre)) for rows in tiles
        )


def affine(x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> Dense:
    """(x − centre) weightᵀ + bias, dense."""
    return F.linear(x if centre is None else x - centre, weight, bias)


def few_pre_codes(x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> Dense | None:
    """Return the same where they are so few that waking compiled loops costs more; else None."""
    if not x.is_cpu or x.element_size() < 4 or x.shape[0] * weight.shape[0] > FEW:
        return None  # on the CPU numpy goes on with them, which has no bf16
    return affine(x, weight, bias, centre)


def codes_where(u: Dense, kept: np.ndarray) -> SparseCodes:
    """Return the pre-codes that a mask keeps, few of them, with their gradient."""
    n_rows, n_atoms = kept.shape
    at = kept.ravel().nonzero()[0]
    offsets = torch.from_numpy(at.searchsorted(np.arange(0, kept.size + 1, n_atoms)))
    atoms = torch.from_numpy(at.astype(np.int32) % n_atoms)
    support = Support(atoms, offsets, n_atoms)
    return SparseCodes._made(u.take(torch.from_numpy(at)), support, (n_rows,))


def row_tiles(n_rows: int, n_atoms: int, entries: int = TILE_ENTRIES) -> Iterator[slice]:
    """Return slices of rows whose dense codes have at most `entries` entries (one row at least)."""
    size = max(1, entries // n_atoms)
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))


def tile_of(numbers: _Numbers, rows: slice) -> _Numbers:
    """Return weights of a tile: their rows where they differ by row, else all of them."""
    if isinstance(numbers, Tensor) and numbers.ndim == 2:
        return numbers[rows]
    return numbers


@checked
@dataclass(frozen=True, eq=False)
class ThresholdProx:
    """z_j = u_j where u_j > θ_j, else 0.

    With θ ≥ 0 it is the prox of g(z) = Σ_j ½ θ_j² 1[z_j ≠ 0] over z ≥ 0 (`HardProx` with one λ per
    atom, and exact sparse tiles); with θ = 0, of the constraint z ≥ 0 alone. Negative thresholds let
    negative pre-codes pass.

    Source
    ------
    Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
    autoencoders", arXiv 2407.14435.

    Example
    -------
    >>> ThresholdProx(torch.tensor([2.0, 0.0]))(torch.tensor([[1.0, 3.0], [4.0, -2.0]])).to_dense().tolist()
    [[0.0, 3.0], [4.0, 0.0]]
    """

    thresholds: Float[Tensor, " n_atoms"] | float
    """θ, one number or one per atom, in the units of the pre-codes; constants."""

    def dense(self, v: Dense) -> Dense:
        """Return the entries above their threshold, others 0."""
        return torch.where(v > self.thresholds, v, 0.0)

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The entries above their threshold."""
        return above(pre_codes, torch.as_tensor(self.thresholds, dtype=pre_codes.dtype))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Return the pre-codes above their threshold: few pre-codes at once, more of them in tiles."""
        u = few_pre_codes(x, weight, bias, centre)
        if u is not None:
            return codes_where(u, (u > self.thresholds).numpy())
        return kernels.threshold_encode(x, weight, bias, thresholds=self.thresholds, centre=centre)


def keep_above(thresholds: Float[Tensor, " n_atoms"] | float) -> ThresholdProx:
    """Return the prox of an SAE's own thresholds, which fit: it is made anew with every call."""
    prox = object.__new__(ThresholdProx)
    object.__setattr__(prox, "thresholds", thresholds)
    return prox


@checked
@dataclass(frozen=True, eq=False)
class SoftProx(Penalty):
    """g(z) = Σ_j λ_j |z_j|, over z ≥ 0 if asked: shrink by t λ_j, and keep what is left.

    Non-negative, it is a ReLU with threshold, [v − t λ]₊. With a weight per input and atom it is the
    locality-weighted penalty of WLSC.

    Source
    ------
    Daubechies, Defrise and De Mol, 2004; per-input weights: "Clustering Inductive Biases with
    Unrolled Networks", arXiv 2402.10213.

    Example
    -------
    >>> SoftProx(1.0).dense(torch.tensor([[3.0, -2.0, 0.5]])).tolist()
    [[2.0, -1.0, 0.0]]
    >>> SoftProx(1.0, nonnegative=True).dense(torch.tensor([[3.0, -2.0, 0.5]])).tolist()
    [[2.0, 0.0, 0.0]]
    """

    weight: float | Float[Tensor, "*rows n_atoms"]
    """λ ≥ 0 in units of x times units of an atom: one number, one per atom, or one per row and atom."""

    nonnegative: bool = False
    """Whether codes must be ≥ 0."""

    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Shrink by step · λ."""
        threshold = step * self.weight
        kept = torch.relu(v - threshold)
        return kept if self.nonnegative else kept - torch.relu(-v - threshold)

    def objective(self, z: Dense) -> PerRow:
        """Σ_j λ_j |z_j|."""
        value = (self.weight * z.abs()).sum(dim=1)
        return forbid(value, (z < 0).any(dim=1)) if self.nonnegative else value

    def of_rows(self, rows: slice) -> SoftProx:
        """Return with the weights of these rows."""
        return replace(self, weight=tile_of(self.weight, rows))


@checked
@dataclass(frozen=True, eq=False)
class HardProx(Penalty):
    """g(z) = λ ‖z‖₀, over z ≥ 0 if asked: keep v_j where v_j² > 2 t λ, unchanged.

    Not convex: solvers find a point no small step improves, which depends on where they start.

    Source
    ------
    Blumensath and Davies, "Iterative thresholding for sparse approximations", 2008.

    Example
    -------
    >>> HardProx(2.0).dense(torch.tensor([[3.0, -2.5, 2.0]])).tolist()
    [[3.0, -2.5, 0.0]]
    """

    convex = False

    weight: float
    """λ ≥ 0: what one more entry must gain in ½‖x − x̂‖²."""

    nonnegative: bool = False
    """Whether codes must be ≥ 0."""

    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Keep what is larger than √(2 step λ)."""
        size = v if self.nonnegative else v.abs()
        return torch.where(size > (2 * step * self.weight) ** 0.5, v, torch.zeros_like(v))

    def objective(self, z: Dense) -> PerRow:
        """λ ‖z‖₀."""
        value = self.weight * (z != 0).sum(dim=1).to(z.dtype)
        return forbid(value, (z < 0).any(dim=1)) if self.nonnegative else value


def forbid(value: PerRow, forbidden: Tensor) -> PerRow:
    """∞ where a row is not allowed, its value elsewhere."""
    return value.masked_fill(forbidden, torch.inf)


@checked
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

    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Shrink each group's norm by step · λ."""
        v = torch.relu(v) if self.nonnegative else v
        norms = self.norms(v)
        # A group at zero stays there; dividing by its norm would not be finite.
        safe = torch.where(norms > 0, norms, torch.ones_like(norms))
        factor = torch.relu(1 - step * self.weight / safe) * (norms > 0)
        return v * factor.index_select(1, self.groups.to(v.device))

    def objective(self, z: Dense) -> PerRow:
        """λ Σ_G ‖z_G‖₂."""
        value = self.weight * self.norms(z).sum(dim=1)
        return forbid(value, (z < 0).any(dim=1)) if self.nonnegative else value

    def norms(self, z: Dense) -> Float[Tensor, "rows groups"]:
        """‖z_G‖₂ of every group."""
        groups = self.groups.to(z.device)
        power = z.new_zeros(len(z), int(groups.max()) + 1).index_add(1, groups, z.square())
        # The square root has no slope at 0; where nothing is active, nothing is to be learned.
        positive = power > 0
        return torch.where(positive, power, torch.ones_like(power)).sqrt() * positive


@checked
@dataclass(frozen=True, eq=False)
class RidgeProx(Penalty):
    """g(z) = ½ Σ_j α_j z_j²: v_j / (1 + t α_j). A Gaussian prior with precisions α.

    Example
    -------
    >>> RidgeProx(1.0).dense(torch.tensor([[3.0, -2.0]])).tolist()
    [[1.5, -1.0]]
    """

    precision: float | Float[Tensor, "*rows n_atoms"]
    """α ≥ 0: one number, one per atom, or one per row and atom."""

    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Divide by 1 + step · α."""
        return v / (1 + step * self.precision)

    def objective(self, z: Dense) -> PerRow:
        """½ Σ_j α_j z_j²."""
        return 0.5 * (self.precision * z.square()).sum(dim=1)

    def of_rows(self, rows: slice) -> RidgeProx:
        """Return with the precisions of these rows."""
        return replace(self, precision=tile_of(self.precision, rows))


@dataclass(frozen=True, eq=False)
class IdentityProx(RidgeProx):
    """g(z) = 0: v itself, so that solvers find least squares.

    Example
    -------
    >>> IdentityProx().dense(torch.tensor([[3.0, -2.0]])).tolist()
    [[3.0, -2.0]]
    """

    precision: float = field(default=0.0, init=False)

    def of_rows(self, rows: slice) -> IdentityProx:
        """Return the same for all rows."""
        return self


FIRST_LOOK = 64
"""Largest entries of a row sorted before looking further; few codes use more (ours)."""

ROUNDING = 1e-4
"""Allowed distance of a row's sum from 1 before the objective calls it forbidden (ours, for fp32)."""


@checked
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

    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Project v − step · c; differentiable to any order."""
        v = self._shifted(v, step)
        kept = v > simplex_threshold(v)
        # On its support z is linear in v: written so, autograd gives g − mean of g there.
        total = (v * kept).sum(dim=1, keepdim=True)
        theta = (total - 1) / kept.sum(dim=1, keepdim=True)
        return torch.relu((v - theta).masked_fill(~kept, 0.0))

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The projection of dense pre-codes, sparse."""
        v = self._shifted(pre_codes, 1.0)
        return _on_support(entries_above(v, simplex_threshold(v)))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Project (x − centre) weightᵀ + bias, in tiles, with sparse gradients."""
        if self.cost is not None and self.cost.ndim == 2:
            return super().of_affine(x, weight, bias, centre)
        if self.cost is not None:
            bias = -self.cost if bias is None else bias - self.cost
        parts = []
        with torch.no_grad():
            for rows in row_tiles(len(x), len(weight)):
                v = SimplexProx()._shifted(affine(x[rows], weight, bias, centre), 1.0)
                parts.append(entries_above(v, simplex_threshold(v)))
        found = SparseCodes.concatenate(parts)
        return _on_support(kernels.entries_encode(x, weight, bias, entries=found, centre=centre))

    def _shifted(self, v: Tensor, step: float) -> Tensor:
        # Relative to the largest entry, so that sums of large numbers keep their digits.
        v = v if self.cost is None else v - step * self.cost
        return v - v.detach().max(dim=1, keepdim=True).values

    def objective(self, z: Dense) -> PerRow:
        """Σ_j c_j z_j on the simplex, ∞ off it."""
        value = z.new_zeros(len(z)) if self.cost is None else (self.cost * z).sum(dim=1)
        off = (z.sum(dim=1) - 1).abs() > ROUNDING
        return forbid(value, off | (z < 0).any(dim=1))

    def of_rows(self, rows: slice) -> SimplexProx:
        """Return with the costs of these rows."""
        return self if self.cost is None else replace(self, cost=tile_of(self.cost, rows))


def entries_above(v: Dense, threshold: Float[Tensor, "rows 1"]) -> SparseCodes:
    """Return the entries of each row above its threshold, as they are."""
    row, atom = (v > threshold).nonzero(as_tuple=True)
    return SparseCodes.from_entries(v[row, atom], row, atom, v.shape)


def _on_support(entries: SparseCodes) -> SparseCodes:
    """Entries of each row lowered by one number, so that they sum to 1."""
    row = entries.support.rows
    total = entries.values.new_zeros(entries.n_rows).index_add(0, row, entries.values)
    theta = (total - 1) / entries.l0
    return entries.with_values(torch.relu(entries.values - theta[row]))


@torch.no_grad()
def simplex_threshold(v: Dense) -> Float[Tensor, "rows 1"]:
    """θ with Σ_j [v_j − θ]₊ = 1, exactly: by sorting as many of the largest entries as needed.

    With u the entries in falling order, θ_i = (u_1 + … + u_i − 1) / i for the last i with u_i > θ_i.
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

"""Proxes: the penalties g that make codes sparse, as prox_{t g}(v) = argmin_z ½‖z − v‖² + t g(z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb import kernels
from sae_nb.checks import checked
from sae_nb.codes import SparseCodes, Support, index_dtype, offsets_of
from sae_nb.kernels import Entries, PreCodes, above, batch_topk, chosen, pick, primitives_of, topk

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
    pre_codes = (x if centre is None else x - centre) @ weight.T
    return pre_codes if bias is None else pre_codes + bias


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
        """Return the pre-codes above their threshold, in tiles."""
        return kernels.threshold_encode(x, weight, bias, thresholds=self.thresholds, centre=centre)


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


@dataclass(frozen=True)
class _Largest(Penalty):
    """Projection on the codes with at most k entries per row; not convex, the same for every step."""

    convex = False
    signed: ClassVar[bool]
    """Whether magnitudes compete and signs are kept."""

    k: int
    """Most entries per row."""

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The k largest positive entries of each row, or the k of largest magnitude."""
        return topk(pre_codes, self.k, signed=self.signed)

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Apply the same to (x − centre) weightᵀ + bias, in tiles."""
        return kernels.topk_encode(x, weight, bias, k=self.k, centre=centre, signed=self.signed)

    def objective(self, z: Dense) -> PerRow:
        """0 where z is allowed, ∞ elsewhere."""
        forbidden = (z != 0).sum(dim=1) > self.k
        return forbid(
            z.new_zeros(len(z)), forbidden if self.signed else forbidden | (z < 0).any(dim=1)
        )


@checked
@dataclass(frozen=True)
class TopKProx(_Largest):
    """Projection on the non-negative k-sparse codes: [TopK_k(u)]₊.

    g(z) = 0 where z ≥ 0 and ‖z‖₀ ≤ k, and ∞ elsewhere. Not convex.

    Example
    -------
    >>> TopKProx(1)(torch.tensor([[1.0, 3.0], [-1.0, -2.0]])).to_dense().tolist()
    [[0.0, 3.0], [0.0, 0.0]]
    """

    signed = False

    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Return the same with its zeros; a projection is the same for every step."""
        largest = v.topk(self.k, dim=1)
        return torch.zeros_like(v).scatter(1, largest.indices, torch.relu(largest.values))


@checked
@dataclass(frozen=True)
class AbsTopKProx(_Largest):
    """Projection on the k-sparse codes of either sign: H_k(u).

    g(z) = 0 where ‖z‖₀ ≤ k, and ∞ elsewhere. Not convex.

    Source
    ------
    "AbsTopK: Rethinking sparse autoencoders for bidirectional features", arXiv 2510.00404.

    Example
    -------
    >>> AbsTopKProx(1)(torch.tensor([[1.0, -3.0], [-1.0, 0.5]])).to_dense().tolist()
    [[0.0, -3.0], [-1.0, 0.0]]
    """

    signed = True

    def dense(self, v: Dense, step: float = 1.0) -> Dense:
        """Return the same with its zeros; a projection is the same for every step."""
        return self(v).to_dense()


@cache
def keep_largest(k: int, *, signed: bool = False) -> TopKProx | AbsTopKProx:
    """Return the projection for a k, made and checked once: a training asks for it with every batch."""
    return AbsTopKProx(k) if signed else TopKProx(k)


@checked
@dataclass(frozen=True)
class BatchTopKProx:
    """Projection of a batch on the non-negative codes with rows · k entries altogether.

    It is a prox of the batch, not of its rows: who shares a batch shares its entries.

    Source
    ------
    Bussmann et al., "BatchTopK sparse autoencoders", arXiv 2412.06410.

    Example
    -------
    >>> BatchTopKProx(1)(torch.tensor([[1.0, 3.0], [2.0, -2.0]])).to_dense().tolist()
    [[0.0, 3.0], [2.0, 0.0]]
    """

    k: float
    """Entries per row on average; need not be whole."""

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The largest positive entries of all rows together."""
        return batch_topk(pre_codes, round(self.k * len(pre_codes)))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Return the largest positive pre-codes of all rows together, in tiles."""
        return kernels.batch_topk_encode(x, weight, bias, k=self.k, centre=centre)


Score = Callable[[Dense, slice], tuple[Dense, Dense]]
"""(pre-codes of a tile, its rows) → what competes for the k places, and the strengths of those that win."""


@dataclass(frozen=True, eq=False)
class LargestBy:
    """The k entries of each row whose score is largest, where it is positive; of equal ones either.

    It is not a prox of a penalty: scores may depend on more than the pre-codes. Scores exist for a tile
    of rows at a time, as pre-codes do; gradients flow through the strengths, to what made the
    pre-codes.
    """

    k: int
    score: Score

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The entries of dense pre-codes that win."""
        return self._of_tile(pre_codes, slice(0, len(pre_codes)))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Return the winning entries of (x − centre) weightᵀ + bias, in tiles."""
        tiles = list(row_tiles(len(x), len(weight)))
        backend = pick("auto", x)
        if backend == "reference":
            parts = (self._of_tile(affine(x[r], weight, bias, centre), r) for r in tiles)
            return SparseCodes.concatenate(parts)
        with torch.no_grad():
            parts = (self._of_tile(affine(x[r], weight, bias, centre), r) for r in tiles)
            found = SparseCodes.concatenate(parts)
        pre_codes = PreCodes(x.contiguous(), weight, bias, centre)
        entries = Entries(found.values, found.atoms, found.offsets)
        return chosen(primitives_of(backend, found.support), pre_codes, entries)

    def _of_tile(self, u: Dense, rows: slice) -> SparseCodes:
        score, strength = self.score(u, rows)
        atoms = score.detach().topk(self.k, dim=1, sorted=False).indices.sort(dim=1).values
        wins = score.detach().gather(1, atoms) > 0
        values = strength.gather(1, atoms)[wins]
        offsets = offsets_of(wins.sum(dim=1))
        return SparseCodes(values, atoms[wins].to(index_dtype(u.shape[1])), offsets, u.shape[1])


@checked
@dataclass(frozen=True, eq=False)
class ColumnTopKProx:
    """Projection of a batch on the non-negative codes in which atom j has rows · p_j entries.

    Atoms choose rows where in `TopKProx` rows choose atoms: each keeps the rows with its largest
    positive pre-codes. It is a prox of the batch, not of its rows: who shares a batch competes.

    Source
    ------
    Ayonrinde, "Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders",
    arXiv 2411.02124.

    Example
    -------
    >>> prox = ColumnTopKProx(torch.tensor([0.5, 0.5]))
    >>> prox(torch.tensor([[1.0, 3.0], [2.0, 4.0]])).to_dense().tolist()
    [[0.0, 0.0], [2.0, 4.0]]
    """

    rates: Float[Tensor, " n_atoms"]
    """p_j, share of the rows that atom j keeps."""

    def counts(self, rows: int) -> Int[Tensor, " n_atoms"]:
        """Return m_j, entries of each atom in a batch: rows · p_j, rounded so that sums are; at least one."""
        ends = (self.rates.cumsum(0) * rows).round()
        return ends.diff(prepend=ends.new_zeros(1)).long().clamp(1, rows)

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The m_j largest positive entries of each column; of equals those in earlier rows."""
        counts = self.counts(len(pre_codes)).to(pre_codes.device)
        strength = pre_codes.detach()
        order = strength.argsort(dim=0, descending=True, stable=True)
        place = order.argsort(dim=0)
        kept = (place < counts) & (strength > 0)
        return SparseCodes.from_dense(torch.where(kept, pre_codes, 0.0))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Return the m_j largest positive pre-codes of each column, in tiles, with sparse gradients."""
        backend = pick("auto", x)
        if backend == "reference":
            return self(affine(x, weight, bias, centre))
        pre_codes = PreCodes(x.contiguous(), weight, bias, centre)
        with torch.no_grad():
            entries = _largest_of_columns(pre_codes.detach(), self.counts(len(x)).to(x.device))
        support = Support(entries.atoms, entries.offsets, len(weight))
        return chosen(primitives_of(backend, support), pre_codes, entries)


def _largest_of_columns(pre_codes: PreCodes, counts: Int[Tensor, " n_atoms"]) -> Entries:
    """Of each atom its m_j largest positive pre-codes, by the selection of rows with the roles exchanged.

    uᵀ = (E ‖ a)((x − c) ‖ 1)ᵀ. One selection keeps one number of entries, so atoms are taken together by
    the power of four below their m_j; fewer than four times the kept entries are ever examined.
    """
    rows = torch.cat([pre_codes.centred(), pre_codes.x.new_ones(len(pre_codes), 1)], dim=1)
    bias = counts.new_zeros(len(counts)) if pre_codes.bias is None else pre_codes.bias
    columns = torch.cat([pre_codes.weight, bias[:, None].to(rows.dtype)], dim=1)
    power = (counts.double().log2() / 2).floor()
    groups = [(power == four).nonzero().flatten() for four in sorted(set(power.tolist()))]
    parts = [
        _at_most(
            kernels.topk_encode(columns[group], rows, k=int(counts[group].max())), counts[group]
        )
        for group in groups
    ]
    by_column = SparseCodes.concatenate(parts)
    by_row = by_column.by_atom()
    atoms = torch.cat(groups)[by_row.rows.long()]
    return Entries(by_row.values, atoms.to(index_dtype(len(counts))), by_row.offsets)


def _at_most(codes: SparseCodes, counts: Int[Tensor, " rows"]) -> SparseCodes:
    """The largest entries of each row, a number of its own."""
    if not bool((codes.l0 > counts).any()):
        return codes
    return codes.only(_places(codes) < counts[codes.support.rows])


def _places(codes: SparseCodes) -> Int[Tensor, " nnz"]:
    """Of each entry, how many of its row are larger; of equal ones the first is counted as larger."""
    order = codes.values.detach().argsort(descending=True, stable=True)
    rows = codes.support.rows  # ascending, so the same before and after
    order = order[rows[order].argsort(stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device) - codes.offsets[rows]
    return place


@checked
@dataclass(frozen=True, eq=False)
class NormProx:
    """The largest positive pre-codes of each row, until the code is as long as the row's input.

    k(x) = argmin_k |‖z_{1…k}‖ − ‖x − c‖| with z from the largest on, 1 ≤ k ≤ k_max. Atoms count as of
    norm 1. A row that keeps k_max entries may be shorter than its input.

    Source
    ------
    "Evaluating and Designing Sparse Autoencoders by Approximating Quasi-Orthogonality", arXiv 2503.24277.

    Example
    -------
    >>> x, atoms = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> NormProx(2).of_affine(x, atoms[:2], None, None).to_dense().tolist()
    [[3.0, 4.0]]
    >>> NormProx(3).of_affine(x, atoms, None, None).atoms.tolist()
    [2]
    """

    k_max: int
    """Most entries per row."""

    lengths: PerRow | None = None
    """‖x − c‖ of each row; None: of the rows that `of_affine` is given."""

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The same of dense pre-codes, whose inputs' lengths are given."""
        if self.lengths is None:
            raise ValueError(
                "`lengths` must be given where pre-codes are dense, got None. Give the norm of each input, or "
                "use of_affine, which measures it."
            )
        return _until_as_long(topk(pre_codes, self.k_max), self.lengths)

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Apply the same to (x − centre) weightᵀ + bias, in tiles, with sparse gradients."""
        largest = kernels.topk_encode(x, weight, bias, k=self.k_max, centre=centre)
        lengths = self.lengths
        if lengths is None:
            lengths = (x if centre is None else x - centre).detach().norm(dim=1)
        return _until_as_long(largest, lengths)


def _until_as_long(codes: SparseCodes, lengths: PerRow) -> SparseCodes:
    """Of each row the largest entries whose norm is nearest to a length; one at least."""
    if not codes.nnz:
        return codes
    rows, place = codes.support.rows, _places(codes)
    # As wide as the longest row, not as the dictionary.
    table = codes.values.new_zeros(codes.n_rows, int(codes.l0.max()))
    table[rows, place] = codes.values.detach().square()
    missed = (table.cumsum(dim=1).sqrt() - lengths[:, None]).abs()
    return codes.only(place <= missed.argmin(dim=1)[rows])


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
    offsets = offsets_of(torch.bincount(row, minlength=len(v)))
    return SparseCodes(v[row, atom], atom.to(index_dtype(v.shape[1])), offsets, v.shape[1])


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

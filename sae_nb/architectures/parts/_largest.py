"""Proxes that keep the largest entries: by row, batch, column or score, or up to a norm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb import kernels
from sae_nb.architectures.parts._proxes import (
    Bias,
    Centre,
    Dense,
    Matrix,
    Penalty,
    PerRow,
    Rows,
    affine,
    forbid,
)
from sae_nb.checks import checked
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype, ranks
from sae_nb.kernels._backends import pick
from sae_nb.kernels._coding import topk_of_few
from sae_nb.kernels._reference import batch_topk, topk


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
        """Apply the same to (x − centre) weightᵀ + bias: few pre-codes at once, more of them in tiles."""
        k, signed = self.k, self.signed
        few = topk_of_few(x, weight, bias, centre, k=k, signed=signed)
        if few is not None:
            return few
        return kernels.topk_encode(x, weight, bias, k=k, centre=centre, signed=signed)

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
        if pick("auto", x) == "reference":
            return self(affine(x, weight, bias, centre))
        with torch.no_grad():
            counts = self.counts(len(x)).to(x.device)
            found = _largest_of_columns(x if centre is None else x - centre, weight, bias, counts)
        return kernels.entries_encode(x, weight, bias, entries=found, centre=centre)


def _largest_of_columns(
    x: Rows, weight: Matrix, bias: Bias, counts: Int[Tensor, " n_atoms"]
) -> SparseCodes:
    """Of each atom its m_j largest positive pre-codes, by the selection of rows with the roles exchanged.

    uᵀ = (E ‖ a)((x − c) ‖ 1)ᵀ. One selection keeps one number of entries, so atoms are taken together by
    the power of four below their m_j; fewer than four times the kept entries are ever examined.
    """
    rows = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
    bias = counts.new_zeros(len(counts)) if bias is None else bias
    columns = torch.cat([weight, bias[:, None].to(rows.dtype)], dim=1)
    power = (counts.double().log2() / 2).floor()
    groups = [(power == four).nonzero().flatten() for four in sorted(set(power.tolist()))]
    parts = []
    for group in groups:
        codes, most = (
            kernels.topk_encode(columns[group], rows, k=int(counts[group].max())),
            counts[group],
        )
        if bool((codes.l0 > most).any()):
            codes = codes.only(ranks(codes.values, codes.support) < most[codes.support.rows])
        parts.append(codes)
    by_column = SparseCodes.concatenate(parts)
    by_row = by_column.by_atom()
    atoms = torch.cat(groups)[by_row.rows.long()]
    return SparseCodes(
        by_row.values, atoms.to(index_dtype(len(counts))), by_row.offsets, len(counts)
    )


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
    rows, place = codes.support.rows, ranks(codes.values, codes.support)
    # As wide as the longest row, not as the dictionary.
    table = codes.values.new_zeros(codes.n_rows, int(codes.l0.max()))
    table[rows, place] = codes.values.detach().square()
    missed = (table.cumsum(dim=1).sqrt() - lengths[:, None]).abs()
    return codes.only(place <= missed.argmin(dim=1)[rows])

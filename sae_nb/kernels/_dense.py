"""The primitives through dense tiles and matrix products, and a record of which way was taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import available_memory
from sae_nb.codes._support import Support, index_dtype, offsets_of
from sae_nb.kernels._backends import Atoms, Entries, PerAtom, PreCodes, Residuals, Row, Rows, Values

_LOCK = threading.Lock()
_TAKEN: dict[str, Path] = {}


@dataclass(frozen=True, kw_only=True)
class Path:
    """A choice between ways to compute the same thing."""

    operation: str
    """The operation."""

    chosen: str
    """The way taken: `sparse`, `dense` or `dense bf16`."""

    reason: str
    """The number that decided: a density, or two measured times."""

    def __str__(self) -> str:
        return f"{self.operation}: {self.chosen} ({self.reason})"


def note(operation: str, chosen: str, reason: str) -> None:
    """Keep a decision, replacing the operation's last one."""
    with _LOCK:
        _TAKEN[operation] = Path(operation=operation, chosen=chosen, reason=reason)


def paths_taken() -> dict[str, Path]:
    """Return the latest decision of every operation that had a choice, by operation.

    Example
    -------
    >>> note("sum_atoms", "dense", "25.0% of entries are non-zero")
    >>> print(paths_taken()["sum_atoms"])
    sum_atoms: dense (25.0% of entries are non-zero)
    """
    with _LOCK:
        return dict(_TAKEN)


# -------------------------------------------------------------------------------------------------
# The same primitives through dense tiles and matrix products, for codes that are not sparse.
#
# At more than a tenth of all entries a matrix product is faster than gathering rows. Rows are taken
# in tiles of bounded memory; a whole dense code never exists.


TILE_ENTRIES = 8 * 2**20
"""Entries of a tile: 32 MB in fp32, where 2 CPU cores reach their full rate (ours, measured)."""

GPU_TILE_ENTRIES = 2**28
"""The same on a GPU, 1 GiB in fp32: each tile costs some ten launches and waits once for a number of entries,
which 8 Mi entries, 10 µs of a bf16 product, would not pay for. A sixteenth of what is free at most."""

BLOCK = 32
"""Neighbours of which only the largest enters a bound: enough of them stay in view at k / n_atoms up
to 3 %."""

DENSE_ABOVE = 0.1
"""Density above which matrix products take over (ours: on 2 CPU cores they break even at 15 %)."""


def is_dense(operation: str, support: Support) -> bool:
    """Return whether codes are too dense for gathers; a yes is recorded."""
    size = (len(support.offsets) - 1) * support.n_atoms
    density = len(support.atoms) / size if size else 0.0
    if density <= DENSE_ABOVE:
        return False
    note(operation, "dense", f"{density:.1%} of the entries are non-zero")
    return True


class Dense:
    """Primitives by matrix products, computed in `dtype` and returned in the dtype of the inputs."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self.name = "dense bf16" if dtype == torch.bfloat16 else "dense"

    def topk(self, pre_codes: PreCodes, k: int, *, signed: bool = False) -> Entries:
        """Return the k largest of each row, by a matrix product and `torch.topk`."""
        values, atoms, counts = [], [], []
        for _, u in self._products(pre_codes):
            strength, atom = largest(u.abs() if signed else u, k)
            value = u.gather(1, atom) if signed else strength
            chosen = strength > 0
            values.append(value[chosen])
            atoms.append(atom[chosen].to(index_dtype(pre_codes.n_atoms)))
            counts.append(chosen.sum(dim=1))
        return Entries(torch.cat(values), torch.cat(atoms), offsets_of(torch.cat(counts)))

    def batch_topk(self, pre_codes: PreCodes, n_kept: int) -> Entries:
        """Return the largest of all rows: candidates above a running threshold, thinned as they pile up."""
        n_atoms = pre_codes.n_atoms
        values = pre_codes.x.new_empty(0)
        places = torch.empty(0, dtype=torch.int64, device=values.device)
        threshold = values.new_zeros(())
        for rows, u in self._products(pre_codes):
            flat = u.flatten()
            threshold = torch.maximum(threshold, lower_bound(flat, n_kept))
            found = (flat > threshold).nonzero().flatten()
            values = torch.cat([values, flat[found]])
            places = torch.cat([places, found + rows.start * n_atoms])
            if len(values) > n_kept:
                kept, smallest = keep_largest(values, n_kept)
                values, places = values[kept], places[kept]
                threshold = torch.maximum(threshold, smallest)
        counts = torch.bincount(places // n_atoms, minlength=len(pre_codes))
        return Entries(values, (places % n_atoms).to(index_dtype(n_atoms)), offsets_of(counts))

    def above(self, pre_codes: PreCodes, thresholds: PerAtom) -> Entries:
        """Return the entries above their column's threshold, by a matrix product and a mask."""
        values, atoms, counts = [], [], []
        for _, u in self._products(pre_codes):
            chosen = u > thresholds
            row, atom = chosen.nonzero(as_tuple=True)
            values.append(u[row, atom])
            atoms.append(atom.to(index_dtype(pre_codes.n_atoms)))
            counts.append(chosen.sum(dim=1))
        return Entries(torch.cat(values), torch.cat(atoms), offsets_of(torch.cat(counts)))

    def sum_atoms(
        self, values: Values, support: Support, table: Atoms, start: Row | None = None
    ) -> Rows:
        """Return rows of zD + s."""
        out = values.new_empty(len(support.offsets) - 1, table.shape[1])
        right = self._cast(table)
        for rows, z in self._tiles(values, support):
            out[rows] = z @ right
        return out if start is None else out.add_(start)

    def residuals(
        self, values: Values, support: Support, table: Atoms, start: Row | None, target: Rows
    ) -> Residuals:
        """Return rows of x − (zD + s)."""
        return residuals_of(self.sum_atoms(values, support, table, start), target)

    def scaled(self, values: Values, by: Float[Tensor, ""]) -> Values:
        """Return values times one number."""
        return values * by

    def sum_inputs(self, values: Values, support: Support, table: Rows) -> Atoms:
        """Return rows of zᵀ T, tiles added in order."""
        out = values.new_zeros(support.n_atoms, table.shape[1])
        for rows, z in self._tiles(values, support):
            out += z.T @ self._cast(table[rows])
        return out

    def dots(self, g: Rows, support: Support, table: Atoms) -> Values:
        """Return chosen entries of g Dᵀ."""
        out = g.new_empty(len(support.atoms))
        transposed = self._cast(table).T
        for rows in _row_tiles(len(g), support.n_atoms, g.device):
            entries = _entries(support, rows)
            products = self._cast(g[rows]) @ transposed
            local = support.rows[entries] - rows.start
            out[entries] = products[local, support.atoms[entries].long()].to(g.dtype)
        return out

    def totals(self, values: Values, support: Support) -> PerAtom:
        """Return sums by atom, in one order whatever the device."""
        index = support.by_atom
        return torch.segment_reduce(values[index.order], "sum", offsets=index.offsets)

    def _products(self, pre_codes: PreCodes) -> Iterator[tuple[slice, Tensor]]:
        transposed = self._cast(pre_codes.weight).T
        for rows in _row_tiles(len(pre_codes), pre_codes.n_atoms, transposed.device):
            u = (self._cast(pre_codes.centred(rows)) @ transposed).to(pre_codes.x.dtype)
            yield rows, u if pre_codes.bias is None else u.add_(pre_codes.bias)

    def _cast(self, x: Tensor) -> Tensor:
        return x if self.dtype is None else x.to(self.dtype)

    def _tiles(self, values: Tensor, support: Support) -> Iterator[tuple[slice, Tensor]]:
        cast = self._cast(values)
        for rows in _row_tiles(len(support.offsets) - 1, support.n_atoms, values.device):
            entries = _entries(support, rows)
            z = cast.new_zeros(rows.stop - rows.start, support.n_atoms)
            z[support.rows[entries] - rows.start, support.atoms[entries].long()] = cast[entries]
            yield rows, z


def largest(
    u: Float[Tensor, "rows n_atoms"], k: int
) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """Return the k largest of each row and where they are, in no order; of equal ones, any.

    They lie in the k blocks whose maxima are largest: were one in another block, those k maxima would be
    no smaller. So rows are read once for their maxima, and k blocks of them are searched; `torch.topk` on
    a GPU reads a whole row some eight times, digit by digit.
    """
    n_blocks = u.shape[1] // BLOCK
    if n_blocks < 4 * k:
        values, places = u.topk(k, dim=1, sorted=False)
        return values, places
    whole = n_blocks * BLOCK
    blocks = u[:, :whole].reshape(len(u), n_blocks, BLOCK)
    best = blocks.amax(dim=2).topk(k, dim=1, sorted=False).indices
    places = best[:, :, None] * BLOCK + torch.arange(BLOCK, device=u.device)
    places = places.flatten(1)
    if whole < u.shape[1]:
        rest = torch.arange(whole, u.shape[1], device=u.device)
        places = torch.cat([places, rest.expand(len(u), -1)], dim=1)
    values, which = u.gather(1, places).topk(k, dim=1, sorted=False)
    return values, places.gather(1, which)


def lower_bound(flat: Float[Tensor, " n"], n_kept: int) -> Float[Tensor, ""]:
    """Return a value just below the `n_kept`-th largest, from maxima of blocks; −∞ with too few blocks.

    `n_kept` blocks reach the `n_kept`-th largest block maximum, hence so many numbers do.
    """
    blocks = flat[: len(flat) // BLOCK * BLOCK].view(-1, BLOCK).amax(dim=1)
    lowest = flat.new_tensor(-torch.inf)
    if len(blocks) < n_kept:
        return lowest
    bound = blocks.topk(n_kept, sorted=False).values.min()
    return torch.nextafter(bound, lowest)


def keep_largest(
    values: Float[Tensor, " n"], n_kept: int
) -> tuple[Bool[Tensor, " n"], Float[Tensor, ""]]:
    """Return a mask of the `n_kept` < n largest (of equal ones, the first), and the smallest of them."""
    smallest = values.topk(n_kept, sorted=False).values.min()
    larger, equal = values > smallest, values == smallest
    room = n_kept - larger.sum()
    return larger | (equal & (equal.cumsum(dim=0) <= room)), smallest


def residuals_of(x_hat: Rows, target: Rows) -> Residuals:
    """Compare a finished reconstruction with its target."""
    residual = target - x_hat
    return Residuals(x_hat, residual, residual.square().sum(), residual.sum(dim=0))


def _row_tiles(n_rows: int, n_atoms: int, device: torch.device) -> Iterator[slice]:
    entries = TILE_ENTRIES
    if device.type == "cuda":
        entries = min(GPU_TILE_ENTRIES, (available_memory(device) or 0) // 16)
    size = max(1, entries // n_atoms)
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))


def _entries(support: Support, rows: slice) -> slice:
    first, last = support.offsets[[rows.start, rows.stop]].tolist()
    return slice(first, last)

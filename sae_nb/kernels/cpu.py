"""The CPU primitives: matrix products by torch in tiles, everything sparse by compiled loops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.kernels import selection_loops as selection
from sae_nb.kernels import sum_loops as sums
from sae_nb.kernels.dense import Dense, is_dense
from sae_nb.kernels.memory import scratch
from sae_nb.kernels.primitives import Entries, PreCodes, Residuals
from sae_nb.kernels.threads import parallel
from sae_nb.support import Support, index_dtype, offsets_of

ROWS = 2048
"""Rows encoded at once: enough for a matrix product at full rate."""

TILE_ENTRIES = 16 * 2**20
"""Pre-codes that exist at once (64 MB in fp32). Every further tile hands the cores from torch's
threads to Numba's and back, and a pool that was left spins for milliseconds on cores the other wants."""

PIECES = 256
"""Parts into which a loop is split, whatever the number of threads: sums over parts must not move."""


class Cpu:
    """Primitives by Numba loops, parallel over rows or atoms, without atomics."""

    name = "sparse"

    def __init__(self) -> None:
        self._dense = Dense()

    def topk(self, pre_codes: PreCodes, k: int, *, signed: bool = False) -> Entries:
        """The k largest of each row; of equal ones, the lower atoms."""
        capacity = _capacity(k, pre_codes.n_atoms)
        size = max(1, min(ROWS, TILE_ENTRIES // capacity))
        slices = _row_slices(len(pre_codes), size)
        return _join([_topk_chunk(pre_codes, rows, k, signed, capacity) for rows in slices])

    def batch_topk(self, pre_codes: PreCodes, n_kept: int) -> Entries:
        """The largest of all rows; of equal ones, those in earlier rows, then at lower atoms.

        Candidates above a running threshold are gathered tile by tile and thinned to `n_kept` as
        they pile up; nothing is sorted.
        """
        found: Entries | None = None
        threshold = 0.0
        for tile in _full_tiles(pre_codes, pre_codes.weight.new_zeros(pre_codes.n_atoms)):
            threshold = max(threshold, tile.lower_bound(n_kept))
            more = tile.above(threshold)
            found = more if found is None else _join([found, more])
            if len(found.values) > n_kept:
                found, threshold = _thinned(found, n_kept)
        return _nothing(pre_codes) if found is None else found

    def above(self, pre_codes: PreCodes, thresholds: Float[Tensor, " n_atoms"]) -> Entries:
        """Counted first, then written: two passes over the blocks that hold any."""
        parts = [tile.above(0.0) for tile in _full_tiles(pre_codes, thresholds)]
        return _join(parts) if parts else _nothing(pre_codes)

    def sum_atoms(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
        start: Float[Tensor, " width"] | None = None,
    ) -> Float[Tensor, "rows width"]:
        """Gather and add the atoms of each row."""
        if is_dense("sum_atoms", support):
            return self._dense.sum_atoms(values, support, table, start)
        start = table.new_zeros(table.shape[1]) if start is None else start
        return _sum_rows(values, support.atoms, support.offsets, table, start)

    def residuals(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
        start: Float[Tensor, " width"] | None,
        target: Float[Tensor, "rows width"],
    ) -> Residuals:
        """Gather, add and compare with the target in one pass over the rows."""
        if is_dense("residuals", support):
            return self._dense.residuals(values, support, table, start, target)
        start = table.new_zeros(table.shape[1]) if start is None else start
        x_hat, residual = torch.empty_like(target), torch.empty_like(target)
        entries = (_array(values), support.atoms.numpy(), support.offsets.numpy())
        pieces = _pieces(entries[2])
        squares = np.zeros(len(pieces) - 1)
        columns = np.zeros((len(pieces) - 1, table.shape[1]), dtype=target.numpy().dtype)
        outputs = (x_hat.numpy(), residual.numpy(), squares, columns)
        inputs = (_array(table), _array(start), _array(target))
        with parallel():
            sums.sum_rows_against(*entries, *inputs, pieces, *outputs)
        # An error that overflows is infinite, and whoever reads it says so; numpy need not.
        with np.errstate(over="ignore", invalid="ignore"):
            error = torch.tensor(squares.sum(), dtype=target.dtype)
            return Residuals(x_hat, residual, error, torch.from_numpy(columns.sum(axis=0)))

    def scaled(self, values: Float[Tensor, " nnz"], by: Float[Tensor, ""]) -> Float[Tensor, " nnz"]:
        """Values times one number, by numpy: waking torch's threads for so little costs more."""
        return torch.from_numpy(values.numpy() * by.numpy())

    def sum_inputs(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "rows width"],
    ) -> Float[Tensor, "n_atoms width"]:
        """Gather and add the inputs of each atom, in the order of the rows."""
        if is_dense("sum_inputs", support):
            return self._dense.sum_inputs(values, support, table)
        index = support.by_atom
        ordered = torch.from_numpy(values.numpy()[index.order.numpy()])
        return _sum_rows(ordered, index.rows, index.offsets, table, table.new_zeros(table.shape[1]))

    def dots(
        self,
        g: Float[Tensor, "rows width"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
    ) -> Float[Tensor, " nnz"]:
        """Dot each row with the atoms it uses."""
        if is_dense("dots", support):
            return self._dense.dots(g, support, table)
        out = torch.empty(len(support.atoms), dtype=table.dtype)
        offsets = support.offsets.numpy()
        atoms, views = support.atoms.numpy(), (_array(g), _array(table))
        with parallel():
            sums.dot_rows(views[0], atoms, offsets, views[1], _pieces(offsets), out.numpy())
        return out

    def totals(self, values: Float[Tensor, " nnz"], support: Support) -> Float[Tensor, " n_atoms"]:
        """Sums by atom."""
        totals = np.bincount(support.atoms.numpy(), values.numpy(), minlength=support.n_atoms)
        return torch.from_numpy(totals).to(values.dtype)


def _topk_chunk(pre_codes: PreCodes, rows: slice, k: int, signed: bool, capacity: int) -> Entries:
    x, weight, n_atoms = pre_codes.centred(rows), pre_codes.weight, pre_codes.n_atoms
    bias = _bias(pre_codes)
    n = len(x)
    values = np.empty((n, capacity), dtype=x.numpy().dtype)
    atoms = np.empty((n, capacity), dtype=np.int32 if n_atoms < 2**31 else np.int64)
    thresholds, counts = np.zeros(n, dtype=values.dtype), np.zeros(n, dtype=np.int64)
    found = (values, atoms, thresholds, counts)
    width = min(n_atoms, max(selection.BLOCK, TILE_ENTRIES // n))
    with scratch(n * width, x.dtype) as buffer:
        for first in range(0, n_atoms, width):
            part = weight[first : first + width]
            tile = buffer[: n * len(part)].view(n, len(part))
            torch.mm(x, part.T, out=tile)
            place = (_array(bias[first : first + width]), first, first + width >= n_atoms)
            with parallel():
                selection.collect(tile.numpy(), *place, k, signed, *found, min(n, PIECES))
    return _packed(values, atoms, counts)


class _Tile:
    """Pre-codes of some rows and all atoms, in borrowed memory, with the maxima of their blocks."""

    def __init__(self, tile: np.ndarray, bias: np.ndarray, floor: np.ndarray) -> None:
        self._parts = (tile, bias, floor)
        self._pieces = min(len(tile), PIECES)
        n_blocks = -(-tile.shape[1] // selection.BLOCK)
        self._maxima = np.empty((len(tile), n_blocks), dtype=tile.dtype)
        with parallel():
            selection.margins(*self._parts, self._maxima, self._pieces)

    def lower_bound(self, n_kept: int) -> float:
        """Just below the `n_kept`-th largest, which as many blocks reach; −∞ with fewer blocks."""
        maxima = self._maxima.ravel()
        if len(maxima) < n_kept:
            return -np.inf
        bound = np.partition(maxima, len(maxima) - n_kept)[len(maxima) - n_kept]
        return float(np.nextafter(bound, maxima.dtype.type(-np.inf)))

    def above(self, threshold: float) -> Entries:
        """Entries whose margin over the floor is above a threshold."""
        tile = self._parts[0]
        limit = tile.dtype.type(threshold)
        counts = np.empty(len(tile), dtype=np.int64)
        with parallel():
            selection.count_above(*self._parts, limit, self._maxima, counts, self._pieces)
        offsets = np.zeros(len(tile) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        values = np.empty(offsets[-1], dtype=tile.dtype)
        atoms = np.empty(offsets[-1], dtype=np.int32 if tile.shape[1] < 2**31 else np.int64)
        found = (offsets, values, atoms, self._pieces)
        with parallel():
            selection.fill_above(*self._parts, limit, self._maxima, *found)
        return Entries(*(torch.from_numpy(part) for part in (values, atoms, offsets)))


def _full_tiles(pre_codes: PreCodes, floor: Tensor) -> Iterator[_Tile]:
    n_atoms = pre_codes.n_atoms
    parts = (_array(_bias(pre_codes)), _array(floor))
    slices = _row_slices(len(pre_codes), max(1, min(ROWS, TILE_ENTRIES // n_atoms)))
    for rows in slices:
        x = pre_codes.centred(rows)
        with scratch(len(x) * n_atoms, x.dtype) as buffer:
            tile = buffer[: len(x) * n_atoms].view(len(x), n_atoms)
            torch.mm(x, pre_codes.weight.T, out=tile)
            yield _Tile(tile.numpy(), *parts)


def _thinned(found: Entries, n_kept: int) -> tuple[Entries, float]:
    """The largest, of equals the first; and the smallest of them."""
    values, offsets = found.values.numpy(), found.offsets.numpy()
    smallest = np.partition(values, len(values) - n_kept)[len(values) - n_kept]
    kept = values > smallest
    equal = np.flatnonzero(values == smallest)
    kept[equal[: n_kept - int(np.count_nonzero(kept))]] = True
    before = np.concatenate([[0], np.cumsum(kept)])
    parts = (values[kept], found.atoms.numpy()[kept], before[offsets])
    return Entries(*(torch.from_numpy(part) for part in parts)), float(smallest)


def _nothing(pre_codes: PreCodes) -> Entries:
    offsets = torch.zeros(len(pre_codes) + 1, dtype=torch.int64)
    atoms = torch.empty(0, dtype=index_dtype(pre_codes.n_atoms))
    return Entries(pre_codes.x.new_empty(0), atoms, offsets)


def _bias(pre_codes: PreCodes) -> Tensor:
    bias = pre_codes.bias
    return pre_codes.weight.new_zeros(pre_codes.n_atoms) if bias is None else bias


def _row_slices(n: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, n)) for first in range(0, n, size)]


def _packed(values: np.ndarray, atoms: np.ndarray, counts: np.ndarray) -> Entries:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    packed_values = np.empty(offsets[-1], dtype=values.dtype)
    packed_atoms = np.empty(offsets[-1], dtype=atoms.dtype)
    selection.pack(values, atoms, offsets, packed_values, packed_atoms)
    return Entries(*(torch.from_numpy(part) for part in (packed_values, packed_atoms, offsets)))


def _join(parts: list[Entries]) -> Entries:
    if len(parts) == 1:
        return parts[0]
    counts = torch.cat([part.offsets.diff() for part in parts])
    values = torch.cat([part.values for part in parts])
    return Entries(values, torch.cat([part.atoms for part in parts]), offsets_of(counts))


def _sum_rows(
    values: Tensor, index: Tensor, offsets: Tensor, table: Tensor, start: Tensor
) -> Tensor:
    out = torch.empty(len(offsets) - 1, table.shape[1], dtype=table.dtype)
    entries = (_array(values), index.numpy(), offsets.numpy())
    with parallel():
        sums.sum_rows(*entries, _array(table), _array(start), _pieces(entries[2]), out.numpy())
    return out


def _pieces(offsets: np.ndarray) -> np.ndarray:
    """Cut the segments into pieces of about equal numbers of entries plus segments."""
    n = len(offsets) - 1
    load = offsets + np.arange(n + 1)
    n_pieces = min(n, PIECES)
    cuts = np.searchsorted(load, np.linspace(0, load[-1], n_pieces + 1)[1:-1])
    return np.concatenate([[0], cuts, [n]])


def _capacity(k: int, n_atoms: int) -> int:
    """Candidates a row can hold: room to collect for a while between two selections."""
    return min(max(2 * k, k + 128), n_atoms) + selection.BLOCK


def _array(x: Tensor) -> np.ndarray:
    return x.contiguous().numpy()

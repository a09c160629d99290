"""The CPU primitives: matrix products by torch in tiles, everything sparse by compiled loops."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.codes._support import Support, index_dtype, offsets_of
from sae_nb.kernels._backends import Atoms, Entries, PerAtom, PreCodes, Residuals, Row, Rows, Values
from sae_nb.kernels._compiling import compiled, larger
from sae_nb.kernels._dense import Dense, is_dense
from sae_nb.kernels._threads import share

# -------------------------------------------------------------------------------------------------
# The compiled loops of sparse sums: add up chosen rows, compare with a target, dot with chosen rows.
#
# Rows are split into pieces with equal numbers of entries; threads share the pieces, and the entries of
# one output row are always added by one thread in one order, so results do not depend on the number
# of threads. Inputs are trusted: they were checked at the public function.


# Sums may be reordered to use vector registers; NaN and infinity keep their meaning.
_REORDER = {"reassoc", "contract", "nsz"}


@compiled(inner=True, fastmath=_REORDER)
def add_rows(values, index, first, last, table, out):
    """Add Σ_e values[e] · table[index[e]] over one segment to `out`, four rows at a time."""
    width = table.shape[1]
    e = first
    # Four rows per pass quarter the traffic on `out`.
    while e + 4 <= last:
        v0, v1, v2, v3 = values[e], values[e + 1], values[e + 2], values[e + 3]
        t0, t1 = table[index[e]], table[index[e + 1]]
        t2, t3 = table[index[e + 2]], table[index[e + 3]]
        for c in range(width):
            out[c] += v0 * t0[c] + v1 * t1[c] + v2 * t2[c] + v3 * t3[c]
        e += 4
    while e < last:
        v0, t0 = values[e], table[index[e]]
        for c in range(width):
            out[c] += v0 * t0[c]
        e += 1


@compiled()
def sum_rows(begin, end, values, index, offsets, table, start, pieces, out):
    """Set out[i] = start + Σ_e values[e] · table[index[e]] over the entries e of segment i."""
    for piece in range(begin, end):
        for i in range(pieces[piece], pieces[piece + 1]):
            for c in range(len(start)):
                out[i, c] = start[c]
            add_rows(values, index, offsets[i], offsets[i + 1], table, out[i])


@compiled()
def sum_rows_against(
    begin, end, values, index, offsets, table, start, target, pieces, out, residual, squares, columns,
):  # fmt: skip
    """Compute what `sum_rows` does; also residual = target − out, and per piece its squared sum and
    column sums.
    """
    for piece in range(begin, end):
        total = 0.0
        sums = columns[piece]
        sums[:] = 0
        for i in range(pieces[piece], pieces[piece + 1]):
            row, left = out[i], residual[i]
            for c in range(len(start)):
                row[c] = start[c]
            add_rows(values, index, offsets[i], offsets[i + 1], table, row)
            for c in range(len(start)):
                left[c] = target[i, c] - row[c]
                sums[c] += left[c]
            total += dot(left, left)
        squares[piece] = total


@compiled(inner=True, fastmath=_REORDER)
def dot(a, b):
    """⟨a, b⟩, in vector registers."""
    total = a.dtype.type(0)
    for c in range(len(a)):
        total += a[c] * b[c]
    return total


@compiled(inner=True, fastmath=_REORDER)
def dot_four(g, t0, t1, t2, t3):
    """⟨g, t⟩ for four table rows at once: four streams from memory hide each other's latency."""
    zero = g.dtype.type(0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    for c in range(len(g)):
        s0 += g[c] * t0[c]
        s1 += g[c] * t1[c]
        s2 += g[c] * t2[c]
        s3 += g[c] * t3[c]
    return s0, s1, s2, s3


@compiled()
def dot_rows(begin, end, g, index, offsets, table, pieces, out):
    """Set out[e] = ⟨g[i], table[index[e]]⟩ for the entries e of each row i."""
    for piece in range(begin, end):
        for i in range(pieces[piece], pieces[piece + 1]):
            e, last = offsets[i], offsets[i + 1]
            while e + 4 <= last:
                t0, t1 = table[index[e]], table[index[e + 1]]
                t2, t3 = table[index[e + 2]], table[index[e + 3]]
                out[e], out[e + 1], out[e + 2], out[e + 3] = dot_four(g[i], t0, t1, t2, t3)
                e += 4
            while e < last:
                out[e] = dot(g[i], table[index[e]])
                e += 1


# -------------------------------------------------------------------------------------------------
# The compiled loops of selection: the k largest of a row, of a batch, or all above a threshold.
#
# Threads share the rows; each row is one thread's work, so results do not
# depend on the number of threads. Inputs are trusted: they were checked at the public function.


BLOCK = 32
"""Columns whose maximum is compared at once: most blocks hold no candidate and are skipped whole."""


@compiled(inner=True)
def kth_largest(scratch, n, k):
    """Return the k-th largest of scratch[:n], 1 ≤ k ≤ n (Hoare's selection); reorders them."""
    low, high, target = 0, n - 1, k - 1
    while low < high:
        pivot = scratch[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while scratch[i] > pivot:
                i += 1
            while scratch[j] < pivot:
                j -= 1
            if i <= j:
                scratch[i], scratch[j] = scratch[j], scratch[i]
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return scratch[target]


@compiled(inner=True)
def keep_largest(values, atoms, n, k, scratch):
    """Keep the k largest of n > k candidates, in place and in order; return the smallest kept.

    Of equal values the earlier, hence the lower atom, stays.
    """
    for e in range(n):
        scratch[e] = values[e]
    smallest = kth_largest(scratch, n, k)
    ties = k
    for e in range(n):
        ties -= values[e] > smallest
    kept = 0
    for e in range(n):
        value = values[e]
        if value == smallest:
            if ties == 0:
                continue
            ties -= 1
        elif not value > smallest:
            continue
        values[kept], atoms[kept] = value, atoms[e]
        kept += 1
    return smallest


# `nnan` lets the maximum vectorise; a NaN makes the choice of atoms arbitrary, never an index wrong.
@compiled(inner=True, fastmath={"nnan", "nsz", "reassoc"})
def block_maxima(row, bias, signed, maxima):
    """Write the maximum of row + bias, or of its magnitude, over each whole block; return how many
    there are.
    """
    n_blocks = len(row) // BLOCK
    for b in range(n_blocks):
        first = b * BLOCK
        part, beside = row[first : first + BLOCK], bias[first : first + BLOCK]
        largest = part[0] + beside[0]
        if signed:
            largest = abs(largest)
            for j in range(len(part)):
                largest = larger(abs(part[j] + beside[j]), largest)
        else:
            for j in range(len(part)):
                largest = larger(part[j] + beside[j], largest)
        maxima[b] = largest
    return n_blocks


@compiled(inner=True)
def collect_row(row, bias, first_atom, k, signed, values, atoms, state, i, scratch, maxima):
    """Add the pre-codes of one row above its running threshold to its candidates.

    `state` holds, per row, the threshold as values and the number of candidates. Invariant: every
    one of the k largest positive pre-codes seen so far is a candidate, in order of its atom. Where
    signs are kept, magnitudes compete, and the atom of a negative one is stored as its complement.
    """
    thresholds, counts = state
    n = counts[i]
    n_blocks = block_maxima(row, bias, signed, maxima)
    if n == 0 and n_blocks >= 2 * k:
        # k blocks reach the k-th largest block maximum, so at least k pre-codes do.
        for b in range(n_blocks):
            scratch[b] = maxima[b]
        bound = kth_largest(scratch, n_blocks, k)
        if bound > thresholds[i]:
            thresholds[i] = np.nextafter(bound, thresholds[i])
    threshold = thresholds[i]
    room = len(values) - BLOCK
    for b in range(n_blocks + 1):
        if b < n_blocks and not maxima[b] > threshold:
            continue
        if n > room:
            threshold = max(threshold, keep_largest(values, atoms, n, k, scratch))
            n = k
        for j in range(b * BLOCK, min(b * BLOCK + BLOCK, len(row))):
            value, atom = row[j] + bias[j], first_atom + j
            if signed and value < 0:
                value, atom = -value, ~atom
            if value > threshold:
                values[n], atoms[n] = value, atom
                n += 1
    if n > k + (k >> 1):
        threshold = max(threshold, keep_largest(values, atoms, n, k, scratch))
        n = k
    thresholds[i], counts[i] = threshold, n


@compiled()
def collect(begin, end, tile, bias, first_atom, last, k, signed, values, atoms, thresholds, counts):
    """Add a tile of pre-codes (rows × some atoms) to the candidates of every row.

    The `last` tile leaves at most k candidates per row.
    """
    width = tile.shape[1]
    scratch = np.empty(max(values.shape[1], width // BLOCK), tile.dtype)
    maxima = np.empty(width // BLOCK + 1, tile.dtype)
    for i in range(begin, end):
        state = (thresholds, counts)
        found = (values[i], atoms[i], state)
        collect_row(tile[i], bias, first_atom, k, signed, *found, i, scratch, maxima)
        if last and counts[i] > k:
            keep_largest(values[i], atoms[i], counts[i], k, scratch)
            counts[i] = k


@compiled()
def pack(values, atoms, offsets, packed_values, packed_atoms):
    """Copy the candidates of every row, one after the other, into CSR arrays."""
    for i in range(len(values)):
        first = offsets[i]
        for e in range(offsets[i + 1] - first):
            value, atom = values[i, e], atoms[i, e]
            negative = atom < 0
            packed_values[first + e] = -value if negative else value
            packed_atoms[first + e] = ~atom if negative else atom


# Not `reassoc`: (row + bias) − floor must round as the comparison it stands for.
@compiled(inner=True, fastmath={"nnan", "nsz"})
def row_margins(row, bias, floor, maxima):
    """Write the maximum of row + bias − floor over each block, the last one short."""
    for b in range(len(maxima)):
        first = b * BLOCK
        part, beside = row[first : first + BLOCK], bias[first : first + BLOCK]
        below = floor[first : first + BLOCK]
        largest = part[0] + beside[0] - below[0]
        for j in range(len(part)):
            largest = larger(part[j] + beside[j] - below[j], largest)
        maxima[b] = largest


@compiled()
def margins(begin, end, tile, bias, floor, maxima):
    """`row_margins` of every row of a tile of pre-codes."""
    for i in range(begin, end):
        row_margins(tile[i], bias, floor, maxima[i])


@compiled()
def count_above(begin, end, tile, bias, floor, threshold, maxima, counts):
    """Count the pre-codes of each row with row + bias − floor above the threshold; cold blocks are skipped."""
    width = tile.shape[1]
    for i in range(begin, end):
        row, count = tile[i], 0
        for b in range(maxima.shape[1]):
            if maxima[i, b] > threshold:
                for j in range(b * BLOCK, min(b * BLOCK + BLOCK, width)):
                    count += row[j] + bias[j] - floor[j] > threshold
        counts[i] = count


@compiled()
def fill_above(begin, end, tile, bias, floor, threshold, maxima, offsets, values, atoms):
    """Write what `count_above` counted, row by row, in the order of the atoms."""
    width = tile.shape[1]
    for i in range(begin, end):
        row, e = tile[i], offsets[i]
        for b in range(maxima.shape[1]):
            if maxima[i, b] > threshold:
                for j in range(b * BLOCK, min(b * BLOCK + BLOCK, width)):
                    value = row[j] + bias[j]
                    if value - floor[j] > threshold:
                        values[e], atoms[e] = value, j
                        e += 1


# -------------------------------------------------------------------------------------------------
# Memory for tiles, kept between calls: fresh pages cost a fifth of the product written into them.


_LOCK = threading.Lock()
_FREE: list[Tensor] = []


@contextmanager
def scratch(n: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """Lend a vector of at least `n` numbers, contents arbitrary; the largest one given back is kept.

    A page of fresh memory is zeroed by the system at its first touch: 30 ms for the 64 MB of a
    2048 × 8192 tile, where the product itself takes 140 ms (2 cores).
    """
    n_bytes = n * dtype.itemsize
    with _LOCK:
        buffer = _FREE.pop() if _FREE else None
    if buffer is None or len(buffer) < n_bytes:
        buffer = torch.empty(n_bytes, dtype=torch.uint8)
    try:
        yield buffer[:n_bytes].view(dtype)
    finally:
        with _LOCK:
            if not _FREE or len(_FREE[0]) < len(buffer):
                _FREE[:] = [buffer]


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
        """Return the k largest of each row; of equal ones, the lower atoms."""
        # Candidates a row can hold: enough to collect for a while between two selections.
        capacity = min(max(2 * k, k + 128), pre_codes.n_atoms) + BLOCK
        size = max(1, min(ROWS, TILE_ENTRIES // capacity))
        slices = _row_slices(len(pre_codes), size)
        return _join([_topk_chunk(pre_codes, rows, k, signed, capacity) for rows in slices])

    def batch_topk(self, pre_codes: PreCodes, n_kept: int) -> Entries:
        """Return the largest of all rows; of equal ones, those in earlier rows, then at lower atoms.

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

    def above(self, pre_codes: PreCodes, thresholds: PerAtom) -> Entries:
        """Count, then write: two passes over the blocks that hold any entry."""
        parts = [tile.above(0.0) for tile in _full_tiles(pre_codes, thresholds)]
        return _join(parts) if parts else _nothing(pre_codes)

    def sum_atoms(
        self, values: Values, support: Support, table: Atoms, start: Row | None = None
    ) -> Rows:
        """Gather and add the atoms of each row."""
        if is_dense("sum_atoms", support):
            return self._dense.sum_atoms(values, support, table, start)
        start = table.new_zeros(table.shape[1]) if start is None else start
        return _sum_rows(values, support.atoms, support.offsets, table, start)

    def residuals(
        self, values: Values, support: Support, table: Atoms, start: Row | None, target: Rows
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
        share(sum_rows_against, len(squares), *entries, *inputs, pieces, *outputs)
        # An error that overflows is infinite, and whoever reads it says so; numpy need not.
        with np.errstate(over="ignore", invalid="ignore"):
            error = torch.tensor(squares.sum(), dtype=target.dtype)
            return Residuals(x_hat, residual, error, torch.from_numpy(columns.sum(axis=0)))

    def scaled(self, values: Values, by: Float[Tensor, ""]) -> Values:
        """Scale values with numpy: waking torch's threads for so little costs more."""
        return torch.from_numpy(values.numpy() * by.numpy())

    def sum_inputs(self, values: Values, support: Support, table: Rows) -> Atoms:
        """Gather and add the inputs of each atom, in the order of the rows."""
        if is_dense("sum_inputs", support):
            return self._dense.sum_inputs(values, support, table)
        index = support.by_atom
        ordered = torch.from_numpy(values.numpy()[index.order.numpy()])
        return _sum_rows(ordered, index.rows, index.offsets, table, table.new_zeros(table.shape[1]))

    def dots(self, g: Rows, support: Support, table: Atoms) -> Values:
        """Return the dot product of each row with each atom it uses."""
        if is_dense("dots", support):
            return self._dense.dots(g, support, table)
        out = torch.empty(len(support.atoms), dtype=table.dtype)
        offsets = support.offsets.numpy()
        read = (_array(g), support.atoms.numpy(), offsets, _array(table))
        pieces = _pieces(offsets)
        share(dot_rows, len(pieces) - 1, *read, pieces, out.numpy())
        return out

    def totals(self, values: Values, support: Support) -> PerAtom:
        """Return sums by atom."""
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
    width = min(n_atoms, max(BLOCK, TILE_ENTRIES // n))
    with scratch(n * width, x.dtype) as buffer:
        for first in range(0, n_atoms, width):
            part = weight[first : first + width]
            tile = buffer[: n * len(part)].view(n, len(part))
            torch.mm(x, part.T, out=tile)
            place = (_array(bias[first : first + width]), first, first + width >= n_atoms)
            share(collect, n, tile.numpy(), *place, k, signed, *found)
    return _packed(values, atoms, counts)


class _Tile:
    """Pre-codes of some rows and all atoms, in borrowed memory, with the maxima of their blocks."""

    def __init__(self, tile: np.ndarray, bias: np.ndarray, floor: np.ndarray) -> None:
        self._parts = (tile, bias, floor)
        n_blocks = -(-tile.shape[1] // BLOCK)
        self._maxima = np.empty((len(tile), n_blocks), dtype=tile.dtype)
        share(margins, len(tile), *self._parts, self._maxima)

    def lower_bound(self, n_kept: int) -> float:
        """Return a value just below the `n_kept`-th largest, reached by `n_kept` blocks; −∞ with fewer
        blocks.
        """
        maxima = self._maxima.ravel()
        if len(maxima) < n_kept:
            return -np.inf
        bound = np.partition(maxima, len(maxima) - n_kept)[len(maxima) - n_kept]
        return float(np.nextafter(bound, maxima.dtype.type(-np.inf)))

    def above(self, threshold: float) -> Entries:
        """Return entries whose margin over the floor is above a threshold."""
        tile = self._parts[0]
        limit = tile.dtype.type(threshold)
        counts = np.empty(len(tile), dtype=np.int64)
        share(count_above, len(tile), *self._parts, limit, self._maxima, counts)
        offsets = np.zeros(len(tile) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        values = np.empty(offsets[-1], dtype=tile.dtype)
        atoms = np.empty(offsets[-1], dtype=np.int32 if tile.shape[1] < 2**31 else np.int64)
        share(fill_above, len(tile), *self._parts, limit, self._maxima, offsets, values, atoms)
        return _entries(values, atoms, offsets)


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
    return _entries(*parts), float(smallest)


def _entries(values: np.ndarray, atoms: np.ndarray, offsets: np.ndarray) -> Entries:
    return Entries(torch.from_numpy(values), torch.from_numpy(atoms), torch.from_numpy(offsets))


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
    pack(values, atoms, offsets, packed_values, packed_atoms)
    return _entries(packed_values, packed_atoms, offsets)


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
    pieces = _pieces(entries[2])
    views = (_array(table), _array(start), pieces, out.numpy())
    share(sum_rows, len(pieces) - 1, *entries, *views)
    return out


def _pieces(offsets: np.ndarray) -> np.ndarray:
    """Cut the segments into pieces of about equal numbers of entries plus segments."""
    n = len(offsets) - 1
    load = offsets + np.arange(n + 1)
    n_pieces = min(n, PIECES)
    cuts = np.searchsorted(load, np.linspace(0, load[-1], n_pieces + 1)[1:-1])
    return np.concatenate([[0], cuts, [n]])


def _array(x: Tensor) -> np.ndarray:
    return x.contiguous().numpy()

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
from sae_nb.kernels._products import ONEDNN, linear, pays
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
def add_inputs(values, atoms, offsets, table, out):
    """Add values[e] · table[i] to out[atoms[e]] for the entries e of each row i: few, which are not worth
    sorting by atom.
    """
    for i in range(len(offsets) - 1):
        row = table[i]
        for e in range(offsets[i], offsets[i + 1]):
            value, to = values[e], out[atoms[e]]
            for c in range(len(row)):
                to[c] += value * row[c]


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

BITS = {4: np.int32, 8: np.int64}
"""Integers as wide as a float of so many bytes."""


@compiled(inner=True)
def reaching(bits, threshold):
    """Count the integers that reach a threshold: all of one width, so that an instruction compares many."""
    kind = bits.dtype.type
    found, one, zero = kind(0), kind(1), kind(0)
    for j in range(len(bits)):
        found = kind(found + (one if bits[j] >= threshold else zero))
    return found


@compiled(inner=True)
def kth_largest(bits, k):
    """Return the k-th largest of integers, 1 ≤ k ≤ n, by bisection; 0 where fewer are positive."""
    kind = bits.dtype.type
    least, most = bits[0], bits[0]
    for j in range(len(bits)):
        least, most = min(least, bits[j]), max(most, bits[j])
    low, high = np.int64(max(least, kind(0))), np.int64(most)
    while low < high:
        middle = high - ((high - low) >> 1)
        found = reaching(bits, kind(middle))
        if found == k:
            least = most
            for j in range(len(bits)):
                least = min(least, bits[j] if bits[j] >= kind(middle) else most)
            return least
        if found > k:
            low = middle
        else:
            high = middle - 1
    return kind(low)


@compiled(inner=True)
def keys_of(row, bias, mask, infinity, u, keys, maxima, block):
    """Write row + bias to `u`, whose bits under a mask become `keys`, 0 for NaN; and the maxima of blocks."""
    kind = keys.dtype.type
    for j in range(len(row)):
        u[j] = row[j] + bias[j]
    for b in range(len(maxima)):
        part, most = keys[b * block : b * block + block], kind(0)
        for j in range(len(part)):
            key = kind(part[j] & mask)
            part[j] = key if key <= infinity else kind(0)
            most = max(most, part[j])
        maxima[b] = most


@compiled()
def collect(begin, end, tile, bias, first_atom, k, signed, values, bits, atoms, counts):
    """Merge a tile of pre-codes (rows × some atoms) with the k largest positive ones of every row so far.

    `bits` are those of `values`: read as integers, positive numbers keep their order, so that the k-th is
    found by counting. Where signs are kept, magnitudes compete. Entries lie in the order of their atoms.
    """
    width = tile.shape[1]
    u = np.empty(width, tile.dtype)
    keys = u.view(bits.dtype)
    kind = keys.dtype.type
    u[0] = -0.0
    mask = kind(~keys[0]) if signed else kind(-1)
    u[0] = np.inf
    infinity = keys[0]
    # So many blocks that their maxima bound the k-th largest well.
    block = BLOCK if width >= 64 * k else BLOCK // 2
    maxima = np.empty(-(-width // block), bits.dtype)
    found, places = np.empty(k + width, bits.dtype), np.empty(k + width, atoms.dtype)
    for i in range(begin, end):
        row, n = tile[i], counts[i]
        keys_of(row, bias, mask, infinity, u, keys, maxima, block)
        for e in range(n):
            found[e] = bits[i, e] & mask
        least = kind(0)
        if n == k:
            least = found[0]
            for e in range(n):
                least = min(least, found[e])
        elif n == 0 and width > k:
            # k blocks reach the k-th largest block maximum, so at least k pre-codes do.
            bound = kth_largest(maxima if len(maxima) >= 2 * k else keys, k)
            least = kind(max(bound, kind(1)) - 1)
        e = n
        for b in range(len(maxima)):
            if maxima[b] > least:
                for j in range(b * block, min(b * block + block, width)):
                    found[e], places[e] = keys[j], j  # always, and kept by the count: no branch
                    e += 1 if keys[j] > least else 0
        ties = e
        if e > k:
            least = kth_largest(found[:e], k)
            ties = k - reaching(found[:e], kind(least + 1))
        kept = 0
        for q in range(e):
            if found[q] < least:
                continue
            if found[q] == least:
                if ties == 0:
                    continue
                ties -= 1
            if q < n:
                values[i, kept], atoms[i, kept] = values[i, q], atoms[i, q]
            else:
                j = places[q]
                values[i, kept], atoms[i, kept] = row[j] + bias[j], first_atom + j
            kept += 1
        counts[i] = kept


@compiled()
def pack(values, atoms, offsets):
    """Move rows with room at their ends together, and turn their counts, offsets[1:], into offsets."""
    kept, width = 0, values.shape[1]
    flat, at = values.reshape(-1), atoms.reshape(-1)
    for i in range(len(values)):
        if kept < i * width:
            for e in range(offsets[i + 1]):
                flat[kept + e], at[kept + e] = flat[i * width + e], at[i * width + e]
        kept += offsets[i + 1]
        offsets[i + 1] = kept


@compiled(inner=True, fastmath=_REORDER)
def four_products(rows, weight, out):
    """Set out = rows weightᵀ for four rows, two atoms at a time: their eight sums stay in registers."""
    x0, x1, x2, x3 = rows[0], rows[1], rows[2], rows[3]
    last = len(weight) - 1
    for i in range(0, last + 1, 2):
        j = min(i + 1, last)  # of an odd number the last one is done twice
        v, w, zero = weight[i], weight[j], rows.dtype.type(0)
        v0, v1, v2, v3, w0, w1, w2, w3 = zero, zero, zero, zero, zero, zero, zero, zero
        for c in range(len(v)):
            v0 += v[c] * x0[c]
            v1 += v[c] * x1[c]
            v2 += v[c] * x2[c]
            v3 += v[c] * x3[c]
            w0 += w[c] * x0[c]
            w1 += w[c] * x1[c]
            w2 += w[c] * x2[c]
            w3 += w[c] * x3[c]
        out[0, i], out[1, i], out[2, i], out[3, i] = v0, v1, v2, v3
        out[0, j], out[1, j], out[2, j], out[3, j] = w0, w1, w2, w3


@compiled()
def collect_few(x, weight, bias, centre, k, signed, bits, atoms, offsets):
    """Choose among few pre-codes of few rows, which are worth neither tiles nor threads: products, `collect`
    and `pack`. Return how many are kept.
    """
    n, n_atoms = len(x), len(weight)
    rows, tile = x - centre, np.empty((n, n_atoms), x.dtype)
    i = 0
    while i + 4 <= n:
        four_products(rows[i : i + 4], weight, tile[i : i + 4])
        i += 4
    while i < n:
        for j in range(n_atoms):
            tile[i, j] = dot(weight[j], rows[i])
        i += 1
    held, at = bits.reshape(n, k), atoms.reshape(n, k)
    collect(0, n, tile, bias, 0, k, signed, held.view(x.dtype), held, at, offsets[1:])
    pack(held, at, offsets)
    return offsets[n]


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


def product(x: Rows, weight: Atoms, room: Tensor) -> Tensor:
    """Return x weightᵀ, in the room or in memory of its own."""
    if pays(x, weight):
        return linear(x, weight)
    return torch.mm(x, weight.T, out=room[: len(x) * len(weight)].view(len(x), -1))


ROWS = 2048
"""Rows encoded at once: enough for a matrix product at full rate."""

TILE_ENTRIES = (4 if ONEDNN else 16) * 2**20
"""Pre-codes that exist at once (64 MB in fp32). Every further tile hands the cores from torch's
threads to Numba's and back, and a pool that was left spins for milliseconds on cores the other wants. Where
every tile is new memory, beyond 32 MB the system zeroes its pages anew, which takes longer."""

PIECES = 256
"""Parts into which a loop is split, whatever the number of threads: sums over parts must not move."""

GRAIN = 2**20
"""Products below which one thread does it all, unsorted: they take 60 to 200 µs, and another thread is woken
and waited for in 30 to 60."""


class Cpu:
    """Primitives by Numba loops, parallel over rows or atoms, without atomics."""

    name = "sparse"

    def __init__(self) -> None:
        self._dense = Dense()

    def topk(self, pre_codes: PreCodes, k: int, *, signed: bool = False) -> Entries:
        """Return the k largest of each row; of equal ones, the lower atoms."""
        slices = _row_slices(len(pre_codes), max(1, min(ROWS, TILE_ENTRIES // k)))
        return _join([_topk_chunk(pre_codes, rows, k, signed) for rows in slices])

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
        pieces = _pieces(entries[2], table.shape[1])
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
        if (len(values) + support.n_atoms) * table.shape[1] < GRAIN:
            out = table.new_zeros(support.n_atoms, table.shape[1])
            entries = (_array(values), support.atoms.numpy(), support.offsets.numpy())
            add_inputs(*entries, _array(table), out.numpy())
            return out
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
        pieces = _pieces(offsets, table.shape[1])
        share(dot_rows, len(pieces) - 1, *read, pieces, out.numpy())
        return out

    def totals(self, values: Values, support: Support) -> PerAtom:
        """Return sums by atom."""
        totals = np.bincount(support.atoms.numpy(), values.numpy(), minlength=support.n_atoms)
        return torch.from_numpy(totals).to(values.dtype)


def largest_of_few(
    x: Rows, weight: Atoms, bias: PerAtom | None, centre: Row | None, k: int, signed: bool
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return what `Cpu.topk` does, by one loop; None where shapes do not fit."""
    rows, table = _array(x), _array(weight)
    (n, width), n_atoms, dtype = rows.shape, len(table), rows.dtype
    added = np.zeros(n_atoms, dtype) if bias is None else _array(bias)
    middle = np.zeros(width, dtype) if centre is None else _array(centre)
    if (table.shape[1:], added.shape, middle.shape) != ((width,), (n_atoms,), (width,)):
        return None
    values, atoms, offsets = np.empty(n * k, dtype), np.empty(n * k, np.int32), np.zeros(n + 1, int)
    bits = values.view(BITS[dtype.itemsize])
    kept = collect_few(rows, table, added, middle, k, signed, bits, atoms, offsets)
    if kept < n * k:
        values, atoms = values[:kept], atoms[:kept]
    return torch.from_numpy(values), torch.from_numpy(atoms), torch.from_numpy(offsets)


def _topk_chunk(pre_codes: PreCodes, rows: slice, k: int, signed: bool) -> Entries:
    x, weight, n_atoms = pre_codes.centred(rows), pre_codes.weight, pre_codes.n_atoms
    bias = _bias(pre_codes)
    n = len(x)
    values = np.empty((n, k), dtype=x.numpy().dtype)
    atoms = np.empty((n, k), dtype=np.int32 if n_atoms < 2**31 else np.int64)
    offsets = np.zeros(n + 1, dtype=np.int64)
    found = (values, values.view(BITS[values.itemsize]), atoms, offsets[1:])
    width = min(n_atoms, max(BLOCK, TILE_ENTRIES // n))
    with scratch(n * width, x.dtype) as buffer:
        for first in range(0, n_atoms, width):
            part = weight[first : first + width]
            tile = product(x, part, buffer)
            place = (_array(bias[first : first + width]), first)
            share(collect, n, tile.numpy(), *place, k, signed, *found)
    return _packed(values, atoms, offsets)


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
            yield _Tile(product(x, pre_codes.weight, buffer).numpy(), *parts)


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


def _packed(values: np.ndarray, atoms: np.ndarray, offsets: np.ndarray) -> Entries:
    """Entries of rows that may have left room at their ends, as many as offsets[1:] count."""
    pack(values, atoms, offsets)
    n = offsets[-1]
    return _entries(values.reshape(-1)[:n], atoms.reshape(-1)[:n], offsets)


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
    pieces = _pieces(entries[2], table.shape[1])
    views = (_array(table), _array(start), pieces, out.numpy())
    share(sum_rows, len(pieces) - 1, *entries, *views)
    return out


def _pieces(offsets: np.ndarray, width: int) -> np.ndarray:
    """Cut the segments into pieces of about equal numbers of entries plus segments."""
    n = len(offsets) - 1
    if (int(offsets[-1]) + n) * width < GRAIN:
        return np.array([0, n])
    load = offsets + np.arange(n + 1)
    n_pieces = min(n, PIECES)
    cuts = load.searchsorted(np.arange(n_pieces + 1) * (load[-1] / n_pieces))
    cuts[0], cuts[-1] = 0, n
    return cuts


def _array(x: Tensor) -> np.ndarray:
    return (x.detach() if x.requires_grad else x).contiguous().numpy()

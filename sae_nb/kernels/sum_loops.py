"""The compiled loops of sparse sums: add up chosen rows, compare with a target, dot with chosen rows.

Rows are split into pieces with equal numbers of entries; pieces run in parallel, and the entries of
one output row are always added by one thread in one order, so results do not depend on the number
of threads. Inputs are trusted: they were checked at the public function.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from numba import prange

from sae_nb.kernels.threads import compiled

# Sums may be reordered to use vector registers; NaN and infinity keep their meaning.
_REORDER = {"reassoc", "contract", "nsz"}


@compiled(fastmath=_REORDER)
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


@compiled(parallel=True)
def sum_rows(values, index, offsets, table, start, pieces, out):
    """Set out[i] = start + Σ_e values[e] · table[index[e]] over the entries e of segment i."""
    for piece in prange(pieces.shape[0] - 1):
        for i in range(pieces[piece], pieces[piece + 1]):
            for c in range(start.shape[0]):
                out[i, c] = start[c]
            add_rows(values, index, offsets[i], offsets[i + 1], table, out[i])


@compiled(parallel=True)
def sum_rows_against(
    values, index, offsets, table, start, target, pieces, out, residual, squares, columns
):
    """As `sum_rows`; also residual = target − out, and per piece its squared sum and column sums."""
    for piece in prange(pieces.shape[0] - 1):
        total = 0.0
        sums = columns[piece]
        sums[:] = 0
        for i in range(pieces[piece], pieces[piece + 1]):
            row, left = out[i], residual[i]
            for c in range(start.shape[0]):
                row[c] = start[c]
            add_rows(values, index, offsets[i], offsets[i + 1], table, row)
            for c in range(start.shape[0]):
                left[c] = target[i, c] - row[c]
                sums[c] += left[c]
            total += dot(left, left)
        squares[piece] = total


@compiled(fastmath=_REORDER)
def dot(a, b):
    """⟨a, b⟩, in vector registers."""
    total = a.dtype.type(0)
    for c in range(a.shape[0]):
        total += a[c] * b[c]
    return total


@compiled(fastmath=_REORDER)
def dot_four(g, t0, t1, t2, t3):
    """⟨g, t⟩ for four table rows at once: four streams from memory hide each other's latency."""
    zero = g.dtype.type(0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    for c in range(g.shape[0]):
        s0 += g[c] * t0[c]
        s1 += g[c] * t1[c]
        s2 += g[c] * t2[c]
        s3 += g[c] * t3[c]
    return s0, s1, s2, s3


@compiled(parallel=True)
def dot_rows(g, index, offsets, table, pieces, out):
    """Set out[e] = ⟨g[i], table[index[e]]⟩ for the entries e of each row i."""
    for piece in prange(pieces.shape[0] - 1):
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

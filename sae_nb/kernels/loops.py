"""The compiled loops of the CPU path: select the k largest, sum chosen rows, dot with chosen rows.

Rows are split into pieces with equal numbers of entries; pieces run in parallel, and the entries of
one output row are always added by one thread in one order, so results do not depend on the number
of threads. Inputs are trusted: they were checked at the public function.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import numpy as np
from numba import prange

from sae_nb.kernels.threads import compiled

# Sums may be reordered to use vector registers; NaN and infinity keep their meaning.
_REORDER = {"reassoc", "contract", "nsz"}
BLOCK = 32
"""Columns whose maximum is compared at once: most blocks hold no candidate and are skipped whole."""


@compiled()
def kth_largest(scratch, n, k):
    """Value of the k-th largest of scratch[:n], 1 ≤ k ≤ n (Hoare's selection); reorders them."""
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


@compiled()
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
@compiled(fastmath={"nnan", "nsz", "reassoc"})
def block_maxima(row, bias, maxima):
    """Maximum of row + bias over each whole block; return the number of blocks."""
    n_blocks = row.shape[0] // BLOCK
    for b in range(n_blocks):
        largest = row[b * BLOCK] + bias[b * BLOCK]
        for j in range(b * BLOCK, b * BLOCK + BLOCK):
            largest = max(largest, row[j] + bias[j])
        maxima[b] = largest
    return n_blocks


@compiled()
def collect_row(row, bias, first_atom, k, values, atoms, state, i, scratch, maxima):
    """Add the pre-codes of one row above its running threshold to its candidates.

    `state` holds, per row, the threshold as values and the number of candidates. Invariant: every
    one of the k largest positive pre-codes seen so far is a candidate, in order of its atom.
    """
    thresholds, counts = state
    n = counts[i]
    n_blocks = block_maxima(row, bias, maxima)
    if n == 0 and n_blocks >= 2 * k:
        # k blocks reach the k-th largest block maximum, so at least k pre-codes do.
        for b in range(n_blocks):
            scratch[b] = maxima[b]
        bound = kth_largest(scratch, n_blocks, k)
        if bound > thresholds[i]:
            thresholds[i] = np.nextafter(bound, thresholds[i])
    threshold = thresholds[i]
    room = values.shape[0] - BLOCK
    for b in range(n_blocks + 1):
        if b < n_blocks and not maxima[b] > threshold:
            continue
        if n > room:
            threshold = max(threshold, keep_largest(values, atoms, n, k, scratch))
            n = k
        for j in range(b * BLOCK, min(b * BLOCK + BLOCK, row.shape[0])):
            value = row[j] + bias[j]
            if value > threshold:
                values[n], atoms[n] = value, first_atom + j
                n += 1
    if n > k + (k >> 1):
        threshold = max(threshold, keep_largest(values, atoms, n, k, scratch))
        n = k
    thresholds[i], counts[i] = threshold, n


@compiled(parallel=True)
def collect(tile, bias, first_atom, last, k, values, atoms, thresholds, counts, n_pieces):
    """Add a tile of pre-codes (rows × some atoms) to the candidates of every row.

    The `last` tile leaves at most k candidates per row.
    """
    n, width = tile.shape
    for piece in prange(n_pieces):
        scratch = np.empty(max(values.shape[1], width // BLOCK), tile.dtype)
        maxima = np.empty(width // BLOCK + 1, tile.dtype)
        for i in range(piece * n // n_pieces, (piece + 1) * n // n_pieces):
            state = (thresholds, counts)
            collect_row(
                tile[i], bias, first_atom, k, values[i], atoms[i], state, i, scratch, maxima
            )
            if last and counts[i] > k:
                keep_largest(values[i], atoms[i], counts[i], k, scratch)
                counts[i] = k


@compiled()
def pack(values, atoms, offsets, packed_values, packed_atoms):
    """Copy the candidates of every row, one after the other, into CSR arrays."""
    for i in range(values.shape[0]):
        first = offsets[i]
        for e in range(offsets[i + 1] - first):
            packed_values[first + e] = values[i, e]
            packed_atoms[first + e] = atoms[i, e]


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

"""The compiled loops of selection: the k largest of a row, of a batch, or all above a threshold.

Rows are split into pieces that run in parallel; each row is one thread's work, so results do not
depend on the number of threads. Inputs are trusted: they were checked at the public function.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import numpy as np
from numba import prange

from sae_nb.kernels.threads import compiled

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
def block_maxima(row, bias, signed, maxima):
    """Maximum of row + bias, or of its magnitude, over each whole block; return how many there are."""
    n_blocks = row.shape[0] // BLOCK
    for b in range(n_blocks):
        first = b * BLOCK
        largest = row[first] + bias[first]
        if signed:
            largest = abs(largest)
            for j in range(first, first + BLOCK):
                largest = max(largest, abs(row[j] + bias[j]))
        else:
            for j in range(first, first + BLOCK):
                largest = max(largest, row[j] + bias[j])
        maxima[b] = largest
    return n_blocks


@compiled()
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
    room = values.shape[0] - BLOCK
    for b in range(n_blocks + 1):
        if b < n_blocks and not maxima[b] > threshold:
            continue
        if n > room:
            threshold = max(threshold, keep_largest(values, atoms, n, k, scratch))
            n = k
        for j in range(b * BLOCK, min(b * BLOCK + BLOCK, row.shape[0])):
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


@compiled(parallel=True)
def collect(tile, bias, first_atom, last, k, signed, values, atoms, thresholds, counts, n_pieces):
    """Add a tile of pre-codes (rows × some atoms) to the candidates of every row.

    The `last` tile leaves at most k candidates per row.
    """
    n, width = tile.shape
    for piece in prange(n_pieces):
        scratch = np.empty(max(values.shape[1], width // BLOCK), tile.dtype)
        maxima = np.empty(width // BLOCK + 1, tile.dtype)
        for i in range(piece * n // n_pieces, (piece + 1) * n // n_pieces):
            state = (thresholds, counts)
            found = (values[i], atoms[i], state)
            collect_row(tile[i], bias, first_atom, k, signed, *found, i, scratch, maxima)
            if last and counts[i] > k:
                keep_largest(values[i], atoms[i], counts[i], k, scratch)
                counts[i] = k


@compiled()
def pack(values, atoms, offsets, packed_values, packed_atoms):
    """Copy the candidates of every row, one after the other, into CSR arrays."""
    for i in range(values.shape[0]):
        first = offsets[i]
        for e in range(offsets[i + 1] - first):
            value, atom = values[i, e], atoms[i, e]
            negative = atom < 0
            packed_values[first + e] = -value if negative else value
            packed_atoms[first + e] = ~atom if negative else atom


# Not `reassoc`: (row + bias) − floor must round as the comparison it stands for.
@compiled(fastmath={"nnan", "nsz"})
def row_margins(row, bias, floor, maxima):
    """Maximum of row + bias − floor over each block, the last one short."""
    width = row.shape[0]
    for b in range(maxima.shape[0]):
        first, last = b * BLOCK, min(b * BLOCK + BLOCK, width)
        largest = row[first] + bias[first] - floor[first]
        for j in range(first, last):
            largest = max(largest, row[j] + bias[j] - floor[j])
        maxima[b] = largest


@compiled(parallel=True)
def margins(tile, bias, floor, maxima, n_pieces):
    """`row_margins` of every row of a tile of pre-codes."""
    n = tile.shape[0]
    for piece in prange(n_pieces):
        for i in range(piece * n // n_pieces, (piece + 1) * n // n_pieces):
            row_margins(tile[i], bias, floor, maxima[i])


@compiled(parallel=True)
def count_above(tile, bias, floor, threshold, maxima, counts, n_pieces):
    """Pre-codes of each row with row + bias − floor above the threshold; cold blocks are skipped."""
    n, width = tile.shape
    for piece in prange(n_pieces):
        for i in range(piece * n // n_pieces, (piece + 1) * n // n_pieces):
            row, count = tile[i], 0
            for b in range(maxima.shape[1]):
                if maxima[i, b] > threshold:
                    for j in range(b * BLOCK, min(b * BLOCK + BLOCK, width)):
                        count += row[j] + bias[j] - floor[j] > threshold
            counts[i] = count


@compiled(parallel=True)
def fill_above(tile, bias, floor, threshold, maxima, offsets, values, atoms, n_pieces):
    """Write what `count_above` counted, row by row, in the order of the atoms."""
    n, width = tile.shape
    for piece in prange(n_pieces):
        for i in range(piece * n // n_pieces, (piece + 1) * n // n_pieces):
            row, e = tile[i], offsets[i]
            for b in range(maxima.shape[1]):
                if maxima[i, b] > threshold:
                    for j in range(b * BLOCK, min(b * BLOCK + BLOCK, width)):
                        value = row[j] + bias[j]
                        if value - floor[j] > threshold:
                            values[e], atoms[e] = value, j
                            e += 1

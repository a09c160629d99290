"""The Triton kernels of one-step encoders and their decoders; any size, no waits, no atomics on numbers.

Entries of a row lie at first … first + count, with first = row · k where FIXED, else offsets[row]; what is
stored behind them is padding: value 0, atom 0, key n_atoms. A key orders pre-codes as whole numbers: the
bits of a positive number, 0 for every other one, NaN too.

Imported only where Triton is: on a card, or under its interpreter.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

# -------------------------------------------------------------------------------------------------
# Selection.


@triton.jit
def key_of(v, SIGNED: tl.constexpr, HALF: tl.constexpr):
    """Whole numbers in the order of the strengths; of bf16 the upper half decides."""
    size = tl.abs(v) if SIGNED else v
    bits = tl.where(size > 0, size, 0.0).to(tl.int32, bitcast=True)
    return (bits >> 16) if HALF else bits


@triton.jit
def kth_key(key, k, BITS: tl.constexpr):
    """The k-th largest key: the largest t that at least k keys reach."""
    t = tl.max(key * 0, axis=0)
    for s in range(BITS):
        trial = t | (1 << (BITS - 1 - s))
        t = tl.where(tl.sum((key >= trial).to(tl.int32), axis=0) >= k, trial, t)
    return t


@triton.jit
def count_before(some):
    """How many of some there are before each."""
    one = some.to(tl.int32)
    return tl.cumsum(one, axis=0) - one


@triton.jit
def take_largest(key, k, BITS: tl.constexpr):
    """Which positive keys are the k largest (of equal ones the first), where each goes, and how many."""
    t = tl.maximum(kth_key(key, k, BITS), 1)
    larger, equal = (key > t).to(tl.int32), (key == t).to(tl.int32)
    n_larger = tl.sum(larger, axis=0)
    free = k - n_larger
    both = count_before(larger * 65536 + equal)
    n_equal = both & 65535
    taken = (larger > 0) | ((equal > 0) & (n_equal < free))
    count = n_larger + tl.minimum(tl.sum(equal, axis=0), free)
    return taken, (both >> 16) + tl.minimum(n_equal, free), count


@triton.jit
def take_some(key, t, free):
    """Which keys are above t > 0, or among the first `free` that are t; and how many are t."""
    equal = key == t
    return (key > t) | (equal & (count_before(equal) < free)), tl.sum(equal.to(tl.int32), axis=0)


@triton.jit
def store_entries(place, v, e, key, mask, values, atoms, keys):
    """Write entries where there is one."""
    tl.store(values + place, v, mask=mask)
    tl.store(atoms + place, e, mask=mask)
    tl.store(keys + place, key.to(keys.dtype.element_ty), mask=mask)


@triton.jit
def store_padding(i, count, start, values, atoms, keys, n, k, T: tl.constexpr):
    """Write padding behind the `count` entries of a row, at T places of its k."""
    rest = start + tl.arange(0, T)
    empty, zero = (rest >= count) & (rest < k), rest * 0
    store_entries(i * k + rest, zero, zero, zero + n, empty, values, atoms, keys)


@triton.jit
def store_row(i, v, e, taken, place, count, values, atoms, keys, counts, n, k, K2: tl.constexpr):
    """Write the chosen entries of a row, and padding behind them."""
    store_entries(i * k + place, v, e, e, taken, values, atoms, keys)
    store_padding(i, count, 0, values, atoms, keys, n, k, K2)
    tl.store(counts + i, count)


@triton.jit
def strength_of(u, at, e, inside, allowed, AMONG: tl.constexpr):
    """Pre-codes at some places; 0 where an atom is not allowed."""
    if AMONG:
        inside = inside & (tl.load(allowed + e, mask=inside, other=0) != 0)
    return tl.load(u + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def select_rows(
    u, allowed, some, values, atoms, keys, counts, n, k,
    K2: tl.constexpr, N2: tl.constexpr, SIGNED: tl.constexpr, AMONG: tl.constexpr,
    HALF: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """The k largest of a row, all of it in registers. AMONG: of allowed atoms; without any nothing is read."""
    i = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, N2)
    inside = e < n
    if AMONG:
        inside = inside & (tl.load(some) > 0)
    v = strength_of(u, i * n + e, e, inside, allowed, AMONG)
    key = tl.where(inside, key_of(v, SIGNED, HALF), -1)
    taken, place, count = take_largest(key, k, BITS)
    store_row(i, v, e, taken, place, count, values, atoms, keys, counts, n, k, K2)


@triton.jit
def select_long_rows(
    u, allowed, some, values, atoms, keys, counts, n, k,
    T: tl.constexpr, SIGNED: tl.constexpr, AMONG: tl.constexpr, HALF: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """The k largest of a row of any length, read again for every bit of the k-th key."""
    i = tl.program_id(0).to(tl.int64)
    end = n
    if AMONG:
        end = tl.where(tl.load(some) > 0, n, 0)
    t = tl.program_id(0) * 0
    for s in range(BITS):
        trial = t | (1 << (BITS - 1 - s))
        reached = tl.zeros((T,), tl.int32)
        for start in range(0, end, T):
            e = start + tl.arange(0, T)
            v = strength_of(u, i * n + e, e, e < n, allowed, AMONG)
            reached += (key_of(v, SIGNED, HALF) >= trial).to(tl.int32)
        t = tl.where(tl.sum(reached, axis=0) >= k, trial, t)
    t = tl.maximum(t, 1)
    larger = tl.zeros((T,), tl.int32)
    for start in range(0, end, T):
        e = start + tl.arange(0, T)
        v = strength_of(u, i * n + e, e, e < n, allowed, AMONG)
        larger += (key_of(v, SIGNED, HALF) > t).to(tl.int32)
    free = k - tl.sum(larger, axis=0)
    count = tl.program_id(0) * 0
    for start in range(0, end, T):
        e = start + tl.arange(0, T)
        v = strength_of(u, i * n + e, e, e < n, allowed, AMONG)
        taken, n_equal = take_some(key_of(v, SIGNED, HALF), t, free)
        place = i * k + count + count_before(taken)
        store_entries(place, v, e, e, taken, values, atoms, keys)
        count += tl.sum(taken.to(tl.int32), axis=0)
        free -= tl.minimum(n_equal, free)
    for start in range(0, k, T):
        store_padding(i, count, start, values, atoms, keys, n, k, T)
    tl.store(counts + i, count)


@triton.jit
def select_blocks(
    u, maxima, allowed, scratch, values, atoms, keys, counts, n, k,
    K2: tl.constexpr, NB2: tl.constexpr, G: tl.constexpr, SIGNED: tl.constexpr, AMONG: tl.constexpr,
    HALF: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """The k largest of a row, which lie in the k blocks of G with the largest maxima; only those are read."""
    i = tl.program_id(0).to(tl.int64)
    n_blocks = tl.cdiv(n, G)
    b = tl.arange(0, NB2)
    m = tl.load(maxima + i * n_blocks + b, mask=b < n_blocks, other=0.0).to(tl.float32)
    hot, place, n_hot = take_largest(key_of(m, False, HALF), k, BITS)
    tl.store(scratch + i * k + place, b, mask=hot)
    tl.debug_barrier()
    s = tl.arange(0, K2)
    block = tl.load(scratch + i * k + s, mask=s < n_hot, other=0, cache_modifier=".cg")
    column = block[:, None] * G + tl.arange(0, G)[None, :]
    e = tl.reshape(column, (K2 * G,))
    inside = tl.reshape((s < n_hot)[:, None] & (column < n), (K2 * G,))
    v = strength_of(u, i * n + e, e, inside, allowed, AMONG)
    key = tl.where(inside, key_of(v, SIGNED, HALF), -1)
    taken, place, count = take_largest(key, k, BITS)
    store_row(i, v, e, taken, place, count, values, atoms, keys, counts, n, k, K2)


@triton.jit
def block_maxima(
    u, allowed, some, maxima, n, n_blocks, total,
    G: tl.constexpr, R: tl.constexpr, SIGNED: tl.constexpr, AMONG: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Of each G neighbours the largest strength, 0 where none is positive. WHOLE: n is a multiple of G."""
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    within = tl.arange(0, G)[None, :]
    if WHOLE and not AMONG:
        column = within
        inside = (r < total)[:, None]
        at = r[:, None] * G + within
    else:
        column = (r % n_blocks)[:, None] * G + within
        inside = (r < total)[:, None] & (column < n)
        at = (r // n_blocks)[:, None] * n + column
    if AMONG:
        inside = inside & (tl.load(some) > 0)
    v = strength_of(u, at, column, inside, allowed, AMONG)
    v = tl.abs(v) if SIGNED else v
    largest = tl.max(tl.where(v > 0, v, 0.0), axis=1)
    tl.store(maxima + r, largest.to(maxima.dtype.element_ty), mask=r < total)


@triton.jit
def count_digits(
    u, maxima, state, floor, bins, n, n_blocks, total, rounds, SHIFT: tl.constexpr, WIDTH: tl.constexpr,
    G: tl.constexpr, R: tl.constexpr, GATED: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Count keys by their next digit, among those that agree with the digits found so far.

    GATED: blocks whose maximum lies below `floor` are not read.
    """
    found = tl.load(state)
    counts = tl.zeros((1 << WIDTH,), dtype=tl.int32)
    for turn in range(rounds):
        tile = turn * tl.num_programs(0) + tl.program_id(0)
        r = tile.to(tl.int64) * R + tl.arange(0, R)
        column = (r % n_blocks)[:, None] * G + tl.arange(0, G)[None, :]
        inside = (r < total)[:, None] & (column < n)
        if GATED:
            m = tl.load(maxima + r, mask=r < total, other=0.0).to(tl.float32)
            inside = inside & (key_of(m, False, HALF) >= tl.maximum(tl.load(floor), 1))[:, None]
        v = tl.load(u + (r // n_blocks)[:, None] * n + column, mask=inside, other=0.0)
        key = key_of(v.to(tl.float32), False, HALF)
        counted = (key > 0) & ((key >> (SHIFT + WIDTH)) == (found >> (SHIFT + WIDTH)))
        digit = (key >> SHIFT) & ((1 << WIDTH) - 1)
        counts += tl.histogram(
            tl.reshape(digit, (R * G,)), 1 << WIDTH, mask=tl.reshape(counted, (R * G,))
        )
    at = tl.arange(0, 1 << WIDTH)
    tl.atomic_add(bins + at, counts, mask=counts > 0, sem="relaxed")


@triton.jit
def pick_digit(bins, state, SHIFT: tl.constexpr, WIDTH: tl.constexpr):
    """Append the digit of the key of the wanted rank. state: the key so far, the rank among what is left.

    Where fewer keys are left than the rank, the key ends as 0.
    """
    at = tl.arange(0, 1 << WIDTH)
    counts = tl.load(bins + at)
    total = tl.sum(counts, axis=0)
    above = total - tl.cumsum(counts, axis=0)
    rank = tl.load(state + 1)
    here = (above < rank) & (above + counts >= rank)
    digit = tl.sum(tl.where(here, at, 0), axis=0)
    larger = tl.sum(tl.where(here, above, 0), axis=0)
    tl.store(state, tl.load(state) + (digit << SHIFT))
    tl.store(state + 1, rank - larger)
    tl.store(bins + at, counts * 0)


@triton.jit
def keys_of_row(u, maxima, i, e, t, n, G: tl.constexpr, HALF: tl.constexpr):
    """Pre-codes of a row and their keys; 0 in blocks whose maximum does not reach t."""
    m = tl.load(maxima + i * tl.cdiv(n, G) + e // G, mask=e < n, other=0.0).to(tl.float32)
    inside = (e < n) & (key_of(m, False, HALF) >= t)
    v = tl.load(u + i * n + e, mask=inside, other=0.0).to(tl.float32)
    return v, key_of(v, False, HALF)


@triton.jit
def count_against_key(
    u, maxima, state, larger, equal, n, T: tl.constexpr, G: tl.constexpr, HALF: tl.constexpr
):
    """How many keys of a row are above the one found, and how many are it."""
    i = tl.program_id(0).to(tl.int64)
    t = tl.maximum(tl.load(state), 1)
    n_larger = tl.zeros((T,), tl.int32)
    n_equal = tl.zeros((T,), tl.int32)
    for start in range(0, n, T):
        _, key = keys_of_row(u, maxima, i, start + tl.arange(0, T), t, n, G, HALF)
        n_larger += (key > t).to(tl.int32)
        n_equal += (key == t).to(tl.int32)
    tl.store(larger + i, tl.sum(n_larger, axis=0))
    tl.store(equal + i, tl.sum(n_equal, axis=0))


@triton.jit
def append_entries(first, taken, v, e, i, values, atoms, keys, rows, capacity):
    """Write chosen entries of a row where there is room for them; return the place behind them."""
    place = first + count_before(taken)
    fits = taken & (place < capacity)
    store_entries(place, v, e, e, fits, values, atoms, keys)
    tl.store(rows + place, (e * 0 + i).to(tl.int32), mask=fits)
    return first + tl.sum(taken.to(tl.int32), axis=0)


@triton.jit
def fill_against_key(
    u, maxima, state, equal_taken, offsets, values, atoms, keys, rows, n, capacity,
    T: tl.constexpr, G: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Write the entries of a row whose key is above the one found, and of those that are it the first few."""
    i = tl.program_id(0).to(tl.int64)
    t = tl.maximum(tl.load(state), 1)
    first = tl.load(offsets + i)
    free = tl.load(equal_taken + i)
    for start in range(0, n, T):
        e = start + tl.arange(0, T)
        v, key = keys_of_row(u, maxima, i, e, t, n, G, HALF)
        taken, n_equal = take_some(key, t, free)
        first = append_entries(first, taken, v, e, i, values, atoms, keys, rows, capacity)
        free -= tl.minimum(n_equal, free)


@triton.jit
def count_above(u, thresholds, counts, n, n_blocks, total, G: tl.constexpr, R: tl.constexpr):
    """Of each G neighbours, how many are above the threshold of their atom."""
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = (r % n_blocks)[:, None] * G + tl.arange(0, G)[None, :]
    inside = (r < total)[:, None] & (column < n)
    limit = tl.load(thresholds + column, mask=inside, other=0.0)
    v = tl.load(u + (r // n_blocks)[:, None] * n + column, mask=inside, other=0.0)
    above = inside & (v.to(tl.float32) > limit)
    tl.store(counts + r, tl.sum(above.to(tl.int32), axis=1).to(tl.int8), mask=r < total)


@triton.jit
def fill_above(
    u, thresholds, block_counts, offsets, values, atoms, keys, rows, n, capacity,
    T: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """Write the entries of a row above the threshold of their atom; blocks without any are not read."""
    i = tl.program_id(0).to(tl.int64)
    n_blocks = tl.cdiv(n, G)
    first = tl.load(offsets + i)
    for start in range(0, n, T):
        e = start + tl.arange(0, T)
        here = tl.load(block_counts + i * n_blocks + e // G, mask=e < n, other=0)
        inside = (e < n) & (here > 0)
        v = tl.load(u + i * n + e, mask=inside, other=0.0).to(tl.float32)
        limit = tl.load(thresholds + e, mask=inside, other=0.0)
        taken = inside & (v > limit)
        first = append_entries(first, taken, v, e, i, values, atoms, keys, rows, capacity)


# -------------------------------------------------------------------------------------------------
# Sums over the entries of a row.


@triton.jit
def weighted_rows(table, values, atoms, first, s, count, w, has, d, KC: tl.constexpr):
    """Some entries of a row: where they lie, which of them are there, strengths, and rows of their atoms."""
    k = s + tl.arange(0, KC)
    live = k < count
    j = tl.load(atoms + first + k, mask=live, other=0).to(tl.int64)
    z = tl.load(values + first + k, mask=live, other=0.0)
    t = tl.load(table + j[:, None] * d + w[None, :], mask=live[:, None] & has[None, :], other=0.0)
    return first + k, live, z, t.to(tl.float32)


@triton.jit
def entries_of(i, offsets, counts, k, FIXED: tl.constexpr):
    """First entry of a row, and how many there are."""
    first = i * k if FIXED else tl.load(offsets + i)
    return first, tl.load(counts + i)


@triton.jit
def sum_rows(
    table, values, atoms, offsets, counts, start, out, d, k,
    KC: tl.constexpr, W: tl.constexpr, FIXED: tl.constexpr, START: tl.constexpr,
):  # fmt: skip
    """y_i = s + Σ_e z_e t_{j_e}, W columns of it."""
    i = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1) * W + tl.arange(0, W)
    has = w < d
    first, count = entries_of(i, offsets, counts, k, FIXED)
    acc = tl.zeros((W,), tl.float32)
    if START:
        acc += tl.load(start + w, mask=has, other=0.0)
    for s in range(0, count, KC):
        _, _, z, t = weighted_rows(table, values, atoms, first, s, count, w, has, d, KC)
        acc += tl.sum(t * z[:, None], axis=0)
    tl.store(out + i * d + w, acc, mask=has)


@triton.jit
def compare_rows(
    table, values, atoms, offsets, counts, start, target, x_hat, residual, rough, dots, errors, d, k,
    KC: tl.constexpr, W: tl.constexpr, FIXED: tl.constexpr, START: tl.constexpr, ROUGH: tl.constexpr,
):  # fmt: skip
    """x̂_i = s + Σ_e z_e t_{j_e}, r_i = x_i − x̂_i, ‖r_i‖² and ⟨r_i, t_{j_e}⟩. ROUGH: r_i once more, in bf16."""
    i = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    has = w < d
    first, count = entries_of(i, offsets, counts, k, FIXED)
    acc = tl.zeros((W,), tl.float32)
    if START:
        acc += tl.load(start + w, mask=has, other=0.0)
    for s in range(0, count, KC):
        _, _, z, t = weighted_rows(table, values, atoms, first, s, count, w, has, d, KC)
        acc += tl.sum(t * z[:, None], axis=0)
    left = tl.load(target + i * d + w, mask=has, other=0.0) - acc
    tl.store(x_hat + i * d + w, acc, mask=has)
    tl.store(residual + i * d + w, left, mask=has)
    if ROUGH:
        tl.store(rough + i * d + w, left.to(tl.bfloat16), mask=has)
    tl.store(errors + i, tl.sum(left * left, axis=0))
    for s in range(0, count, KC):
        e, live, _, t = weighted_rows(table, values, atoms, first, s, count, w, has, d, KC)
        tl.store(dots + e, tl.sum(t * left[None, :], axis=1), mask=live)


@triton.jit
def dot_rows(
    g, table, values, atoms, offsets, counts, rows, out, d, k,
    KC: tl.constexpr, W: tl.constexpr, FIXED: tl.constexpr, BY_ENTRY: tl.constexpr,
):  # fmt: skip
    """y_e = ⟨g_i, t_{j_e}⟩. BY_ENTRY: every entry names its row of g."""
    i = tl.program_id(0).to(tl.int64)
    first, count = entries_of(i, offsets, counts, k, FIXED)
    for s in range(0, count, KC):
        acc = tl.zeros((KC,), tl.float32)
        e = first + s + tl.arange(0, KC)
        for c in range(0, d, W):
            w = c + tl.arange(0, W)
            has = w < d
            _, live, _, t = weighted_rows(table, values, atoms, first, s, count, w, has, d, KC)
            if BY_ENTRY:
                of = tl.load(rows + e, mask=live, other=0).to(tl.int64)
                at = of[:, None] * d + w[None, :]
                inside = live[:, None] & has[None, :]
                acc += tl.sum(t * tl.load(g + at, mask=inside, other=0.0).to(tl.float32), axis=1)
            else:
                row = tl.load(g + i * d + w, mask=has, other=0.0).to(tl.float32)
                acc += tl.sum(t * row[None, :], axis=1)
        tl.store(out + e, acc, mask=s + tl.arange(0, KC) < count)


@triton.jit
def nested_rows(
    table, values, atoms, offsets, counts, start, target, ends, residuals, errors, n_rows, n_groups, d, k,
    KC: tl.constexpr, W: tl.constexpr, FIXED: tl.constexpr, START: tl.constexpr,
):  # fmt: skip
    """r_gi = x_i − s − Σ over the entries of row i in the first g groups, and its square, W columns of it."""
    i = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1) * W + tl.arange(0, W)
    has = w < d
    first, count = entries_of(i, offsets, counts, k, FIXED)
    left = tl.load(target + i * d + w, mask=has, other=0.0)
    if START:
        left -= tl.load(start + w, mask=has, other=0.0)
    low = tl.load(ends) * 0
    for group in range(n_groups):
        high = tl.load(ends + group)
        for s in range(0, count, KC):
            e = s + tl.arange(0, KC)
            j = tl.load(atoms + first + e, mask=e < count, other=-1)
            here = (j >= low) & (j < high)
            z = tl.load(values + first + e, mask=here, other=0.0)
            at = j[:, None].to(tl.int64) * d + w[None, :]
            t = tl.load(table + at, mask=here[:, None] & has[None, :], other=0.0).to(tl.float32)
            left -= tl.sum(t * z[:, None], axis=0)
        row = group * n_rows + i
        tl.store(residuals + row * d + w, left, mask=has)
        tl.store(errors + row * tl.num_programs(1) + tl.program_id(1), tl.sum(left * left, axis=0))
        low = high


# -------------------------------------------------------------------------------------------------
# Sums over the entries of an atom: sorted by key, cut in chunks; what a cut divides is joined in order.


@triton.jit
def sum_chunks(
    keys, order, rows, values, table, out, totals, head, tail, sums, n_atoms, total, d, k,
    C: tl.constexpr, W: tl.constexpr, FIXED: tl.constexpr,
):  # fmt: skip
    """Σ_e v_e t_{i_e} by atom over a chunk of C sorted entries.

    An atom that lies in the chunk whole goes to `out`; the end of one that began before to `head`, the
    beginning of one that goes on to `tail`. The first columns' program also adds up the values.
    """
    chunk = tl.program_id(0).to(tl.int64)
    first = chunk * C
    last = tl.minimum(first + C, total)
    w = tl.program_id(1) * W + tl.arange(0, W)
    has = w < d
    j = tl.load(keys + first).to(tl.int64)
    before = tl.load(keys + first - 1, mask=first > 0, other=-1).to(tl.int64)
    whole = (before != j).to(tl.int32)
    acc = tl.zeros((W,), tl.float32)
    acc_v = 0.0
    if j < n_atoms:
        for e in range(first, last):
            if j < n_atoms:
                o = tl.load(order + e)
                v = tl.load(values + o)
                row = (o // k) if FIXED else tl.load(rows + o).to(tl.int64)
                acc += v * tl.load(table + row * d + w, mask=has, other=0.0).to(tl.float32)
                acc_v += v
            after = tl.load(keys + e + 1, mask=e + 1 < total, other=-1).to(tl.int64)
            if ((after != j) | (e + 1 == last)) & (j < n_atoms):
                if whole == 0:
                    tl.store(head + chunk * d + w, acc, mask=has)
                    tl.store(sums + 2 * chunk, acc_v)
                elif after != j:
                    tl.store(out + j * d + w, acc, mask=has)
                    tl.store(totals + j, acc_v)
                else:
                    tl.store(tail + chunk * d + w, acc, mask=has)
                    tl.store(sums + 2 * chunk + 1, acc_v)
                acc = tl.zeros((W,), tl.float32)
                acc_v = 0.0
                whole = 1
            j = after


@triton.jit
def join_chunks(
    keys, out, totals, head, tail, sums, n_atoms, total, d, C: tl.constexpr, W: tl.constexpr
):
    """Add up, from chunk to chunk, an atom that begins in this chunk and goes on."""
    chunk = tl.program_id(0).to(tl.int64)
    first = chunk * C
    end = tl.minimum(first + C, total)
    w = tl.program_id(1) * W + tl.arange(0, W)
    has = w < d
    j = tl.load(keys + end - 1).to(tl.int64)
    before = tl.load(keys + first - 1, mask=first > 0, other=-1).to(tl.int64)
    after = tl.load(keys + end, mask=end < total, other=-1).to(tl.int64)
    if (j < n_atoms) & (after == j) & (before != j):
        acc = tl.load(tail + chunk * d + w, mask=has, other=0.0)
        acc_v = tl.load(sums + 2 * chunk + 1)
        c = chunk + 1
        more = 1
        while more > 0:
            acc += tl.load(head + c * d + w, mask=has, other=0.0)
            acc_v += tl.load(sums + 2 * c)
            end = tl.minimum(c * C + C, total)
            after = tl.load(keys + end, mask=end < total, other=-1).to(tl.int64)
            more = (after == j).to(tl.int32)
            c += 1
        tl.store(out + j * d + w, acc, mask=has)
        tl.store(totals + j, acc_v)


# -------------------------------------------------------------------------------------------------
# Adam.


@triton.jit
def row_squares(p, g, squares, d, W: tl.constexpr, SPHERE: tl.constexpr):
    """‖g_i‖² of each row; SPHERE: of its part orthogonal to the atom."""
    i = tl.program_id(0).to(tl.int64)
    acc = tl.zeros((W,), tl.float32)
    along = tl.zeros((W,), tl.float32)
    length = tl.zeros((W,), tl.float32)
    for c in range(0, d, W):
        w = c + tl.arange(0, W)
        grad = tl.load(g + i * d + w, mask=w < d, other=0.0)
        acc += grad * grad
        if SPHERE:
            weight = tl.load(p + i * d + w, mask=w < d, other=0.0)
            along += grad * weight
            length += weight * weight
    square = tl.sum(acc, axis=0)
    if SPHERE:
        dot = tl.sum(along, axis=0)
        square -= dot * dot / tl.maximum(tl.sum(length, axis=0), 1e-24)
        square = tl.where(square < 0, 0.0, square)  # rounding; NaN stays
    tl.store(squares + i, square)


@triton.jit
def adam_rates(step, found, skip, norm, most, betas, rates):
    """Count a step, and write √(1 − β₂ᵗ), 1 / (1 − β₁ᵗ) and the factor of the clipped gradient.

    Where `found` is not 0 or the norm not finite, the step is skipped and not counted.
    """
    size = tl.load(norm)
    bad = (tl.load(found) != 0) | (size != size) | (tl.abs(size) == float("inf"))
    tl.store(skip, bad.to(tl.int32))
    t = tl.load(step) + tl.where(bad, 0.0, 1.0)
    tl.store(step, t)
    t = tl.maximum(t, 1.0).to(tl.float64)
    one = 1.0 - tl.exp(t * tl.log(tl.load(betas)))
    two = 1.0 - tl.exp(t * tl.log(tl.load(betas + 1)))
    tl.store(rates, tl.sqrt(two).to(tl.float32))
    tl.store(rates + 1, (1.0 / one).to(tl.float32))
    limit = tl.load(most)
    tl.store(rates + 2, tl.minimum(limit / (size + 1e-6), 1.0))


@triton.jit
def adam_rows(
    p, g, m, v, copy, skip, rates, lr, d, b1, b2, a1, a2, eps, decay,
    W: tl.constexpr, SPHERE: tl.constexpr, COPY: tl.constexpr,
):  # fmt: skip
    """Adam on one row. SPHERE: the gradient orthogonal to the atom, and the atom at unit norm after.

    Nothing changes where `skip` is not 0.
    """
    i = tl.program_id(0).to(tl.int64)
    if tl.load(skip) == 0:
        root, gain, factor = tl.load(rates), tl.load(rates + 1), tl.load(rates + 2)
        rate = tl.load(lr)
        dot = 0.0
        length = 1.0
        if SPHERE:
            both = tl.zeros((W,), tl.float32)
            squares = tl.zeros((W,), tl.float32)
            for c in range(0, d, W):
                w = c + tl.arange(0, W)
                weight = tl.load(p + i * d + w, mask=w < d, other=0.0)
                both += weight * tl.load(g + i * d + w, mask=w < d, other=0.0)
                squares += weight * weight
            length = tl.sqrt(tl.sum(squares, axis=0)) + 1e-12
            dot = tl.sum(both, axis=0) / length
        new = tl.zeros((W,), tl.float32)
        for c in range(0, d, W):
            w = c + tl.arange(0, W)
            has = w < d
            at = i * d + w
            weight = tl.load(p + at, mask=has, other=0.0)
            grad = tl.load(g + at, mask=has, other=0.0)
            if SPHERE:
                grad -= (weight / length) * dot
            grad = grad * factor + decay * weight
            one = b1 * tl.load(m + at, mask=has, other=0.0) + a1 * grad
            two = b2 * tl.load(v + at, mask=has, other=0.0) + a2 * grad * grad
            weight -= rate * gain * one / (tl.sqrt(two) / root + eps)
            new += tl.where(has, weight * weight, 0.0)
            tl.store(m + at, one, mask=has)
            tl.store(v + at, two, mask=has)
            tl.store(p + at, weight, mask=has)
            if COPY and not SPHERE:
                tl.store(copy + at, weight.to(tl.bfloat16), mask=has)
        if SPHERE:
            shrink = 1.0 / (tl.sqrt(tl.sum(new, axis=0)) + 1e-12)
            tl.debug_barrier()
            for c in range(0, d, W):
                w = c + tl.arange(0, W)
                has = w < d
                at = i * d + w
                weight = tl.load(p + at, mask=has, other=0.0) * shrink
                tl.store(p + at, weight, mask=has)
                if COPY:
                    tl.store(copy + at, weight.to(tl.bfloat16), mask=has)

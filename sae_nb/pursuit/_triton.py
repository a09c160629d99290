"""The pursuits' kernels in Triton: one program per input, masks for any number of atoms, widths and steps.

Imported only where Triton runs them: on a card, or in Triton's interpreter (`TRITON_INTERPRET=1`).
`_card.py` launches them. Nothing here, and nothing between two launches, waits for the card.

A row's `state` is 0 while it is running; 1 finished; 2 finished because the best atom depends on those
chosen; 3 its norm is not a finite number. Only rows of state 0 take steps.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

GROUP = tl.constexpr(32)
"""Neighbours of which the two best come out of a product."""

ONE = tl.constexpr(65536)
"""Added once for each contender to the sum of their places: the sum is place + ONE only where there is one.
Right for up to 32 768 places: the sum of all stays below 2³², and its upper half is never 1 again."""

ROUNDING = tl.constexpr(1.2e-7)
"""A rounding error of fp32, in units of what is rounded."""

MANY = tl.constexpr(64)
"""Contenders above which a row's correlations are made anew."""

NONE = tl.constexpr(float("-inf"))


# --------------------------------------------------------------------------------- products in 16 bits


@triton.jit
def split_rows(rows, halves, back, scale, state, d, ATOMS: tl.constexpr, W: tl.constexpr):
    """Write rows as two numbers of 16 bits each: atoms as [high, low, high], inputs as [high, high, low].

    One product of the two is then x Dᵀ but for low · low, and `back` turns its rows into x Dᵀ. Inputs are
    scaled by their largest number, atoms all by `scale`, so that 16 bits neither overflow nor vanish.
    """
    i = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    has = w < d
    v = tl.load(rows + i * d + w, mask=has, other=0.0)
    if ATOMS:
        s = tl.load(scale)
    else:
        largest = tl.maximum(tl.max(tl.abs(v), axis=0), 1e-35)
        s = 512.0 / largest
        tl.store(back + i, largest / (512.0 * tl.load(scale)))
        if not (tl.sum(v * v, axis=0) < float("inf")):
            tl.store(state + i, 3)
    v *= s
    high = v.to(tl.float16)
    low = (v - high.to(tl.float32)).to(tl.float16)
    at = halves + i * 3 * d + w
    tl.store(at, high, mask=has)
    if ATOMS:
        tl.store(at + d, low, mask=has)
        tl.store(at + 2 * d, high, mask=has)
    else:
        tl.store(at + d, high, mask=has)
        tl.store(at + 2 * d, low, mask=has)


@triton.jit
def round_gram(panel, gram, scale, grain, total, SIZE: tl.constexpr):
    """Write products of scaled atoms as the nearest whole numbers of `grain`."""
    e = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    s = tl.load(scale)
    v = tl.load(panel + e, mask=e < total, other=0.0) / (s * s * tl.load(grain))
    tl.store(gram + e, tl.floor(v + 0.5).to(tl.int16), mask=e < total)


@triton.jit
def start_rows(x, r, r16, norms, state, d, k, TRACE: tl.constexpr, W: tl.constexpr):
    """Set r = x, and r / ‖r‖ in 16 bits."""
    i = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    has = w < d
    v = tl.load(x + i * d + w, mask=has, other=0.0)
    if not (tl.sum(v * v, axis=0) < float("inf")):
        tl.store(state + i, 3)
    _leave(v, r, r16, norms, i, 0, d, k, w, has, TRACE)


@triton.jit
def product_best(
    a, b, key1, key2, M, N, KD, SIGNED: tl.constexpr, EVEN: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GM: tl.constexpr,
):  # fmt: skip
    """Keep of a bᵀ only the two largest positive numbers of each group of columns, as keys that sort.

    A key is the bits of the number (of 0 where there is none), the last five the column in the group.
    `SIGNED`: of |a bᵀ|. `EVEN`: KD is a multiple of BK.
    """
    pid = tl.program_id(0)
    nm, nn = tl.cdiv(M, BM), tl.cdiv(N, BN)
    per = GM * nn
    first = (pid // per) * GM
    size = tl.minimum(nm - first, GM)
    pm = first + (pid % per) % size
    pn = (pid % per) // size
    rm = pm * BM + tl.arange(0, BM)
    rn = pn * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    # Beyond the end the first rows are read again, and masked below.
    pa = a + (rm % M)[:, None].to(tl.int64) * KD + rk[None, :]
    pb = b + (rn % N)[None, :].to(tl.int64) * KD + rk[:, None]
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, KD, BK):
        if EVEN:
            acc = tl.dot(tl.load(pa), tl.load(pb), acc)
        else:
            left = tl.load(pa, mask=(start + rk < KD)[None, :], other=0.0)
            right = tl.load(pb, mask=(start + rk < KD)[:, None], other=0.0)
            acc = tl.dot(left, right, acc)
        pa += BK
        pb += BK
    if SIGNED:
        acc = tl.abs(acc)
    acc = tl.where((rn < N)[None, :], tl.maximum(acc, 0.0), 0.0)
    bits = acc.to(tl.int32, bitcast=True)
    column = (tl.arange(0, BN) % GROUP)[None, :]
    keys = tl.reshape((bits & (-GROUP)) | column, (BM, BN // GROUP, GROUP))
    one = tl.max(keys, axis=2)
    two = tl.max(tl.where(keys == one[:, :, None], 0, keys), axis=2)
    groups = tl.cdiv(N, GROUP)
    rb = pn * (BN // GROUP) + tl.arange(0, BN // GROUP)
    at = rm[:, None].to(tl.int64) * groups + rb[None, :]
    there = (rm < M)[:, None] & (rb < groups)[None, :]
    tl.store(key1 + at, one, mask=there)
    tl.store(key2 + at, two, mask=there)


# ------------------------------------------------------------------------------------ matching pursuit


@triton.jit
def _atom(dictionary, j, d, w, has):
    """Load one atom."""
    return tl.load(dictionary + j.to(tl.int64) * d + w, mask=has, other=0.0)


@triton.jit
def _product(left, dictionary, j, d, w, has, SIGNED: tl.constexpr):
    """Return ⟨r, d_j⟩ in fp32; `SIGNED`: its size."""
    product = tl.sum(left * _atom(dictionary, j, d, w, has), axis=0)
    return tl.abs(product) if SIGNED else product


@triton.jit
def _begin(r, norms, largest, start_error, i, first, d, k, w, has, TRACE: tl.constexpr):
    """Load a residual; return it, its square, the largest correlation, its error, and the largest ‖d‖²."""
    left = tl.load(r + i * d + w, mask=has, other=0.0)
    squared = tl.sum(left * left, axis=0)
    longest = tl.load(largest)
    reach = tl.sqrt(squared) * longest
    if TRACE:  # noqa: SIM102 -- known when the kernel is compiled, unlike the other
        if first == 0:
            tl.store(norms + i * (k + 1), tl.sqrt(squared))
    return left, squared, reach, start_error * reach, longest * longest


@triton.jit
def _take(
    left, squared, reach, error, running, t, dictionary, j, there, floor, limit, unit, longest, start_error,
    picks, amounts, norms, i, d, k, w, has,
    SIGNED: tl.constexpr, WATCH: tl.constexpr, TRACE: tl.constexpr,
):  # fmt: skip
    """Take atom j, if it is worth a step; return what changes, and its amount.

    The amount comes from the residual itself. Correlations lose that much of a Gram row, which adds its error.
    """
    atom = tl.load(
        dictionary + j.to(tl.int64) * d + w, mask=has, other=0.0, eviction_policy="evict_last"
    )
    a = tl.sum(left * atom, axis=0)
    size = tl.abs(a)
    wanted = ((size if SIGNED else a) > floor) & there
    if WATCH:
        wanted = wanted & (squared > limit)
    running = tl.where(wanted, running, 0)
    a = tl.where(running > 0, a, 0.0)
    left -= a * atom
    error += size * (0.5 * unit + start_error * longest) + ROUNDING * (reach + size * longest)
    reach *= tl.maximum(longest - 1, 1.0)  # atoms longer than √2 may lengthen the residual
    if WATCH or TRACE:
        squared = tl.sum(left * left, axis=0)
    if running > 0:
        tl.store(picks + i * k + t, j)
        tl.store(amounts + i * k + t, a)
        if TRACE:
            tl.store(norms + i * (k + 1) + t + 1, tl.sqrt(squared))
    return left, squared, reach, error, running, t + running, a


@triton.jit
def _end(left, t, running, r, steps, state, i, last, d, k, w, has):
    """Store where a row stands."""
    tl.store(steps + i, t)
    tl.store(state + i, (1 - running).to(tl.int8))
    if last < k:
        tl.store(r + i * d + w, left, mask=has)


@triton.jit
def _anew(c, left, dictionary, i, n, d, w, has, KC: tl.constexpr):
    """Write an input's correlations by fp32 products with its residual."""
    for b in range(0, n, KC):
        rows = b + tl.arange(0, KC)
        at = rows[:, None].to(tl.int64) * d + w[None, :]
        tile = tl.load(dictionary + at, mask=(rows < n)[:, None] & has[None, :], other=0.0)
        tl.store(c + i * n + rows, tl.sum(tile * left[None, :], axis=1), mask=rows < n)
    tl.debug_barrier()


@triton.jit(do_not_specialize=["first", "last"])
def matching_steps(
    c, back, r, gram, grain, dictionary, largest, floors, limits, picks, amounts, norms, steps, state,
    n, d, first, last, k, start_error,
    SIGNED: tl.constexpr, RESELECT: tl.constexpr, WATCH: tl.constexpr, TRACE: tl.constexpr,
    N: tl.constexpr, W: tl.constexpr, KC: tl.constexpr,
):  # fmt: skip
    """Take steps first … last of one input, with Gram rows of 16 bits.

    Correlations are in registers, off by at most `error`: all atoms within 2 error of the largest are
    compared by fp32 products with the residual. Where they are many, or error is as large as the largest
    correlation, the row's correlations are made anew.
    """
    i = tl.program_id(0).to(tl.int64)
    if tl.load(state + i) != 0:
        return
    cols = tl.arange(0, N)
    w = tl.arange(0, W)
    has = w < d
    now = tl.load(c + i * n + cols, mask=cols < n, other=0.0, eviction_policy="evict_first")
    now = tl.where(cols < n, now * tl.load(back + i), NONE)
    if not RESELECT:
        for e in range(0, first):
            now = tl.where(cols == tl.load(picks + i * k + e), NONE, now)
    left, squared, reach, error, longest = _begin(
        r, norms, largest, start_error, i, first, d, k, w, has, TRACE
    )
    floor, limit, unit = tl.load(floors + i), tl.load(limits + i), tl.load(grain)
    t = first
    running = 1
    while (t < last) & (running > 0):
        score = now
        if SIGNED:
            score = tl.where(now > NONE, tl.abs(now), NONE)
        top = tl.max(score, axis=0)
        least = top - 2 * error
        s = tl.sum(tl.where(score >= least, cols + ONE, 0), axis=0)
        j = s & (ONE - 1)
        if (s >> 16) != 1:
            rest = tl.sum(left * left, axis=0)
            j = j * 0
            if rest * longest <= floor * floor:
                running = running * 0
            elif ((s >> 16) > MANY) | (s < ONE) | (error >= top):
                _anew(c, left, dictionary, i, n, d, w, has, KC)
                anew = tl.load(c + i * n + cols, mask=cols < n, other=0.0, cache_modifier=".cg")
                tl.debug_barrier()
                now = tl.where(now > NONE, anew, NONE)
                score = now
                if SIGNED:
                    score = tl.where(now > NONE, tl.abs(now), NONE)
                top, j = tl.max(score, axis=0, return_indices=True)
                reach = tl.sqrt(rest * longest)
                error = 4 * ROUNDING * reach
            else:
                best = NONE + top * 0.0
                cur = j - 1
                while cur < N:
                    cur = tl.min(tl.where((score >= least) & (cols > cur), cols, N), axis=0)
                    if cur < N:
                        product = _product(left, dictionary, cur, d, w, has, SIGNED)
                        j = tl.where(product > best, cur, j)
                        best = tl.maximum(product, best)
        j = tl.minimum(j, n - 1)
        row = tl.load(
            gram + j.to(tl.int64) * n + cols, mask=cols < n, other=0, eviction_policy="evict_first"
        )
        left, squared, reach, error, running, t, a = _take(
            left, squared, reach, error, running, t, dictionary, j, top > NONE, floor, limit, unit, longest,
            start_error, picks, amounts, norms, i, d, k, w, has, SIGNED, WATCH, TRACE,
        )  # fmt: skip
        now -= (a * unit) * row.to(tl.float32)
        if not RESELECT:
            now = tl.where(cols == j, NONE, now)
    _end(left, t, running, r, steps, state, i, last, d, k, w, has)


@triton.jit
def _scores(v, columns, picks, i, t, n, k, SIGNED: tl.constexpr, RESELECT: tl.constexpr):
    """By what an input chooses; of columns that are no atoms, or were taken in its first t steps, none."""
    usable = columns < n
    if not RESELECT:
        for e in range(0, t):
            usable = usable & (columns != tl.load(picks + i * k + e, cache_modifier=".cg"))
    return tl.where(usable, tl.abs(v) if SIGNED else v, NONE)


@triton.jit(do_not_specialize=["first", "last"])
def matching_steps_wide(
    c, back, r, gram, grain, dictionary, largest, floors, limits, picks, amounts, norms, steps, state,
    n, d, first, last, k, start_error,
    SIGNED: tl.constexpr, RESELECT: tl.constexpr, WATCH: tl.constexpr, TRACE: tl.constexpr,
    CHUNKS: tl.constexpr, N: tl.constexpr, W: tl.constexpr, KC: tl.constexpr,
):  # fmt: skip
    """The same where correlations do not fit registers: they stay in memory, in chunks of N columns.

    The largest of each chunk is kept, so that only chunks with a contender are read once more.
    """
    i = tl.program_id(0).to(tl.int64)
    if tl.load(state + i) != 0:
        return
    chunks, cols = tl.arange(0, CHUNKS), tl.arange(0, N)
    w = tl.arange(0, W)
    has = w < d
    left, squared, reach, error, longest = _begin(
        r, norms, largest, start_error, i, first, d, k, w, has, TRACE
    )
    floor, limit, unit = tl.load(floors + i), tl.load(limits + i), tl.load(grain)
    factor = tl.load(back + i)
    a = reach * 0.0
    j = first * 0
    t = first
    running = 1
    while (t < last) & (running > 0):
        # 1. update, and look for the largest on the way
        maxima = tl.where(chunks < 0, 0.0, NONE)
        for s in range(0, n, N):
            column = s + cols
            v = tl.load(c + i * n + column, mask=column < n, other=0.0) * factor
            row = tl.load(gram + j.to(tl.int64) * n + column, mask=column < n, other=0)
            v -= (a * unit) * row.to(tl.float32)
            tl.store(c + i * n + column, v, mask=column < n)
            score = _scores(v, column, picks, i, t, n, k, SIGNED, RESELECT)
            maxima = tl.where(chunks == s // N, tl.max(score, axis=0), maxima)
        factor = factor * 0.0 + 1.0
        tl.debug_barrier()
        # 2. choose
        top = tl.max(maxima, axis=0)
        least = top - 2 * error
        anew = error >= top
        if anew:
            least = tl.minimum(least, NONE)
            rest = tl.sum(left * left, axis=0)
            if rest * longest > floor * floor:
                _anew(c, left, dictionary, i, n, d, w, has, KC)
                reach = tl.sqrt(rest * longest)
                error = 4 * ROUNDING * reach
            else:
                running = running * 0
        best = NONE + top * 0.0
        j = j * 0
        at = j - 1
        while (at < CHUNKS) & (running > 0):
            at = tl.min(tl.where((maxima >= least) & (chunks > at), chunks, CHUNKS), axis=0)
            if at * N < n:
                column = at * N + cols
                v = tl.load(c + i * n + column, mask=column < n, other=0.0, cache_modifier=".cg")
                score = _scores(v, column, picks, i, t, n, k, SIGNED, RESELECT)
                if anew:
                    product, where = tl.max(score, axis=0, return_indices=True)
                    j = tl.where(product > best, at * N + where, j)
                    best = tl.maximum(product, best)
                else:
                    e = j * 0 - 1
                    while e < N:
                        e = tl.min(tl.where((score >= least) & (cols > e), cols, N), axis=0)
                        if e < N:
                            other = at * N + e
                            product = _product(left, dictionary, other, d, w, has, SIGNED)
                            j = tl.where(product > best, other, j)
                            best = tl.maximum(product, best)
        # 3. take it
        left, squared, reach, error, running, t, a = _take(
            left, squared, reach, error, running, t, dictionary, j, best > NONE, floor, limit, unit, longest,
            start_error, picks, amounts, norms, i, d, k, w, has, SIGNED, WATCH, TRACE,
        )  # fmt: skip
        tl.debug_barrier()
    _end(left, t, running, r, steps, state, i, last, d, k, w, has)


@triton.jit(do_not_specialize=["t"])
def matching_update(
    key1, key2, r, r16, dictionary, largest, floors, limits, picks, amounts, norms, steps, state,
    t, n, d, k, window,
    SIGNED: tl.constexpr, RESELECT: tl.constexpr, WATCH: tl.constexpr, TRACE: tl.constexpr,
    NB: tl.constexpr, KC: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Take one step of matching pursuit after a product of all residuals."""
    i = tl.program_id(0).to(tl.int64)
    if tl.load(state + i) != 0:
        return
    w = tl.arange(0, W)
    has = w < d
    left = tl.load(r + i * d + w, mask=has, other=0.0)
    j = _pick(
        key1, key2, left, dictionary, largest, floors, limits, picks, state, i, t, n, d, k, window, w, has,
        SIGNED, not RESELECT, WATCH, NB, KC,
    )  # fmt: skip
    if j < 0:
        return
    atom = _atom(dictionary, j, d, w, has)
    a = tl.sum(left * atom, axis=0)
    _leave(left - a * atom, r, r16, norms, i, t + 1, d, k, w, has, TRACE)
    tl.store(picks + i * k + t, j)
    tl.store(amounts + i * k + t, a)
    tl.store(steps + i, t + 1)


@triton.jit
def merge_steps(picks, atoms, places, sizes, steps, k, K: tl.constexpr):
    """List the atoms that the steps of one input chose, each once, and where each step's is in the list."""
    i = tl.program_id(0).to(tl.int64)
    taken = tl.load(steps + i)
    ks = tl.arange(0, K)
    chosen = tl.load(picks + i * k + ks, mask=ks < taken, other=-1)
    place = ks * 0 - 1
    m = taken * 0
    for t in range(taken):
        j = tl.sum(tl.where(ks == t, chosen, 0), axis=0)
        earlier = tl.min(tl.where(chosen == j, ks, K), axis=0)
        seen = earlier < t
        p = tl.where(seen, tl.sum(tl.where(ks == earlier, place, 0), axis=0), m)
        place = tl.where(ks == t, p, place)
        tl.store(atoms + i * k + p, j)
        m += tl.where(seen, 0, 1)
    tl.store(places + i * k + ks, place, mask=ks < taken)
    tl.store(sizes + i, m)


# ---------------------------------------------------------------------------- a step after a product


@triton.jit
def _leave(left, r, r16, norms, i, t, d, k, w, has, TRACE: tl.constexpr):
    """Store a residual, and its direction in 16 bits for the next product."""
    size = tl.sqrt(tl.sum(left * left, axis=0))
    tl.store(r + i * d + w, left, mask=has)
    tl.store(r16 + i * d + w, (left / tl.maximum(size, 1e-30)).to(tl.float16), mask=has)
    if TRACE:
        tl.store(norms + i * (k + 1) + t, size)


@triton.jit
def _pick(
    key1, key2, left, dictionary, largest, floors, limits, atoms, state, i, m, n, d, k, window, w, has,
    SIGNED: tl.constexpr, EXCLUDE: tl.constexpr, WATCH: tl.constexpr, NB: tl.constexpr, KC: tl.constexpr,
):  # fmt: skip
    """Return the atom that an input wants; −1 if it has come to its end, which its state then says.

    All atoms within `window` of the best key are compared by fp32 products. `EXCLUDE`: not one of the first
    m of `atoms`; a group whose best is among them is searched through where it matters.
    """
    rest = tl.sum(left * left, axis=0)
    floor, longest = tl.load(floors + i), tl.load(largest)
    j = tl.max(has.to(tl.int32), axis=0) * 0
    best = rest * 0.0 + floor
    going = rest * longest * longest > floor * floor
    if WATCH:
        going = going & (rest > tl.load(limits + i))
    if going:
        nb = tl.cdiv(n, GROUP)
        b = tl.arange(0, NB)
        there = b < nb
        one = tl.load(key1 + i * nb + b, mask=there, other=-1)
        two = tl.load(key2 + i * nb + b, mask=there, other=-1)
        upper, sure = one, one  # no atom of the group is better; one is as good
        if EXCLUDE:
            one_old, two_old = b * 0, b * 0
            for e in range(0, m):
                old = tl.load(atoms + i * k + e, cache_modifier=".cg")
                column = tl.where(b == old // GROUP, old % GROUP, GROUP)
                one_old = tl.where((one & (GROUP - 1)) == column, 1, one_old)
                two_old = tl.where((two & (GROUP - 1)) == column, 1, two_old)
            upper = tl.where(one_old > 0, two, one)
            sure = tl.where(two_old > 0, tl.where(one_old > 0, 0, one), upper)
        top = tl.max(sure, axis=0)
        value = (top & (-GROUP)).to(tl.float32, bitcast=True)
        low = (tl.maximum(value - window, 0.0)).to(tl.int32, bitcast=True) & (-GROUP)
        # What is below the error of the product may be as good as the largest.
        low = tl.where(value > window, tl.maximum(low, 1), 0)
        near = there & (upper >= low)
        s = tl.sum(tl.where(near, b + ONE, 0), axis=0)
        second = tl.max(tl.where(near, two, -1), axis=0)
        j = (s & (ONE - 1)) * GROUP + (top & (GROUP - 1))
        if ((s >> 16) != 1) | (second >= low):
            j = j * 0 - 1
            cur = j
            while cur < NB:
                cur = tl.min(tl.where(near & (b > cur), b, NB), axis=0)
                if cur < NB:
                    k2 = tl.load(key2 + i * nb + cur)
                    k1 = tl.load(key1 + i * nb + cur)
                    if k2 < low:
                        # Its second best is out of the question: one atom of the group is left.
                        atom = cur * GROUP + (k1 & (GROUP - 1))
                        score = _product(left, dictionary, atom, d, w, has, SIGNED)
                        if EXCLUDE:
                            for e in range(0, m):
                                old = tl.load(atoms + i * k + e, cache_modifier=".cg")
                                score = tl.where(atom == old, NONE, score)
                        j = tl.where(score > best, atom, j)
                        best = tl.maximum(score, best)
                    else:
                        for q in range(0, GROUP, KC):
                            each = cur * GROUP + q + tl.arange(0, KC)
                            inside = each < n
                            at = each[:, None].to(tl.int64) * d + w[None, :]
                            tile = tl.load(
                                dictionary + at, mask=inside[:, None] & has[None, :], other=0.0
                            )
                            scores = tl.sum(tile * left[None, :], axis=1)
                            if SIGNED:
                                scores = tl.abs(scores)
                            scores = tl.where(inside, scores, NONE)
                            if EXCLUDE:
                                for e in range(0, m):
                                    old = tl.load(atoms + i * k + e, cache_modifier=".cg")
                                    scores = tl.where(each == old, NONE, scores)
                            score, where = tl.max(scores, axis=0, return_indices=True)
                            j = tl.where(score > best, cur * GROUP + q + where, j)
                            best = tl.maximum(score, best)
        else:
            atom = tl.minimum(j, n - 1)
            score = _product(left, dictionary, atom, d, w, has, SIGNED)
            j = tl.where(score > floor, atom, -1)
    else:
        j = j - 1
    if j < 0:
        tl.store(state + i, 1)
    return j


# --------------------------------------------------------------------------------------- backward


@triton.jit
def _add_term(term, grad_d, i, t, j, d, k, w, has, TERMS: tl.constexpr):
    """Add to the gradient of atom j by atomics; `TERMS`: write to place t of an input, to be added in order."""
    if TERMS:
        tl.store(grad_d + (i * k + t) * d + w, term, mask=has)
    else:
        tl.atomic_add(grad_d + j.to(tl.int64) * d + w, term, mask=has, sem="relaxed")


@triton.jit
def matching_adjoint(
    x, dictionary, chosen, amounts, steps, grads, grad_x, grad_d, d, k,
    TERMS: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Go through the steps of matching pursuit backwards, the choices being fixed."""
    i = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    has = w < d
    taken = tl.load(steps + i)
    left = tl.load(x + i * d + w, mask=has, other=0.0)
    for t in range(taken):
        j = tl.load(chosen + i * k + t)
        left -= tl.load(amounts + i * k + t) * _atom(dictionary, j, d, w, has)
    rho = tl.zeros((W,), dtype=tl.float32)
    for s in range(taken):
        t = taken - 1 - s
        a = tl.load(amounts + i * k + t)
        j = tl.load(chosen + i * k + t)
        atom = _atom(dictionary, j, d, w, has)
        slope = tl.load(grads + i * k + t) - tl.sum(rho * atom, axis=0)
        left += a * atom
        _add_term(slope * left - a * rho, grad_d, i, t, j, d, k, w, has, TERMS)
        rho += slope * atom
    tl.store(grad_x + i * d + w, rho, mask=has)


@triton.jit
def add_terms(terms, order, offsets, grad_d, d, KC: tl.constexpr, W: tl.constexpr):
    """Add to one atom's gradient its terms, in the order of rows and steps."""
    j = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    has = w < d
    last = tl.load(offsets + j + 1)
    total = tl.load(grad_d + j * d + w, mask=has, other=0.0)
    start = tl.load(offsets + j)
    while start < last:
        e = start + tl.arange(0, KC)
        at = tl.load(order + e, mask=e < last, other=0)
        inside = (e < last)[:, None] & has[None, :]
        total += tl.sum(
            tl.load(terms + at[:, None] * d + w[None, :], mask=inside, other=0.0), axis=0
        )
        start += KC
    tl.store(grad_d + j * d + w, total, mask=has)

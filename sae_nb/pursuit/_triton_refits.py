"""The kernels of the pursuits that refit, in Triton: a step after a product of all residuals.

The inverse of an input's small Gram matrix is in fp64; atoms enter and leave it by rank one. It is read in
chunks of rows, so that any number of steps fits.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

from sae_nb.pursuit._triton import NONE, _add_term, _atom, _leave, _pick


@triton.jit
def _atoms_from(s, dictionary, atoms, i, m, d, k, w, has, KC: tl.constexpr):
    """Load some of the m atoms of an input; return which they are, and the atoms."""
    e = s + tl.arange(0, KC)
    j = tl.load(atoms + i * k + e, mask=e < m, other=0, cache_modifier=".cg").to(tl.int64)
    inside = (e < m)[:, None] & has[None, :]
    return e, tl.load(dictionary + j[:, None] * d + w[None, :], mask=inside, other=0.0)


@triton.jit
def _numbers(row, e, m):
    """Load some of the m numbers of an input, which other threads may have written, in fp32."""
    return tl.load(row + e, mask=e < m, other=0.0, cache_modifier=".cg").to(tl.float32)


@triton.jit
def _sum_of(row, dictionary, atoms, i, m, d, k, w, has, KC: tl.constexpr):
    """Return Σ z_j d_j over the m atoms of an input; z is in `row`."""
    acc = w * 0.0
    for s in range(0, m, KC):
        e, tile = _atoms_from(s, dictionary, atoms, i, m, d, k, w, has, KC)
        acc += tl.sum(tile * _numbers(row, e, m)[:, None], axis=0)
    return acc


@triton.jit
def _rest_of(x, row, dictionary, atoms, i, m, d, k, w, has, KC: tl.constexpr):
    """Return x − Σ z_j d_j over the m atoms of an input."""
    start = tl.load(x + i * d + w, mask=has, other=0.0)
    return start - _sum_of(row, dictionary, atoms, i, m, d, k, w, has, KC)


@triton.jit
def _dots(v, out, dictionary, atoms, i, m, d, k, w, has, KC: tl.constexpr):
    """Write ⟨v, d_j⟩ of the m atoms of an input, in fp64."""
    for s in range(0, m, KC):
        e, tile = _atoms_from(s, dictionary, atoms, i, m, d, k, w, has, KC)
        tl.store(out + i * k + e, tl.sum(tile * v[None, :], axis=1).to(tl.float64), mask=e < m)


@triton.jit
def _products(
    atom, j, gram, work, dictionary, atoms, i, m, n, d, k, w, has, GRAM: tl.constexpr, K: tl.constexpr,
    KC: tl.constexpr,
):  # fmt: skip
    """Write the products of one atom with the m of an input, from the Gram matrix where there is one."""
    if GRAM:
        ks = tl.arange(0, K)
        ids = tl.load(atoms + i * k + ks, mask=ks < m, other=0, cache_modifier=".cg").to(tl.int64)
        g = tl.load(gram + j.to(tl.int64) * n + ids, mask=ks < m, other=0.0)
        tl.store(work + i * k + ks, g.to(tl.float64), mask=ks < m)
    else:
        _dots(atom, work, dictionary, atoms, i, m, d, k, w, has, KC)
    tl.debug_barrier()


@triton.jit
def _rows_from(s, matrix, i, m, k, ks, RC: tl.constexpr):
    """Load some rows of an input's m × m matrix; return which they are, their places, and the rows."""
    e = s + tl.arange(0, RC)
    at = (i * k + e[:, None]) * k + ks[None, :]
    inside = (e < m)[:, None] & (ks < m)[None, :]
    return e, at, inside, tl.load(matrix + at, mask=inside, other=0.0, cache_modifier=".cg")


@triton.jit
def _times(matrix, vector, i, m, k, ks, RC: tl.constexpr, K: tl.constexpr):
    """Return a symmetric matrix of an input times a vector in memory."""
    out = tl.zeros((K,), dtype=tl.float64)
    for s in range(0, m, RC):
        e, _, _, tile = _rows_from(s, matrix, i, m, k, ks, RC)
        right = tl.load(vector + e, mask=e < m, other=0.0, cache_modifier=".cg").to(tl.float64)
        out += tl.sum(tile * right[:, None], axis=0)
    return out


@triton.jit
def _enter(inverse, row, i, q, m, k, ks, across, gamma, RC: tl.constexpr):
    """Let slot q enter the inverse: + γ e eᵀ with e = S⁻¹ s − 1_q, s its products, in `row`."""
    tl.debug_barrier()  # all have read the inverse
    e_cols = tl.where(ks == q, -1.0, across)
    products = tl.load(row + ks, mask=ks < m, other=0.0, cache_modifier=".cg").to(tl.float64)
    for s in range(0, m, RC):
        e, at, inside, tile = _rows_from(s, inverse, i, m, k, ks, RC)
        e_rows = tl.where(e == q, -1.0, tl.sum(tile * products[None, :], axis=1))
        tl.store(inverse + at, tile + gamma * e_rows[:, None] * e_cols[None, :], mask=inside)
    tl.debug_barrier()


@triton.jit
def _exit(inverse, work, i, f, m, k, ks, RC: tl.constexpr):
    """Let slot f leave the inverse: − u uᵀ / u_f with its row u, and f's row and column are nothing."""
    u_cols = tl.load(inverse + (i * k + f) * k + ks, mask=ks < m, other=0.0, cache_modifier=".cg")
    u_f = tl.sum(tl.where(ks == f, u_cols, 0.0), axis=0)
    tl.store(work + i * k + ks, u_cols, mask=ks < m)
    tl.debug_barrier()
    for s in range(0, m, RC):
        e, at, inside, tile = _rows_from(s, inverse, i, m, k, ks, RC)
        u_rows = tl.load(work + i * k + e, mask=e < m, other=0.0, cache_modifier=".cg")
        tile -= u_rows[:, None] * u_cols[None, :] / tl.maximum(u_f, 1e-300)
        tile = tl.where((e == f)[:, None] | (ks == f)[None, :], 0.0, tile)
        tl.store(inverse + at, tile, mask=inside)
    tl.debug_barrier()


@triton.jit
def _note(x, r, r16, dictionary, atoms, z, places, norms, history, steps, sizes, i, t, place, m, d, k, w, has,
          TRACE: tl.constexpr, K: tl.constexpr, KC: tl.constexpr):  # fmt: skip
    """Finish a step: the new residual, and what the step chose."""
    tl.debug_barrier()
    left = _rest_of(x, z + i * k, dictionary, atoms, i, m, d, k, w, has, KC)
    _leave(left, r, r16, norms, i, t + 1, d, k, w, has, TRACE)
    tl.store(places + i * k + t, place)
    tl.store(steps + i, t + 1)
    tl.store(sizes + i, m)
    if TRACE:
        ks = tl.arange(0, K)
        v = tl.load(z + i * k + ks, mask=ks < m, other=0.0, cache_modifier=".cg")
        tl.store(history + (i * k + t) * k + ks, v.to(history.dtype.element_ty), mask=ks < m)


@triton.jit
def _dependent(left, state, floors, i):
    """End a row whose best atom depends on those it has; 1 where they explain it all the same."""
    floor = tl.load(floors + i)
    explained = tl.sum(left * left, axis=0) <= 1e4 * floor * floor
    tl.store(state + i, tl.where(explained, 1, 2).to(tl.int8))


@triton.jit(do_not_specialize=["t"])
def least_squares_update(
    key1, key2, x, r, r16, dictionary, gram, largest, floors, limits, atoms, places, z, inverse, work,
    norms, history, steps, sizes, state, t, n, d, k, window, threshold,
    SIGNED: tl.constexpr, WATCH: tl.constexpr, TRACE: tl.constexpr, GRAM: tl.constexpr,
    NB: tl.constexpr, K: tl.constexpr, RC: tl.constexpr, KC: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Take one step of OMP: choose, let the inverse of the small Gram matrix grow by one, refit."""
    i = tl.program_id(0).to(tl.int64)
    if tl.load(state + i) != 0:
        return
    w = tl.arange(0, W)
    has = w < d
    left = tl.load(r + i * d + w, mask=has, other=0.0)
    m = tl.load(sizes + i)
    j = _pick(
        key1, key2, left, dictionary, largest, floors, limits, atoms, state, i, m, n, d, k, window, w, has,
        SIGNED, True, WATCH, NB, KC,
    )  # fmt: skip
    if j < 0:
        return
    atom = _atom(dictionary, j, d, w, has)
    rho = tl.sum(left * atom, axis=0).to(tl.float64)
    own = tl.sum(atom * atom, axis=0).to(tl.float64)
    _products(atom, j, gram, work, dictionary, atoms, i, m, n, d, k, w, has, GRAM, K, KC)
    ks = tl.arange(0, K)
    row = work + i * k
    across = _times(inverse, row, i, m, k, ks, RC, K)
    g = tl.load(row + ks, mask=ks < m, other=0.0, cache_modifier=".cg")
    gap = own - tl.sum(across * g, axis=0)
    if gap <= threshold:
        _dependent(left, state, floors, i)
        return
    tl.store(row + m, own)
    tl.debug_barrier()
    _enter(inverse, row, i, m, m + 1, k, ks, across, 1.0 / gap, RC)
    a = rho / gap
    v = tl.load(z + i * k + ks, mask=ks < m, other=0.0) - a * across
    tl.store(z + i * k + ks, tl.where(ks == m, a, v), mask=ks <= m)
    tl.store(atoms + i * k + m, j)
    _note(x, r, r16, dictionary, atoms, z, places, norms, history, steps, sizes, i, t, m, m + 1, d, k, w, has,
          TRACE, K, KC)  # fmt: skip


@triton.jit(do_not_specialize=["t"])
def non_negative_update(
    key1, key2, x, r, r16, dictionary, gram, largest, floors, limits, atoms, places, z, inverse, work,
    system, right, passive, norms, history, steps, sizes, state, t, n, d, k, window, threshold,
    WATCH: tl.constexpr, TRACE: tl.constexpr, GRAM: tl.constexpr,
    NB: tl.constexpr, K: tl.constexpr, RC: tl.constexpr, KC: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """The same with coefficients ≥ 0: Lawson and Hanson's active set, atoms entering and leaving S⁻¹."""
    i = tl.program_id(0).to(tl.int64)
    if tl.load(state + i) != 0:
        return
    w = tl.arange(0, W)
    has = w < d
    left = tl.load(r + i * d + w, mask=has, other=0.0)
    m = tl.load(sizes + i)
    j = _pick(
        key1, key2, left, dictionary, largest, floors, limits, atoms, state, i, m, n, d, k, window, w, has,
        False, True, WATCH, NB, KC,
    )  # fmt: skip
    if j < 0:
        return
    # 1. grow the system S z = b
    floor = tl.load(floors + i).to(tl.float64)
    atom = _atom(dictionary, j, d, w, has)
    start = tl.load(x + i * d + w, mask=has, other=0.0)
    _products(atom, j, gram, work, dictionary, atoms, i, m, n, d, k, w, has, GRAM, K, KC)
    ks = tl.arange(0, K)
    size = m + 1
    used = ks < size
    S = system + i * k * k
    b = right + i * k
    g = tl.load(work + i * k + ks, mask=ks < m, other=0.0, cache_modifier=".cg").to(tl.float32)
    g = tl.where(ks == m, tl.sum(atom * atom, axis=0), g)
    tl.store(S + m * k + ks, g, mask=used)
    tl.store(S + ks * k + m, g, mask=used)
    tl.store(b + m, tl.sum(start * atom, axis=0).to(tl.float64))
    v = tl.load(z + i * k + ks, mask=ks < m, other=0.0)
    inside = tl.load(passive + i * k + ks, mask=ks < m, other=0)
    tl.debug_barrier()
    bs = tl.load(b + ks, mask=used, other=0.0, cache_modifier=".cg")
    # 2. solve it
    q = m
    dependent = m * 0
    rounds = 3 * size + 3
    while rounds > 0:
        # 2a. a slot enters
        across = _times(inverse, S + q * k, i, size, k, ks, RC, K)
        g64 = tl.load(S + q * k + ks, mask=used, other=0.0, cache_modifier=".cg").to(tl.float64)
        gap = tl.sum(tl.where(ks == q, g64, 0.0), axis=0) - tl.sum(across * g64, axis=0)
        enters = gap > threshold
        dependent = tl.where(enters | (rounds < 3 * size + 3), dependent, 1)
        if enters:
            _enter(inverse, S + q * k, i, q, size, k, ks, across, 1.0 / gap, RC)
            inside = tl.where(ks == q, 1, inside)
        aim = _times(inverse, b, i, size, k, ks, RC, K)
        # 2b. slots leave until all of the solution is positive
        worst = tl.min(tl.where(inside > 0, aim, 1.0), axis=0)
        while (worst <= 0) & (rounds > 0):
            rounds -= 1
            way = tl.where((inside > 0) & (aim <= 0), v / tl.maximum(v - aim, 1e-300), 2.0)
            share, f = tl.min(way, axis=0, return_indices=True)
            v = tl.where(inside > 0, tl.maximum(v + share * (aim - v), 0.0), 0.0)
            v = tl.where(ks == f, 0.0, v)
            inside = tl.where(ks == f, 0, inside)
            _exit(inverse, work, i, f, size, k, ks, RC)
            aim = _times(inverse, b, i, size, k, ks, RC, K)
            worst = tl.min(tl.where(inside > 0, aim, 1.0), axis=0)
        v = tl.where(inside > 0, tl.maximum(aim, 0.0), 0.0)
        # 2c. one that left may be wanted again
        rounds = tl.where(enters, rounds - 1, 0)
        if tl.sum((used & (inside == 0)).to(tl.int32), axis=0) == 0:
            rounds = rounds * 0
        if rounds > 0:
            tl.store(work + i * k + ks, v, mask=used)
            tl.debug_barrier()
            slope = bs - _times(system, work + i * k, i, size, k, ks, RC, K)
            slope = tl.where(used & (inside == 0), slope, NONE)
            steepest, q = tl.max(slope, axis=0, return_indices=True)
            rounds = tl.where(steepest > floor, rounds, 0)
            tl.debug_barrier()
    if dependent > 0:
        _dependent(left, state, floors, i)
        return
    tl.store(z + i * k + ks, v, mask=used)
    tl.store(passive + i * k + ks, inside, mask=used)
    tl.store(atoms + i * k + m, j)
    _note(x, r, r16, dictionary, atoms, z, places, norms, history, steps, sizes, i, t, m, size, d, k, w, has,
          TRACE, K, KC)  # fmt: skip


@triton.jit
def refine_rows(
    r, dictionary, atoms, z, inverse, work, sizes, d, k,
    POSITIVE: tl.constexpr, K: tl.constexpr, RC: tl.constexpr, KC: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Add S⁻¹ D_Γ r to the coefficients: what rounding left unexplained."""
    i = tl.program_id(0).to(tl.int64)
    m = tl.load(sizes + i)
    w = tl.arange(0, W)
    has = w < d
    ks = tl.arange(0, K)
    left = tl.load(r + i * d + w, mask=has, other=0.0)
    _dots(left, work, dictionary, atoms, i, m, d, k, w, has, KC)
    tl.debug_barrier()
    more = _times(inverse, work + i * k, i, m, k, ks, RC, K)
    v = tl.load(z + i * k + ks, mask=ks < m, other=0.0)
    better = v + more
    if POSITIVE:
        better = tl.where((v > 0) & (better > 0), better, v)
    tl.store(z + i * k + ks, better, mask=ks < m)


@triton.jit
def _fixed(z, g, SIGNED: tl.constexpr):
    """Which coefficients may not move along the gradient: those of 0 that it would turn negative."""
    return (g != g) if SIGNED else (z <= 0) & (g < 0)


@triton.jit
def _move(
    left, row, work, dictionary, atoms, i, m, d, k, w, has, SIGNED: tl.constexpr, K: tl.constexpr,
    KC: tl.constexpr,
):  # fmt: skip
    """Find a step of gradient pursuit from coefficients z in `row`: z, the gradient g = D_Γ r, v = Σ g_j d_j,
    ‖v‖², and the step, cut short where a coefficient would turn negative: of slot f, else −1.
    """
    way = w * 0.0
    for s in range(0, m, KC):
        e, tile = _atoms_from(s, dictionary, atoms, i, m, d, k, w, has, KC)
        g = tl.sum(tile * left[None, :], axis=1)
        g = tl.where(_fixed(_numbers(row, e, m), g, SIGNED), 0.0, g)
        tl.store(work + i * k + e, g.to(tl.float64), mask=e < m)
        way += tl.sum(tile * g[:, None], axis=0)
    tl.debug_barrier()
    ks = tl.arange(0, K)
    g = tl.load(work + i * k + ks, mask=ks < m, other=0.0, cache_modifier=".cg")
    z = tl.load(row + ks, mask=ks < m, other=0.0, cache_modifier=".cg")
    curvature = tl.sum(way * way, axis=0).to(tl.float64)
    step = tl.sum(g * g, axis=0) / tl.where(curvature > 0, curvature, 1.0)
    f = m * 0 - 1
    if not SIGNED:
        tight = tl.where(g < 0, -z / tl.where(g < 0, g, -1.0), float("inf"))
        tightest, f = tl.min(tight, axis=0, return_indices=True)
        f = tl.where(tightest <= step, f, -1)
        step = tl.minimum(tightest, step)
    return z, g, way, curvature, step, f


@triton.jit(do_not_specialize=["t"])
def gradient_update(
    key1, key2, x, r, r16, dictionary, largest, floors, limits, atoms, places, z, work,
    norms, history, steps, sizes, state, t, n, d, k, window,
    SIGNED: tl.constexpr, RESELECT: tl.constexpr, WATCH: tl.constexpr, TRACE: tl.constexpr,
    NB: tl.constexpr, K: tl.constexpr, KC: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Take one step of gradient pursuit: choose, then move all coefficients along the gradient."""
    i = tl.program_id(0).to(tl.int64)
    if tl.load(state + i) != 0:
        return
    w = tl.arange(0, W)
    has = w < d
    left = tl.load(r + i * d + w, mask=has, other=0.0)
    m = tl.load(sizes + i)
    j = _pick(
        key1, key2, left, dictionary, largest, floors, limits, atoms, state, i, m, n, d, k, window, w, has,
        SIGNED, not RESELECT, WATCH, NB, KC,
    )  # fmt: skip
    if j < 0:
        return
    ks = tl.arange(0, K)
    ids = tl.load(atoms + i * k + ks, mask=ks < m, other=-1)
    place = tl.minimum(tl.min(tl.where(ids == j, ks, K), axis=0), m)
    tl.store(atoms + i * k + place, j)
    m = tl.maximum(m, place + 1)
    tl.debug_barrier()
    v, g, _, curvature, step, f = _move(
        left, z + i * k, work, dictionary, atoms, i, m, d, k, w, has, SIGNED, K, KC
    )
    if not (curvature > 0):
        _dependent(left, state, floors, i)
        return
    tl.store(z + i * k + ks, tl.where(ks == f, 0.0, v + step * g), mask=ks < m)
    _note(x, r, r16, dictionary, atoms, z, places, norms, history, steps, sizes, i, t, place, m, d, k, w, has,
          TRACE, K, KC)  # fmt: skip


# --------------------------------------------------------------------------------------- backward


@triton.jit
def least_squares_adjoint(
    x, dictionary, atoms, z, sizes, grads, inverse, work, grad_x, grad_d, d, k,
    TERMS: tl.constexpr, K: tl.constexpr, RC: tl.constexpr, KC: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Solve S λ = g on the atoms in use; ∂x = v = Σ λ_j d_j, and λ_j r − z_j v is added to ∂d_j.

    S⁻¹, which starts as nothing, grows by one atom after the other, as on the way forward.
    """
    i = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    has = w < d
    ks = tl.arange(0, K)
    m = tl.load(sizes + i)
    row, slopes = z + i * k, work + i * k
    for q in range(m):
        if tl.load(row + q) != 0:
            atom = _atom(dictionary, tl.load(atoms + i * k + q), d, w, has)
            _dots(atom, work, dictionary, atoms, i, q + 1, d, k, w, has, KC)
            tl.debug_barrier()
            across = _times(inverse, slopes, i, q + 1, k, ks, RC, K)
            g = tl.load(slopes + ks, mask=ks <= q, other=0.0, cache_modifier=".cg")
            gap = tl.sum(tl.where(ks == q, g, 0.0) - across * g, axis=0)
            if gap > 0:
                _enter(inverse, slopes, i, q, q + 1, k, ks, across, 1.0 / gap, RC)
    slope = _times(inverse, grads + i * k, i, m, k, ks, RC, K)
    tl.debug_barrier()
    tl.store(slopes + ks, slope, mask=ks < m)
    tl.debug_barrier()
    left = _rest_of(x, row, dictionary, atoms, i, m, d, k, w, has, KC)
    v = _sum_of(slopes, dictionary, atoms, i, m, d, k, w, has, KC)
    tl.store(grad_x + i * d + w, v, mask=has)
    for q in range(m):
        a = tl.load(row + q).to(tl.float32)
        if a != 0:
            b = tl.load(slopes + q, cache_modifier=".cg").to(tl.float32)
            j = tl.load(atoms + i * k + q)
            _add_term(b * left - a * v, grad_d, i, q, j, d, k, w, has, TERMS)


@triton.jit
def gradient_adjoint(
    x, dictionary, atoms, places, steps, grads, before, work, slopes, grad_x, terms, d, k,
    SIGNED: tl.constexpr, K: tl.constexpr, KC: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Take the steps of gradient pursuit again, keep the coefficients `before` each, and go back through them.

    The gradient of an atom is gathered in `terms`, which start as 0.
    """
    i = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    has = w < d
    ks = tl.arange(0, K)
    taken = tl.load(steps + i)
    used = tl.load(places + i * k + ks, mask=ks < taken, other=-1)
    z = tl.zeros((K,), dtype=tl.float64)
    for t in range(taken):
        row = before + (i * k + t) * k
        tl.store(row + ks, z, mask=ks < k)
        tl.debug_barrier()
        m = tl.max(tl.where(ks <= t, used, -1), axis=0) + 1
        left = _rest_of(x, row, dictionary, atoms, i, m, d, k, w, has, KC)
        z, g, _, _, step, f = _move(
            left, row, work, dictionary, atoms, i, m, d, k, w, has, SIGNED, K, KC
        )
        z = tl.where(ks == f, 0.0, z + step * g)
        tl.debug_barrier()
    rho = tl.zeros((W,), dtype=tl.float32)
    dz = tl.load(grads + i * k + ks, mask=ks < k, other=0.0).to(tl.float64)
    for s in range(taken):
        t = taken - 1 - s
        row = before + (i * k + t) * k
        m = tl.max(tl.where(ks <= t, used, -1), axis=0) + 1
        left = _rest_of(x, row, dictionary, atoms, i, m, d, k, w, has, KC)
        z, g, way, curvature, step, f = _move(
            left, row, work, dictionary, atoms, i, m, d, k, w, has, SIGNED, K, KC
        )
        # 1. through z + step g, with step = ‖g‖² / ‖v‖², or −z_f / g_f where it was cut short
        dz = tl.where(ks == f, 0.0, dz)
        d_step = tl.sum(dz * g, axis=0)
        g_f = tl.where(f < 0, 1.0, tl.sum(tl.where(ks == f, g, 0.0), axis=0))
        d_norm = tl.where((f < 0) & (curvature > 0), d_step / curvature, 0.0)
        dg = step * dz + 2 * d_norm * g
        dg = tl.where(ks == f, -step * d_step / g_f, dg)
        dz -= tl.where(ks == f, d_step / g_f, 0.0)
        tl.store(slopes + i * k + ks, dg, mask=ks < m)
        tl.debug_barrier()
        # 2. through v and g
        dv = (-2 * d_norm * step).to(tl.float32) * way
        dr = tl.zeros((W,), dtype=tl.float32)
        for first in range(0, m, KC):
            e, tile = _atoms_from(first, dictionary, atoms, i, m, d, k, w, has, KC)
            fixed = _fixed(_numbers(row, e, m), tl.sum(tile * left[None, :], axis=1), SIGNED)
            part = _numbers(slopes + i * k, e, m) + tl.sum(tile * dv[None, :], axis=1)
            part = tl.where(fixed, 0.0, part)
            tl.debug_barrier()
            tl.store(slopes + i * k + e, part.to(tl.float64), mask=e < m)
            dr += tl.sum(tile * part[:, None], axis=0)
        tl.debug_barrier()
        # 3. through r = x − Σ z_j d_j
        for first in range(0, m, KC):
            e, tile = _atoms_from(first, dictionary, atoms, i, m, d, k, w, has, KC)
            at = (i * k + e[:, None]) * d + w[None, :]
            inside = (e < m)[:, None] & has[None, :]
            term = tl.load(terms + at, mask=inside, other=0.0)
            term += _numbers(work + i * k, e, m)[:, None] * dv[None, :]
            term += _numbers(slopes + i * k, e, m)[:, None] * left[None, :]
            term -= _numbers(row, e, m)[:, None] * dr[None, :]
            tl.store(terms + at, term, mask=inside)
            down = tl.sum(tile * dr[None, :], axis=1).to(tl.float64)
            tl.debug_barrier()
            tl.store(slopes + i * k + e, down, mask=e < m)
        tl.debug_barrier()
        dz -= tl.load(slopes + i * k + ks, mask=ks < m, other=0.0, cache_modifier=".cg")
        tl.debug_barrier()
        rho += dr
    tl.store(grad_x + i * d + w, rho, mask=has)

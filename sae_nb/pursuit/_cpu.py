"""The CPU backend: compiled loops on the memory of the tensors, each input on its own row of correlations.

A row stays in the first-level cache for all its steps; a step reads one row of the Gram matrix, and
the search for the next atom is fused into that pass through the maxima of blocks of columns. Matching
pursuit in fp32 reads rows of 16 bits. Correlations are then off by at most the sum of what each step
rounded; all atoms within twice that of the best are compared by their products with the residual, so
that the choice is that of fp32. Inputs are trusted: they were checked at the public function. Rows are
independent, so results do not depend on the number of threads.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sae_nb.kernels._compiling import compiled, larger
from sae_nb.kernels._threads import share
from sae_nb.pursuit import _small_systems as small_systems
from sae_nb.pursuit._engine import Tile

# `nnan` lets maxima vectorise: inputs were checked to be finite. Sums may be reordered.
_FAST = {"nnan", "nsz", "reassoc", "contract"}
BLOCK = 128
"""Columns whose maximum is kept: the best atom is then found among 128, not among all."""

MOST = 64
"""Atoms within the error of the best one at which a row's correlations are computed again instead."""

FAR = -2
"""Result of `decide` in that case."""

RUNNING, STOPPED, DEPENDENT = range(3)
"""State of a row: running, finished, finished because the best atom depends on those chosen."""

_LEAST_SQUARES, _NON_NEGATIVE = small_systems.LEAST_SQUARES, small_systems.NON_NEGATIVE

solve_small = compiled(inner=True)(small_systems.solve_small)
refine_small = compiled(inner=True)(small_systems.refine_small)


@compiled(inner=True, fastmath=_FAST)
def find_maxima(c, first, last, signed, maxima):
    """Write the largest score of each block first … last: c, or |c| for signed codes; never below 0."""
    for block in range(first, last):
        part = c[block * BLOCK : (block + 1) * BLOCK]
        top = c.dtype.type(0)
        if signed:
            for j in range(len(part)):
                top = larger(abs(part[j]), top)
        else:
            for j in range(len(part)):
                top = larger(part[j], top)
        maxima[block] = top


@compiled(inner=True, fastmath=_FAST)
def update(c, a, row, signed, maxima):
    """Update correlations after a step, c ← c − a · G[j], and their block maxima, in one pass."""
    for block in range(len(maxima)):
        part = c[block * BLOCK : (block + 1) * BLOCK]
        beside = row[block * BLOCK : (block + 1) * BLOCK]
        top = c.dtype.type(0)
        if signed:
            for j in range(len(part)):
                value = part[j] - a * c.dtype.type(beside[j])
                part[j] = value
                top = larger(abs(value), top)
        else:
            for j in range(len(part)):
                value = part[j] - a * c.dtype.type(beside[j])
                part[j] = value
                top = larger(value, top)
        maxima[block] = top


@compiled(inner=True, fastmath=_FAST)
def combine(start, z, atoms, m, gram, signed, c, maxima):
    """Compute correlations of a whole code, c = start − Σ_i z_i G[atoms_i], and their block maxima.

    Eight rows at a time quarter the traffic on c; a strip of c stays in the first-level cache.
    """
    strip = 8 * BLOCK
    for low in range(0, len(c), strip):
        high = min(low + strip, len(c))
        out = c[low:high]
        for j in range(len(out)):
            out[j] = start[low + j]
        i = 0
        while i + 8 <= m:
            z0, z1, z2, z3 = z[i], z[i + 1], z[i + 2], z[i + 3]
            z4, z5, z6, z7 = z[i + 4], z[i + 5], z[i + 6], z[i + 7]
            g0, g1 = gram[atoms[i], low:high], gram[atoms[i + 1], low:high]
            g2, g3 = gram[atoms[i + 2], low:high], gram[atoms[i + 3], low:high]
            g4, g5 = gram[atoms[i + 4], low:high], gram[atoms[i + 5], low:high]
            g6, g7 = gram[atoms[i + 6], low:high], gram[atoms[i + 7], low:high]
            for j in range(len(out)):
                near = z0 * g0[j] + z1 * g1[j] + z2 * g2[j] + z3 * g3[j]
                far = z4 * g4[j] + z5 * g5[j] + z6 * g6[j] + z7 * g7[j]
                out[j] -= near + far
            i += 8
        while i + 2 <= m:
            z0, z1 = z[i], z[i + 1]
            g0, g1 = gram[atoms[i], low:high], gram[atoms[i + 1], low:high]
            for j in range(len(out)):
                out[j] -= z0 * g0[j] + z1 * g1[j]
            i += 2
        if i < m:
            z0, g0 = z[i], gram[atoms[i], low:high]
            for j in range(len(out)):
                out[j] -= z0 * g0[j]
        find_maxima(c, low // BLOCK, -(-high // BLOCK), signed, maxima)


@compiled(inner=True)
def exclude(c, atoms, m, signed, maxima):
    """Take atoms already chosen out of the search."""
    for i in range(m):
        c[atoms[i]] = 0
    if m < len(maxima):
        for i in range(m):
            block = atoms[i] // BLOCK
            find_maxima(c, block, block + 1, signed, maxima)
    else:
        find_maxima(c, 0, len(maxima), signed, maxima)


@compiled(inner=True)
def block_of_best(maxima):
    """Return the first block that holds the largest score."""
    winner = 0
    for block in range(1, len(maxima)):
        if maxima[block] > maxima[winner]:
            winner = block
    return winner


@compiled(inner=True)
def best(c, floor, signed, maxima):
    """Return the atom with the largest score, the lowest of equal ones; −1 if none exceeds `floor`."""
    winner = block_of_best(maxima)
    top = maxima[winner]
    if not top > floor:
        return -1
    for j in range(winner * BLOCK, len(c)):
        if c[j] == top or (signed and -c[j] == top):
            return j
    return -1


@compiled(inner=True)
def decide(c, left, dictionary, limit, most, signed, maxima):
    """Return the atom with the largest ⟨left, d⟩ of those that score `limit` in c, and that product.

    Of equal ones the lowest; −1 if none is positive, `FAR` if more than `most` score so much.
    """
    winner, amount, top = -1, c.dtype.type(0), c.dtype.type(0)
    seen = 0
    for block in range(len(maxima)):
        if not maxima[block] >= limit:
            continue
        for j in range(block * BLOCK, min((block + 1) * BLOCK, len(c))):
            if c[j] >= limit or (signed and -c[j] >= limit):
                seen += 1
                if seen > most:
                    return FAR, amount
                a = dot(left, dictionary[j])
                score = abs(a) if signed else a
                if score > top:
                    winner, amount, top = j, a, score
    return winner, amount


@compiled(inner=True)
def correlate(left, dictionary, c):
    """Set c = D left, one product at a time."""
    for j in range(len(c)):
        c[j] = dot(left, dictionary[j])


@compiled(inner=True, fastmath=_FAST)
def dot(a, b):
    """⟨a, b⟩."""
    total = a.dtype.type(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@compiled(inner=True, fastmath=_FAST)
def precise_dot(a, b):
    """⟨a, b⟩ with a float64 sum."""
    total = 0.0
    for i in range(len(a)):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@compiled(inner=True, fastmath=_FAST)
def subtract(r, a, d):
    """Set r ← r − a d; return ‖r‖²."""
    total = r.dtype.type(0)
    for i in range(len(r)):
        value = r[i] - a * d[i]
        r[i] = value
        total += value * value
    return total


@compiled(inner=True)
def place_of(atom, atoms, m):
    """Return the index of an atom among the m chosen; m if it is new."""
    for i in range(m):
        if atoms[i] == atom:
            return i
    return m


@compiled()
def matching_steps(
    begin, end, c, r, gram, grain, slack, dictionary, first, last, keep, signed, reselect, floors, limits,
    atoms, places, amounts, steps, sizes, state, norms,
):  # fmt: skip
    """Take steps first … last of matching pursuit for every row of a tile.

    c holds correlations with the residuals r. With `keep`, c is updated with Gram rows, in units of
    `grain`, after every step, and an entry of a row is off by `slack` at most; otherwise c is fresh and
    last = first + 1. Outputs per row: `atoms` chosen (each once), and per step `places` (index into
    atoms) and `amounts`.
    """
    n_atoms = c.shape[1]
    maxima = np.empty(-(-n_atoms // BLOCK), c.dtype)
    for i in range(begin, end):
        if state[i] != RUNNING:
            continue
        row, left, m = c[i], r[i], np.int64(sizes[i])
        squared, error = dot(left, left), floors[i]
        find_maxima(row, 0, len(maxima), signed, maxima)
        if not reselect:
            exclude(row, atoms[i], m, signed, maxima)
        for t in range(first, last):
            if norms.shape[1] and t == 0:
                norms[i, 0] = squared**0.5
            top = maxima[block_of_best(maxima)]
            if squared <= limits[i] or not top + error > floors[i]:
                state[i] = STOPPED
                break
            # Coefficient and choice come from the residual itself: c is off by `error` at most.
            j, a = FAR, c.dtype.type(0)
            limit = top - (error + error)
            if limit > 0:
                j, a = decide(row, left, dictionary, limit, MOST, signed, maxima)
            if j == FAR:
                correlate(left, dictionary, row)
                error = floors[i]
                find_maxima(row, 0, len(maxima), signed, maxima)
                if not reselect:
                    exclude(row, atoms[i], m, signed, maxima)
                j = best(row, floors[i], signed, maxima)
                a = row[j] if j >= 0 else c.dtype.type(0)
            if j < 0 or not (abs(a) if signed else a) > floors[i]:
                state[i] = STOPPED
                break
            squared = subtract(left, a, dictionary[j])
            place = place_of(j, atoms[i], m)
            if place == m:
                atoms[i, m] = j
                m += 1
            places[i, t], amounts[i, t], steps[i] = place, a, t + 1
            if norms.shape[1]:
                norms[i, t + 1] = squared**0.5
            if keep and t + 1 < last:
                update(row, c.dtype.type(a * grain), gram[j], signed, maxima)
                error += c.dtype.type(abs(a) * slack) + c.dtype.type(0.125) * floors[i]
                if not reselect:
                    exclude(row, atoms[i], m, signed, maxima)
        sizes[i] = m
        if squared <= limits[i]:
            state[i] = STOPPED


@compiled()
def apply_rows(begin, end, c, rows, slot_of, atoms, places, amounts, step, steps):
    """Update c ← c − a · G[j] for the atom each row chose in one step, G[j] being rows[slot_of[j]]."""
    for i in range(begin, end):
        if steps[i] == step + 1:
            slot = slot_of[atoms[i, places[i, step]]]
            if slot >= 0:
                subtract(c[i], amounts[i, step], rows[slot])


@compiled(inner=True)
def leftover(x, z, atoms, m, dictionary, r):
    """Set r = x − Σ_i z_i d_{atoms_i}; return ‖r‖²."""
    for e in range(len(r)):
        r[e] = x[e]
    total = dot(r, r)
    for i in range(m):
        if z[i] != 0.0:
            total = subtract(r, r.dtype.type(z[i]), dictionary[atoms[i]])
    return total


class Rules(NamedTuple):
    """How a pursuit that refits chooses and when it stops; with `watch`, residuals are known at every step."""

    mode: int
    k: int
    signed: bool
    reselect: bool
    watch: bool
    threshold: float


class Rows(NamedTuple):
    """The rows of a tile and what they are explained by: c correlations, x inputs, r residuals."""

    c: np.ndarray
    x: np.ndarray
    r: np.ndarray
    gram: np.ndarray
    dictionary: np.ndarray
    floors: np.ndarray
    limits: np.ndarray


class Chosen(NamedTuple):
    """What was chosen so far: `atoms` with coefficients z, each row's small system, and its state."""

    atoms: np.ndarray
    places: np.ndarray
    z: np.ndarray
    S: np.ndarray
    b: np.ndarray
    L: np.ndarray
    work: np.ndarray
    passive: np.ndarray
    active: np.ndarray
    steps: np.ndarray
    sizes: np.ndarray
    state: np.ndarray
    norms: np.ndarray
    history: np.ndarray


@compiled()
def refit_steps(begin, end, rules, rows, chosen, first, last, keep):
    """Take steps first … last of a pursuit that refits its coefficients after every choice.

    As `matching_steps`.
    """
    mode, k, signed, reselect, watch, threshold = rules
    c, x, r, gram, dictionary, floors, limits = rows
    atoms, places, z, S, b, L, work_of, passive, active, steps, sizes, state, norms, history = (
        chosen
    )
    n_atoms = c.shape[1]
    maxima = np.empty(-(-n_atoms // BLOCK), c.dtype)
    now = np.empty(n_atoms, c.dtype)
    narrow = np.empty(k, c.dtype)
    for i in range(begin, end):
        if state[i] != RUNNING:
            continue
        m, work = np.int64(sizes[i]), work_of[i]
        squared = dot(r[i], r[i])
        for j in range(n_atoms):
            now[j] = c[i, j]
        find_maxima(now, 0, len(maxima), signed, maxima)
        if not reselect:
            exclude(now, atoms[i], m, signed, maxima)
        for t in range(first, last):
            if norms.shape[1] and t == 0:
                norms[i, 0] = squared**0.5
            if watch and squared <= limits[i]:
                state[i] = STOPPED
                break
            j = best(now, floors[i], signed, maxima)
            if j < 0:
                state[i] = STOPPED
                break
            place = place_of(j, atoms[i], m)
            if place == m:
                atoms[i, m] = j
                for e in range(m + 1):
                    other = atoms[i, e]
                    if keep:
                        S[i, m, e] = gram[j, other]
                    else:
                        S[i, m, e] = precise_dot(dictionary[j], dictionary[other])
                b[i, m] = precise_dot(x[i], dictionary[j])
                z[i, m] = 0.0
                m += 1
            p = solve_small(
                mode, S[i], b[i], z[i], L[i], passive[i], active[i], m, place, threshold,
                floors[i], work,
            )  # fmt: skip
            if p < 0:
                m = np.int64(sizes[i])
                state[i] = DEPENDENT
                break
            active[i], sizes[i] = p, m
            places[i, t], steps[i] = place, t + 1
            if watch or t + 1 == last:
                squared = leftover(x[i], z[i], atoms[i], m, dictionary, r[i])
            if norms.shape[1]:
                norms[i, t + 1] = squared**0.5
                for e in range(m):
                    history[i, t, e] = z[i, e]
            if keep and t + 1 < last:
                for e in range(m):
                    narrow[e] = z[i, e]
                combine(c[i], narrow, atoms[i], m, gram, signed, now, maxima)
                if not reselect:
                    exclude(now, atoms[i], m, signed, maxima)
        if state[i] == RUNNING and last == k:
            state[i] = STOPPED
        if state[i] != RUNNING:
            squared = leftover(x[i], z[i], atoms[i], m, dictionary, r[i])
            if mode <= _NON_NEGATIVE:
                p, positive = active[i], mode == _NON_NEGATIVE
                for e in range(p):
                    work[e] = precise_dot(r[i], dictionary[atoms[i, passive[i, e]]])
                refine_small(L[i], passive[i], p, z[i], positive, work)
            # Dependent atoms matter only where they keep something from being explained.
            if state[i] == DEPENDENT and squared <= 1e4 * floors[i] * floors[i]:
                state[i] = STOPPED


@compiled()
def matching_adjoint(begin, end, x, dictionary, atoms, steps, amounts, grads, grad_x, terms):
    """Back through the steps of every row of a tile: gradient of x, and one term per step.

    From the last step to the first, with ρ the gradient of the residual after the step:
    α = g − ⟨ρ, d⟩,  term = α r − a ρ,  ρ ← ρ + α d;  r is rebuilt from the stored pairs.
    """
    d = x.shape[1]
    left = np.empty(d, x.dtype)
    for i in range(begin, end):
        for e in range(d):
            left[e] = x[i, e]
        for t in range(steps[i]):
            subtract(left, amounts[i, t], dictionary[atoms[i, t]])
        rho = grad_x[i]
        rho[:] = 0
        for t in range(steps[i] - 1, -1, -1):
            chosen = dictionary[atoms[i, t]]
            slope = grads[i, t] - dot(rho, chosen)
            step_back(left, rho, chosen, amounts[i, t], slope, terms[i, t])


@compiled(inner=True, fastmath=_FAST)
def step_back(r, rho, d, a, slope, term):
    """Set r ← r + a d;  term = slope · r − a ρ;  ρ ← ρ + slope · d."""
    for i in range(len(r)):
        value = r[i] + a * d[i]
        r[i] = value
        term[i] = slope * value - a * rho[i]
        rho[i] += slope * d[i]


@compiled()
def add_terms(begin, end, terms, order, offsets, out):
    """Add the terms of each atom to its row of `out`, in the order of the inputs."""
    minus_one = terms.dtype.type(-1)
    for j in range(begin, end):
        for e in range(offsets[j], offsets[j + 1]):
            subtract(out[j], minus_one, terms[order[e]])


class Cpu:
    """Greedy steps by compiled loops, parallel over rows."""

    rounds = True

    def matching(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Take steps of matching pursuit."""
        ask, out = tile.problem, tile.steps
        number = tile.c.numpy().dtype.type
        # Half a unit is what rounding takes off an entry; a 32nd, what fp32 does to it.
        slack = tile.grain * (0.5 + 1 / 32) or 4 * torch.finfo(tile.c.dtype).eps
        grams = (*_arrays(tile.gram), number(tile.grain or 1.0), number(slack))
        outputs = (out.atoms, out.places, out.amounts, out.steps, out.sizes, out.state, out.norms)
        flags = (first, last, keep, not ask.nonnegative, bool(ask.reselect))
        limits = _arrays(tile.floors, tile.limits)
        read = (*_arrays(tile.c, tile.r), *grams, *_arrays(ask.dictionary))
        share(matching_steps, len(tile.x), *read, *flags, *limits, *_arrays(*outputs))

    def refit(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Take steps of a pursuit that refits its coefficients."""
        ask, out = tile.problem, tile.steps
        rules = Rules(
            ask.mode, ask.k, not ask.nonnegative, bool(ask.reselect), ask.watches, ask.threshold
        )
        data = (tile.c, tile.x, tile.r, tile.gram, ask.dictionary, tile.floors, tile.limits)
        outputs = (out.atoms, out.places, out.coefficients, *tile.systems)
        ends = (out.steps, out.sizes, out.state, out.norms, out.history)
        chosen = Chosen(*_arrays(*outputs, *ends))
        rows = Rows(*_arrays(*data))
        share(refit_steps, len(tile.x), rules, rows, chosen, first, last, keep)

    def apply_rows(self, tile: Tile, rows: Tensor, slot_of: Tensor, step: int) -> None:
        """Apply Gram rows to the correlations of the inputs that chose them."""
        out = tile.steps
        chosen = _arrays(out.atoms, out.places, out.amounts)
        read = _arrays(tile.c, rows, slot_of)
        share(apply_rows, len(tile.x), *read, *chosen, step, out.steps.numpy())


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)

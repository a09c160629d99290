"""The GPU backend: Numba-CUDA kernels, one block of threads per input, on torch's own memory and stream.

A block keeps the correlations of its input in shared memory as far as they fit and the rest in
global memory; the search for the next atom is fused into the Gram-row update and ends in a tree over
shared memory. No warp shuffles: Numba's simulator runs the same kernels without a GPU.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from numba import cuda, float32, float64, int32
from torch import Tensor

from sae_nb.pursuit import _small_systems as small_systems
from sae_nb.pursuit._checking import simulated
from sae_nb.pursuit._engine import Tile

THREADS = 8 if simulated() else 256
"""Threads per block. The simulator runs each as a Python thread."""

SHARED_BYTES = 40 * 2**10
"""Shared memory for correlations: what every GPU gives a block without asking, less the trees."""

NOTHING = 2**31 - 1
_NON_NEGATIVE = small_systems.NON_NEGATIVE

solve_small = cuda.jit(device=True)(small_systems.solve_small)
refine_small = cuda.jit(device=True)(small_systems.refine_small)


@cuda.jit(device=True)
def block_sum(value, sums):
    """Return the sum of every thread's value, known to all threads."""
    thread = cuda.threadIdx.x
    sums[thread] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
        cuda.syncthreads()
        half //= 2
    total = sums[0]
    cuda.syncthreads()
    return total


@cuda.jit(device=True)
def block_best(score, atom, scores, winners):
    """Put the best score of the block into place 0, the lowest atom of equal ones."""
    thread = cuda.threadIdx.x
    scores[thread], winners[thread] = score, atom
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            other = thread + half
            if scores[other] > scores[thread] or (
                scores[other] == scores[thread] and winners[other] < winners[thread]
            ):
                scores[thread], winners[thread] = scores[other], winners[other]
        cuda.syncthreads()
        half //= 2


@cuda.jit(device=True)
def place_of(atom, atoms, m):
    """Return the index of an atom among the m chosen; m if it is new."""
    for e in range(m):
        if atoms[e] == atom:
            return e
    return m


@lru_cache(maxsize=2)
def matching_kernel(number: Any) -> Any:
    """Return the kernel of matching pursuit in one precision."""

    @cuda.jit
    def matching_steps(
        c, r, gram, dictionary, first, last, keep, signed, reselect, floors, limits,
        atoms, places, amounts, steps, sizes, state, norms, n_shared,
    ):  # fmt: skip
        near = cuda.shared.array(0, number)
        sums = cuda.shared.array(THREADS, float64)
        scores = cuda.shared.array(THREADS, number)
        winners = cuda.shared.array(THREADS, int32)
        i, thread = cuda.blockIdx.x, cuda.threadIdx.x
        if state[i] != 0:
            return
        n_atoms, d_in, m = c.shape[1], r.shape[1], sizes[i]
        nothing = number(math.nan)
        # 1. load; an atom that may not be chosen again becomes NaN, which no comparison prefers
        if not reselect:
            for e in range(thread, m, THREADS):
                c[i, atoms[i, e]] = nothing
            cuda.syncthreads()
        score, winner = number(0.0), NOTHING
        for j in range(thread, n_atoms, THREADS):
            value = c[i, j]
            if j < n_shared:
                near[j] = value
            if signed:
                value = abs(value)
            if value > score:
                score, winner = value, j
        total = 0.0
        for e in range(thread, d_in, THREADS):
            total += r[i, e] * r[i, e]
        squared = block_sum(total, sums)
        for t in range(first, last):
            if norms.shape[1] and t == 0 and thread == 0:
                norms[i, 0] = math.sqrt(squared)
            # 2. choose
            block_best(score, winner, scores, winners)
            top, j = scores[0], winners[0]
            cuda.syncthreads()
            if squared <= limits[i] or not top > floors[i] or j == NOTHING:
                if thread == 0:
                    state[i] = 1
                break
            # 3. the coefficient comes from the residual itself: c may have drifted a little
            total = 0.0
            for e in range(thread, d_in, THREADS):
                total += r[i, e] * dictionary[j, e]
            a = number(block_sum(total, sums))
            if not signed and a <= 0:
                if thread == 0:
                    state[i] = 1
                break
            total = 0.0
            for e in range(thread, d_in, THREADS):
                value = r[i, e] - a * dictionary[j, e]
                r[i, e] = value
                total += value * value
            squared = block_sum(total, sums)
            # 4. note
            if thread == 0:
                place = place_of(j, atoms[i], m)
                if place == m:
                    atoms[i, m] = j
                    sizes[i] = m + 1
                places[i, t], amounts[i, t], steps[i] = place, a, t + 1
                if norms.shape[1]:
                    norms[i, t + 1] = math.sqrt(squared)
            cuda.syncthreads()
            m = sizes[i]
            # 5. update, and look for the next atom on the way
            if keep and t + 1 < last:
                score, winner = number(0.0), NOTHING
                for e in range(thread, n_atoms, THREADS):
                    value = (near[e] if e < n_shared else c[i, e]) - a * gram[j, e]
                    if e == j and not reselect:
                        value = nothing
                    if e < n_shared:
                        near[e] = value
                    else:
                        c[i, e] = value
                    if signed:
                        value = abs(value)
                    if value > score:
                        score, winner = value, e
        if thread == 0 and squared <= limits[i]:
            state[i] = 1

    return matching_steps


@lru_cache(maxsize=2)
def refit_kernel(number: Any) -> Any:
    """Return the kernel of the pursuits that refit their coefficients, in one precision."""

    @cuda.jit
    def refit_steps(
        mode, c, x, r, gram, dictionary, first, last, k, keep, signed, reselect, watch, floors,
        limits, threshold, atoms, places, z, S, b, L, work, passive, active, steps, sizes, state,
        norms, history,
    ):  # fmt: skip
        sums = cuda.shared.array(THREADS, float64)
        scores = cuda.shared.array(THREADS, number)
        winners = cuda.shared.array(THREADS, int32)
        outcome = cuda.shared.array(1, int32)
        i, thread = cuda.blockIdx.x, cuda.threadIdx.x
        if state[i] != 0:
            return
        n_atoms, d_in, m = c.shape[1], r.shape[1], sizes[i]
        total = 0.0
        for e in range(thread, d_in, THREADS):
            total += r[i, e] * r[i, e]
        squared, ended = block_sum(total, sums), 0
        for t in range(first, last):
            if norms.shape[1] and t == 0 and thread == 0:
                norms[i, 0] = math.sqrt(squared)
            if watch and squared <= limits[i]:
                ended = 1
                break
            # 1. correlations c = x Dᵀ − z G are formed and searched, never stored
            score, winner = number(0.0), NOTHING
            for j in range(thread, n_atoms, THREADS):
                value, free = c[i, j], True
                for e in range(m):
                    if keep:
                        value -= number(z[i, e]) * gram[atoms[i, e], j]
                    if atoms[i, e] == j and not reselect:
                        free = False
                if signed:
                    value = abs(value)
                if free and value > score:
                    score, winner = value, j
            block_best(score, winner, scores, winners)
            top, j = scores[0], winners[0]
            cuda.syncthreads()
            if not top > floors[i] or j == NOTHING:
                ended = 1
                break
            # 2. grow the small system
            place = place_of(j, atoms[i], m)
            if place == m:
                for e in range(thread, m + 1, THREADS):
                    other = atoms[i, e] if e < m else j
                    if keep:
                        S[i, m, e] = gram[j, other]
                    else:
                        total = 0.0
                        for f in range(d_in):
                            total += float64(dictionary[j, f]) * float64(dictionary[other, f])
                        S[i, m, e] = total
                total = 0.0
                for e in range(thread, d_in, THREADS):
                    total += float64(x[i, e]) * float64(dictionary[j, e])
                total = block_sum(total, sums)
                if thread == 0:
                    atoms[i, m], b[i, m], z[i, m] = j, total, 0.0
                m += 1
            cuda.syncthreads()
            # 3. solve it
            if thread == 0:
                outcome[0] = solve_small(
                    mode, S[i], b[i], z[i], L[i], passive[i], active[i], m, place, threshold,
                    floors[i], work[i],
                )  # fmt: skip
                if outcome[0] >= 0:
                    active[i], sizes[i] = outcome[0], m
                    places[i, t], steps[i] = place, t + 1
            cuda.syncthreads()
            if outcome[0] < 0:
                m, ended = sizes[i], 2
                break
            # 4. what is left
            if watch or t + 1 == last:
                total = 0.0
                for e in range(thread, d_in, THREADS):
                    value = x[i, e]
                    for f in range(m):
                        value -= number(z[i, f]) * dictionary[atoms[i, f], e]
                    r[i, e] = value
                    total += value * value
                squared = block_sum(total, sums)
            if norms.shape[1]:
                if thread == 0:
                    norms[i, t + 1] = math.sqrt(squared)
                for e in range(thread, m, THREADS):
                    history[i, t, e] = z[i, e]
        if ended == 0 and last == k:
            ended = 1
        if ended == 0:
            return
        # 5. refine with the residual of x itself
        total = 0.0
        for e in range(thread, d_in, THREADS):
            value = x[i, e]
            for f in range(m):
                value -= number(z[i, f]) * dictionary[atoms[i, f], e]
            r[i, e] = value
            total += value * value
        squared = block_sum(total, sums)
        if mode <= _NON_NEGATIVE:
            p = active[i]
            for e in range(thread, p, THREADS):
                total = 0.0
                for f in range(d_in):
                    total += float64(r[i, f]) * float64(dictionary[atoms[i, passive[i, e]], f])
                work[i, e] = total
            cuda.syncthreads()
            if thread == 0:
                refine_small(L[i], passive[i], p, z[i], mode == _NON_NEGATIVE, work[i])
        if thread == 0:
            # Dependent atoms matter only where they keep something from being explained.
            explained = squared <= 1e4 * floors[i] * floors[i]
            state[i] = 1 if ended == 1 or explained else 2

    return refit_steps


@cuda.jit
def subtract_rows(c, rows, slot_of, atoms, places, amounts, step, steps):
    """Update c ← c − a · G[j] for the atom each input chose in one step."""
    i = cuda.blockIdx.x
    if steps[i] != step + 1:
        return
    slot = slot_of[atoms[i, places[i, step]]]
    if slot < 0:
        return
    a = amounts[i, step]
    for e in range(cuda.threadIdx.x, c.shape[1], THREADS):
        c[i, e] -= a * rows[slot, e]


class Cuda:
    """Greedy steps by GPU kernels, launched on torch's current stream."""

    def matching(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Take steps of matching pursuit."""
        ask, out = tile.problem, tile.steps
        inputs = (tile.c, tile.r, tile.gram, ask.dictionary)
        outputs = (out.atoms, out.places, out.amounts, out.steps, out.sizes, out.state, out.norms)
        flags = (first, last, keep, not ask.nonnegative, bool(ask.reselect))
        item = tile.c.element_size()
        n_shared = min(tile.c.shape[1], SHARED_BYTES // item)
        with _device(tile.c):
            kernel = matching_kernel(_number(tile.c))[
                len(tile.c), THREADS, _stream(), n_shared * item
            ]
            limits = _arrays(tile.floors, tile.limits)
            kernel(*_arrays(*inputs), *flags, *limits, *_arrays(*outputs), n_shared)

    def refit(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Take steps of a pursuit that refits its coefficients."""
        ask, out = tile.problem, tile.steps
        inputs = (tile.c, tile.x, tile.r, tile.gram, ask.dictionary)
        flags = (first, last, ask.k, keep, not ask.nonnegative, ask.reselect, ask.watches)
        outputs = (out.atoms, out.places, out.coefficients, *tile.systems)
        ends = (out.steps, out.sizes, out.state, out.norms, out.history)
        with _device(tile.c):
            kernel = refit_kernel(_number(tile.c))[len(tile.c), THREADS, _stream()]
            limits = (*_arrays(tile.floors, tile.limits), ask.threshold)
            kernel(ask.mode, *_arrays(*inputs), *flags, *limits, *_arrays(*outputs, *ends))

    def apply_rows(self, tile: Tile, rows: Tensor, slot_of: Tensor, step: int) -> None:
        """Apply Gram rows to the correlations of the inputs that chose them."""
        out = tile.steps
        chosen = (out.atoms, out.places, out.amounts)
        with _device(tile.c):
            kernel = subtract_rows[len(tile.c), THREADS, _stream()]
            kernel(*_arrays(tile.c, rows, slot_of, *chosen), step, *_arrays(out.steps))


def _number(c: Tensor) -> Any:
    return float64 if c.dtype == torch.float64 else float32


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    if simulated():
        return tuple(tensor.detach().numpy() for tensor in tensors)
    # Same memory, same stream: nothing is copied, and nothing has to be waited for.
    return tuple(cuda.as_cuda_array(tensor.detach(), sync=False) for tensor in tensors)


def _stream() -> Any:
    return 0 if simulated() else cuda.external_stream(torch.cuda.current_stream().cuda_stream)


def _device(x: Tensor) -> AbstractContextManager[Any]:
    return nullcontext() if simulated() else cuda.gpus[x.device.index or 0]

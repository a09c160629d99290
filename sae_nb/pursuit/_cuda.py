"""The GPU backend: Numba-CUDA kernels, one block of threads per input, on torch's own memory and stream.

A block keeps the correlations of its input in shared memory as far as they fit and the rest in
global memory; the search for the next atom is fused into the Gram-row update, and reductions go through
shared memory. No warp shuffles: Numba's simulator runs the same kernels without a GPU. All steps of an
input are one launch. Each kernel states the bytes that it must move. In fp32 Triton's kernels run instead,
where Triton does (`_card`).
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from numba import cuda, float32, float64, int32
from torch import Tensor

from sae_nb.kernels._dense import note
from sae_nb.pursuit import _small_systems as small_systems
from sae_nb.pursuit._checking import simulated
from sae_nb.pursuit._engine import Tile

THREADS = 8 if simulated() else 256
"""Threads per block. The simulator runs each as a Python thread."""

LANES = 4 if simulated() else 16
"""Threads that add up the others' values, THREADS / LANES each, before all add up theirs."""

AHEAD = 2 if simulated() else 8
"""Numbers of a Gram row that a thread asks for before it uses the first. At 3 TB/s and 700 ns an H100 has
2.1 MB on their way, 16 kB a multiprocessor: what two blocks of 256 threads with 8 numbers ask for."""

STAGED = 4 if simulated() else 256
"""Coefficients and atoms of an input that are read from shared memory while a step is searched."""

SHARED_BYTES = 40 * 2**10
"""Shared memory for correlations that every GPU gives a block without asking, less the reductions."""

RESERVED_BYTES = 8 * 2**10
"""Shared memory of a block for its reductions, and for what the driver takes."""

REGISTERS = 96
"""Registers a thread may use: two blocks of 256 threads then share a multiprocessor's 65 536. Left alone ptxas
gives the kernel of matching pursuit 130, and one block; at 96 it spills 48 bytes, at 80 (three blocks) 120."""

NOTHING = 2**31 - 1
_NON_NEGATIVE = small_systems.NON_NEGATIVE

solve_small = cuda.jit(device=True)(small_systems.solve_small)
refine_small = cuda.jit(device=True)(small_systems.refine_small)


def _kernel(function: object) -> Any:
    """Compile a kernel for any types, within REGISTERS; the simulator has none to count."""
    return cuda.jit(function) if simulated() else cuda.jit(max_registers=REGISTERS)(function)


@cuda.jit(device=True)
def block_sum(value, sums):
    """Return the sum of every thread's value, known to all threads and always added in one order.

    Three barriers, where a tree of pairs has ten; neighbours read neighbours, so no bank is asked twice.
    """
    thread = cuda.threadIdx.x
    sums[thread] = value
    cuda.syncthreads()
    if thread < LANES:
        total = 0.0
        for other in range(thread, THREADS, LANES):
            total += sums[other]
        sums[thread] = total
    cuda.syncthreads()
    total = 0.0
    for lane in range(LANES):
        total += sums[lane]
    cuda.syncthreads()
    return total


@cuda.jit(device=True)
def block_best(score, atom, scores, winners):
    """Return the best score of the block and its atom, the lowest of equal ones, to all threads."""
    thread = cuda.threadIdx.x
    scores[thread], winners[thread] = score, atom
    cuda.syncthreads()
    if thread < LANES:
        for other in range(thread + LANES, THREADS, LANES):
            if scores[other] > score or (scores[other] == score and winners[other] < atom):
                score, atom = scores[other], winners[other]
        scores[thread], winners[thread] = score, atom
    cuda.syncthreads()
    score, atom = scores[0], winners[0]
    for lane in range(1, LANES):
        if scores[lane] > score or (scores[lane] == score and winners[lane] < atom):
            score, atom = scores[lane], winners[lane]
    cuda.syncthreads()
    return score, atom


@lru_cache(maxsize=2)
def matching_kernel(number: Callable[[float], float]) -> Any:
    """Return the kernel of matching pursuit in one precision.

    A step has to read one Gram row and one atom: rows · k · (n_atoms + d_in) numbers in all, besides the
    correlations once. Gram rows of different inputs are different, and the matrix is larger than the L2
    cache, so they come from memory. Correlations beyond shared memory are read and written again.
    """

    @_kernel
    def matching_steps(
        c, r, gram, dictionary, first, last, keep, signed, reselect, watch, floors, limits,
        atoms, places, amounts, steps, sizes, state, norms, n_shared,
    ):  # fmt: skip
        near = cuda.shared.array(0, number)
        sums = cuda.shared.array(THREADS, float64)
        scores = cuda.shared.array(THREADS, number)
        winners = cuda.shared.array(THREADS, int32)
        found = cuda.shared.array(1, int32)
        ahead = cuda.local.array(AHEAD, number)
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
            top, j = block_best(score, winner, scores, winners)
            if squared <= limits[i] or not top > floors[i] or j == NOTHING:
                if thread == 0:
                    state[i] = 1
                break
            # 3. the coefficient comes from the residual itself: c may have drifted a little
            if thread == 0:
                found[0] = m
            total = 0.0
            for e in range(thread, d_in, THREADS):
                total += r[i, e] * dictionary[j, e]
            a = number(block_sum(total, sums))
            if not signed and a <= 0:
                if thread == 0:
                    state[i] = 1
                break
            for e in range(thread, m, THREADS):
                if atoms[i, e] == j:
                    found[0] = e
            total = 0.0
            for e in range(thread, d_in, THREADS):
                value = r[i, e] - a * dictionary[j, e]
                r[i, e] = value
                total += value * value
            if watch:
                squared = block_sum(total, sums)
            else:
                cuda.syncthreads()
            # 4. note
            place = found[0]
            if thread == 0:
                if place == m:
                    atoms[i, m] = j
                    sizes[i] = m + 1
                places[i, t], amounts[i, t], steps[i] = place, a, t + 1
                if norms.shape[1]:
                    norms[i, t + 1] = math.sqrt(squared)
            if place == m:
                m += 1
            # 5. update, and look for the next atom on the way
            if keep and t + 1 < last:
                score, winner = number(0.0), NOTHING
                for start in range(thread, n_atoms, AHEAD * THREADS):
                    for u in range(AHEAD):
                        e = start + u * THREADS
                        if e < n_atoms:
                            ahead[u] = gram[j, e]
                    for u in range(AHEAD):
                        e = start + u * THREADS
                        if e < n_atoms:
                            value = (near[e] if e < n_shared else c[i, e]) - a * ahead[u]
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
        if thread == 0 and watch and squared <= limits[i]:
            state[i] = 1

    return matching_steps


@lru_cache(maxsize=2)
def refit_kernel(number: Callable[[float], float]) -> Any:
    """Return the kernel of the pursuits that refit their coefficients, in one precision.

    Step t combines the Gram rows of all t atoms chosen so far, from memory: rows · k² / 2 · n_atoms numbers
    in all, k / 2 times what matching pursuit reads, so a wide dictionary is better off with `direct`, a
    product per step. One thread solves the small system meanwhile; other blocks hide it.
    """

    @_kernel
    def refit_steps(
        mode, c, x, r, gram, dictionary, first, last, k, keep, signed, reselect, watch, floors,
        limits, threshold, atoms, places, z, S, b, L, work, passive, active, steps, sizes, state,
        norms, history,
    ):  # fmt: skip
        sums = cuda.shared.array(THREADS, float64)
        scores = cuda.shared.array(THREADS, number)
        winners = cuda.shared.array(THREADS, int32)
        outcome = cuda.shared.array(1, int32)
        found = cuda.shared.array(1, int32)
        near_z = cuda.shared.array(STAGED, number)
        near_atoms = cuda.shared.array(STAGED, int32)
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
            # 1. correlations c = x Dᵀ − z G are formed and searched, never stored; each coefficient is
            # rounded once, not once for every atom of the dictionary
            staged = m if m < STAGED else STAGED
            for e in range(thread, staged, THREADS):
                near_z[e], near_atoms[e] = number(z[i, e]), atoms[i, e]
            if thread == 0:
                found[0] = m
            cuda.syncthreads()
            score, winner = number(0.0), NOTHING
            for j in range(thread, n_atoms, THREADS):
                value, free = c[i, j], True
                if keep:
                    for e in range(staged):
                        value -= near_z[e] * gram[near_atoms[e], j]
                    for e in range(staged, m):
                        value -= number(z[i, e]) * gram[atoms[i, e], j]
                if not reselect:
                    for e in range(m):
                        if atoms[i, e] == j:
                            free = False
                if signed:
                    value = abs(value)
                if free and value > score:
                    score, winner = value, j
            top, j = block_best(score, winner, scores, winners)
            if not top > floors[i] or j == NOTHING:
                ended = 1
                break
            # 2. grow the small system
            for e in range(thread, m, THREADS):
                if atoms[i, e] == j:
                    found[0] = e
            cuda.syncthreads()
            place = found[0]
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


@lru_cache(maxsize=2)
def adjoint_kernel(number: Callable[[float], float]) -> Any:
    """Return the kernel of matching pursuit's backward pass in one precision.

    As the CPU's `matching_adjoint`: from the last step to the first, r and ρ in shared memory, each of their
    numbers one thread's own. It reads every chosen atom twice, from the L2 cache where the dictionary fits
    it, and writes one term a step: rows · k · d_in numbers, which one more pass adds up by atom.
    """

    @_kernel
    def matching_adjoint(x, dictionary, atoms, steps, amounts, grads, grad_x, terms):
        near = cuda.shared.array(0, number)
        sums = cuda.shared.array(THREADS, float64)
        i, thread = cuda.blockIdx.x, cuda.threadIdx.x
        d_in, n_steps = x.shape[1], steps[i]
        for e in range(thread, d_in, THREADS):
            value = x[i, e]
            for t in range(n_steps):
                value -= amounts[i, t] * dictionary[atoms[i, t], e]
            near[e], near[d_in + e] = value, number(0.0)
        for t in range(n_steps - 1, -1, -1):
            j, a = atoms[i, t], amounts[i, t]
            total = 0.0
            for e in range(thread, d_in, THREADS):
                total += near[d_in + e] * dictionary[j, e]
            slope = number(grads[i, t] - block_sum(total, sums))
            for e in range(thread, d_in, THREADS):
                value, rho = near[e] + a * dictionary[j, e], near[d_in + e]
                near[e] = value
                terms[i, t, e] = slope * value - a * rho
                near[d_in + e] = rho + slope * dictionary[j, e]
        for e in range(thread, d_in, THREADS):
            grad_x[i, e] = near[d_in + e]

    return matching_adjoint


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

    rounds = False

    def matching(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Take steps of matching pursuit."""
        ask, out = tile.problem, tile.steps
        inputs = (tile.c, tile.r, tile.gram, ask.dictionary)
        outputs = (out.atoms, out.places, out.amounts, out.steps, out.sizes, out.state, out.norms)
        flags = (first, last, keep, not ask.nonnegative, bool(ask.reselect), ask.watches)
        item = tile.c.element_size()
        with _device(tile.c):
            limits = _arrays(tile.floors, tile.limits)
            arguments = (*_arrays(*inputs), *flags, *limits, *_arrays(*outputs))
            kernel = matching_kernel(_number(tile.c))
            wanted = min(tile.c.shape[1] * item, shared_bytes(tile.c.device))
            n_shared = _with_room(kernel, (*arguments, 0), wanted) // item
            launch = kernel[len(tile.c), THREADS, _stream(), n_shared * item]
            launch(*arguments, n_shared)

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


def matching_adjoint(
    x: Tensor,
    dictionary: Tensor,
    atoms: Tensor,
    steps: Tensor,
    amounts: Tensor,
    grads: Tensor,
    grad_x: Tensor,
    terms: Tensor,
) -> None:
    """Fill the gradient of every input, and one term of the dictionary's gradient for each step."""
    n_bytes = 2 * x.shape[1] * x.element_size()
    with _device(x):
        kernel = adjoint_kernel(_number(x))[len(x), THREADS, _stream(), n_bytes]
        kernel(*_arrays(x, dictionary, atoms, steps, amounts, grads, grad_x, terms))


def shared_bytes(device: torch.device) -> int:
    """Return the shared memory that correlations of an input may take: two blocks fit a multiprocessor.

    One alone would ask for too few numbers at a time, whatever it saved to read again.
    """
    if simulated():
        return SHARED_BYTES
    # torch has it, its stubs do not.
    most = torch.cuda.get_device_properties(device).shared_memory_per_block_optin  # type: ignore[attr-defined]
    return max(SHARED_BYTES, most // 2 - RESERVED_BYTES)


def _with_room(kernel: Any, arguments: tuple[Any, ...], n_bytes: int) -> int:
    """Allow a kernel more shared memory than a GPU gives unasked; return what it may use.

    Numba-cuda has no call for it; where its own way to the driver has changed, the usual amount is kept.
    """
    if n_bytes <= SHARED_BYTES:
        return n_bytes
    try:
        from numba.cuda.cudadrv.driver import binding, driver

        made = kernel.compile(tuple(kernel.typeof_pyval(value) for value in arguments))
        function = made._codelibrary.get_cufunc()
        limit = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.cuKernelSetAttribute(limit, n_bytes, function.handle, function.device.id)
    except (AttributeError, ImportError, TypeError) as error:
        note("shared memory", f"{SHARED_BYTES} bytes", f"numba-cuda could not be asked: {error}")
        return SHARED_BYTES
    return n_bytes


def _number(c: Tensor) -> Callable[[float], float]:
    return float64 if c.dtype == torch.float64 else float32


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    if simulated():
        return tuple(tensor.detach().numpy() for tensor in tensors)
    # Same memory, same stream: nothing is copied, and nothing has to be waited for.
    return tuple(cuda.as_cuda_array(tensor.detach(), sync=False) for tensor in tensors)


def _stream() -> object:
    return 0 if simulated() else cuda.external_stream(torch.cuda.current_stream().cuda_stream)


def _device(x: Tensor) -> AbstractContextManager[Any]:
    return nullcontext() if simulated() else cuda.gpus[x.device.index or 0]

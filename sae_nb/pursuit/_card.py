"""Pursuits by Triton's kernels: where they run, what they need, and the order of launches.

Matching pursuit keeps x Dᵀ, a product of numbers split in two of 16 bits, and updates it with Gram rows of
16 bits; the refitting pursuits take a product of all residuals in 16 bits at every step. Every choice is
made by fp32 products among all atoms that the error of what was read leaves open.

No function here reads from the card, and shapes depend on sizes alone: a call can be captured in a CUDA
graph once its kernels are compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb._above import above
from sae_nb.kernels._backends import takes_triton
from sae_nb.pursuit._gram import ROUNDED_PANEL, Atoms, Gram, Known, gram_matrix, gram_of
from sae_nb.pursuit._planning import MOST_IN_REGISTERS, Plan
from sae_nb.pursuit._problem import Problem, PursuitName, Steps

GROUP = 32
"""Atoms of which a product keeps the two best."""

WINDOW = 2 * (2.0**-10 + 2.0**-17)
"""Twice the error of ⟨r, d⟩ / ‖r‖ of numbers rounded to 16 bits, and of a key, which ends in its column."""

CHUNK = 2**13
"""Correlations that a program holds at a time where registers do not hold all."""

TERM_BYTES = 2**30
"""What the backward pass of some inputs may take at once: terms of the dictionary's gradient, small systems."""

Tile = tuple[int, int, int, int, int]
"""Rows, columns and depth of a product's tile, its warps and its stages."""


# ------------------------------------------------------------------------------------ where it runs


def runs(x: Tensor) -> bool:
    """Return whether Triton's kernels take these inputs: in fp32, on an NVIDIA card where Triton compiles."""
    return not torch.version.hip and takes_triton(x)


@contextmanager
def _on(x: Tensor) -> Iterator[None]:
    """On the device of a tensor, in the precision that is written here."""
    device = torch.cuda.device(x.device) if x.is_cuda else nullcontext()
    with device, torch.autocast(x.device.type, enabled=False):
        yield


# ------------------------------------------------------------------------------------ sizes of launches


def power(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


def _row_sizes(d_in: int) -> dict[str, int]:
    width = power(d_in)
    return {"W": width, "num_warps": 1 if width <= 128 else 4 if width <= 4096 else 8}


def _chunk(d_in: int) -> int:
    """Atoms that a program of one input takes at a time."""
    return max(1, min(8, 8192 // power(d_in)))


def _tile_of(rows: int, n_atoms: int) -> Tile:
    return (128, 256, 64, 8, 3) if rows >= 512 and n_atoms >= 1024 else (64, 64, 64, 4, 3)


def product_error(d_in: int) -> float:
    """Return the error of ⟨x, d⟩ / (‖x‖ ‖d‖) from halves of 16 bits.

    What they leave out, and 3 d_in / 16 sums of a tensor core, each cut after 24 bits.
    """
    return 2.0**-20 + 3 * d_in / 16 * 2.0**-23


# --------------------------------------------------------------------------------------- the dictionary


class _Dictionary:
    """A dictionary as the kernels read it; its parts are made at their first use."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        self.largest = torch.linalg.vector_norm(atoms, dim=1).amax() * (1 + 1e-6)
        """The largest norm."""

    @cached_property
    def scale(self) -> Float[Tensor, ""]:
        """Factor of the halves: they are far from 16 bits' largest and smallest number."""
        return 32 / self.largest

    @cached_property
    def grain(self) -> Float[Tensor, ""]:
        """Unit of a Gram matrix of 16 bits: every product fits, |⟨d_i, d_j⟩| being at most the largest ‖d‖²."""
        return 1.001 * self.largest.square() / (2**15 - 1)

    @cached_property
    def halves(self) -> Float[Tensor, "n_atoms three_d_in"]:
        """Every atom as [high, low, high]."""
        return _split(self.atoms, self.scale, None)[0]

    @cached_property
    def half(self) -> Float[Tensor, "n_atoms d_in"]:
        """Every atom in 16 bits, the longest of norm 1."""
        return (self.atoms / self.largest).half()

    def gram16(self, out: Gram | None = None) -> Gram:
        """Return the Gram matrix in whole numbers of `grain`."""
        from sae_nb.pursuit import _triton as kernels

        n, d = self.atoms.shape
        gram = self.atoms.new_empty(n, n, dtype=torch.int16) if out is None else out
        high, low = self.halves[:, :d], self.halves[:, d : 2 * d]
        rows = 16 * ROUNDED_PANEL
        for first in range(0, n, rows):
            some = slice(first, min(first + rows, n))
            panel = _product(torch.cat([high[some], high[some], low[some]], dim=1), self.halves)
            size = panel.numel()
            kernels.round_gram[(-(-size // 1024),)](
                panel, gram[some], self.scale, self.grain, size, SIZE=1024, num_warps=4
            )
        return gram


def _split(
    rows: Tensor, scale: Tensor, state: Tensor | None
) -> tuple[Float[Tensor, "rows three_d_in"], Float[Tensor, " rows"]]:
    """Rows as halves, and what turns rows of their product with an atom's into x Dᵀ; no `state`: atoms."""
    from sae_nb.pursuit import _triton as kernels

    n, d = rows.shape
    halves, back = rows.new_empty(n, 3 * d, dtype=torch.float16), rows.new_empty(n)
    kernels.split_rows[(n,)](
        rows, halves, back, scale, back if state is None else state, d, ATOMS=state is None, **_row_sizes(d)
    )  # fmt: skip
    return halves, back


def _product(a: Tensor, b: Tensor) -> Tensor:
    """A bᵀ of 16-bit numbers in fp32."""
    if not a.is_cuda:
        return a.float() @ b.float().T
    return torch.mm(a, b.T, out_dtype=torch.float32)


# -------------------------------------------------------------------------------------------- the steps


@torch.no_grad()
def pursue(problem: Problem, plan: Plan, facts: Known | None = None) -> Steps:
    """Run all steps of all rows; without `facts`, the Gram matrix is made for this call alone."""
    with _on(problem.x):
        steps, dictionary = Steps.empty(problem), _Dictionary(problem.dictionary)
        picks = steps.places if problem.refits else torch.zeros_like(steps.places)
        floors, limits = problem.floors(), problem.limits()
        with _gram(problem, plan, facts, dictionary) as gram:
            for first in range(0, len(problem.x), plan.tile_rows):
                rows = slice(first, min(first + plan.tile_rows, len(problem.x)))
                some = _Rows(
                    problem.x[rows], floors[rows], limits[rows], picks[rows], steps.rows(rows)
                )
                if problem.refits:
                    _refit(problem, dictionary, gram, some)
                elif plan.strategy == "gram":
                    _match(problem, dictionary, gram, some)
                else:
                    _match_directly(problem, dictionary, some)
        return steps


@dataclass
class _Rows:
    """Some inputs on their way, and the part of the result they fill."""

    x: Float[Tensor, "rows d_in"]
    floors: Float[Tensor, " rows"]
    limits: Float[Tensor, " rows"]
    picks: Int[Tensor, "rows k"]
    """Atom that each step of matching pursuit chose."""

    steps: Steps


def _gram(
    problem: Problem, plan: Plan, facts: Known | None, dictionary: _Dictionary
) -> AbstractContextManager[Tensor]:
    if plan.strategy != "gram":
        return nullcontext(dictionary.atoms)
    if facts is None:
        return nullcontext(gram_matrix(dictionary.atoms) if problem.refits else dictionary.gram16())
    make = None if problem.refits else dictionary.gram16
    return gram_of(facts, dictionary.atoms, rounded=not problem.refits, make=make)


def _rules(problem: Problem) -> dict[str, bool]:
    watch = problem.tolerance is not None or problem.relative_tolerance is not None
    return {"SIGNED": not problem.nonnegative, "WATCH": watch, "TRACE": problem.trace}


def _match(problem: Problem, dictionary: _Dictionary, gram: Gram, rows: _Rows) -> None:
    from sae_nb.pursuit import _triton as kernels

    (n_rows, d), n, k = rows.x.shape, len(dictionary.atoms), problem.k
    length, width = problem.refresh_every, power(n)
    left, steps = rows.x.clone() if k > length else rows.x, rows.steps
    warps = min(8, max(1, width // 256, power(d) // 256))
    kernel, sizes = kernels.matching_steps, {"N": width, "num_warps": warps}
    if n > MOST_IN_REGISTERS:
        kernel, sizes = kernels.matching_steps_wide, {"N": CHUNK, "num_warps": 8}
        sizes["CHUNKS"] = power(-(-n // CHUNK))
    elif width >= 2**14:
        # Two programs of 256 threads share a multiprocessor's registers, or one of 512.
        sizes["num_warps"] = 8 if width == 2**14 else 16
        sizes |= {"maxnreg": 128} if left.is_cuda else {}
    for first in range(0, k, length):
        halves, back = _split(left, dictionary.scale, steps.state)
        c = _product(halves, dictionary.halves)
        kernel[(n_rows,)](
            c, back, left, gram, dictionary.grain, dictionary.atoms, dictionary.largest,
            rows.floors, rows.limits, rows.picks, steps.amounts, steps.norms, steps.steps, steps.state,
            n, d, first, min(first + length, k), k, product_error(d),
            RESELECT=bool(problem.reselect), **_rules(problem), W=power(d), KC=_chunk(d), **sizes,
        )  # fmt: skip
    _merge(rows)


def _merge(rows: _Rows) -> None:
    from sae_nb.pursuit import _triton as kernels

    steps, k = rows.steps, rows.picks.shape[1]
    kernels.merge_steps[(len(rows.x),)](
        rows.picks, steps.atoms, steps.places, steps.sizes, steps.steps, k, K=power(k), num_warps=1
    )


class _Residuals:
    """Residuals and their products with all atoms, in 16 bits: the two best of each group."""

    def __init__(self, problem: Problem, dictionary: _Dictionary, rows: _Rows) -> None:
        from sae_nb.pursuit import _triton as kernels

        (n, d), x = rows.x.shape, rows.x
        self.dictionary, self.signed = dictionary, not problem.nonnegative
        self.r, self.r16 = torch.empty_like(x), torch.empty_like(x, dtype=torch.float16)
        groups = -(-len(dictionary.atoms) // GROUP)
        self.keys = x.new_empty(2, n, groups, dtype=torch.int32)
        kernels.start_rows[(n,)](
            x, self.r, self.r16, rows.steps.norms, rows.steps.state, d, problem.k,
            TRACE=problem.trace, **_row_sizes(d),
        )  # fmt: skip

    def correlate(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Multiply all residuals with all atoms; return keys, residuals and their direction."""
        from sae_nb.pursuit import _triton as kernels

        a, b = self.r16, self.dictionary.half
        (m, d), n = a.shape, len(b)
        bm, bn, bk, warps, stages = _tile_of(m, n)
        kernels.product_best[(-(-m // bm) * -(-n // bn),)](
            a, b, *self.keys, m, n, d, SIGNED=self.signed, EVEN=d % bk == 0,
            BM=bm, BN=bn, BK=bk, GM=8, num_warps=warps, num_stages=stages,
        )  # fmt: skip
        return self.keys[0], self.keys[1], self.r, self.r16


def _match_directly(problem: Problem, dictionary: _Dictionary, rows: _Rows) -> None:
    from sae_nb.pursuit import _triton as kernels

    (n_rows, d), n, k, steps = rows.x.shape, len(dictionary.atoms), problem.k, rows.steps
    residuals = _Residuals(problem, dictionary, rows)
    for t in range(k):
        kernels.matching_update[(n_rows,)](
            *residuals.correlate(), dictionary.atoms, dictionary.largest, rows.floors, rows.limits,
            rows.picks, steps.amounts, steps.norms, steps.steps, steps.state, t, n, d, k, WINDOW,
            RESELECT=bool(problem.reselect), **_rules(problem), **_pick_sizes(n, d),
        )  # fmt: skip
    _merge(rows)


def _pick_sizes(n_atoms: int, d_in: int) -> dict[str, int]:
    return {"NB": power(-(-n_atoms // GROUP)), "KC": _chunk(d_in)} | _row_sizes(d_in)


def _refit(problem: Problem, dictionary: _Dictionary, gram: Gram, rows: _Rows) -> None:
    from sae_nb.pursuit import _triton_refits as kernels

    (n_rows, d), n, k, steps, x = rows.x.shape, len(dictionary.atoms), problem.k, rows.steps, rows.x
    residuals = _Residuals(problem, dictionary, rows)
    exact = torch.float64
    work = x.new_empty(n_rows, k, dtype=exact)
    common = (
        dictionary.largest,
        rows.floors,
        rows.limits,
        steps.atoms,
        steps.places,
        steps.coefficients,
    )
    ends = (steps.norms, steps.history, steps.steps, steps.sizes, steps.state)
    sizes = _pick_sizes(n, d) | {"K": power(k)}
    rules = _rules(problem)
    if problem.algorithm == "gradient_pursuit":
        for t in range(k):
            kernels.gradient_update[(n_rows,)](
                *_with_x(residuals.correlate(), x), dictionary.atoms, *common, work, *ends,
                t, n, d, k, WINDOW, RESELECT=bool(problem.reselect), **rules, **sizes,
            )  # fmt: skip
        return
    inverse = x.new_zeros(n_rows, k, k, dtype=exact)
    sizes["RC"] = _system_rows(k)
    rules["GRAM"] = gram is not dictionary.atoms
    kernel: Any = kernels.least_squares_update
    more: tuple[Tensor, ...] = ()
    if problem.nonnegative:
        kernel = kernels.non_negative_update
        del rules["SIGNED"]
        system, right = x.new_empty(n_rows, k, k), x.new_empty(n_rows, k, dtype=exact)
        more = (system, right, x.new_zeros(n_rows, k, dtype=torch.int32))
    for t in range(k):
        kernel[(n_rows,)](
            *_with_x(residuals.correlate(), x), dictionary.atoms, gram, *common, inverse, work,
            *more, *ends, t, n, d, k, WINDOW, problem.threshold, **rules, **sizes,
        )  # fmt: skip
    del sizes["NB"]
    kernels.refine_rows[(n_rows,)](
        residuals.r, dictionary.atoms, steps.atoms, steps.coefficients, inverse, work, steps.sizes, d, k,
        POSITIVE=problem.nonnegative, **sizes,
    )  # fmt: skip


def _with_x(parts: tuple[Tensor, Tensor, Tensor, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (*parts[:2], x, *parts[2:])


# -------------------------------------------------------------------------------- codes of a fixed size


class FixedCodes(NamedTuple):
    """Codes with k entries a row, zeros where a row has fewer: for a step that may not ask the card."""

    values: Float[Tensor, "rows k"]
    atoms: Int[Tensor, "rows k"]
    counts: Int[Tensor, " rows"]
    """Entries of each row before the zeros."""

    broken: Float[Tensor, ""]
    """Whether some input is not finite, on the card."""


def fixed_codes(
    problem: Problem, plan: Plan, graph: tuple[Tensor, Tensor] | None = None
) -> FixedCodes:
    """Return a pursuit's codes, with a gradient to `graph`'s inputs and dictionary; nothing is checked."""
    attach = above("sae_nb.pursuit._autograd", "attach")
    steps = pursue(problem, plan)
    if problem.reselect == "stop":
        steps.end_at_repeats()
    k = problem.k
    if graph is not None:
        values = attach(problem, steps, *graph)
    else:
        values = steps.coefficients.to(problem.x.dtype) if problem.refits else steps.amounts
    used = steps.chosen()
    if not problem.refits:
        taken = steps.taken()
        first = torch.arange(len(values), device=values.device)[:, None] * k
        entries = (first + torch.where(taken, steps.places, 0)).flatten()
        merged = values.new_zeros(values.numel())
        values = merged.index_add(0, entries, (values * taken).flatten()).view(-1, k)
    broken = (steps.state == 3).any()
    atoms = torch.where(used, steps.atoms, 0)
    return FixedCodes(values * used, atoms, steps.sizes, broken)


# ------------------------------------------------------------------------------------------- backward


def adjoint(
    x: Float[Tensor, "rows d_in"],
    dictionary: Atoms,
    steps: Steps,
    grads: Float[Tensor, "rows k"],
    algorithm: PursuitName,
    *,
    nonnegative: bool = True,
) -> tuple[Float[Tensor, "rows d_in"], Float[Tensor, "n_atoms d_in"]]:
    """Return gradients to inputs and dictionary, from those to what each step or each atom was given.

    Terms of the dictionary's are added by atomics, or in one order: under torch's deterministic flag, and
    those of gradient pursuit, which are gathered from step to step.
    """
    from sae_nb.pursuit import _triton as kernels, _triton_refits as refits

    (n_rows, d), k, n = x.shape, grads.shape[1], len(dictionary)
    grad_x, grad_d = torch.empty_like(x), torch.zeros_like(dictionary)
    matching, moving = algorithm == "matching_pursuit", algorithm == "gradient_pursuit"
    ordered = moving or torch.are_deterministic_algorithms_enabled()
    chosen = steps.chosen_at_steps() if matching else steps.atoms
    room = TERM_BYTES
    if x.is_cuda:  # of a small card a sixteenth; what is free would give shapes that change
        room = min(room, torch.cuda.get_device_properties(x.device).total_memory // 16)
    size = max(1, room // (4 * k * (d * ordered + 2 * k * (not matching) + 1)))
    shapes = _row_sizes(d)
    systems = {"K": power(k), "KC": _chunk(d)} | shapes
    with _on(x):
        for first in range(0, n_rows, size):
            rows = slice(first, min(first + size, n_rows))
            some, atoms, slopes = steps.rows(rows), chosen[rows], grads[rows].contiguous()
            used = some.taken() if matching else some.chosen()
            grid, read = (len(atoms),), (x[rows], dictionary, atoms)
            terms = x.new_zeros(*atoms.shape, d) if ordered else grad_d
            written = (grad_x[rows], terms, d, k)
            work = [
                x.new_empty(len(atoms), 0 if matching else k, dtype=torch.float64) for _ in "ab"
            ]
            square = x.new_zeros(*work[0].shape, k, dtype=torch.float64)
            if matching:
                kernels.matching_adjoint[grid](
                    *read, some.amounts, some.steps, slopes, *written, TERMS=ordered, **shapes
                )
            elif moving:
                refits.gradient_adjoint[grid](
                    *read, some.places, some.steps, slopes, square, *work, *written,
                    SIGNED=not nonnegative, **systems,
                )  # fmt: skip
            else:
                refits.least_squares_adjoint[grid](
                    *read, some.coefficients, some.sizes, slopes, square, work[0], *written,
                    TERMS=ordered, RC=_system_rows(k), **systems,
                )  # fmt: skip
            if ordered:
                _add_terms(torch.where(used, atoms, n), terms, grad_d)
    return grad_x, grad_d


def _system_rows(k: int) -> int:
    """Rows of a small system that a program of one input takes at a time."""
    return max(1, min(power(k), 2048 // power(k)))


def _add_terms(
    chosen: Int[Tensor, "rows k"], terms: Float[Tensor, "rows k d_in"], grad_d: Tensor
) -> None:
    """Add terms to the gradient of their atom, row after row; those of no step have the number n_atoms."""
    from sae_nb.pursuit import _triton as kernels

    n, d = grad_d.shape
    atoms, order = torch.sort(chosen.flatten(), stable=True)
    numbers = torch.arange(n + 1, device=atoms.device, dtype=atoms.dtype)
    offsets = torch.searchsorted(atoms, numbers)
    kernels.add_terms[(n,)](terms, order, offsets, grad_d, d, KC=_chunk(d), **_row_sizes(d))

"""Gradients of pursuits from the stored (atom, value) pairs alone: no dense codes, no correlations.

Matching pursuit, back from the last step with ρ = ∂L/∂r after the step and g = ∂L/∂a:
    α = g − ⟨ρ, d⟩,   ∂d += α r − a ρ,   ρ ← ρ + α d,   and ∂x = ρ in the end.
Refitted by least squares, with S λ = g on the support, v = Σ λ_i d_i and r = x − Σ z_i d_i:
    ∂x = v,   ∂d_i += λ_i r − z_i v.
Gradient pursuit is replayed on its support, where torch differentiates it, or a card's kernel does by hand.
The choice of atoms is a constant throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import embedding_bag

from sae_nb.checks import available_memory
from sae_nb.codes._support import Support, offsets_of
from sae_nb.pursuit import _card as card
from sae_nb.pursuit._problem import Problem, PursuitName, Steps
from sae_nb.pursuit._reference import gradient_step

TERM_BYTES = {"cpu": 16 * 2**20, "cuda": 2**30}
"""Gradient terms that exist at once: on the CPU few enough for its cache, on a GPU enough that rows fill it
(65 536 rows of 32 steps and width 768 are 6 tiles; with the CPU's they were 410, of 200 launches each)."""


def attach(
    problem: Problem,
    steps: Steps,
    x: Float[Tensor, "rows d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
) -> Float[Tensor, "rows k"]:
    """Return amounts or coefficients of finished steps, with a gradient to the inputs and the dictionary."""
    result: Tensor = _OfSteps.apply(x, dictionary, steps, problem)  # type: ignore[no-untyped-call]
    return result


def _tiles(steps: Steps, d_in: int, itemsize: int) -> Iterator[slice]:
    n, k = steps.atoms.shape
    room = TERM_BYTES.get(steps.atoms.device.type, TERM_BYTES["cpu"])
    if steps.atoms.is_cuda:
        room = min(room, (available_memory(steps.atoms.device) or room) // 4)
    rows = max(1, room // (k * d_in * itemsize))
    for first in range(0, n, rows):
        yield slice(first, min(first + rows, n))


class _Kept(FunctionCtx):
    """What a forward pass keeps for the backward."""

    saved_tensors: tuple[Tensor, ...]
    steps: Steps
    algorithm: PursuitName
    nonnegative: bool


class _OfSteps(torch.autograd.Function):
    """The amount that each step gave each atom."""

    @staticmethod
    def forward(
        ctx: _Kept, x: Tensor, dictionary: Tensor, steps: Steps, problem: Problem
    ) -> Tensor:
        ctx.save_for_backward(x, dictionary)
        ctx.steps, ctx.algorithm, ctx.nonnegative = steps, problem.algorithm, problem.nonnegative
        if problem.refits:
            return steps.coefficients.to(x.dtype, copy=True)
        return steps.amounts.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, dictionary), steps, algorithm = ctx.saved_tensors, ctx.steps, ctx.algorithm
        if card.runs(x):
            found = card.adjoint(
                x, dictionary, steps, grads, algorithm, nonnegative=ctx.nonnegative
            )
            return (*found, None, None)
        adjoint, numbers = _matched(x), x.shape[1]
        atoms = steps.atoms if algorithm != "matching_pursuit" else steps.chosen_at_steps()
        if algorithm == "orthogonal_matching_pursuit":
            adjoint = _refitted
        elif algorithm == "gradient_pursuit":
            adjoint, numbers = (
                partial(_replayed, nonnegative=ctx.nonnegative),
                numbers * atoms.shape[1],
            )
        grad_x, grad_dictionary = torch.empty_like(x), torch.zeros_like(dictionary)
        for rows in _tiles(steps, numbers, x.element_size()):
            parts = (steps.rows(rows), atoms[rows], grads[rows].contiguous(), grad_x[rows])
            adjoint(x[rows], dictionary, *parts, grad_dictionary)
        return grad_x, grad_dictionary, None, None


def _matched(x: Tensor) -> Callable[..., None]:
    """The adjoint of matching pursuit for a tile: loops, kernels, or torch for widths that no block holds."""
    if x.device.type == "cpu":
        return _matched_loops
    if x.is_cuda:
        from sae_nb.pursuit._cuda import SHARED_BYTES

        if 2 * x.shape[1] * x.element_size() <= SHARED_BYTES:
            return matched_kernels
    return _matched_torch


def matched_kernels(
    x: Tensor,
    dictionary: Tensor,
    steps: Steps,
    atoms: Int[Tensor, "rows k"],
    grads: Tensor,
    grad_x: Tensor,
    grad_dictionary: Tensor,
) -> None:
    """Write the adjoint of a tile by a GPU kernel; terms are added atom by atom, without atomics."""
    from sae_nb.pursuit import _cuda as kernels

    terms = x.new_empty(*atoms.shape, x.shape[1])
    kernels.matching_adjoint(x, dictionary, atoms, steps.steps, steps.amounts, grads, grad_x, terms)
    order, offsets = _by_atom(steps, atoms, len(dictionary))
    grad_dictionary += embedding_bag(
        order, terms.flatten(0, 1), offsets, mode="sum", include_last_offset=True
    )


def _by_atom(
    steps: Steps, atoms: Int[Tensor, "rows k"], n_atoms: int
) -> tuple[Int[Tensor, " n_selections"], Int[Tensor, " n_atoms_plus_1"]]:
    """Steps that were taken, flat, ordered by atom and then by row; and where each atom's begin."""
    taken = steps.taken().flatten()
    grouping = Support(atoms.flatten()[taken], offsets_of(steps.steps), n_atoms).by_atom
    return taken.nonzero().flatten()[grouping.order.long()], grouping.offsets


def _matched_loops(
    x: Tensor,
    dictionary: Tensor,
    steps: Steps,
    atoms: Int[Tensor, "rows k"],
    grads: Tensor,
    grad_x: Tensor,
    grad_dictionary: Tensor,
) -> None:
    """The adjoint of a tile by compiled loops; terms are added atom by atom, without atomics."""
    from sae_nb.kernels._threads import share
    from sae_nb.pursuit import _cpu as loops

    terms = x.new_empty(*atoms.shape, x.shape[1])
    order, offsets = _by_atom(steps, atoms, len(dictionary))
    read = (x, dictionary, atoms, steps.steps, steps.amounts, grads)
    parts = [part.detach().numpy() for part in (*read, grad_x, terms)]
    share(loops.matching_adjoint, len(x), *parts)
    entries = (terms.flatten(0, 1).numpy(), order.numpy(), offsets.numpy())
    share(loops.add_terms, len(dictionary), *entries, grad_dictionary.numpy())


def _matched_torch(
    x: Tensor,
    dictionary: Tensor,
    steps: Steps,
    atoms: Int[Tensor, "rows k"],
    grads: Tensor,
    grad_x: Tensor,
    grad_dictionary: Tensor,
) -> None:
    """The adjoint of a tile by torch, on any device."""
    taken = steps.taken()
    amounts = steps.amounts * taken
    grads = grads * taken
    r, rho = x.clone(), torch.zeros_like(x)
    for step in range(atoms.shape[1]):
        r -= amounts[:, step, None] * dictionary[atoms[:, step]]
    for step in reversed(range(atoms.shape[1])):
        chosen, a = dictionary[atoms[:, step]], amounts[:, step, None]
        r += a * chosen
        slope = grads[:, step, None] - (rho * chosen).sum(dim=1, keepdim=True)
        slope = slope * taken[:, step, None]
        grad_dictionary.index_add_(0, atoms[:, step], slope * r - a * rho)
        rho += slope * chosen
    grad_x.copy_(rho)


def _refitted(
    x: Tensor,
    dictionary: Tensor,
    steps: Steps,
    atoms: Int[Tensor, "rows k"],
    grads: Tensor,
    grad_x: Tensor,
    grad_dictionary: Tensor,
) -> None:
    """The adjoint of least-squares coefficients on a support."""
    used = steps.chosen() & (steps.coefficients != 0)
    chosen = dictionary[atoms.long()] * used[:, :, None]
    z = (steps.coefficients * used).to(x.dtype)
    gram = (chosen @ chosen.mT).double() + torch.diag_embed((~used).double())
    slopes = torch.linalg.solve(gram, (grads * used).double()[:, :, None]).to(x.dtype)
    v = (slopes * chosen).sum(dim=1)
    r = x - (z[:, :, None] * chosen).sum(dim=1)
    terms = slopes * r[:, None] - z[:, :, None] * v[:, None]
    grad_x.copy_(v)
    grad_dictionary.index_add_(0, atoms[used], terms[used])


def _replayed(
    x: Tensor,
    dictionary: Tensor,
    steps: Steps,
    atoms: Int[Tensor, "rows k"],
    grads: Tensor,
    grad_x: Tensor,
    grad_dictionary: Tensor,
    *,
    nonnegative: bool,
) -> None:
    """The adjoint of gradient pursuit, by taking its steps again on the stored support."""
    used = steps.chosen()
    with torch.enable_grad():
        inputs = x.detach().requires_grad_()
        chosen = dictionary[atoms.long()].detach().requires_grad_()
        z = _replay(inputs, chosen, steps, nonnegative=nonnegative)
        wanted = torch.autograd.grad(z, (inputs, chosen), grads)
    grad_x.copy_(wanted[0])
    grad_dictionary.index_add_(0, atoms[used], wanted[1][used])


def _replay(x: Tensor, atoms: Tensor, steps: Steps, *, nonnegative: bool) -> Tensor:
    taken, r = steps.taken(), x
    z = x.new_zeros(taken.shape)
    sizes = (steps.places * taken).cummax(dim=1).values + 1
    slots = torch.arange(taken.shape[1], device=x.device)
    for step in range(int(steps.steps.max())):
        chosen = atoms * (slots < sizes[:, step, None])[:, :, None]
        moved = gradient_step(r, chosen, z, nonnegative=nonnegative)
        z = torch.where(taken[:, step, None], moved, z)
        r = x - (z[:, :, None] * chosen).sum(dim=1)
    return z

"""Gradients of encoding and decoding, written once over a backend's primitives; all of them sparse.

For x̂ = zD + b:   ∂z_e = ⟨g_i, d_{j_e}⟩ at the stored entries only,   ∂D_j = Σ_{e: j_e=j} z_e g_{i_e}.
For z = u at the chosen entries, u = (x − c)Eᵀ + a:   ∂E_j = Σ_{e: j_e=j} ∂z_e (x − c)_{i_e},
∂a_j = Σ_{e: j_e=j} ∂z_e,   ∂x_i = Σ_{e∈i} ∂z_e E_{j_e},   ∂c = −Eᵀ∂a.
No product of the size of the encoder's is ever formed, and sums run in one order: by atom.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from sae_nb.codes import SparseCodes
from sae_nb.codes._support import Support, offsets_of
from sae_nb.kernels._backends import Backend, Entries, PreCodes, Primitives, card_decoding


def primitives_of(backend: Backend, support: Support, values: Tensor) -> Primitives:
    """Return the primitives that decode: the CPU's loops, or on a GPU the path that made the codes."""
    if backend == "cpu":
        from sae_nb.kernels._cpu import Cpu

        return Cpu()
    return support.path or card_decoding(values)


def chosen(primitives: Primitives, pre_codes: PreCodes, entries: Entries) -> SparseCodes:
    """Return codes at entries that were selected, with a sparse gradient to whatever made the pre-codes.

    The choice of entries is constant, so one gradient serves every selection.
    """
    support = entries.support or Support(entries.atoms, entries.offsets, pre_codes.n_atoms)
    support.path = primitives
    how = (support, primitives, entries.centred)
    values = _Chosen.apply(*pre_codes.tensors, entries.values, *how)  # type: ignore[no-untyped-call]
    return SparseCodes._made(values, support)


class _Kept(FunctionCtx):
    """What a forward pass keeps for the backward."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    support: Support
    primitives: Primitives
    of_each: list[tuple[Support, Primitives]]


class _Chosen(torch.autograd.Function):
    """Pre-codes at chosen entries, already computed; only the gradient is new."""

    @staticmethod
    def forward(
        ctx: _Kept,
        x: Tensor,
        weight: Tensor,
        _bias: Tensor | None,
        centre: Tensor | None,
        values: Tensor,
        support: Support,
        primitives: Primitives,
        centred: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, centre, centred)  # type: ignore[arg-type]
        ctx.support, ctx.primitives = support, primitives
        return values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grad_values: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, centre, centred = ctx.saved_tensors
        support, primitives = ctx.support, ctx.primitives
        grad_values = grad_values.contiguous()
        need_x, need_weight, need_bias, need_centre, *_ = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = grad_centre = None
        if need_weight:
            if centred is None:
                centred = x if centre is None else x - centre
            grad_weight = primitives.sum_inputs(grad_values, support, centred)
        if need_bias or need_centre:
            grad_bias = primitives.totals(grad_values, support)
            grad_centre = -(grad_bias @ weight) if need_centre else None
        if need_x:
            grad_x = primitives.sum_atoms(grad_values, support, weight)
        grad_bias = grad_bias if need_bias else None
        return grad_x, grad_weight, grad_bias, grad_centre, None, None, None, None


class Decoded(torch.autograd.Function):
    """Weighted sums of atoms."""

    @staticmethod
    def forward(
        ctx: _Kept,
        values: Tensor,
        dictionary: Tensor,
        bias: Tensor | None,
        support: Support,
        primitives: Primitives,
    ) -> Tensor:
        ctx.save_for_backward(values, dictionary)
        ctx.support, ctx.primitives = support, primitives
        return primitives.sum_atoms(values, support, dictionary, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, g: Tensor) -> tuple[Tensor | None, ...]:
        values, dictionary = ctx.saved_tensors
        support, primitives = ctx.support, ctx.primitives
        g = g.contiguous()
        need_values, need_dictionary, need_bias, *_ = ctx.needs_input_grad
        # The torch sum goes first, so that the compiled loops that follow run back to back.
        grad_bias = g.sum(dim=0) if need_bias else None
        grad_values = primitives.dots(g, support, dictionary) if need_values else None
        grad_dictionary = primitives.sum_inputs(values, support, g) if need_dictionary else None
        return grad_values, grad_dictionary, grad_bias, None, None


class SquaredError(torch.autograd.Function):
    """Decoding and its squared error in one pass: r = t − x̂ is both the loss and its gradient."""

    @staticmethod
    def forward(
        ctx: _Kept,
        values: Tensor,
        dictionary: Tensor,
        bias: Tensor | None,
        target: Tensor,
        support: Support,
        primitives: Primitives,
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = primitives.residuals(values, support, dictionary, bias, target)
        x_hat, residual, error, columns, dots, rough = found
        ctx.save_for_backward(values, dictionary, residual, columns, dots, rough)  # type: ignore[arg-type]
        ctx.support, ctx.primitives = support, primitives
        ctx.mark_non_differentiable(x_hat, residual)
        return error, x_hat, residual

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grad_error: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        values, dictionary, residual, columns, dots, rough = ctx.saved_tensors
        support, primitives = ctx.support, ctx.primitives
        need_values, need_dictionary, need_bias, need_target, *_rest = ctx.needs_input_grad
        slope = -2 * grad_error
        grad_values = grad_dictionary = None
        if need_values:
            if dots is None:
                dots = primitives.dots(residual, support, dictionary)
            grad_values = primitives.scaled(dots, slope)
        if need_dictionary:
            scaled = primitives.scaled(values, slope)
            left = residual if rough is None else rough
            grad_dictionary = primitives.sum_inputs(scaled, support, left)
        grad_bias = columns * slope if need_bias else None
        grad_target = residual * -slope if need_target else None
        return grad_values, grad_dictionary, grad_bias, grad_target, None, None


class TailsSquaredError(torch.autograd.Function):
    """Several codes, each written to the last columns of one target: the residual is the gradient of all.

    r = t − b − Σ_l [0 | z_l D_l]. One residual is kept, whatever the number of codes; its last columns
    are looked at code by code.
    """

    @staticmethod
    def forward(
        ctx: _Kept,
        bias: Tensor | None,
        target: Tensor,
        supports: tuple[Support, ...],
        primitives: tuple[Primitives, ...],
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        values, dictionaries = tensors[: len(supports)], tensors[len(supports) :]
        residual = target.clone() if bias is None else target - bias
        for v, d, support, p in zip(values, dictionaries, supports, primitives, strict=True):
            _tail(residual, d).sub_(p.sum_atoms(v, support, d))
        error = torch.vdot(residual.flatten(), residual.flatten())
        ctx.save_for_backward(residual, *tensors)
        ctx.of_each = list(zip(supports, primitives, strict=True))
        ctx.mark_non_differentiable(y_hat := target - residual, residual)
        return error, y_hat, residual

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grad_error: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        residual, *tensors = ctx.saved_tensors
        need_bias, need_target, _supports, _primitives, *needed = ctx.needs_input_grad
        n, slope = len(ctx.of_each), -2 * grad_error
        grads: list[Tensor | None] = [None] * (2 * n)
        for i, (support, primitives) in enumerate(ctx.of_each):
            values, dictionary = tensors[i], tensors[n + i]
            left = _tail(residual, dictionary).contiguous()
            if needed[i]:
                grads[i] = primitives.scaled(primitives.dots(left, support, dictionary), slope)
            if needed[n + i]:
                scaled = primitives.scaled(values, slope)
                grads[n + i] = primitives.sum_inputs(scaled, support, left)
        grad_bias = residual.sum(dim=0) * slope if need_bias else None
        grad_target = residual * -slope if need_target else None
        return grad_bias, grad_target, None, None, *grads


def _tail(rows: Tensor, dictionary: Tensor) -> Tensor:
    """The last columns of some rows, as many as an atom is wide."""
    return rows[:, rows.shape[1] - dictionary.shape[1] :]


class PerEntry(torch.autograd.Function):
    """A vector over atoms, read at the atoms of the entries."""

    @staticmethod
    def forward(ctx: _Kept, vector: Tensor, support: Support, primitives: Primitives) -> Tensor:
        ctx.support, ctx.primitives = support, primitives
        return vector[support.atoms]

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, g: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.primitives.totals(g.contiguous(), ctx.support), None, None


class NestedSquaredError(torch.autograd.Function):
    """All prefixes at once: one sparse decode of groups · rows segments, and sums over groups.

    With group contributions c_h: r_g = t − b − Σ_{h≤g} c_h, and an entry of group h gets the
    gradient −2 ⟨R_h, d_j⟩ from R_h = Σ_{g≥h} ∂_g r_g. So neither pass decodes anything twice.
    """

    @staticmethod
    def forward(
        ctx: _Kept,
        values: Tensor,
        dictionary: Tensor,
        bias: Tensor | None,
        target: Tensor,
        support: Support,
        widths: tuple[int, ...],
        primitives: Primitives,
    ) -> tuple[Tensor, Tensor, Tensor]:
        order = None
        nested = getattr(primitives, "nested", None)
        if nested is not None:
            residuals, errors, stacked = nested(values, support, dictionary, bias, target, widths)
        else:
            order, stacked = stacked_by_group(support, widths)
            parts = primitives.sum_atoms(values[order], stacked, dictionary)
            residuals = parts.view(len(widths), *target.shape).neg_()
            residuals[0] += target if bias is None else target - bias
            for g in range(1, len(widths)):
                residuals[g] += residuals[g - 1]
            errors = torch.stack([torch.vdot(flat, flat) for flat in residuals.flatten(1)])
        full = residuals[-1].clone()
        ctx.save_for_backward(values, dictionary, residuals, order)  # type: ignore[arg-type]
        ctx.support, ctx.primitives = stacked, primitives
        ctx.mark_non_differentiable(x_hat := target - full, full)
        return errors, x_hat, full

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grad_errors: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        values, dictionary, residuals, order = ctx.saved_tensors
        stacked, primitives = ctx.support, ctx.primitives
        need_values, need_dictionary, need_bias, need_target, *_rest = ctx.needs_input_grad
        slopes = residuals * (-2 * grad_errors)[:, None, None]
        for g in range(len(slopes) - 2, -1, -1):
            slopes[g] += slopes[g + 1]
        table = slopes.flatten(0, 1)
        grad_values = grad_dictionary = None
        if need_values:
            dots = primitives.dots(table, stacked, dictionary)
            if order is None:
                grad_values = dots
            else:
                grad_values = torch.empty_like(values)
                grad_values[order] = dots
        if need_dictionary:
            ordered = values if order is None else values[order]
            grad_dictionary = primitives.sum_inputs(ordered, stacked, table)
        grad_bias = slopes[0].sum(dim=0) if need_bias else None
        grad_target = -slopes[0] if need_target else None
        return grad_values, grad_dictionary, grad_bias, grad_target, None, None, None


def stacked_by_group(
    support: Support, widths: tuple[int, ...]
) -> tuple[Int[Tensor, " nnz"], Support]:
    """Return the same entries in groups · rows segments, group by group: their order, and their support."""
    n, n_groups = len(support.offsets) - 1, len(widths)
    ends = torch.tensor(widths, dtype=support.atoms.dtype, device=support.atoms.device)
    group = torch.searchsorted(ends, support.atoms, right=True).to(support.atoms.dtype)
    grouped = Support(group, support.offsets, n_groups).by_atom
    segments = group.long() * n + support.rows
    offsets = offsets_of(torch.bincount(segments, minlength=n_groups * n))
    return grouped.order, Support(support.atoms[grouped.order], offsets, support.n_atoms)

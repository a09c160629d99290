"""Gradients of encoding and decoding, written once over a backend's primitives; all of them sparse.

For x̂ = zD + b:   ∂z_e = ⟨g_i, d_{j_e}⟩ at the stored entries only,   ∂D_j = Σ_{e: j_e=j} z_e g_{i_e}.
For z = u at the chosen entries, u = (x − c)Eᵀ + a:   ∂E_j = Σ_{e: j_e=j} ∂z_e (x − c)_{i_e},
∂a_j = Σ_{e: j_e=j} ∂z_e,   ∂x_i = Σ_{e∈i} ∂z_e E_{j_e},   ∂c = −Eᵀ∂a.
No product of the size of the encoder's is ever formed, and sums run in one order: by atom.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from sae_nb.codes import SparseCodes
from sae_nb.kernels.primitives import Primitives
from sae_nb.support import Support


def topk_encode(
    primitives: Primitives,
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None,
    k: int,
    centre: Float[Tensor, " d_in"] | None,
) -> SparseCodes:
    """TopK codes whose values carry a sparse gradient to every tensor that went in."""
    with torch.no_grad():
        entries = primitives.topk(
            x.detach(), _detached(centre), weight.detach(), _detached(bias), k
        )
    support = Support(entries.atoms, entries.offsets, len(weight))
    support.path = primitives
    values = _Chosen.apply(x, weight, bias, centre, entries.values, support, primitives)  # type: ignore[no-untyped-call]
    return SparseCodes(values, support.atoms, support.offsets, support.n_atoms, support=support)


def decode(
    primitives: Primitives,
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
) -> Float[Tensor, "rows d_in"]:
    """x̂ = zD + b with sparse gradients to values, dictionary and bias."""
    inputs = (codes.values, dictionary, bias, codes.support, primitives)
    return _Decoded.apply(*inputs)  # type: ignore[no-untyped-call]


def squared_error(
    primitives: Primitives,
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
    target: Float[Tensor, "rows d_in"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows d_in"], Float[Tensor, "rows d_in"]]:
    """Σ‖target − x̂‖² with sparse gradients; x̂ and the residual come with it, as constants."""
    inputs = (codes.values, dictionary, bias, target, codes.support, primitives)
    return _SquaredError.apply(*inputs)  # type: ignore[no-untyped-call]


class _Chosen(torch.autograd.Function):
    """Pre-codes at chosen entries, already computed; only the gradient is new."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        _bias: Tensor | None,
        centre: Tensor | None,
        values: Tensor,
        support: Support,
        primitives: Primitives,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, centre)  # type: ignore[arg-type]
        ctx.support, ctx.primitives = support, primitives  # type: ignore[attr-defined]
        return values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, centre = ctx.saved_tensors
        support, primitives = ctx.support, ctx.primitives
        grad_values = grad_values.contiguous()
        need_x, need_weight, need_bias, need_centre, *_ = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = grad_centre = None
        if need_weight:
            centred = x if centre is None else x - centre
            grad_weight = primitives.sum_inputs(grad_values, support, centred)
        if need_bias or need_centre:
            grad_bias = primitives.totals(grad_values, support)
        if need_centre:
            grad_centre = -(grad_bias @ weight)
        if need_x:
            grad_x = primitives.sum_atoms(grad_values, support, weight)
        return grad_x, grad_weight, grad_bias if need_bias else None, grad_centre, None, None, None


class _Decoded(torch.autograd.Function):
    """Weighted sums of atoms."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        values: Tensor,
        dictionary: Tensor,
        bias: Tensor | None,
        support: Support,
        primitives: Primitives,
    ) -> Tensor:
        ctx.save_for_backward(values, dictionary)
        ctx.support, ctx.primitives = support, primitives  # type: ignore[attr-defined]
        return primitives.sum_atoms(values, support, dictionary, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        values, dictionary = ctx.saved_tensors
        support, primitives = ctx.support, ctx.primitives
        g = g.contiguous()
        need_values, need_dictionary, need_bias, *_ = ctx.needs_input_grad
        # The torch sum goes first, so that the compiled loops that follow run back to back.
        grad_bias = g.sum(dim=0) if need_bias else None
        grad_values = primitives.dots(g, support, dictionary) if need_values else None
        grad_dictionary = primitives.sum_inputs(values, support, g) if need_dictionary else None
        return grad_values, grad_dictionary, grad_bias, None, None


class _SquaredError(torch.autograd.Function):
    """Decoding and its squared error in one pass: r = t − x̂ is both the loss and its gradient."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        values: Tensor,
        dictionary: Tensor,
        bias: Tensor | None,
        target: Tensor,
        support: Support,
        primitives: Primitives,
    ) -> tuple[Tensor, Tensor, Tensor]:
        x_hat, residual, error, columns = primitives.residuals(
            values, support, dictionary, bias, target
        )
        ctx.save_for_backward(values, dictionary, residual, columns)
        ctx.support, ctx.primitives = support, primitives  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(x_hat, residual)
        return error, x_hat, residual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_error: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        values, dictionary, residual, columns = ctx.saved_tensors
        support, primitives = ctx.support, ctx.primitives
        need_values, need_dictionary, need_bias, need_target, *_rest = ctx.needs_input_grad
        slope = -2 * grad_error
        grad_values = grad_dictionary = None
        if need_values:
            grad_values = primitives.scaled(primitives.dots(residual, support, dictionary), slope)
        if need_dictionary:
            scaled = primitives.scaled(values, slope)
            grad_dictionary = primitives.sum_inputs(scaled, support, residual)
        grad_bias = columns * slope if need_bias else None
        grad_target = residual * -slope if need_target else None
        return grad_values, grad_dictionary, grad_bias, grad_target, None, None


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()

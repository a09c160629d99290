"""Pre-codes at chosen entries only, with gradients that stay sparse."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode


def chosen_pre_codes(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None,
    centre: Float[Tensor, " d_in"] | None,
    chosen: SparseCodes,
) -> SparseCodes:
    """Give entries of u = (x − centre) weightᵀ + bias, already computed, the gradient they have.

    ∂weight_j = Σ_{e: j_e=j} g_e (x − c)_{i_e},  ∂bias_j = Σ_{e: j_e=j} g_e,  ∂x_i = Σ_{e∈i} g_e weight_{j_e},
    ∂c = −Σ_i ∂x_i. Nothing of the size rows × n_atoms is formed; sums run in one order, by atom.

    Parameters
    ----------
    x, weight, bias, centre
        The affine map.
    chosen
        Which entries, and their values.

    Example
    -------
    >>> weight = torch.eye(2, requires_grad=True)
    >>> x = torch.tensor([[3.0, 4.0]])
    >>> chosen = SparseCodes(torch.tensor([4.0]), torch.tensor([1]), torch.tensor([0, 1]), 2)
    >>> chosen_pre_codes(x, weight, None, None, chosen).values.sum().backward()
    >>> weight.grad.tolist()
    [[0.0, 0.0], [3.0, 4.0]]
    """
    values = _Chosen.apply(x, weight, bias, centre, chosen)  # type: ignore[no-untyped-call]
    return chosen.with_values(values)


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        _bias: Tensor | None,
        centre: Tensor | None,
        chosen: SparseCodes,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, centre)  # type: ignore[arg-type]
        ctx.chosen = chosen  # type: ignore[attr-defined]
        return chosen.values.view_as(chosen.values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, centre = ctx.saved_tensors
        need_x, need_weight, need_bias, need_centre, *_ = ctx.needs_input_grad
        slopes = ctx.chosen.with_values(g.contiguous())
        grad_x = decode(slopes, weight) if need_x or need_centre else None
        grad_centre = -grad_x.sum(dim=0) if need_centre and grad_x is not None else None
        grad_weight = grad_bias = None
        if need_weight or need_bias:
            # The same entries read the other way: one row per atom, one column per input.
            index = slopes.by_atom()
            by_atom = SparseCodes(index.values, index.rows, index.offsets, len(x))
            if need_weight:
                grad_weight = decode(by_atom, (x if centre is None else x - centre).contiguous())
            if need_bias:
                grad_bias = torch.segment_reduce(index.values, "sum", offsets=index.offsets)
        return grad_x if need_x else None, grad_weight, grad_bias, grad_centre, None

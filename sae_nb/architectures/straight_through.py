"""Derivatives lent to a step: only pre-codes within half a window of their threshold feel it.

With K = 1[|u − θ| < ε/2] and ε = bandwidth · θ held constant:
jump(u, θ) = u H(u − θ),  ∂u = H,  ∂θ = −(θ/ε) K;   step(u, θ) = H(u − θ),  ∂u = 0,  ∂θ = −(1/ε) K.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def jump(
    u: Float[Tensor, " nnz"], theta: Float[Tensor, " nnz"], bandwidth: float
) -> Float[Tensor, " nnz"]:
    """U where u > θ, else 0, with a pseudo-derivative to θ.

    Parameters
    ----------
    u
        Pre-codes.
    theta
        The threshold of each, above 0.
    bandwidth
        Width of the window as a share of the threshold.

    Source
    ------
    Rajamanoharan et al., arXiv 2407.14435, equation 11.

    Example
    -------
    >>> jump(torch.tensor([0.5, 1.5]), torch.ones(2), 0.2).tolist()
    [0.0, 1.5]
    """
    return _Jump.apply(u, theta, bandwidth)  # type: ignore[no-untyped-call]


def step(
    u: Float[Tensor, " nnz"], theta: Float[Tensor, " nnz"], bandwidth: float
) -> Float[Tensor, " nnz"]:
    """1 where u > θ, else 0, with a pseudo-derivative to θ.

    Parameters
    ----------
    u
        Pre-codes.
    theta
        The threshold of each, above 0.
    bandwidth
        Width of the window as a share of the threshold.

    Source
    ------
    Rajamanoharan et al., arXiv 2407.14435, equation 12.

    Example
    -------
    >>> step(torch.tensor([0.5, 1.5]), torch.ones(2), 0.2).tolist()
    [0.0, 1.0]
    """
    return _Step.apply(u, theta, bandwidth)  # type: ignore[no-untyped-call]


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
        above = u > theta
        ctx.save_for_backward(above, _window(u, theta, bandwidth))
        ctx.bandwidth = bandwidth  # type: ignore[attr-defined]
        return u * above

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        above, near = ctx.saved_tensors
        return g * above, g * near * (-1 / ctx.bandwidth), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(_window(u, theta, bandwidth), theta)
        ctx.bandwidth = bandwidth  # type: ignore[attr-defined]
        return (u > theta).to(u.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        near, theta = ctx.saved_tensors
        return None, g * near / (-ctx.bandwidth * theta), None


def _window(u: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
    return (u - theta).abs() < bandwidth / 2 * theta

"""Products of many rows with a matrix, x weightᵀ + bias, by the library that makes them fastest.

On AMD's processors MKL, which torch takes for fp32, needs twice the time of oneDNN, which torch has beside it:
here such products are oneDNN's, with their gradients. Both round, each in its own order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)  # not in every torch
ONEDNN = (
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and "AMD" in _capabilities().get("cpu_name", "")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
"""Whether oneDNN makes products in fp32 here."""

ROWS, WIDTH = 32, 64
"""Rows, and their width, from which it saves more than it takes to ask."""

MOST = 2**25
"""Numbers of a matrix (128 MB) up to which oneDNN may have a copy of it while it works."""


def linear(
    x: Float[Tensor, "*batch width"],
    weight: Float[Tensor, "out width"],
    bias: Float[Tensor, " out"] | None = None,
) -> Float[Tensor, "*batch out"]:
    """Return x weightᵀ + bias as `torch.nn.functional.linear` does, to rounding."""
    if not pays(x, weight, bias):
        return functional.linear(x, weight, bias)
    parts = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
        # Of rows, so that its result is no view, which nothing could be written to.
        made: Tensor = _Linear.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
        return made.view(*x.shape[:-1], -1)
    return _made(x, weight, bias)


def _made(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made


def pays(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether oneDNN can and is to make a product: of ordinary numbers in fp32, of enough rows."""
    if not ONEDNN or x.ndim < 2 or x.shape[-1] < WIDTH or x.numel() < ROWS * x.shape[-1]:
        return False
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1] or not 0 < weight.numel() <= MOST:
        return False
    parts = (x, weight) if bias is None else (x, weight, bias)
    ordinary = all(
        part.dtype == torch.float32 and part.is_cpu and part.layout == torch.strided
        for part in parts
    )
    fits = bias is None or bias.shape == weight.shape[:1]
    # Transforms of torch.func, forward-mode gradients and a compiler see through torch's own function alone.
    return (ordinary and fits) and not (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
    )


class _Linear(torch.autograd.Function):
    """The product with its gradients, which are such products again, to any order differentiable."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _made(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        grad_x = linear(g, weight.T) if need_x else None
        grad_weight = linear(g.T, x.T) if need_weight else None
        return grad_x, grad_weight, g.sum(dim=0) if need_bias else None


class _Linears(TorchFunctionMode):
    """Makes `torch.nn.functional.linear`, and with it torch's linear layers, the function above."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.linear and not types:
            return linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def fast_linear() -> AbstractContextManager[object]:
    """Have torch's linear layers make their products here, inside of a block."""
    return _Linears() if ONEDNN else nullcontext()


def fast_pass(module: torch.nn.Module, tokens: Tensor | None) -> AbstractContextManager[object]:
    """Have a pass of a model over tokens do so where it pays: looking at every call of torch takes a small
    model, and few tokens, longer than it saves.
    """
    first = next((one for one in module.parameters() if one.ndim == 2), None)
    wide = first is not None and first.dtype == torch.float32 and first.shape[1] >= 4 * WIDTH
    many = tokens is None or tokens.numel() >= ROWS
    return fast_linear() if wide and many else nullcontext()

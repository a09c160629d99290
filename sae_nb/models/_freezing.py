"""A forward pass in which attention patterns and norms' scales are constants: linear between its MLPs.

Whatever computes the two goes through few functions of torch, in every family: attention through
`scaled_dot_product_attention` or a softmax, norms through `layer_norm`, `rms_norm` or `rsqrt`. There the
pattern and the scale are held, and only what they multiply keeps its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sae_nb.models._attention import attention_pattern

if TYPE_CHECKING:
    from sae_nb.models._live_model import LiveModel

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)
_RSQRT = (torch.rsqrt, Tensor.rsqrt)


class Frozen(TorchFunctionMode):
    """Holds attention patterns and norms' scales: as they come, or as another pass had them (`constants`).

    Without `attention`, norms' scales alone.
    """

    def __init__(
        self, constants: Sequence[Tensor] | None = None, *, attention: bool = True
    ) -> None:
        super().__init__()
        self._attention_held = attention
        self.n_patterns = 0
        """Attention patterns that were held."""

        self.constants: list[Tensor] = []
        """In the order in which they were computed."""

        self._given = None if constants is None else iter(constants)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._attention(args, kwargs)
        if func in _SOFTMAX:
            self.n_patterns += 1
            if not self._attention_held:
                return self._passed(func, args, kwargs)
            return self._held(lambda: func(*args, **kwargs))
        if func is functional.layer_norm:
            return self._layer_norm(*args, **kwargs)
        if func is functional.rms_norm:
            return self._rms_norm(*args, **kwargs)
        if func in _RSQRT:
            return self._held(lambda: func(*args, **kwargs))
        return func(*args, **kwargs)

    def _held(self, compute: Callable[[], Tensor]) -> Tensor:
        constant = compute().detach() if self._given is None else next(self._given)
        self.constants.append(constant)
        return constant

    def _passed(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Compute as ever, and keep the place of the pattern among the constants."""
        self._held(lambda: torch.empty(0))
        return func(*args, **kwargs)

    def _attention(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self.n_patterns += 1
        if not self._attention_held:
            return self._passed(functional.scaled_dot_product_attention, args, kwargs)
        value = args[2] if len(args) > 2 else kwargs["value"]
        pattern = self._held(lambda: attention_pattern(args, kwargs).to(value.dtype))
        return pattern @ value.repeat_interleave(pattern.shape[-3] // value.shape[-3], -3)

    def _layer_norm(
        self,
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        axes = tuple(range(-len(tuple(shape)), 0))
        x = x - x.mean(dim=axes, keepdim=True)
        x = x * self._held(lambda: (x.square().mean(dim=axes, keepdim=True) + eps).rsqrt())
        x = x if weight is None else x * weight
        return x if bias is None else x + bias

    def _rms_norm(
        self,
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        axes = tuple(range(-len(tuple(shape)), 0))
        least = torch.finfo(x.dtype).eps if eps is None else eps
        x = x * self._held(lambda: (x.square().mean(dim=axes, keepdim=True) + least).rsqrt())
        return x if weight is None else x * weight


def check_frozen(frozen: Frozen, model: LiveModel) -> None:
    """Refuse a pass that held no pattern in some layer: its attention went another way."""
    layers = model.n_layers or 0
    if frozen.n_patterns < layers:
        raise ValueError(
            "Attention must be computed by torch's scaled_dot_product_attention or a softmax, at least "
            f"once a layer, to be frozen: {model.name} has {layers} layers, and {frozen.n_patterns} "
            'were seen. Load it with attn_implementation="sdpa", if its class can.'
        )

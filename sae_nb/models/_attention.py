"""Attention as a model computed it: the pattern and the values of every head in one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from sae_nb.models._inputs import Batch
    from sae_nb.models._live_model import LiveModel


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One layer's attention on one input: the output of head h at t is Σ_s pattern[h, t, s] · values[h, s]."""

    pattern: Float[Tensor, "heads time source"]
    values: Float[Tensor, "heads source d_head"]
    """Rows of the pattern sum to 1; heads that share values (grouped queries) have a copy each."""


def read_attention(model: LiveModel, batch: Batch, layer: int) -> Attention:
    """Run the model on a batch of one input and return what the heads of a layer did."""
    args, kwargs = _calls(model, batch)[layer]
    value = _given(args, kwargs)["value"][0].detach().float()
    pattern = attention_pattern(args, kwargs)[0]
    return Attention(pattern=pattern, values=value.repeat_interleave(len(pattern) // len(value), 0))


def attention_patterns(
    model: LiveModel, batch: Batch
) -> list[Float[Tensor, "batch heads time source"]]:
    """Run the model on a batch and return what the heads of every layer attended to."""
    return [attention_pattern(*call) for call in _calls(model, batch)]


def _calls(model: LiveModel, batch: Batch) -> list[Call]:
    """The calls of torch's attention, one a layer; refuses a model that computes it otherwise."""
    with _Listening() as listening:
        model.forward(batch)
    if len(listening.calls) != model.n_layers:
        raise ValueError(
            "Attention must be computed by torch's scaled_dot_product_attention, once a layer, for its "
            f"pattern to be read: {model.name} has {model.n_layers} layers and called it "
            f'{len(listening.calls)} times. Load it with attn_implementation="sdpa", if its class can.'
        )
    return listening.calls


Call = tuple[tuple[Any, ...], dict[str, Any]]


class _Listening(TorchFunctionMode):
    """Keeps the arguments of each call of attention, in the order of the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            self.calls.append((args, kwargs))
        return func(*args, **kwargs)


def attention_pattern(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Float[Tensor, "batch heads time source"]:
    """Return what a call of torch's attention multiplies its values by; no gradient, fp32."""
    given = _given(args, kwargs)
    query, key = given["query"].detach().float(), given["key"].detach().float()
    key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)  # heads that share keys
    scale = given.get("scale")
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        mask = torch.ones_like(scores[0, 0], dtype=torch.bool).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask.float()
    return scores.softmax(dim=-1)


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    return dict(zip(names, args, strict=False)) | kwargs

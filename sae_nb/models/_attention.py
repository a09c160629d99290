"""Attention as a model computes it: queries, keys, values and the pattern of every head, read or changed.

A layer's attention is one call of torch's `scaled_dot_product_attention`, or, written out, a product of queries
and keys, a softmax and a product with values. Both are seen here while the model runs as it always does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sae_nb.models import _facts as facts

if TYPE_CHECKING:
    from sae_nb.models._inputs import Batch
    from sae_nb.models._live_model import LiveModel

Stream = Literal["", "encoder", "decoder", "cross"]
"""Of an encoder–decoder, which of its three kinds of attention; "" of other models."""

Side = Literal["queries", "keys", "values"]

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)
_PRODUCTS = frozenset({"matmul", "__matmul__", "bmm", "baddbmm"})
_TIMES = frozenset({"mul", "__mul__", "__rmul__", "multiply"})
_BY = frozenset({"div", "__div__", "__truediv__", "true_divide", "divide"})
_ATTENTION_AXES = 4  # (batch, heads, time, source)


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One layer's attention on one input: the output of head h at t is Σ_s pattern[h, t, s] · values[h, s]."""

    pattern: Float[Tensor, "heads time source"]
    values: Float[Tensor, "heads source d_head"]
    """Rows of the pattern sum to 1; heads that share values (grouped queries) have a copy each."""


class AttentionParts(NamedTuple):
    """What a layer's attention calculates with, a copy of shared keys and values for each head; fp32."""

    query: Float[Tensor, "batch heads time d"]
    key: Float[Tensor, "batch heads source d"]
    """After rotation, where positions are rotations."""

    value: Float[Tensor, "batch heads source d_head"]
    pattern: Float[Tensor, "batch heads time source"]
    scale: float
    """Of query · key in the score, before a softcap and a mask."""


Seen = Callable[["AttentionPlace", AttentionParts], object]
Change = Callable[["AttentionPlace", Side, Tensor], Tensor]
"""From the queries, keys or values of a layer, (batch, heads, positions, d), to others of as many heads."""


class AttentionPlace(NamedTuple):
    """One of a model's attentions."""

    stream: Stream
    layer: int


def attentions(model: LiveModel) -> list[AttentionPlace]:
    """Return every attention of a model, in the order in which a pass computes them."""
    if not model.streams:
        return [AttentionPlace("", layer) for layer in range(model.n_layers or 0)]
    points = [str(point) for point in model.hook_points()]
    decoder = [int(p.rpartition(".")[2]) for p in points if p.startswith("decoder.attn_out.")]
    found = [
        AttentionPlace("encoder", int(p.rpartition(".")[2]))
        for p in points
        if p.startswith("encoder.attn_out.")
    ]
    for layer in decoder:
        found += [AttentionPlace("decoder", layer), AttentionPlace("cross", layer)]
    return found


def heads_at(model: LiveModel, place: AttentionPlace) -> int:
    """Return how many heads an attention has; 0 where that is not known."""
    half: Literal["encoder", "decoder"] = "encoder" if place.stream == "encoder" else "decoder"
    return facts.head_count(model.module, half if model.streams else None) or 0


def read_attention(model: LiveModel, batch: Batch, layer: int) -> Attention:
    """Run the model on a batch of one input and return what the heads of a layer did."""
    found: list[Attention] = []

    def keep(place: AttentionPlace, seen: AttentionParts) -> None:
        if place.layer == layer:
            found.append(Attention(pattern=seen.pattern[0], values=seen.value[0]))

    with watching(model, keep):
        model.forward(batch)
    return found[0]


def attention_patterns(
    model: LiveModel, batch: Batch
) -> list[Float[Tensor, "batch heads time source"]]:
    """Run the model on a batch and return what the heads of every layer attended to."""
    found: list[Tensor] = []
    with watching(model, lambda _, seen: found.append(seen.pattern)):
        model.forward(batch)
    return found


@contextmanager
def watching(
    model: LiveModel, seen: Seen | None = None, change: Change | None = None
) -> Iterator[None]:
    """See, or change, each attention of the passes inside the block, of which each is whole.

    Raises
    ------
    ValueError: If the model has no attention that can be seen.
    """
    places, structure = attentions(model), model.structure
    first = None if structure is None else facts.tokens_from(model.module, f"{structure.blocks}.0")
    if first == -1 and not model.placeholders and model.kind != "multimodal":
        raise ValueError(
            f"Attention must be over a text's tokens to be read, and {model.name} puts places of its own "
            "before them. Read `attn_out` and `head_out` of its layers instead."
        )
    watch = _Watching([(place, heads_at(model, place)) for place in places], seen, change)
    with _by_block(model, watch) as odd, watch:
        yield
    if watch.n_calls == 0 or watch.n_calls % max(len(places), 1) or odd:
        raise ValueError(
            "Attention must be computed by torch's scaled_dot_product_attention or a softmax over (batch, "
            f"heads, time, source), once a layer, to be read: {model.name} has {len(places)} layers of it, "
            f"and {watch.n_calls} were seen. A network without attention has none."
        )


@contextmanager
def _by_block(model: LiveModel, watch: _Watching) -> Iterator[list[str]]:
    """Count each block's attentions; the paths of those that have others than their places go into the list."""
    halves = model.streams or ({} if model.structure is None else {"": model.structure})
    own, odd, before = threading.get_ident(), list[str](), list[int]()

    def begin(*_: object) -> None:
        if threading.get_ident() == own:
            before.append(watch.n_calls)

    def end(path: str, wanted: int, *_: object) -> None:
        if threading.get_ident() == own and watch.n_calls - before.pop() != wanted:
            odd.append(path)

    with ExitStack() as stack:
        for half, structure in halves.items():
            for path in dict.fromkeys(structure.paths):
                block, wanted = model.get_module(path), 2 if half == "decoder" else 1
                stack.callback(block.register_forward_pre_hook(begin).remove)
                stack.callback(block.register_forward_hook(partial(end, path, wanted)).remove)
        yield odd


class _Watching(TorchFunctionMode):
    """Follows attention through the calls of torch that it is made of."""

    def __init__(
        self, places: Sequence[tuple[AttentionPlace, int]], seen: Seen | None, change: Change | None
    ) -> None:
        super().__init__()
        self.n_calls = 0
        self._places, self._seen, self._change = places, seen, change
        self._product: Tensor | None = None  # of queries and keys, where it is written out
        self._parts: tuple[Tensor, Tensor] | None = None
        self._scale = 1.0
        self._pattern: Tensor | None = None  # that waits for its values

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._whole(func, args, kwargs)
        if func in _SOFTMAX:
            found = func(*args, **kwargs)
            if found.ndim == _ATTENTION_AXES and found.shape[1] == self._n_heads:
                self._pattern = found
            return found
        name = getattr(func, "__name__", "")
        if name in _PRODUCTS:
            return self._multiplied(func, name, args, kwargs)
        if self._product is not None and args and args[0] is self._product:
            found = func(*args, **kwargs)
            if name in _TIMES and isinstance(args[1], int | float):
                self._scale, self._product = self._scale * args[1], found
            elif name in _BY and isinstance(args[1], int | float):
                self._scale, self._product = self._scale / args[1], found
            return found
        return func(*args, **kwargs)

    @property
    def _place(self) -> AttentionPlace:
        return self._places[self.n_calls % len(self._places)][0]

    @property
    def _n_heads(self) -> int:
        return self._places[self.n_calls % len(self._places)][1] if self._places else 0

    def _changed(self, side: Side, x: Tensor) -> Tensor:
        return x if self._change is None else self._change(self._place, side, x)

    def _whole(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> object:
        """Attention in one call."""
        if not self._places:
            return func(*args, **kwargs)
        given = _given(args, kwargs)
        if self._change is not None:
            each = given["query"].shape[-3]
            given["query"] = self._changed("queries", given["query"])
            given["key"] = self._changed("keys", _of_each_head(given["key"], each))
            given["value"] = self._changed("values", _of_each_head(given["value"], each))
        if self._seen is not None:
            query = given["query"].detach().float()
            scale = given.get("scale")
            each = query.shape[-3]
            seen = AttentionParts(
                query=query,
                key=_of_each_head(given["key"].detach().float(), each),
                value=_of_each_head(given["value"].detach().float(), each),
                pattern=attention_pattern((), given),
                scale=float(query.shape[-1] ** -0.5 if scale is None else scale),
            )
            self._seen(self._place, seen)
        self.n_calls += 1
        return func(**given) if self._change is not None else func(*args, **kwargs)

    def _multiplied(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> object:
        """Attention as products: of queries and keys, which a softmax may follow; of a pattern and values."""
        pattern = self._pattern
        if name == "baddbmm":
            first, second = kwargs.get("batch1"), kwargs.get("batch2")
            if first is None or second is None:
                first, second = args[1:3]
        else:
            first, second = (*args, *kwargs.values())[:2]
        axes = _ATTENTION_AXES if name in ("matmul", "__matmul__") else 3
        if not isinstance(first, Tensor) or not isinstance(second, Tensor) or first.ndim != axes:
            return func(*args, **kwargs)
        if (
            pattern is not None
            and first.shape[-2:] == pattern.shape[-2:]
            and first.numel() == pattern.numel()
        ):
            heads = self._by_head(self._changed("values", self._by_head(second)))
            if self._seen is not None and self._parts is not None:
                query, key = self._parts
                self._seen(
                    self._place,
                    AttentionParts(
                        query=query.detach().float(),
                        key=key.detach().float(),
                        value=heads.detach().float(),
                        pattern=pattern.detach().float(),
                        scale=self._scale,
                    ),
                )
            self.n_calls += 1
            self._pattern = self._product = self._parts = None
            if self._change is None:
                return func(*args, **kwargs)
            return func(first, heads.reshape(second.shape))
        query, key = self._by_head(first), self._by_head(second)
        if query.shape[1] != self._n_heads or query.shape[-1] != key.shape[-2]:
            return func(*args, **kwargs)
        key = key.transpose(-1, -2)
        if self._change is not None:
            query, key = self._changed("queries", query), self._changed("keys", key)
            first, second = (
                query.reshape(first.shape),
                key.transpose(-1, -2).reshape(second.shape),
            )
            found = (
                func(
                    args[0],
                    first,
                    second,
                    **{n: kwargs[n] for n in ("beta", "alpha") if n in kwargs},
                )
                if name == "baddbmm"
                else func(first, second)
            )
        else:
            found = func(*args, **kwargs)
        self._product, self._parts = found, (query, key)
        self._scale = float(kwargs.get("alpha", 1.0)) if name == "baddbmm" else 1.0
        return found

    def _by_head(self, x: Tensor) -> Tensor:
        """Return a factor as (batch, heads, …), also where batch and heads are one axis."""
        if x.ndim == _ATTENTION_AXES or not self._n_heads or len(x) % self._n_heads:
            return x
        return x.reshape(-1, self._n_heads, *x.shape[-2:])


def _of_each_head(x: Tensor, n_heads: int) -> Tensor:
    """Return keys or values with a copy for each head that shares them."""
    return x.repeat_interleave(n_heads // x.shape[-3], -3)


def attention_pattern(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Float[Tensor, "batch heads time source"]:
    """Return what a call of torch's attention multiplies its values by; no gradient, fp32."""
    given = _given(args, kwargs)
    query = given["query"].detach().float()
    key = _of_each_head(given["key"].detach().float(), query.shape[-3])
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

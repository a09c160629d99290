"""The linear maps of an attention layer, read from the running model: its queries, keys, values and outputs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.circuits import written_by_heads
from sae_nb.models import AttentionParts, AttentionPlace, run, watching

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

SAME = 1e-2
"""Largest difference of two patterns that are taken for the same. Ours: above rounding of half precision."""

N_CHECKED = 2


class _Seen(BaseException):
    """Ends a pass when the layer's attention was seen; no `except Exception` may catch it."""


class AttentionMaps(NamedTuple):
    """A layer's heads as linear maps; heads that share keys and values have a copy each."""

    places: tuple[str, str]
    """Where the layer reads, behind its norm, and where it writes."""

    query: Float[Tensor, "heads d_head d_in"]
    query_bias: Float[Tensor, "heads d_head"]
    key: Float[Tensor, "heads d_head d_in"]
    key_bias: Float[Tensor, "heads d_head"]
    """So that query · key / √d_head is the score, whatever the model's own factor."""

    value: Float[Tensor, "heads d_value d_in"]
    output: Float[Tensor, "heads d_value d_out"]
    frequencies: Float[Tensor, " half"]
    """Radians per position by which the pair (i, i + d_head/2) turns; 0 where it does not."""

    layer: int

    def check(
        self,
        model: LiveModel,
        inputs: Inputs,
        attention: Callable[[Tensor], Float[Tensor, "batch groups time source"]],
    ) -> None:
        """Refuse a layer whose patterns are not those of these maps."""
        for n, batch in enumerate(model.batches(inputs, batch_size=1)):
            if n == N_CHECKED:
                return
            on_device = batch.to(model.device)
            states: list[Tensor] = []
            seen = _seen(model, on_device, self.layer, self.places[0], _keep(states))
            ours = attention(states[0].float())
            copies = ours.shape[1] // seen.pattern.shape[1]
            off = float((ours[:, ::copies] - seen.pattern).abs().max())
            if off > SAME:
                raise ValueError(
                    f"`layer` must attend by a softmax of linear queries and keys, turned by position or "
                    f"not, and layer {self.layer} of {model.name} does otherwise: one attention differs by "
                    f"{off:.2f}. "
                    "Choose a layer without a norm of queries, a window or a bias by distance."
                )


def attention_maps(model: LiveModel, layer: int) -> AttentionMaps:
    """Read the maps of a layer's heads off its answers to zero and to each unit vector, at position 0."""
    n = model.n_layers or 0
    if not model.n_heads or not 0 <= layer < n or model.streams:
        raise ValueError(
            f"`layer` must be one of the {n} attention layers of a model of one stream, got {layer} for "
            f"{model.name}. Choose another."
        )
    module = model.hook_point(f"head_out.{layer}").path.rpartition(".")[0]
    read, written = f"{module}.input", str(model.hook_point(f"attn_out.{layer}"))
    width = model.width(read) or model.width(written) or 0
    one = next(iter(model.batches(torch.zeros(1, 1, dtype=torch.long), batch_size=1)))
    like = next(model.module.parameters())
    units = torch.cat([torch.zeros(1, width), torch.eye(width)])[:, None].to(like)
    seen = _seen(model, one.to(model.device), layer, read, units)
    factor = (seen.scale * seen.query.shape[-1] ** 0.5) ** 0.5
    parts = []
    for x, times in ((seen.query, factor), (seen.key, factor), (seen.value, 1.0)):
        x = x[:, :, 0] * times
        parts += [(x[1:] - x[0]).permute(1, 2, 0).contiguous(), x[0]]
    query, query_bias, key, key_bias, value, _ = parts
    n_heads, d_value, _ = value.shape
    written_by = written_by_heads(model, layer, torch.eye(n_heads * d_value).to(like))
    order, frequencies = _rotation(model, query.shape[1])
    return AttentionMaps(
        places=(read, written),
        query=query[:, order],
        query_bias=query_bias[:, order],
        key=key[:, order],
        key_bias=key_bias[:, order],
        value=value,
        output=written_by.reshape(n_heads, d_value, -1),
        frequencies=frequencies,
        layer=layer,
    )


def _rotation(model: LiveModel, d_head: int) -> tuple[Tensor, Float[Tensor, " half"]]:
    """Return an order of a head's dimensions in which pairs are halves, and how fast each pair turns."""
    of_modules = (getattr(module, "inv_freq", None) for module in model.module.modules())
    found = [turns for turns in of_modules if isinstance(turns, Tensor)]
    half, still = d_head // 2, torch.zeros(d_head // 2)
    if not found or len(found[0]) > half:
        return torch.arange(d_head), still
    turning = len(found[0])
    still[:turning] = found[0].detach().float().cpu()
    # What is not turned stands behind all that is, and is shared between the halves.
    every, rest = torch.arange(d_head), torch.arange(2 * turning, d_head)
    first, second = rest.chunk(2) if len(rest) else (rest, rest)
    order = torch.cat([every[:turning], first, every[turning : 2 * turning], second])
    return order, still


def _keep(states: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def keep(x: Tensor) -> Tensor:
        states.append(x.detach())
        return x

    return keep


def _seen(
    model: LiveModel,
    batch: object,
    layer: int,
    read: str,
    put: Tensor | Callable[[Tensor], Tensor],
) -> AttentionParts:
    """Run up to a layer's attention, with something put at its input, and return what it calculates."""
    found: list[AttentionParts] = []

    def see(place: AttentionPlace, seen: AttentionParts) -> None:
        if place == AttentionPlace("", layer):
            found.append(seen)
            raise _Seen

    with torch.no_grad(), suppress(_Seen), watching(model, see):
        run(model, batch, put=[(read, put)])  # type: ignore[arg-type]
    return found[0]

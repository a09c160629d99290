"""The predictable part of activations: codes that the past suggests.

Published: v_t = [λ(x_t − b)E]₊,  u_t = [attention(v_t; v_{<t})]₊,  p_t = u_t D,
a_t = ⟨p_t, r_t⟩ / ‖p_t‖²,  z_p += a_t u_t,  r_t −= a_t p_t, once per attention layer, from r = x − b.
Strict: the query is v_{t−1}, and z_p += u_t / λ: the present token is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

# -------------------------------------------------------------------------------------------------
# Causal attention in code space: what earlier codes predict of the present one.
#
# Queries come from the code at t, keys and values from the codes before t; the first token sees an
# empty slot of zeros, which every later token sees too.


class CodeAttention(nn.Module):
    """Multi-head attention from a code to the codes before it.

    Source: Lubana et al., "Priors in Time", arXiv 2511.01836, eq. 3; initial row norms as in the
    authors' code, eslubana/TemporalFeatureAnalysis sae/utils.py. The window is ours.
    """

    def __init__(
        self,
        n_atoms: int,
        n_heads: int,
        bottleneck_factor: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_atoms % (n_heads * bottleneck_factor):
            raise ValueError(
                f"`n_atoms` must be divisible by n_heads·bottleneck_factor="
                f"{n_heads * bottleneck_factor}, got {n_atoms}. Change one of them."
            )
        self.n_heads = n_heads
        narrow = n_atoms // bottleneck_factor
        self.k_ctx = _linear(n_atoms, narrow, narrow // n_heads, generator)
        self.q_target = _linear(n_atoms, narrow, narrow // n_heads, generator)
        self.v_ctx = _linear(n_atoms, n_atoms, n_atoms // n_heads, generator)
        self.c_proj = _linear(n_atoms, n_atoms, n_atoms, generator)

    def forward(
        self,
        past: Float[Tensor, "batch time n_atoms"],
        present: Float[Tensor, "batch time n_atoms"],
        *,
        window: int | None = None,
    ) -> Float[Tensor, "batch time n_atoms"]:
        """What the past predicts at every time."""
        q = self._heads(self.q_target(present))
        k, v = self._heads(self.k_ctx(past)), self._heads(self.v_ctx(past))
        if window is None or q.shape[2] <= window:
            attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            attended = _in_chunks(q, k, v, window)
        out: Tensor = self.c_proj(attended.transpose(1, 2).flatten(2))
        return out

    def weights(
        self,
        past: Float[Tensor, "batch time n_atoms"],
        present: Float[Tensor, "batch time n_atoms"],
        *,
        window: int | None = None,
    ) -> Float[Tensor, "batch heads time time"]:
        """How much each time attends to each slot of the past; slot 0 is the empty one."""
        q, k = self._heads(self.q_target(present)), self._heads(self.k_ctx(past))
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        n = scores.shape[-1]
        seen = _seen(torch.arange(n), torch.arange(n), n if window is None else window)
        return scores.masked_fill(~seen.to(q.device), -torch.inf).softmax(dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.n_heads, -1).transpose(1, 2)


def _seen(queries: Tensor, slots: Tensor, window: int) -> Tensor:
    """Which slots a time sees: the empty one, and those of the last `window` codes."""
    t, slot = queries[:, None], slots[None, :]
    return (slot == 0) | ((slot <= t) & (slot > t - window))


def _in_chunks(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention to the last `window` codes and the empty slot, a chunk of times after the other."""
    parts = []
    for start in range(0, q.shape[2], window):
        stop = min(start + window, q.shape[2])
        first = max(1, start - window + 1)
        slots = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(first, stop)])
        mask = _seen(torch.arange(start, stop), slots, window).to(q.device)
        keys, values = (torch.cat([x[:, :, :1], x[:, :, first:stop]], dim=2) for x in (k, v))
        parts.append(
            nn.functional.scaled_dot_product_attention(
                q[:, :, start:stop], keys, values, attn_mask=mask
            )
        )
    return torch.cat(parts, dim=2)


def shifted(codes: Float[Tensor, "batch time n_atoms"]) -> Float[Tensor, "batch time n_atoms"]:
    """The codes one time later, with zeros first."""
    return nn.functional.pad(codes[:, :-1], (0, 0, 1, 0))


def _linear(width: int, out: int, head: int, generator: torch.Generator | None) -> nn.Linear:
    here = torch.empty(0).device
    # Built without memory first: torch's own first weights would be drawn from the global generator.
    layer = nn.Linear(width, out, device="meta")
    if here.type == "meta":
        return layer
    layer = layer.to_empty(device=here)
    with torch.no_grad():
        rows = torch.randn(out, width, generator=generator)
        layer.weight.copy_(rows / rows.norm(dim=1, keepdim=True) / math.sqrt(head))
        layer.bias.zero_()
    return layer


# -------------------------------------------------------------------------------------------------
# The predictable part of activations: codes that the past suggests.


NORM_GUARD = 1e-6
"""Added to ‖p_t‖ before squaring, as the authors do."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the past predicts of activations, and what it leaves."""

    codes: Float[Tensor, "batch time n_atoms"]
    """Predicted codes z_p; dense by nature, and negative where the past points the wrong way."""

    predicted: Float[Tensor, "batch time d_in"]
    """z_p D, what those codes add up to."""

    residual: Float[Tensor, "batch time d_in"]
    """What is left for the novel part, centred."""

    attention: tuple[Float[Tensor, "batch heads time time"], ...] = ()
    """Per layer, how much each time attends to each slot (slot 0 is empty, slot j is time j − 1);
    only where it was asked for."""


def predict(
    x: Float[Tensor, "batch time d_in"],
    encoder: Float[Tensor, "n_atoms d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    layers: Iterable[CodeAttention],
    *,
    gain: float | Tensor,
    strict: bool = False,
    window: int | None = None,
    attention: bool = False,
) -> Prediction:
    """Take off activations what their past suggests.

    In the published form query and length a_t look at the present token, so this is a projection of x_t
    on a direction chosen from context, not a forecast. The strict form is a forecast.

    Source: Lubana et al., "Priors in Time", arXiv 2511.01836, eqs. 3–4;
    eslubana/TemporalFeatureAnalysis, sae/saeTemporal.py. The strict form is ours.
    """
    residual, predicted = x, torch.zeros_like(x)
    total = x.new_zeros(*x.shape[:2], len(dictionary))
    seen = []
    for layer in layers:
        codes = torch.relu((residual * gain) @ encoder.T)
        past = shifted(codes)
        asking = past if strict else codes
        if attention:
            seen.append(layer.weights(past, asking, window=window))
        suggested = torch.relu(layer(past, asking, window=window))
        suggested = suggested / gain if strict else _along(suggested, residual, dictionary)
        part = suggested @ dictionary
        total, predicted, residual = total + suggested, predicted + part, residual - part
    return Prediction(total, predicted, residual, tuple(seen))


def _along(codes: Tensor, residual: Tensor, dictionary: Tensor) -> Tensor:
    """The codes, stretched so that what they decode to is the projection of the residual on it."""
    direction = codes @ dictionary
    length = direction.norm(dim=-1, keepdim=True) + NORM_GUARD
    along = (direction * residual).sum(dim=-1, keepdim=True) / length.square()
    return along * codes

"""The predictable part of activations: codes that the past suggests.

Published: v_t = [λ(x_t − b)E]₊,  u_t = [attention(v_t; v_{<t})]₊,  p_t = u_t D,
a_t = ⟨p_t, r_t⟩ / ‖p_t‖²,  z_p += a_t u_t,  r_t −= a_t p_t, once per attention layer, from r = x − b.
Strict: the query is v_{t−1}, and z_p += u_t / λ: the present token is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.temporal.attention import CodeAttention, shifted

NORM_GUARD = 1e-6
"""Added to ‖p_t‖ before squaring, as the authors do."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the past says of activations, and what it leaves."""

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

    Parameters
    ----------
    x
        Centred activations in order of time.
    encoder, dictionary
        E and D, one row per atom.
    layers
        Attention layers, applied one after the other to what is left.
    gain
        λ, from activations to codes.
    strict
        Whether the present token is kept from its own prediction.
    window
        Most tokens before a token that are seen from it; None is all.
    attention
        Whether attention weights are kept; their size is quadratic in time.

    Source
    ------
    Lubana et al., "Priors in Time", arXiv 2511.01836, eqs. 3–4; eslubana/TemporalFeatureAnalysis,
    sae/saeTemporal.py. The strict form is ours.
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

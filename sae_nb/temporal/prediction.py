"""The predictable part of activations: codes that the past suggests, projected on the present.

v_t = [λ(x_t − b)E]₊,  u_t = [attention(v_t; v_{<t})]₊,  p_t = u_t D,  a_t = ⟨p_t, r_t⟩ / ‖p_t‖²,
z_p += a_t u_t,  r_t −= a_t p_t, once per attention layer, from r = x − b.
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

    residual: Float[Tensor, "batch time d_in"]
    """What is left for the novel part, centred."""


def predict(
    x: Float[Tensor, "batch time d_in"],
    encoder: Float[Tensor, "n_atoms d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    layers: Iterable[CodeAttention],
    *,
    gain: float,
) -> Prediction:
    """Take off activations what their past suggests.

    The published form: query and length a_t look at the present token, so this is a projection of x_t
    on a direction chosen from context, not a forecast.

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

    Source
    ------
    Lubana et al., "Priors in Time", arXiv 2511.01836, eqs. 3–4; eslubana/TemporalFeatureAnalysis,
    sae/saeTemporal.py.
    """
    residual = x
    total = x.new_zeros(*x.shape[:2], len(dictionary))
    for layer in layers:
        present = torch.relu((residual * gain) @ encoder.T)
        codes = torch.relu(layer(shifted(present), present))
        suggested = codes @ dictionary
        length = suggested.norm(dim=-1, keepdim=True) + NORM_GUARD
        along = (suggested * residual).sum(dim=-1, keepdim=True) / length.square()
        total = total + along * codes
        residual = residual - along * suggested
    return Prediction(total, residual)

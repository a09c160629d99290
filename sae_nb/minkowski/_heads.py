"""What attention gives by construction: each head puts out a mixture of its values, y_h = α_h V_h.

α_h on the simplex, so y_h ∈ conv(V_h), and the output Σ_h W_O^h y_h + b lies in a sum of hulls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.checks import check_count
from sae_nb.models import HookPointNotFound, LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadMixtures:
    """The mixtures of one layer's heads."""

    n_used: Float[Tensor, " heads"]
    """exp H(α), mean over queries: how many values a head mixes; at most the number of tokens."""

    rest: float
    """Largest |attn_out − (Σ_h W_O^h α_h V_h + b)| over its largest entry: 0 up to rounding."""

    off_simplex: float
    """Largest |Σ α − 1|, or a negative weight where there is one."""

    n_tokens: int
    """Values there are to mix."""


@torch.no_grad()
def head_mixtures(model: LiveModel, inputs: Any, layer: int) -> HeadMixtures:
    """Rebuild a layer's attention from its mixtures, and count how many values each head mixes.

    With the model at hand the decomposition is identified, which it is not from the last states alone.
    That the rest is zero says nothing about training: it is so for any weights.

    Parameters
    ----------
    model
        A bundled vision transformer: its attention is read by its parts (`qkv`, `out`, `n_heads`).
    layer
        Block, from 0.

    Raises
    ------
    TypeError, ValueError: If the layer is not there, or its attention has other parts.

    Source
    ------
    arXiv 2510.08638 argues from it; the count exp H(α) is inferred (ours).

    Example
    -------
    >>> import sae_nb as sn
    >>> found = head_mixtures(sn.load_model("tiny-vit"), sn.data.scenes(2), 3)
    >>> found.rest < 1e-4, found.n_tokens, tuple(found.n_used.shape)
    (True, 69, (4,))
    """
    layer = check_count(layer, name="layer", at_least=0)
    attention = _attention(model, layer)
    points = [f"blocks.{layer}.norm_1", f"attn_out.{layer}"]
    acts = capture(model, inputs, points, progress=False)
    n = int(acts[points[0]].sample.max()) + 1
    x, out = (acts[point].x.view(n, -1, acts[point].d_in).float() for point in points)
    heads = int(attention.n_heads)
    qkv = attention.qkv(x).view(n, x.shape[1], 3, heads, x.shape[2] // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    alpha = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    rebuilt = attention.out((alpha @ v).transpose(1, 2).reshape(x.shape))
    entropy = -(alpha * alpha.clamp_min(1e-30).log()).sum(dim=-1)
    return HeadMixtures(
        n_used=entropy.exp().mean(dim=(0, 2)),
        rest=float((out - rebuilt).abs().max() / out.abs().max()),
        off_simplex=float((alpha.sum(dim=-1) - 1).abs().max().maximum(-alpha.min())),
        n_tokens=x.shape[1],
    )


def _attention(model: LiveModel, layer: int) -> Any:
    path = f"blocks.{layer}.attn"
    try:
        found = model.get_module(path)
    except HookPointNotFound as error:
        raise ValueError(
            f"`layer` must be a block with attention at {path!r}, got {layer}, which this model lacks. "
            "Pass a bundled vision transformer and one of its layers."
        ) from error
    missing = [part for part in ("qkv", "out", "n_heads") if not hasattr(found, part)]
    if missing:
        raise TypeError(
            f"`model` must have attention made of qkv, out and n_heads, got one without "
            f"{', '.join(missing)}. Pass a bundled vision transformer."
        )
    return found

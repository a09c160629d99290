"""What an atom says to the unembedding directly: the next tokens it raises and lowers.

effect = W_U (γ ⊙ d), with γ the gain of the final norm (and d centred where that norm centres).
This is the direct path alone: what later layers make of the atom is left out, and so is the norm's
division by the size of the residual stream, so effects compare tokens, not atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.hook_points import HookPointNotFound
from sae_nb.models.remote import no_weights
from sae_nb.tokens import describe_ids

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

Effects = tuple[tuple[str, float], ...]


def logit_effects(
    model: LiveModel, direction: Float[Tensor, " d_in"], n: int = 8
) -> tuple[Effects, Effects]:
    """Return the next tokens a direction raises and lowers most, with their effects.

    Parameters
    ----------
    model
        A live model; without an unembedding of this width both lists are empty.
    direction
        An atom, in the residual stream's coordinates.
    n
        Tokens per list.

    Source
    ------
    The logit lens restricted to one direction (nostalgebraist 2020), as SAE dashboards show it.
    """
    find = getattr(model.module, "get_output_embeddings", None)
    unembedding = find() if callable(find) else None
    if model.kind != "language" or model.tokenizer is None or unembedding is None:
        return (), ()
    weight = unembedding.weight.detach()
    if weight.is_meta:
        no_weights(model.name, "Which tokens an atom raises or lowers")
    if weight.shape[1] != len(direction):
        return (), ()
    with torch.no_grad():
        read = _through_final_norm(model, direction.to(weight.device, torch.float32))
        effect = (weight.float() @ read).cpu()
    return _named(model, effect, n), _named(model, -effect, n, sign=-1.0)


def _through_final_norm(
    model: LiveModel, direction: Float[Tensor, " d_in"]
) -> Float[Tensor, " d_in"]:
    try:
        norm = model.get_module(model.hook_point("final_norm").path)
    except HookPointNotFound:
        return direction
    if isinstance(norm, nn.LayerNorm):
        direction = direction - direction.mean()
    gain = getattr(norm, "weight", None)
    if gain is None or gain.shape != direction.shape:
        return direction
    # Gemma stores its gain minus one.
    offset = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0
    return direction * (gain.detach().float().to(direction.device) + offset)


def _named(
    model: LiveModel, effect: Float[Tensor, " vocabulary"], n: int, sign: float = 1.0
) -> Effects:
    best = effect.topk(min(n, len(effect)))
    ids = best.indices.tolist()
    names = describe_ids(model.tokenizer, ids)
    return tuple((names[i], sign * value) for i, value in zip(ids, best.values.tolist()))

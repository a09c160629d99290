"""How far all patches of a picture point the same way: ρ = ‖mean over patches of û‖, in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics.directions import unit
from sae_nb.dynamics.states import check_states
from sae_nb.dynamics.token_groups import content_tokens


def patch_coherence(
    states: Float[Tensor, "n layers tokens d"], *, token_kinds: Sequence[str] | None = None
) -> Float[Tensor, "n layers"]:
    """Length of the mean direction of a picture's patches, or of a text's tokens, layer by layer.

    ρ[b, l] = ‖mean_{t ∈ patches} û_{l,t}‖: 1 where all point the same way, about 1/√P where P
    directions are independent.

    Parameters
    ----------
    states
        From `capture_states`, embeddings first.
    token_kinds
        Kind of every token; those of the states when None. Patches count, where there are any,
        else all "token"s.

    Returns
    -------
    Tensor
        In float32.

    Raises
    ------
    TypeError, ValueError
        If states and kinds do not fit together, or there is neither a patch nor a token.

    Source
    ------
    The name is in arXiv 2512.19941; the exact formula is inferred.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [3.0, 0.0]]]])
    >>> patch_coherence(states).round(decimals=3).tolist()
    [[0.707..., 1.0]]
    """
    plain, kinds = check_states(states, token_kinds, min_layers=1)
    chosen = content_tokens(kinds)
    layers = range(plain.shape[1])
    return torch.stack(
        [unit(plain[:, layer, chosen]).mean(dim=1).norm(dim=-1) for layer in layers], dim=1
    )


def coherence_floor(n_tokens: int) -> float:
    """Coherence of independent directions: 1/√P, the root mean square of ρ.

    Parameters
    ----------
    n_tokens
        How many directions are averaged.

    Example
    -------
    >>> coherence_floor(64)
    0.125
    """
    return float(n_tokens) ** -0.5

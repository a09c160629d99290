"""How directly and how fast token states turn towards where they end, layer after layer.

With û = a / ‖a‖ per token: γ[l] = ⟨û_l, û_L⟩ and s[l] = arccos⟨û_{l+1}, û_l⟩. Norms grow with depth,
so only directions are compared.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics.states import check_states


def directional_convergence(
    states: Float[Tensor, "n layers tokens d"],
) -> Float[Tensor, "n layers tokens"]:
    """Cosine of every token state with the same token's last state.

    γ[b, l, t] = ⟨û_l, û_L⟩; 1 at the last layer, 0 where a state is the zero vector.

    Parameters
    ----------
    states
        From `capture_states`, embeddings first.

    Returns
    -------
    Tensor
        In float32.

    Raises
    ------
    TypeError, ValueError
        If these are no finite states.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; the formula from notes on it.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 3.0]]]])
    >>> directional_convergence(states).flatten().round(decimals=3).tolist()
    [0.0, 0.707..., 1.0]
    """
    plain, _ = check_states(states, min_layers=1)
    end = unit(plain[:, -1])
    cosines = [(unit(plain[:, layer]) * end).sum(dim=-1) for layer in range(plain.shape[1])]
    return torch.stack(cosines, dim=1)


def angular_speed(states: Float[Tensor, "n layers tokens d"]) -> Float[Tensor, "n steps tokens"]:
    """Angle, in radians, by which each block turns each token state.

    s[b, l, t] = arccos⟨û_{l+1}, û_l⟩ for l = 0 … L−1, computed as 2·atan2(‖û−v̂‖, ‖û+v̂‖), which is
    exact for small angles too.

    Parameters
    ----------
    states
        From `capture_states`, embeddings first.

    Returns
    -------
    Tensor
        In float32; entry l is what block l + 1 does.

    Raises
    ------
    TypeError, ValueError
        If these are no finite states.

    Source
    ------
    arXiv 2512.19941; the formula from notes on it.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 5.0]]]])
    >>> angular_speed(states).flatten().round(decimals=4).tolist()
    [1.570..., 0.0]
    """
    plain, _ = check_states(states, min_layers=1)
    steps = range(plain.shape[1] - 1)
    return torch.stack([angles_between(plain[:, i], plain[:, i + 1]) for i in steps], dim=1)


def angles_between(
    x: Float[Tensor, "*rows d"], y: Float[Tensor, "*rows d"]
) -> Float[Tensor, "*rows"]:
    """Angles, in radians, between vectors; π/2 where one of them is zero, 0 where both are.

    Parameters
    ----------
    x, y
        Vectors along the last axis, of one shape.

    Example
    -------
    >>> angles_between(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item()
    1.5707...
    """
    u, v = unit(x), unit(y)
    return 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))


def unit(x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """Directions of vectors in float32; a zero vector stays zero.

    Parameters
    ----------
    x
        Vectors along the last axis, of any floating type.

    Example
    -------
    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6..., 0.8...], [0.0, 0.0]]
    """
    x = x.detach().float()
    # Scaled by the largest entry first: squares of sink tokens' fp16 states are fine, those of
    # vanishing ones are not.
    x = x / x.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return x / x.norm(dim=-1, keepdim=True).clamp_min(0.5)

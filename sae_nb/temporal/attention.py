"""Causal attention in code space: what earlier codes say about the present one.

Queries come from the code at t, keys and values from the codes before t; the first token sees an
empty slot of zeros.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CodeAttention(nn.Module):
    """Multi-head attention from a code to the codes before it.

    Parameters
    ----------
    n_atoms
        Width of a code.
    n_heads
        Heads; `n_atoms` must be divisible by n_heads · bottleneck_factor.
    bottleneck_factor
        How much narrower queries and keys are than codes.
    generator
        Draws the first weights; None is torch's global generator.

    Raises
    ------
    ValueError
        If `n_atoms` is not divisible.

    Source
    ------
    Lubana et al., "Priors in Time", arXiv 2511.01836, eq. 3; initial row norms as in the authors'
    code, eslubana/TemporalFeatureAnalysis sae/utils.py.
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
    ) -> Float[Tensor, "batch time n_atoms"]:
        """What the past says at every time.

        Parameters
        ----------
        past
            Codes shifted by one: row t is the code at t − 1, row 0 is zero.
        present
            What asks: the codes themselves, or the past again for a strict prediction.
        """
        q, k, v = (self._heads(part) for part in self._projections(past, present))
        attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.c_proj(attended.transpose(1, 2).flatten(2))
        return out

    def weights(
        self,
        past: Float[Tensor, "batch time n_atoms"],
        present: Float[Tensor, "batch time n_atoms"],
    ) -> Float[Tensor, "batch heads time time"]:
        """How much each time attends to each slot of the past; slot 0 is the empty one.

        Parameters
        ----------
        past, present
            As for a forward pass.
        """
        q, k, _ = (self._heads(part) for part in self._projections(past, present))
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        return scores.masked_fill(later, -torch.inf).softmax(dim=-1)

    def _projections(self, past: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q_target(present), self.k_ctx(past), self.v_ctx(past)

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.n_heads, -1).transpose(1, 2)


def shifted(codes: Float[Tensor, "batch time n_atoms"]) -> Float[Tensor, "batch time n_atoms"]:
    """The codes one time later, with zeros first.

    Parameters
    ----------
    codes
        In order of time.

    Example
    -------
    >>> shifted(torch.tensor([[[1.0], [2.0]]])).flatten().tolist()
    [0.0, 1.0]
    """
    return nn.functional.pad(codes[:, :-1], (0, 0, 1, 0))


def _linear(width: int, out: int, head: int, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(width, out)
    if layer.weight.is_meta:
        return layer
    with torch.no_grad():
        rows = torch.randn(out, width, generator=generator)
        layer.weight.copy_(rows / rows.norm(dim=1, keepdim=True) / math.sqrt(head))
        layer.bias.zero_()
    return layer

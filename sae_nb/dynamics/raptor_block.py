"""One shared block of a Raptor: a pre-norm transformer block with gains that know the step.

(τ₁, τ₂, τ₃) = 1 + MLP(t);  y = x + τ₁ ⊙ Attention(LN₁ x);  x′ = τ₃ ⊙ (y + τ₂ ⊙ MLP(LN₂ y)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

GAIN_WIDTH = 16
GAIN_SPREAD = 1e-4
"""Standard deviation of the gains' last layer at the start, so that they begin at 1."""


@dataclass(frozen=True, kw_only=True)
class BlockSizes:
    """Sizes of a block; those of the teacher's blocks, so that one application costs one layer."""

    d_model: int
    """Width of the residual stream."""

    n_heads: int
    """Attention heads; divides `d_model`."""

    hidden: int
    """Width of the MLP."""

    layer_scale: float | None = None
    """Start of a learned scale per channel on both branches; None: there is none."""

    def __post_init__(self) -> None:
        for name in ("d_model", "n_heads", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"`n_heads` must divide d_model={self.d_model}, got {self.n_heads}. Choose a divisor."
            )


class RaptorBlock(nn.Module):
    """A block that is applied several times, and told each time which step it is.

    Parameters
    ----------
    sizes
        Of the teacher's blocks.
    generator
        Source of the initial weights; None is torch's global one.

    Source
    ------
    KempnerInstitute/raptor, raptor/block.py (arXiv 2512.19941). The authors' MLP is SwiGLU of hidden
    width 4d and their LayerScale starts at 1e-5; ours is the teacher's GELU MLP, and LayerScale is
    off, because a few hundred steps would be spent on growing it.

    Example
    -------
    >>> block = RaptorBlock(BlockSizes(d_model=8, n_heads=2, hidden=16))
    >>> block(torch.zeros(3, 5, 8), step=1).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, sizes: BlockSizes, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        d, self.sizes = sizes.d_model, sizes
        # torch.nn draws weights of its own, thrown away below: they must not move the user's seed.
        with torch.random.fork_rng(devices=[]):
            self.norm_1, self.norm_2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.up, self.down = nn.Linear(d, sizes.hidden), nn.Linear(sizes.hidden, d)
            self.gain_in, self.gain_out = nn.Linear(1, GAIN_WIDTH), nn.Linear(GAIN_WIDTH, 3 * d)
        start = sizes.layer_scale
        self.scale_1 = None if start is None else nn.Parameter(torch.full((d,), start))
        self.scale_2 = None if start is None else nn.Parameter(torch.full((d,), start))
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        for layer in (self.qkv, self.out, self.up, self.down, self.gain_in):
            layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
            layer.bias.zero_()
        # A branch begins small, as in a network of many blocks: the stream starts near the identity.
        for layer in (self.out, self.down):
            layer.weight.mul_(0.2)
        for parameter in (self.gain_out.weight, self.gain_out.bias):
            parameter.normal_(0, GAIN_SPREAD, generator=generator)

    def gains(self, step: int) -> Float[Tensor, "3 d"]:
        """Gains τ₁, τ₂, τ₃ of one step, per channel.

        Parameters
        ----------
        step
            Counted from 1 over the whole depth, as it is; not scaled.
        """
        t = torch.full((1,), float(step), device=self.out.weight.device)
        raw = self.gain_out(F.silu(self.gain_in(t.to(self.out.weight.dtype))))
        return cast(Tensor, 1 + raw.view(3, -1))

    def forward(self, x: Float[Tensor, "n tokens d"], step: int) -> Float[Tensor, "n tokens d"]:
        """Take the states one layer further.

        Parameters
        ----------
        x
            States before the step.
        step
            Which layer this application stands for, 1 … L.
        """
        first, second, whole = self.gains(step)
        attention = self._attention(self.norm_1(x))
        if self.scale_1 is not None:
            attention = self.scale_1 * attention
        x = x + first * attention
        mlp = self.down(F.gelu(self.up(self.norm_2(x))))
        if self.scale_2 is not None:
            mlp = self.scale_2 * mlp
        return cast(Tensor, whole * (x + second * mlp))

    def _attention(self, x: Tensor) -> Tensor:
        n, tokens, d = x.shape
        heads = self.sizes.n_heads
        q, k, v = self.qkv(x).view(n, tokens, 3, heads, d // heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.out(mixed.transpose(1, 2).reshape(n, tokens, d)))

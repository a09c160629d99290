"""Numbers of one seed, and the four tensors of a plain SAE."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def standard(d: int, n: int) -> dict[str, Tensor]:
    """Encoder, its bias, dictionary and the decoder's bias, by SAELens' names."""
    encoder = {"W_enc": draw(d, n, seed=1), "b_enc": draw(n, seed=2)}
    return encoder | {"W_dec": draw(n, d, seed=3), "b_dec": draw(d, seed=4)}

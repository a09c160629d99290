"""Dials: eight numbers, shown as two rows of four pixels."""

import torch
from torch import Tensor

import sae_nb as sn


def _pixels(sample: Tensor) -> Tensor:
    return (255 * sample.clamp(0, 1)).byte().reshape(1, 2, 4).expand(3, -1, -1).contiguous()


def dark(sample: Tensor) -> Tensor:
    return 255 - _pixels(sample)


DIALS = sn.models.Modality(
    name="dials",
    sample="dial",
    reads="numbers",
    face=_pixels,
    examples=lambda n, seed: torch.rand(n, 8, generator=torch.Generator().manual_seed(seed)),
)

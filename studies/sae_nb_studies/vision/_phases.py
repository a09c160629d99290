"""MACO's image: the magnitude of its spectrum is that of natural images, only the phase is free.

y = μ + C · irfft2(m e^{iφ}), image = 1 / (1 + e^{−y}). m is the mean magnitude, per frequency, of natural
images in the space of y, their colours decorrelated; C brings the colours back, μ is their mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

NEAREST = 0.02
"""Smallest distance of a pixel of a natural image from 0 and 1, so that its logit is finite. Ours."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The common statistics of natural images of one size: colours, and the amount of each frequency."""

    magnitude: Float[Tensor, "channels height frequencies"]
    mean: Float[Tensor, "channels 1 1"]
    colours: Float[Tensor, "channels channels"]
    """C: what decorrelated channels are multiplied with."""

    width: int

    @classmethod
    def of(cls, x: Float[Tensor, "n channels height width"]) -> Spectrum:
        """Return that of some images in [0, 1]."""
        y = x.clamp(NEAREST, 1 - NEAREST).logit()
        mean = y.mean(dim=(0, 2, 3))
        flat = (y - mean[:, None, None]).transpose(0, 1).flatten(1)
        covariance = flat @ flat.T / flat.shape[1]
        values, vectors = torch.linalg.eigh(covariance.double())
        colours = (vectors * values.clamp_min(1e-8).sqrt()).to(y)
        apart = torch.linalg.solve(colours, flat).view(len(mean), len(x), *x.shape[2:])
        spectra = torch.fft.rfft2(apart.transpose(0, 1), norm="ortho")
        return cls(spectra.abs().mean(dim=0), mean[:, None, None], colours, x.shape[-1])

    def phases(self, n: int, generator: torch.Generator) -> Float[Tensor, "n channels height f"]:
        """Draw random ones, even over the circle."""
        drawn = torch.rand(n, *self.magnitude.shape, generator=generator)
        return ((2 * drawn - 1) * math.pi).to(self.magnitude)

    def images(
        self, phase: Float[Tensor, "n channels height f"]
    ) -> Float[Tensor, "n channels height width"]:
        """Return the images of some phases, in (0, 1)."""
        spectra: Complex[Tensor, "n channels height f"] = torch.polar(
            self.magnitude.expand_as(phase).contiguous(), phase
        )
        size = (self.magnitude.shape[1], self.width)
        apart = torch.fft.irfft2(spectra, s=size, norm="ortho")
        mixed = torch.einsum("dc,nchw->ndhw", self.colours, apart)
        return torch.sigmoid(self.mean + mixed)


def random_crops(
    images: Float[Tensor, "n channels height width"],
    n_crops: int,
    size: float,
    jitter: float,
    noise: float,
    generator: torch.Generator,
) -> Float[Tensor, "n_times_crops channels height width"]:
    """Return square crops of every image, enlarged to its size, with noise: gradients go through.

    A crop's side is `size` of the image's, ± 0.05 (sd), its centre off by `jitter` of it (sd); beyond the
    border the image is mirrored. Noise is normal, of sd `noise`, plus even over ± half of that.
    """
    n = len(images) * n_crops
    draws = torch.randn(3, n, generator=generator).to(images)
    side = (size + 0.05 * draws[0]).clamp(0.05, 1.0)
    theta = torch.zeros(n, 2, 3).to(images)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = 2 * jitter * draws[1:].T
    grid = affine_grid(theta, [n, *images.shape[1:]], align_corners=False)
    crops = grid_sample(
        images.repeat_interleave(n_crops, dim=0),
        grid,
        padding_mode="reflection",
        align_corners=False,
    )
    shape = list(crops.shape)
    crops = crops + noise * torch.randn(shape, generator=generator).to(images)
    return crops + noise * (torch.rand(shape, generator=generator).to(images) - 0.5)

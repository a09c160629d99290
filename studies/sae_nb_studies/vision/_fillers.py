"""The replacements of pixels that are taken away: the baselines of insertion and deletion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from sae_nb_studies.vision._phases import Spectrum, random_crops

Baseline = Literal["zero", "mean", "blur", "noise", "inpaint", "visualised", "random phase"]

COARSE = 8
"""Pixels that a blurred image averages along each side."""

SWEEPS = 60
"""Of Jacobi, in the place of ROAD's exact solution. Ours."""

ROAD_NOISE = 0.01
WEIGHTS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
"""Of a pixel's neighbours, and the noise on what is put in their place. As in ROAD."""

STEPS, CROPS, RATE = 64, 8, 0.1
"""Of the image whose features are faint: steps, crops at each, and NAdam's rate. Ours."""

Filling = Tensor | Callable[[Tensor], Tensor]


def filling(
    x: Float[Tensor, "n channels h w"], baseline: Baseline, generator: torch.Generator
) -> Filling:
    """Return pixels in [0, 1], flat as `walk` takes them: (n, channels, h·w), or a function of what is
    kept.

    zero: black; mean: the mean colour of all images; blur: local means of 8 × 8 pixels; noise: even in [0, 1];
    inpaint: each pixel from its neighbours, as ROAD does; random phase: one image with the spectrum of all,
    which is what `visualised` begins with.
    """
    if baseline == "random phase":
        spectrum = Spectrum.of(x)
        return spectrum.images(spectrum.phases(1, generator)).expand_as(x).flatten(2)
    if baseline == "inpaint":
        noise = ROAD_NOISE * torch.randn(x.shape, generator=generator).to(x)
        return lambda kept: inpainted(x, kept, noise)
    if baseline == "zero":
        filled = torch.zeros_like(x)
    elif baseline == "mean":
        filled = x.mean(dim=(0, 2, 3), keepdim=True).expand_as(x)
    elif baseline == "blur":
        side = min(COARSE, *x.shape[2:])
        coarse = avg_pool2d(x, side)
        filled = interpolate(coarse, list(x.shape[2:]), mode="bilinear", align_corners=False)
    else:
        filled = torch.rand(x.shape, generator=generator).to(x)
    return filled.flatten(2)


def inpainted(
    x: Float[Tensor, "n channels h w"],
    kept: Bool[Tensor, "n m 1 pixels"],
    noise: Float[Tensor, "n channels h w"],
) -> Float[Tensor, "n m channels pixels"]:
    """Return each missing pixel the weighted mean of its neighbours, from the mean of what is kept,
    with noise.
    """
    n, m = kept.shape[:2]
    c, h, w = x.shape[1:]
    there = kept.reshape(n * m, 1, h, w)
    whole = x.repeat_interleave(m, dim=0)
    known = there.sum(dim=(2, 3), keepdim=True)
    mean = (whole * there).sum(dim=(2, 3), keepdim=True) / known.clamp_min(1)
    mean = torch.where(known > 0, mean, x.mean(dim=(0, 2, 3), keepdim=True))
    kernel = torch.tensor(WEIGHTS).to(x).expand(c, 1, 3, 3)
    counted = conv2d(torch.ones(1, c, h, w).to(x), kernel, padding=1, groups=c)
    now = torch.where(there, whole, mean)
    for _ in range(SWEEPS):
        now = torch.where(there, whole, conv2d(now, kernel, padding=1, groups=c) / counted)
    now = now + noise.repeat_interleave(m, dim=0)
    return now.view(n, m, c, h * w)


def visualised(
    x: Float[Tensor, "n channels h w"],
    features: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    *,
    n_steps: int = STEPS,
) -> tuple[Float[Tensor, "1 channels h w"], Float[np.ndarray, " steps"]]:
    """Return the image that feature visualisation makes to have the faintest features, and their strength.

    Phases and magnitudes of MACO's spectrum follow the gradient of the mean |feature| of random crops down.
    """
    spectrum = Spectrum.of(x)
    phase = spectrum.phases(1, generator).requires_grad_()
    louder = torch.zeros_like(spectrum.magnitude).requires_grad_()
    optimiser = torch.optim.NAdam([phase, louder], lr=RATE)
    curve = []

    def image() -> Tensor:
        return replace(spectrum, magnitude=spectrum.magnitude * louder.exp()).images(phase)

    for size in np.linspace(1.0, 0.8, n_steps):
        with torch.enable_grad():
            crops = random_crops(image(), CROPS, float(size), 0.03, 0.08, generator)
            strength = features(crops).abs().mean()
            phase.grad, louder.grad = torch.autograd.grad(strength, [phase, louder])
        optimiser.step()
        curve.append(float(strength.detach()))
    with torch.no_grad():
        return image(), np.array(curve)

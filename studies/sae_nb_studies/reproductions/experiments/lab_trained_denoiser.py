"""Is a trained diffusion network predicted by the score of patches (the lab)?

Eight black-and-white images of 16 × 16 (signs of Gaussian random fields, as in `lab_patch_mosaic`). A
network of two 3 × 3 convolutions, which sees 5 × 5 pixels, learns to denoise them. Guesses: R² of the
network's clean images by those of the score of patches of 3, 5 and 7 and of whole images, at four times;
nearer to noise (.8) the scores differ most. Samples: correlation of images made from the same noise.
Controls: the network as it begins, and other noise.

Attention: eight images of stripes, each of one direction. The same network learns them as it is, and with a
layer in which every pixel reads all others. One direction: how far the power of an image's waves agrees on
one direction, 0 to 1; also of images of the score of patches.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.lab_patch_mosaic import SIDE as PIXELS, random_fields

SHORT = {"steps": 40, "n_samples": 2, "more": 1}
SIDE, WIDTH, BATCH = 5, 24, 16
PATCHES: tuple[int | None, ...] = (3, 5, 7, None)
TIMES = (0.8, 0.6, 0.4, 0.2)
STRIPES, MADE = 8, 24


def run(seed: int, *, steps: int = 600, n_samples: int = 6, more: int = 2) -> dict[str, float]:
    """Train the network on one draw of images, and compare it with the scores.

    `more`: with stripes it is trained this many times as long, and reads twice as many images a step.
    """
    known = random_fields(8, torch.Generator().manual_seed(seed))
    settings = sn.lab.LocalDenoiser(SIDE, width=WIDTH)
    model = settings.fit(known, steps=steps, batch_size=BATCH, seed=seed)
    numbers = predicted("trained", model, PATCHES, n_samples, seed)
    drawn = settings.fit(known, steps=1, batch_size=1, learning_rate=1e-9, seed=seed)
    numbers |= predicted("as drawn", drawn, (SIDE,), 2, seed)
    return numbers | joined(more * steps, n_samples, seed)


def joined(steps: int, n_samples: int, seed: int) -> dict[str, float]:
    """Learn stripes with attention and without, and measure what the score of patches predicts of each."""
    known = stripes(torch.Generator().manual_seed(seed))
    machines = {"patches": sn.lab.PatchMosaic(SIDE).fit(known)}
    of_patches = machines["patches"].sample(MADE, seed=seed).images
    numbers = {
        "stripes, one direction": one_direction(known),
        "patches, one direction": one_direction(of_patches),
        "noise, one direction": one_direction(
            torch.randn(of_patches.shape, generator=torch.Generator().manual_seed(seed))
        ),
    }
    for name, attention in (("alone", False), ("attention", True)):
        settings = sn.lab.LocalDenoiser(SIDE, width=WIDTH, attention=attention)
        model = settings.fit(known, steps=steps, batch_size=2 * BATCH, seed=seed)
        found = model.predicted_by(machines, times=TIMES[:1], n=n_samples, seed=seed)
        numbers |= {
            f"{name}, R² by patches": float(found.explained[0, 0]),
            f"{name}, samples by patches": float(found.samples[0]),
            f"{name}, one direction": one_direction(model.sample(MADE, seed=seed)),
            f"{name}, error": float(model.losses[-50:].mean()),
        }
    return numbers


def stripes(generator: torch.Generator) -> Tensor:
    """Draw signs of Gaussian fields whose waves are about 7 pixels long, each of a direction of its own."""
    f = torch.fft.fftfreq(PIXELS)
    images = []
    for i in range(STRIPES):
        turn = math.pi * i / STRIPES
        along = f[:, None] * math.cos(turn) + f * math.sin(turn)
        across = f * math.cos(turn) - f[:, None] * math.sin(turn)
        kept = torch.exp(-(along**2) / (2 * 0.03**2) - (across.abs() - 0.15) ** 2 / (2 * 0.04**2))
        noise = torch.randn(1, PIXELS, PIXELS, generator=generator)
        images.append(torch.fft.ifft2(torch.fft.fft2(noise) * kept).real.sign())
    return torch.stack(images)


def one_direction(images: Float[Tensor, "n 1 height width"]) -> float:
    """Return the mean length of the sum of waves' doubled directions, weighted by power."""
    f = torch.fft.fftfreq(PIXELS)
    direction = torch.complex(f[:, None].expand(PIXELS, PIXELS), f.expand(PIXELS, PIXELS)).angle()
    power = torch.fft.fft2(images - images.mean(dim=(2, 3), keepdim=True)).abs().square()
    summed = (power * torch.exp(2j * direction)).sum(dim=(2, 3)).abs()
    return float((summed / power.sum(dim=(2, 3))).mean())


def predicted(
    name: str,
    model: sn.lab.DenoiserModel,
    patches: tuple[int | None, ...],
    n: int,
    seed: int,
) -> dict[str, float]:
    """Return R² at each time, and correlation of samples, by each score and by the best patch."""
    machines = {
        "whole images" if side is None else f"patches of {side}": sn.lab.PatchMosaic(side).fit(
            model.images
        )
        for side in patches
    }
    found = model.predicted_by(machines, times=TIMES, n=n, seed=seed)
    numbers: dict[str, float] = {}
    for machine, r2, same, other in zip(
        found.machines, found.explained, found.samples, found.other_noise, strict=True
    ):
        numbers |= {f"{name}, R² by {machine}": float(r2.mean())}
        numbers |= {
            f"{name}, R² by {machine} at {t}": float(v) for t, v in zip(TIMES, r2, strict=True)
        }
        numbers |= {f"{name}, samples by {machine}": float(same)}
        numbers |= {f"{name}, other noise by {machine}": float(other)}
    best = max(
        (m for m in machines if m != "whole images"), key=lambda m: numbers[f"{name}, R² by {m}"]
    )
    return numbers | {
        f"{name}, best k": float(best.rpartition(" ")[2]),
        f"{name}, R² at best k": numbers[f"{name}, R² by {best}"],
        f"{name}, R² at best k, time 0.8": numbers[f"{name}, R² by {best} at 0.8"],
        f"{name}, samples at best k": numbers[f"{name}, samples by {best}"],
        f"{name}, other noise": numbers[f"{name}, other noise by {best}"],
    }

"""Is a trained diffusion network predicted by the score of patches (the lab)?

Eight black-and-white images of 16 × 16 (signs of Gaussian random fields, as in `lab_patch_mosaic`). A
network of two 3 × 3 convolutions, which sees 5 × 5 pixels, learns to denoise them. Guesses: R² of the
network's clean images by those of the score of patches of 3, 5 and 7 and of whole images, at four times;
nearer to noise (.8) the scores differ most. Samples: correlation of images made from the same noise.
Controls: the network as it begins, and other noise.
"""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb_lessons.reproductions.experiments.lab_patch_mosaic import random_fields

SHORT = {"steps": 40, "n_samples": 2}
SIDE, WIDTH, BATCH = 5, 24, 16
PATCHES: tuple[int | None, ...] = (3, 5, 7, None)
TIMES = (0.8, 0.6, 0.4, 0.2)


def run(seed: int, *, steps: int = 600, n_samples: int = 6) -> dict[str, float]:
    """Train the network on one draw of images, and compare it with the scores."""
    known = random_fields(8, torch.Generator().manual_seed(seed))
    settings = sn.lab.LocalDenoiser(SIDE, width=WIDTH)
    model = settings.fit(known, steps=steps, batch_size=BATCH, seed=seed)
    numbers = predicted("trained", model, PATCHES, n_samples, seed)
    drawn = settings.fit(known, steps=1, batch_size=1, learning_rate=1e-9, seed=seed)
    return numbers | predicted("as drawn", drawn, (SIDE,), 2, seed)


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

"""Whose is this image (the lab)? Each image alone is given to the family of textures whose signature is nearest.

The ten families of `lab_signatures`: eight backgrounds of `scenes` behind any digit, and two photographs in pieces. A
family is known by 24 images and asked about 12 others (of a photograph, pieces of its right third, of which nothing is
known). λ is chosen on half of those, accuracy counted on the other half. Floor: nearest histogram of colours. Controls:
the network with its weights shuffled; labels of the known images shuffled.
"""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.lab_signatures import (
    ARTISTS,
    POINTS,
    exhibition,
    shuffled,
)

SHORT = {"n_images": 2}
MIXINGS = tuple(i / 10 for i in range(11))
BINS = 4
"""Of each colour in a histogram."""


def run(seed: int, *, n_images: int = 12) -> dict[str, float]:
    """Return the share of images that are given to their family, by each distance."""
    images, artists, _ = exhibition(seed, n_images)
    family = np.array([name.rsplit(" ", 1)[0] for name in artists])
    new = np.array([name.endswith(f" {ARTISTS - 1}") for name in artists])
    rng = np.random.default_rng(seed)
    wrong = family.copy()
    wrong[~new] = rng.permutation(family[~new])
    numbers: dict[str, float] = {}
    for name, network, labels in (
        ("tiny-vit", sn.load_model("tiny-vit"), family),
        ("shuffled weights", shuffled(seed), family),
        ("shuffled labels", sn.load_model("tiny-vit"), wrong),
    ):
        found = sn.lab.Signatures(network, POINTS).attribute(
            images[~new], labels[~new].tolist(), images[new]
        )
        numbers |= shares(name, found, family[new])
    plain = by_colour(images[~new], family[~new], images[new], found.names)
    return numbers | {"colours": float((plain == family[new])[1::2].mean())}


def shares(name: str, found: sn.lab.Attribution, truth: np.ndarray) -> dict[str, float]:
    """Return accuracies on every second image, λ chosen on the others."""
    right = {
        mixing: np.array(found.names)[
            ((1 - mixing) * found.texture + mixing * found.symmetry).argmin(axis=1)
        ]
        == truth
        for mixing in MIXINGS
    }
    chosen = max(MIXINGS, key=lambda mixing: right[mixing][::2].mean())
    accuracy = {mixing: float(one[1::2].mean()) for mixing, one in right.items()}
    return {
        f"{name}, both": accuracy[chosen],
        f"{name}, λ": chosen,
        f"{name}, texture": accuracy[0.0],
        f"{name}, symmetry": accuracy[1.0],
    }


def by_colour(
    known: torch.Tensor, labels: np.ndarray, asked: torch.Tensor, names: tuple[str, ...]
) -> np.ndarray:
    """Return the family whose mean histogram of colours is nearest to that of each image."""

    def histograms(images: torch.Tensor) -> np.ndarray:
        place = (images * BINS).long().clamp(0, BINS - 1)
        bins = (place[:, 0] * BINS + place[:, 1]) * BINS + place[:, 2]
        rows = [torch.bincount(one, minlength=BINS**3) for one in bins.flatten(1)]
        return (torch.stack(rows).double() / bins[0].numel()).numpy()

    rows = histograms(known)
    means = np.stack([rows[labels == name].mean(axis=0) for name in names])
    apart = np.abs(histograms(asked)[:, None] - means).sum(axis=2)
    return np.array(names)[apart.argmin(axis=1)]

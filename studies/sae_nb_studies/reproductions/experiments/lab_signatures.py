"""Artistic signatures (the lab): are textures of one family placed near each other?

Ten families: the eight backgrounds of `scenes`, each behind digits of any kind, colour and place, and two
photographs that scikit-learn ships, cut into pieces of 32 × 32. Three artists of each, who share no image
and, for a photograph, no part of it (its left, middle and right third). Features of tiny-vit at four
depths; the controls are those of the same network with shuffled weights, and of pixels without any
network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_sample_images

import sae_nb as sn

SHORT = {"n_images": 4, "n_permutations": 99}
ARTISTS, SIDE = 3, 32
POINTS = ("resid_post.1", "resid_post.4", "resid_post.8", "resid_post.2")
"""Hook points of the features; the changes under movements are measured at the last one."""


def run(seed: int, *, n_images: int = 12, n_permutations: int = 999) -> dict[str, float]:
    """Correlate distances with families, and count the artists whose nearest one is of their family."""
    images, artists, families = exhibition(seed, n_images)
    numbers: dict[str, float] = {}
    for name in ("tiny-vit", "shuffled"):
        network = sn.load_model("tiny-vit") if name == "tiny-vit" else shuffled(seed)
        found = sn.lab.Signatures(network, POINTS).fit(images, artists)
        for part in ("distance", "texture", "symmetry"):
            label = f"{name}: {part}"
            numbers |= judged(found, families, part, label, n_permutations, seed)
        parts = found.mantel(found.symmetry, "texture", n_permutations=n_permutations, seed=seed)
        numbers[f"{name}: texture with symmetry"] = parts.observed
        numbers[f"{name}: texture with symmetry, floor"] = parts.floor
    pixels = colours(images, artists)
    plain = sn.lab.SignatureDistances(
        names=found.names,
        texture=pixels,
        symmetry=pixels,
        mixing=0.5,
        generators=found.generators,
        changes=found.changes,
    )
    numbers |= judged(plain, families, "distance", "pixels", n_permutations, seed)
    together = numbers["tiny-vit: texture with symmetry"]
    return numbers | {
        "together above the floor": together - numbers["tiny-vit: texture with symmetry, floor"],
        "above the floor": numbers["tiny-vit: distance"] - numbers["tiny-vit: distance, floor"],
    }


def judged(
    found: Any, families: list[str], part: Any, label: str, n_permutations: int, seed: int
) -> dict[str, float]:
    """Return Mantel's r with the families, its floor, and the share of nearest artists of the same family."""
    test = found.mantel(families, part, n_permutations=n_permutations, seed=seed)
    of = dict(zip(found.names, families, strict=True))
    right = [of[other] == of[name] for name, other in zip(found.names, found.nearest(part))]
    return {
        label: test.observed,
        f"{label}, floor": test.floor,
        f"{label}, p": test.p,
        f"{label}, nearest": float(np.mean(right)),
        "nearest by chance": (ARTISTS - 1) / (len(families) - 1),
    }


def shuffled(seed: int) -> Any:
    """Load tiny-vit, with its weights shuffled within each tensor."""
    model = sn.load_model("tiny-vit")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.module.parameters():
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return model


def exhibition(seed: int, n_images: int) -> tuple[torch.Tensor, list[str], list[str]]:
    """Return images, the artist of each, and the family of every artist."""
    wanted = ARTISTS * n_images
    drawn = sn.data.scenes(16 * wanted + 400, seed=seed)
    images, artists, families = [], [], []
    for texture, name in enumerate(drawn.texture_names):
        mine = drawn.images[drawn.texture == texture][:wanted]
        images.append(mine)
        artists += [f"{name} {i // n_images}" for i in range(wanted)]
        families += [name] * ARTISTS
    rng = np.random.default_rng(seed)
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        whole = torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255
        for artist, part in enumerate(whole.tensor_split(ARTISTS, dim=2)):
            images.append(pieces(part, n_images, rng))
            artists += [f"{name} {artist}"] * n_images
        families += [name] * ARTISTS
    return torch.cat(images), artists, families


def pieces(part: torch.Tensor, n: int, rng: np.random.Generator) -> torch.Tensor:
    """Cut pieces at random places of an image at half its size."""
    small = torch.nn.functional.avg_pool2d(part[None], 2)[0]
    tops = rng.integers(0, small.shape[1] - SIDE + 1, n)
    lefts = rng.integers(0, small.shape[2] - SIDE + 1, n)
    cut = [small[:, y : y + SIDE, x : x + SIDE] for y, x in zip(tops, lefts, strict=True)]
    return torch.stack(cut)


def colours(images: torch.Tensor, artists: list[str]) -> np.ndarray:
    """Return distances of second moments of colour alone: textures without a network and without shape."""
    names, known = list(dict.fromkeys(artists)), np.array(artists)
    moments = []
    for name in names:
        rows = images[torch.from_numpy(known == name)].movedim(1, -1).reshape(-1, 3).double()
        moments.append((rows.T @ rows / len(rows)).numpy())
    size = [np.linalg.norm(one) for one in moments]
    return np.array(
        [
            [np.linalg.norm(a - b) / (size[i] + size[j]) for j, b in enumerate(moments)]
            for i, a in enumerate(moments)
        ]
    )

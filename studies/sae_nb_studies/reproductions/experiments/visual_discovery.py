"""Are the regions of scenes discovered without labels? Atoms of tiny-vit's SAE and five simpler methods.

Regions are known by patch: the digit, the background of each texture, the digit in each ink. For every method,
the single feature that best marks a region on half of the scenes is judged on the other half, by intersection
over union.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

import sae_nb as sn

SHORT = {"n": 120, "methods": ("neurons", "random")}
POINT = "resid_post.6"
METHODS = ("neurons", "PCA", "k-means", "NMF", "random")


def run(seed: int, *, n: int = 200, methods: tuple[str, ...] = METHODS) -> dict[str, float]:
    """Discover regions of `n` scenes of handwriting that the model never saw."""
    model, sae = sn.load_model("tiny-vit", "cpu"), sn.load_sae("tiny-vit/" + POINT)
    scenes = sn.data.scenes(n, seed=3000 + seed, split="test")
    regions = regions_of(scenes)
    found = sn.vision.discover(
        scenes.images,
        model,
        sae,
        POINT,
        regions,
        methods=list(methods),  # type: ignore[arg-type]
        seed=seed,
    )
    kind = np.array([name.partition(" ")[0] for name in found.factors])
    numbers = {}
    for name in ("digit", "texture", "ink"):
        mine = found.iou[kind == name].mean(axis=0)
        numbers[f"{name}, floor"] = float(found.floor[kind == name].mean())
        numbers |= {f"{name}, {method}": float(v) for method, v in zip(found.methods, mine)}
        numbers[f"{name}, ahead"] = float(mine[0] - mine[1:].max())
        numbers[f"{name}, ahead of random"] = float(mine[0] - mine[-1])
    every = found.iou.mean(axis=0)
    numbers |= {f"all, {method}": float(v) for method, v in zip(found.methods, every)}
    numbers["all, ahead"] = float(every[0] - every[1:].max())
    numbers["regions marked best by an atom"] = float((found.iou.argmax(axis=1) == 0).mean())
    return numbers


def regions_of(scenes: sn.data.Scenes) -> dict[str, Tensor]:
    """Return masks by patch: the digit, the background of each texture, the digit in each ink."""
    on = scenes.patch_mask
    regions = {"digit": on}
    for kind, names, labels, where in (
        ("texture", scenes.texture_names, scenes.texture, ~on),
        ("ink", scenes.colour_names, scenes.colour, on),
    ):
        for i, name in enumerate(names):
            regions[f"{kind} {name}"] = where & (labels == i)[:, None]
    return regions

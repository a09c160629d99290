"""Where do attributes go? Absorption, splitting, meta-atoms and stitching on tiny-vit and tiny-gpt.

On tiny-gpt the attribute is a token's first letter, as in the published task; on tiny-vit it is ink on a
patch, whose children are the inks' colours. (`absorbed_parents` does the same where the truth is known.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.evaluation import Absorption, absorption, meta_dictionary, stitch
from sae_nb_studies.recipes.saes._material import scene_factors

SHORT = {"steps": 80, "letters": "s", "meta_steps": 50}
SMALL, LARGE, K = 64, 512, 8
TWIN = 500
"""Added to the seed of the small SAE for its second training, which should have nothing novel."""


def run(
    seed: int,
    *,
    steps: int = 400,
    letters: str = "stahwb",
    meta_steps: int = 300,
) -> dict[str, float]:
    """Train a small and a large SAE on each model, and follow attributes through them.

    `steps` of 512 rows; `letters`: the first letters that are followed; `meta_steps`: training steps of
    the meta-dictionaries, which decompose atoms.
    """
    numbers: dict[str, float] = {}
    for name, acts, attributes in _captured(seed, letters):
        saes = {n: _trained(acts, n, seed, steps) for n in (SMALL, LARGE)}
        for n, sae in saes.items():
            found = [absorption(sae, acts, a, n_bootstrap=0, seed=seed) for a in attributes]
            numbers |= _means(f"{name}, {n} atoms", found)
        meta = meta_dictionary(
            saes[LARGE], steps=meta_steps, seed=seed, n_bootstrap=0, progress=False
        )
        numbers |= {
            f"{name}: meta R²": meta.value,
            f"{name}: meta R² of random atoms": float(meta.control or 0.0),
            f"{name}: meta R² gained": meta.value - float(meta.control or 0.0),
        }
        numbers |= {f"{name}: {k}": v for k, v in stitched(saes, acts, seed, steps).items()}
    return numbers


def stitched(saes: dict[int, Any], acts: sn.Activations, seed: int, steps: int) -> dict[str, float]:
    """Return the share of novel atoms of the large SAE, of random atoms, and of a second small SAE.

    `saes` by number of atoms; `steps`: for how many they were trained.
    """
    novel = stitch(saes[SMALL], saes[LARGE], acts, n_bootstrap=0, seed=seed)
    twin = _trained(acts, SMALL, seed + TWIN, steps)
    repeated = stitch(saes[SMALL], twin, acts, n_bootstrap=0, seed=seed)
    random = float(novel.control or 0.0)
    return {
        "novel share": novel.value,
        "novel share of random atoms": random,
        "novel − random": novel.value - random,
        "novel share of a twin": repeated.value,
        "novel − twin": novel.value - repeated.value,
        "R² gained by stitching": novel.r2_stitched - novel.r2_small,
        "R² gained by stitching a twin": repeated.r2_stitched - repeated.r2_small,
    }


def _captured(seed: int, letters: str) -> list[tuple[str, sn.Activations, list[np.ndarray]]]:
    pictures = sn.data.scenes(300, seed=seed)
    seen = sn.capture(sn.load_model("tiny-vit"), pictures.images, "resid_post.6", progress=False)
    ink = next(f for f in scene_factors(pictures, seen) if f.name == "ink on a patch")
    texts = list(sn.data.stories(160, seed=seed).texts)
    texts += list(sn.data.prose("test").texts[:120])
    read = sn.capture(sn.load_model("tiny-gpt"), texts, "resid_post.0", progress=False)
    words = [str(read.tokens[i]).lstrip(" ␣Ġ·▁").lower() for i in range(len(read))]  # type: ignore[index]
    first = np.array([word[:1] for word in words])
    return [
        ("tiny-vit", seen, [np.asarray(ink.truth)]),
        ("tiny-gpt", read, [first == letter for letter in letters]),
    ]


def _trained(acts: sn.Activations, n_atoms: int, seed: int, steps: int) -> Any:
    sae = sn.TopK(acts.d_in, n_atoms, K, generator=torch.Generator().manual_seed(1000 + seed))
    sn.train(sae, acts, sn.TrainConfig(steps=steps, batch_size=512, seed=seed), progress=False)
    return sae


def _means(name: str, found: list[Absorption]) -> dict[str, float]:
    """Return means over attributes; absorption over those attributes that the main latents detect."""
    told = [one for one in found if not math.isnan(one.value)]
    controls = [one.control for one in found if one.control is not None]
    defined = [value for value in controls if not math.isnan(value)]

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else 0.0

    return {
        f"{name}: attributes told": len(told) / len(found),
        f"{name}: precision": mean([one.precision for one in found]),
        f"{name}: balanced accuracy": mean([one.told.value for one in found]),
        f"{name}: balanced accuracy, random": mean([float(one.told.control or 0) for one in found]),
        f"{name}: absorbed": mean([one.value for one in told]),
        f"{name}: absorbed, random": mean(defined),
        f"{name}: fully absorbed": mean([one.full.value for one in told]),
        f"{name}: splits": mean([one.splits.value for one in told]),
    }

"""Is there a best size and sparsity for concept cones of differences of means? `cones`, with other directions.

There, directions were the weights of concept heads, which avoid the directions of most variance, so that
atoms did worse than random ones at every size. Here they are differences of means, which lie near the
atoms: tiny-vit, block 6, the same concepts. The gain is r(4) of as many random atoms minus r(4). The
floor: differences of means of the labels of other images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.geometry import containment
from sae_nb_studies.reproductions.experiments.cones import concepts

if TYPE_CHECKING:
    from sae_nb.activations import Activations

SHORT = {"steps": 4, "n_images": 30, "expansions": [1, 2], "ks": [2]}
LAYER, EXPANSION, K, S = 6, 8, 8, 4


def run(
    seed: int,
    *,
    steps: int = 300,
    n_images: int = 200,
    expansions: Sequence[int] = (1, 2, 4, 8, 16),
    ks: Sequence[int] = (1, 2, 4, 8, 16, 32),
) -> dict[str, float]:
    """Measure the gain over random atoms at each size (k 8) and each k (8 × 64 atoms), and where it is best.

    `steps` of 512 rows for each SAE; `n_images`: scenes.
    """
    scenes = sn.data.scenes(n_images, seed=seed)
    acts = sn.capture(
        sn.load_model("tiny-vit"), scenes.images, f"resid_post.{LAYER}", progress=False
    )
    wanted = differences(acts, scenes)
    order = np.random.default_rng(seed).permutation(n_images)
    shuffled = differences(acts, scenes, order)
    pairs = dict.fromkeys([*((e, K) for e in expansions), *((EXPANSION, k) for k in ks)])
    found = {pair: gains(acts, (wanted, shuffled), *pair, steps, seed) for pair in pairs}
    numbers = {f"gain, {e} × {k}": gain for (e, k), (gain, _, _) in found.items()}
    floors = {f"gain, shuffled labels, {e} × {k}": floor for (e, k), (_, floor, _) in found.items()}
    numbers |= floors | {
        "gain, shuffled labels": float(np.mean(list(floors.values()))),
        "least gain": min(numbers.values()),
        "least gain beyond shuffled labels": min(gain - floor for gain, floor, _ in found.values()),
        "r(4), middle": found[EXPANSION, min(ks, key=lambda k: abs(k - K))][2],
    }
    lines = {
        "expansion": [found[e, K][0] for e in expansions],
        "k": [found[EXPANSION, k][0] for k in ks],
    }
    for name, line in lines.items():
        numbers[f"best {name} is inside"] = float(0 < int(np.argmax(line)) < len(line) - 1)
        numbers[f"best {name} above the ends"] = float(max(line) - max(line[0], line[-1]))
        at = expansions if name == "expansion" else ks
        numbers[f"best {name}"] = float(at[int(np.argmax(line))])
    return numbers


def gains(
    acts: Activations, directions: Sequence[Tensor], expansion: int, k: int, steps: int, seed: int
) -> tuple[float, float, float]:
    """Train an SAE; return the gain of the concepts, of shuffled ones, and r(4) of the concepts."""
    generator = torch.Generator().manual_seed(1000 + seed)
    sae = sn.TopK(acts.d_in, expansion * acts.d_in, k, generator=generator)
    sn.train(sae, acts, steps=steps, batch_size=512, seed=seed, progress=False)
    atoms = sae.eval().dictionary.detach()
    found = [containment(each, atoms, (S,), n_random=3, seed=seed) for each in directions]
    gain, floor = (float(one.random_atoms.mean() - one.r.mean()) for one in found)
    return gain, floor, float(found[0].r.mean())


def differences(acts: Activations, scenes: Any, order: np.ndarray | None = None) -> Tensor:
    """Subtract the mean of the other rows from the mean of each concept's rows."""
    x = np.asarray(acts.x, np.float64)
    masks = concepts(acts, scenes, order).values()
    means = [x[on].mean(axis=0) - x[~on].mean(axis=0) for on in masks]
    return torch.from_numpy(np.stack(means)).float()

"""E6, do SAEs capture manifolds, tile them, or dilute them? Eight circles and four segments, two at a time.

32 coordinates, a TopK with 96 atoms at k = 2, 4, 8, 16, mean squared error (the paper's best loss, ℓ1, is
not among ours). Restricted R² is that of an affine least-squares fit from eight latents.
"""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import RandomDictionary, explained_variance
from sae_nb_studies.data import planted_manifolds
from sae_nb_studies.geometry import ManifoldCapture, manifold_capture

SHORT = {"steps": 150, "n": 8_000}
N_ATOMS, KS, USED, TEST = 96, (2, 4, 8, 16), 8, 4000


def run(seed: int, *, n: int = 60_000, steps: int = 600, batch: int = 512) -> dict[str, float]:
    """Train a TopK at each k, and measure how its latents represent each manifold.

    `n`: rows to train on.
    """
    data = planted_manifolds(n, seed=seed)
    test = planted_manifolds(TEST, seed=seed, draw=1)
    config = sn.TrainConfig(steps=steps, batch_size=batch, seed=seed)
    numbers: dict[str, float] = {}
    found = []
    for k in KS:
        generator = torch.Generator().manual_seed(seed)
        sae = sn.TopK(data.x.shape[1], N_ATOMS, k, generator=generator)
        sn.train(sae, data.x, config, progress=False)
        codes = sae.encode(test.x)
        found.append(manifold_capture(codes, test, n_atoms=USED))
        numbers |= _told(found[-1], f"k={k}")
        numbers[f"k={k} r2 of all"] = explained_variance(test.x, sae.decode(codes))
    random = RandomDictionary(test.x.shape[1], N_ATOMS, KS[-1], mean=test.x.mean(dim=0), seed=seed)
    chance = SparseCodes.from_dense(random.fit(test.x).encode(test.x).to_dense())
    numbers |= _told(manifold_capture(chance, test, n_atoms=USED), "random")
    return numbers | _trends(found)


def _told(found: ManifoldCapture, name: str) -> dict[str, float]:
    known = found.spread[np.isfinite(found.spread)]
    return {
        f"{name} restricted r2": float(found.r2.mean()),
        f"{name} support": float(found.support.mean()),
        # The spread of a manifold without atoms of its own counts as 1: it is not tiled at all.
        f"{name} spread": float(np.median(known)) if len(known) else 1.0,
    }


def _trends(found: list[ManifoldCapture]) -> dict[str, float]:
    from scipy.stats import spearmanr

    r2 = [float(one.r2.mean()) for one in found]
    support = [float(one.support.mean()) for one in found]
    rises = spearmanr(KS, support).statistic if len(set(support)) > 1 else 0.0
    first, last = (_told(found[i], "x")["x spread"] for i in (0, -1))
    return {
        "peak inside": float(0 < int(np.argmax(r2)) < len(KS) - 1),
        "peak at k": float(KS[int(np.argmax(r2))]),
        "r2 at the peak − at the largest k": max(r2) - r2[-1],
        "support with k": float(rises),
        "spread at largest k − smallest k": last - first,
    }

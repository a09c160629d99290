"""Are the circles on which tiny-modular adds found among the atoms of a trained SAE, unasked?

The states at "=" of all 53² pairs of numbers, a TopK with 128 atoms, k 4, trained on them. `find_shapes` is given no group;
a ring is a circle of sums if a curve over a + b modulo 53, of whichever frequencies, foretells left-out sums on it. Beside it
permuted firings, and the SAE before training.
"""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn
from sae_nb.geometry import FoundShapes, find_shapes
from sae_nb_studies.reproductions.experiments.coactivation_shapes_trained import P, sums_of_modular

SHORT = {"steps": 300}


def run(seed: int, *, steps: int = 1500, n_atoms: int = 128) -> dict[str, float]:
    """Train, look for shapes before and after, and count the rings."""
    x = sums_of_modular()
    sums = np.array([(a + b) % P for a in range(P) for b in range(P)], dtype=float)
    sae = sn.TopK(x.shape[1], n_atoms, 4, generator=torch.Generator().manual_seed(seed))
    numbers = {
        f"{name} before training": n for name, n in _counted(sae.eval(), x, sums, seed).items()
    }
    sn.train(sae, x, sn.TrainConfig(steps=steps, batch_size=512, seed=seed), progress=False)
    return numbers | _counted(sae, x, sums, seed)


def _counted(sae: sn.TopK, x: torch.Tensor, sums: np.ndarray, seed: int) -> dict[str, float]:
    found: FoundShapes = find_shapes(
        sae, x, coordinates={"sum": sums}, periods={"sum": float(P)}, seed=seed
    )
    pairs = list(zip(found.kind, found.coordinate, strict=True))
    return {
        "groups": float(len(pairs)),
        "groups, firings permuted": float(found.n_permuted),
        "shapes named": float(sum(kind != "none" for kind, _ in pairs)),
        "rings": float(sum(kind == "ring" for kind, _ in pairs)),
        "groups that follow the sum": float(sum(name == "sum" for _, name in pairs)),
        "rings that follow the sum": float(sum(pair == ("ring", "sum") for pair in pairs)),
    }

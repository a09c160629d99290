"""How alike are checkpoints along a training, by the rows that each found hard? ITDA's Jaccard and linear CKA.

The same 4096 patches, in the same random order, at four depths of every checkpoint of tiny-vit (250,
1250, 2500 steps and the last); otherwise as in `itda_layers`. Six pairs of checkpoints at each depth;
means over depths.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.itda_layers import SAMPLES, compared

SHORT = {"rows": 600, "depths": [5]}
MODEL = "tiny-vit"
SHOWN = (
    "agreement",
    "agreement of shuffled rows",
    "agreement of distance",
    "jaccard of neighbours",
    "jaccard of all pairs",
    "cka of all pairs",
    "atoms per layer",
)


def run(
    seed: int, *, rows: int = 4096, depths: list[int] | tuple[int, ...] = (2, 5, 8, 11)
) -> dict[str, float]:
    """Measure how far two orders of the pairs of checkpoints agree, on average over depths.

    `rows` that every checkpoint visits; `depths`: after which blocks.
    """
    points = [f"resid_post.{depth}" for depth in depths]
    x = checkpoints(seed, rows, points)
    found = [compared(at_depth, seed) for at_depth in x]
    return {name: float(np.mean([one[name] for one in found])) for name in SHOWN}


def checkpoints(seed: int, rows: int, points: list[str]) -> Tensor:
    """Capture the same rows at every hook point of every checkpoint.

    The shape is (points, checkpoints, rows, d_in), the earliest checkpoint first.
    """
    images = sn.data.scenes(SAMPLES[MODEL], seed=seed).images
    early = [name for name in sn.models.bundled_names() if name.startswith(f"{MODEL}@step-")]
    early.sort(key=lambda name: int(name.rpartition("-")[2]))
    seen = [
        sn.capture(sn.load_model(name), images, points, progress=False) for name in (*early, MODEL)
    ]
    x = torch.stack([torch.stack([of[point].x for of in seen]) for point in points])
    order = torch.randperm(x.shape[2], generator=torch.Generator().manual_seed(seed))
    return x[:, :, order[:rows]]

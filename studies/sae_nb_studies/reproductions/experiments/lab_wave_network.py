"""Oscillators that learn to make waves (the lab): can each point tell how large its square is?

Squares of side 9 to 15 on a grid of 20 × 20, one an image; a point sees a window of 7 × 7 at first, and its eight
neighbours from then on. `WaveNetwork` learns its couplings through 32 steps of time. 200 images to train on, 60 others
to test on. Control: the same network before any time has passed. Also: read by the last height, and couplings that
begin at random instead of as the wave equation.
"""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn

SHORT = {"steps": 120}
GRID, SIDES = 20, (9, 11, 13, 15)
N_TRAIN, N_TEST = 200, 60
NETWORKS = {
    "spectrum": {"readout": "spectrum"},
    "last": {"readout": "last"},
    "random start": {"readout": "spectrum", "start": "random"},
    "no time": {"readout": "nothing"},
}


def run(seed: int, *, steps: int = 1200) -> dict[str, float]:
    """Train each network on one draw of squares; return the share of points that name their side."""
    rng = np.random.default_rng(seed)
    shapes, labels = squares(N_TRAIN, rng)
    asked, truth = squares(N_TEST, rng)
    numbers = {}
    for name, settings in NETWORKS.items():
        network = sn.lab.WaveNetwork(len(SIDES), **settings)  # type: ignore[arg-type]
        model = network.fit(shapes, labels, steps=steps, seed=seed)
        numbers[name] = model.accuracy(asked, truth)
        numbers[f"{name}, last error"] = float(model.losses[-20:].mean())
    sizes = asked.flatten(1).sum(dim=1)
    common = int(labels.repeat_interleave(shapes.flatten(1).sum(dim=1)).mode().values)
    return numbers | {"most common side": float(sizes[truth == common].sum() / sizes.sum())}


def squares(n: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw images with one square each, placed at random, and the number of its side."""
    labels = rng.integers(0, len(SIDES), n)
    shapes = torch.zeros(n, GRID, GRID, dtype=torch.bool)
    for shape, label in zip(shapes, labels, strict=True):
        side = SIDES[label]
        top, left = rng.integers(0, GRID - side + 1, 2)
        shape[top : top + side, left : left + side] = True
    return shapes, torch.as_tensor(labels)

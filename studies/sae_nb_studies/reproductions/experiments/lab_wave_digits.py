"""Oscillators that learn to make waves (the lab): can each point of a digit tell which digit it lies in?

Handwritten digits 0 to 4 at twice their size, as shapes on a grid of 18 × 18; a point sees a window of 7 × 7 at first
(three to four pixels of the digit as it was written), and its eight neighbours from then on. `WaveNetwork` learns its
couplings through 20 steps of time from 700 digits; asked are the points of the others. Read by the spectrum over time,
and by the last height, in half the steps since it learns faster. Control: the same network before any time has passed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know

import sae_nb as sn

SHORT = {"steps": 120}
CLASSES, N_TRAIN, SIDE, EDGE, INK = 5, 700, 16, 1, 0.4
READOUTS = {"spectrum": ("spectrum", 1), "last": ("last", 2), "no time": ("nothing", 1)}
"""How each network is read, and by how much its steps are divided."""
SETTINGS = {"channels": 4, "n_steps": 20}
TRAINING = {"batch_size": 12, "learning_rate": 1e-2}


def run(seed: int, *, steps: int = 3200) -> dict[str, float]:
    """Train each network on one draw of digits; return the share of other digits' points that name theirs."""
    shapes, labels = written()
    order = torch.randperm(len(shapes), generator=torch.Generator().manual_seed(seed))
    known, asked = order[:N_TRAIN], order[N_TRAIN:]
    numbers = {}
    for name, (readout, divided) in READOUTS.items():
        n = steps // divided
        network = sn.lab.WaveNetwork(CLASSES, readout=readout, **SETTINGS)  # type: ignore[arg-type]
        model = network.fit(shapes[known], labels[known], steps=n, seed=seed, **TRAINING)  # type: ignore[arg-type]
        numbers[name] = model.accuracy(shapes[asked], labels[asked])
        numbers[f"{name}, trained on"] = model.accuracy(shapes[known], labels[known])
        numbers[f"{name}, last error"] = float(model.losses[-50:].mean())
        before = model.losses[int(0.85 * n) : int(0.9 * n)]
        numbers[f"{name}, still falling"] = float(before.mean() - model.losses[-50:].mean())
    sizes = shapes[asked].flatten(1).sum(dim=1)
    points = torch.zeros(CLASSES).index_add(0, labels[asked], sizes.float())
    return numbers | {"most common digit": float(points.max() / points.sum())}


def written() -> tuple[torch.Tensor, torch.Tensor]:
    """Return digits as shapes, True where there is ink, and which digit each is."""
    digits = sn.data.digits()
    labels = torch.as_tensor(digits.digit).long()
    kept = labels < CLASSES
    images = torch.as_tensor(digits.images).float()[kept, None]
    large = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear")
    return F.pad(large, (EDGE,) * 4)[:, 0] > INK, labels[kept]

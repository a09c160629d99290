"""A universal SAE on a planted pair: sites taking turns, compared with all decoders learning at once.

The data are those of `crosscoder_planted`: 96 concepts at two sites, 48 equally long at both, 16 a fifth as
long at the second, and at each site 16 that the other lacks. Every SAE has 96 atoms, uses 3 per row, and reads
one site at a time.

A shared concept is found if one atom lies in its direction at both sites (cosine ≥ 0.9), an exclusive one if an
atom does at its own site. Steps of both updates cost the same: one encoder, all decoders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.crosscoder_planted import (
    BOTH,
    FAINT,
    FIRST,
    FOUND,
    L0,
    N_CONCEPTS,
    N_ROWS,
    SECOND,
    WIDTHS,
    planted,
    share,
)

SHORT = {"steps": 100}
ACROSS = ~np.eye(2, dtype=bool)


def run(seed: int, *, steps: int = 1000) -> dict[str, float]:
    """Train by turns, jointly, and by turns on shuffled rows; measure each on the aligned rows.

    `steps` of 256 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    concepts, rows = planted(generator)
    shuffled = [rows[0], rows[1][torch.randperm(N_ROWS, generator=generator)]]
    numbers: dict[str, float] = {}
    for name, update, data in (
        ("turns", "turns", rows),
        ("joint", "joint", rows),
        ("shuffled", "turns", shuffled),
        ("untrained", "turns", rows),
    ):
        start = torch.Generator().manual_seed(1000 + seed)
        u = sn.UniversalSAE(WIDTHS, N_CONCEPTS, L0, update=update, generator=start)  # type: ignore[arg-type]
        if name == "untrained":
            u.initialise(data, start)
        else:
            sn.train(u, data, steps=steps, batch_size=256, seed=seed, progress=False)
        numbers |= {f"{name} {what}": value for what, value in measured(u, concepts, rows).items()}
    for what in ("own", "across r2"):
        numbers[f"{what}, turns − joint"] = numbers[f"turns {what}"] - numbers[f"joint {what}"]
    return numbers


@torch.no_grad()
def measured(u: Any, concepts: list[Tensor], rows: list[Tensor]) -> dict[str, float]:
    """Measure the shares of concepts found, and how well each site is reconstructed from either's code."""
    near = [
        normalize(here, dim=1) @ normalize(part, dim=1).T >= FOUND
        for here, part in zip(concepts, u.dictionaries, strict=True)
    ]
    shared = (near[0] & near[1]).any(dim=1)
    acts = [sn.Activations.from_tensor(part) for part in rows]
    found = sn.studies.evaluation.measure_universality(u, acts, n_bootstrap=0)
    return {
        "shared": share(shared[BOTH]),
        "faint": share(shared[FAINT]),
        "own": share(torch.cat([near[0].any(dim=1)[FIRST], near[1].any(dim=1)[SECOND]])),
        "own r2": float(np.diag(found.r2).min()),
        "across r2": float(found.r2[ACROSS].min()),
        "overlap": found.value,
        "entropy": float(np.nanmean(found.entropy)),
    }

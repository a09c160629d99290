"""Planted concepts, from common to rare: does a controller of frequencies find them where a penalty does not?

80 concepts in 40 dimensions, pushed apart, on with probabilities from 0.1 down to 0.002 and strengths in
[1, 2]; dictionaries of 160 atoms. ReLU + ℓ1 is trained with two penalties, and the better one counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb_studies.reproductions.experiments.shrinkage import repelled

SHORT = {"steps": 150}
N_CONCEPTS, D_IN, N_ATOMS = 80, 40, 160
MOST, LEAST = 0.1, 0.002
N_TRAIN, N_TEST = 50_000, 10_000
FOUND = 0.9
NEVER = 10**6  # steps between two changes of the biases, so they stay fixed


def run(seed: int, *, steps: int = 1500) -> dict[str, float]:
    """Train every kind once and measure the numbers of the claims.

    `steps` of 256 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    concepts = repelled(N_CONCEPTS, D_IN, generator)
    chances = MOST * (LEAST / MOST) ** torch.linspace(0, 1, N_CONCEPTS)
    on = torch.rand(N_TRAIN + N_TEST, N_CONCEPTS, generator=generator) < chances
    x = (on * (1 + torch.rand(on.shape, generator=generator))) @ concepts
    numbers: dict[str, float] = {}
    for name, sae in kinds(seed).items():
        if name == "untrained":
            sae.initialise(x[:N_TRAIN])
        else:
            sn.train(sae, x[:N_TRAIN], steps=steps, batch_size=256, seed=seed, progress=False)
        numbers |= measured(name, sae.eval(), x[N_TRAIN:], concepts)
    best = max(numbers[f"relu {price} found"] for price in ("low", "high"))
    return numbers | {"relu found": best, "gba ahead of relu": numbers["gba found"] - best}


def kinds(seed: int) -> dict[str, SparseAutoencoder]:
    """Build every dictionary by name, all from the same random atoms."""
    made = {
        "gba": sn.GroupBiasAdaptation(D_IN, N_ATOMS, generator=_drawn(seed)),
        "fixed": sn.GroupBiasAdaptation(D_IN, N_ATOMS, every=NEVER, generator=_drawn(seed)),
        "relu low": sn.ReLU(D_IN, N_ATOMS, sparsity=0.15, generator=_drawn(seed)),
        "relu high": sn.ReLU(D_IN, N_ATOMS, sparsity=0.4, generator=_drawn(seed)),
        "untrained": sn.ReLU(D_IN, N_ATOMS, generator=_drawn(seed)),
    }
    return dict(made)


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


@torch.no_grad()
def measured(name: str, sae: SparseAutoencoder, x: Tensor, concepts: Tensor) -> dict[str, float]:
    """Count the concepts found, of all and of the rarer half; measure R² and L0."""
    *_, cosines = sn.evaluation.match_atoms(concepts, sae.dictionary)
    found = cosines >= FOUND
    return {
        f"{name} found": float(found.mean()),
        f"{name} found, rare": float(found[N_CONCEPTS // 2 :].mean()),
        f"{name} r2": sn.evaluation.explained_variance(x, sae(x)),
        f"{name} l0": float(sae.encode(x).l0.double().mean()),
    }

"""A planted map: inputs hold more concepts than dimensions, and each concept writes a direction of its own.

64 concepts, each on with chance 0.03 and a strength in [1, 2]. x = Σ z_j e_j in 40 dimensions and
y = Σ z_j w_j in 48, with read and write directions drawn independently and pushed apart. No linear map takes
x to y, because x mixes concepts; a dictionary that undoes the mixing can write y. Each has 64 atoms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb_studies.reproductions.experiments.shrinkage import repelled

SHORT = {"steps": 250}
N_CONCEPTS, D_IN, D_OUT, CHANCE = 64, 40, 48, 0.03
N_TRAIN, N_TEST = 40_000, 10_000
TARGET = 4  # enough for 95 % of the inputs, which hold 1.9 concepts on average
FOUND = 0.9


def run(seed: int, *, steps: int = 3000) -> dict[str, float]:
    """Train every kind once and measure what the claims ask for.

    `steps` of 256 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    read, written = (repelled(N_CONCEPTS, width, generator) for width in (D_IN, D_OUT))
    on = torch.rand(N_TRAIN + N_TEST, N_CONCEPTS, generator=generator) < CHANCE
    z = on * (1 + torch.rand(on.shape, generator=generator))
    x, y = z @ read, z @ written
    train, test = (x[:N_TRAIN], y[:N_TRAIN]), (x[N_TRAIN:], y[N_TRAIN:])
    numbers = {"linear r2": linear_r2(train, test)}
    for name, t in kinds(seed).items():
        if name == "untrained":
            t.initialise(train)
        else:
            sn.train(t, train, steps=steps, batch_size=256, seed=seed, progress=False)
        numbers |= measured(name, t.eval(), test, read, written)
    sae = sn.TopK(D_OUT, N_CONCEPTS, TARGET, generator=torch.Generator().manual_seed(2000 + seed))
    sn.train(sae, train[1], steps=steps, batch_size=256, seed=seed, progress=False)
    numbers["sae of y r2"] = sn.evaluation.explained_variance(test[1], sae(test[1]).detach())
    numbers["sae of y found"] = found(written, sae.dictionary)
    numbers["skip ahead of topk"] = numbers["skip r2"] - numbers["topk r2"]
    return numbers


def kinds(seed: int) -> dict[str, SparseAutoencoder]:
    """Create every dictionary by name; ReLU is the published recipe, with its penalty set for the same L0."""

    def make(kind: Any, *counts: float, **settings: Any) -> SparseAutoencoder:
        generator = torch.Generator().manual_seed(1000 + seed)
        t: SparseAutoencoder = kind(
            D_IN, D_OUT, N_CONCEPTS, *counts, generator=generator, **settings
        )
        return t

    return {
        "topk": make(sn.Transcoder, TARGET),
        "batchtopk": make(sn.Transcoder, TARGET, base="BatchTopK"),
        "relu": make(sn.Transcoder, base="ReLU", l0=float(TARGET)),
        "skip": make(sn.SkipTranscoder, TARGET),
        "untrained": make(sn.Transcoder, TARGET),
    }


@torch.no_grad()
def measured(
    name: str, t: SparseAutoencoder, test: tuple[Tensor, Tensor], read: Tensor, written: Tensor
) -> dict[str, float]:
    """Return R² of y, L0, and the shares of concepts found among write and read directions."""
    x, y = test
    return {
        f"{name} r2": sn.evaluation.explained_variance(y, t(x)),
        f"{name} l0": float(t.encode(x).l0.double().mean()),
        f"{name} found": found(written, t.dictionary),
        f"{name} read": found(read, normalize(t.encoder.weight.detach(), dim=1)),  # type: ignore[union-attr, operator]
    }


def found(concepts: Tensor, atoms: Tensor) -> float:
    """Return the share of concepts with an atom of their own at a cosine of at least 0.9."""
    *_, cosines = sn.evaluation.match_atoms(concepts, atoms)
    return float((cosines >= FOUND).mean())


def linear_r2(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Return R² of the best affine map from x to y."""
    means = [part.mean(dim=0) for part in train]
    solution = torch.linalg.lstsq(train[0] - means[0], train[1] - means[1]).solution
    return sn.evaluation.explained_variance(test[1], (test[0] - means[0]) @ solution + means[1])

"""A planted cross-layer map: a concept is read from one layer, and writes at that and all later ones.

Four layers of 32 dimensions; 12 concepts enter at each, on with probability 0.04 and a strength in [1,
2]. They remain readable, as in a residual stream: x_l = Σ_{a ≤ l} z_a E_a. Each writes a different
direction at every layer: y_l = Σ_{a ≤ l} z_a W_{a→l}. A cross-layer transcoder can express a concept with
one atom, read where it enters; transcoders of single layers need one at every layer where it writes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb_studies.reproductions.experiments.shrinkage import repelled

SHORT = {"steps": 150}
N_LAYERS, PER_LAYER, WIDTH, CHANCE = 4, 12, 32, 0.04
N_TRAIN, N_TEST = 30_000, 8_000
K = 2  # new concepts of a layer that are on; more than two in 1 % of the rows
ENOUGH = {
    "n_atoms": N_LAYERS * PER_LAYER,
    "k": 4,
}  # all concepts of the last layer, and those that are on
FOUND, FIRES_WITH = 0.9, 0.7
LAYERS = range(N_LAYERS)


def run(seed: int, *, steps: int = 1600) -> dict[str, float]:
    """Train every kind once and measure the numbers of the claims.

    `steps` of 256 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    read = repelled(N_LAYERS * PER_LAYER, WIDTH, generator).chunk(N_LAYERS)
    written = [repelled((at + 1) * PER_LAYER, WIDTH, generator).chunk(at + 1) for at in LAYERS]
    size = (N_LAYERS, N_TRAIN + N_TEST, PER_LAYER)
    z = (torch.rand(size, generator=generator) < CHANCE) * (
        1 + torch.rand(size, generator=generator)
    )
    xs = [sum((z[a] @ read[a] for a in range(at + 1)), torch.zeros(())) for at in LAYERS]
    ys = [sum((z[a] @ written[at][a] for a in range(at + 1)), torch.zeros(())) for at in LAYERS]
    train, test = ([[rows[part] for rows in side] for side in (xs, ys)] for part in parts())
    concepts = torch.cat(list(z[:, N_TRAIN:]), dim=1)
    shuffled = torch.randperm(N_TRAIN, generator=generator)

    numbers: dict[str, float] = {}
    for name, base in (
        ("clt", "TopK"),
        ("batchtopk", "BatchTopK"),
        ("shuffled", "TopK"),
        ("untrained", "TopK"),
    ):
        c = cross_layer(seed, base)
        if name == "untrained":
            c.initialise(tuple(train))
        else:
            target = [y[shuffled] for y in train[1]] if name == "shuffled" else train[1]
            sn.train(c, (train[0], target), steps=steps, batch_size=256, seed=seed, progress=False)
        numbers |= measured(name, c.encode(test[0]), c(test[0]), test[1], concepts)
        numbers[f"{name} found"] = found(c, written)
    for name, sizes in (("same", {"n_atoms": PER_LAYER, "k": K}), ("enough", ENOUGH)):
        layers = single_layers(seed, train, steps, sizes)
        codes = [t.encode(x) for t, x in zip(layers, test[0], strict=True)]
        outputs = [t(x) for t, x in zip(layers, test[0], strict=True)]
        numbers |= measured(name, codes, outputs, test[1], concepts)
    numbers["atoms, enough − clt"] = numbers["enough atoms"] - numbers["clt atoms"]
    numbers["linear r2"] = linear_r2(train, test)
    return numbers


def parts() -> tuple[slice, slice]:
    """Return the rows to train on, and the rows to measure on."""
    return slice(0, N_TRAIN), slice(N_TRAIN, None)


def cross_layer(seed: int, base: str) -> Any:
    """Build the cross-layer transcoder, with as many atoms at each layer as concepts enter there."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return sn.CrossLayerTranscoder([WIDTH] * N_LAYERS, PER_LAYER, K, base=base, generator=generator)


def single_layers(seed: int, train: list[Any], steps: int, sizes: dict[str, int]) -> list[Any]:
    """Train a TopK transcoder for each layer, on the same rows."""
    layers = []
    for at in LAYERS:
        generator = torch.Generator().manual_seed(2000 + seed + at)
        t = sn.Transcoder(WIDTH, WIDTH, **sizes, generator=generator)  # type: ignore[arg-type]
        pair = (train[0][at], train[1][at])
        sn.train(t, pair, steps=steps, batch_size=256, seed=seed, progress=False)
        layers.append(t)
    return layers


@torch.no_grad()
def measured(
    name: str, codes: list[SparseCodes], outputs: list[Tensor], ys: list[Tensor], concepts: Tensor
) -> dict[str, float]:
    """Return mean R² over layers, atoms per row over all layers, and the atoms that fire with a concept."""
    r2 = [sn.evaluation.explained_variance(y, out) for y, out in zip(ys, outputs, strict=True)]
    together = sum((fires_with(concepts, one).sum(dim=1) for one in codes), torch.zeros(()))
    return {
        f"{name} r2": sum(r2) / len(r2),
        f"{name} l0": float(sum(one.l0.double().mean() for one in codes)),
        f"{name} atoms": float(together.double().mean()),
    }


def fires_with(concepts: Tensor, codes: SparseCodes) -> Tensor:
    """Mark the atoms whose correlation with a concept over rows is at least 0.7, (concepts, atoms)."""
    n, ones = len(concepts), torch.ones(1, len(concepts))
    mean = (ones @ codes)[0] / n
    spread = (
        ((ones @ codes.with_values(codes.values.square()))[0] / n - mean.square())
        .clamp_min(1e-12)
        .sqrt()
    )
    centred = concepts - concepts.mean(dim=0)
    return (centred.T @ codes) / n / (
        centred.square().mean(dim=0).sqrt()[:, None] * spread
    ) >= FIRES_WITH


def found(c: Any, written: list[Any]) -> float:
    """Return the share of concepts with an atom that is read where they enter and writes as they do.

    The cosine is over all layers together.
    """
    shares = []
    for a in LAYERS:
        truth = torch.cat([written[at][a] for at in range(a, N_LAYERS)], dim=1)
        atoms = torch.cat([c.written(a, at) for at in range(a, N_LAYERS)], dim=1)
        *_, cosines = sn.evaluation.match_atoms(normalize(truth, dim=1), normalize(atoms, dim=1))
        shares.append(float((cosines >= FOUND).mean()))
    return sum(shares) / len(shares)


def linear_r2(train: list[Any], test: list[Any]) -> float:
    """Return mean R² over layers of the best affine map of each layer's input."""
    r2 = []
    for x, y, x_test, y_test in zip(*train, *test, strict=True):
        solution = torch.linalg.lstsq(x - x.mean(dim=0), y - y.mean(dim=0)).solution
        out = (x_test - x.mean(dim=0)) @ solution + y.mean(dim=0)
        r2.append(sn.evaluation.explained_variance(y_test, out))
    return sum(r2) / len(r2)

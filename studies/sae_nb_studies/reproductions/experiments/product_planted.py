"""A planted product: two concepts that are on together write a direction that neither writes alone.

16 concepts with orthonormal directions in 24 dimensions, three on in each input with strengths in [½, 2], plus
z_0 z_1 along a seventeenth direction. Concepts 0 and 1 are put together in a tenth of the inputs; three other
pairs, which write nothing together, in a fifth each. SAEs use three atoms of 16, so that an atom for the
product would cost an input one of its concepts; or three of 32, where some are to spare.
"""

from __future__ import annotations

import torch
from torch import Tensor

import sae_nb as sn

SHORT = {"steps": 300}
N_CONCEPTS, D, K, RANK = 16, 24, 3, 4
N_TRAIN, N_TEST = 20_000, 4_000
SPARE = 32
TOGETHER = (0.1, 0.2, 0.2, 0.2)  # how often concepts 0 and 1, 2 and 3, … are put together
LEARNING_RATE = 0.03  # for both, twice their default: they then end in a poor dictionary less often


def run(seed: int, *, steps: int = 600) -> dict[str, float]:
    """Train PolySAE and TopK on data with the product and without, and rank the planted pair.

    `steps` of 512 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(D, N_CONCEPTS + 1, generator=generator)).Q.T
    z = concepts(N_TRAIN + N_TEST, generator)
    without = z @ directions[:-1]
    x = without + (z[:, 0] * z[:, 1])[:, None] * directions[-1]
    both = (z[N_TRAIN:, :2] > 0).all(dim=1)
    cases = {
        "poly": (sn.PolySAE, x, N_CONCEPTS, steps),
        "topk": (sn.TopK, x, N_CONCEPTS, steps),
        "spare": (sn.PolySAE, x, SPARE, steps),
        "no product": (sn.PolySAE, without, N_CONCEPTS, steps),
        "untrained": (sn.PolySAE, x, N_CONCEPTS, 0),
    }
    numbers: dict[str, float] = {}
    for name, (kind, rows, n_atoms, n_steps) in cases.items():
        sae = trained(kind, n_atoms, rows[:N_TRAIN], n_steps, seed)
        numbers |= measured(name, sae, rows[N_TRAIN:], both, directions[:-1])
    for name, kind in (("given poly", sn.PolySAE), ("given topk", sn.TopK)):
        sae = trained(kind, N_CONCEPTS, x[:N_TRAIN], 0, seed)
        for weight in (sae.operator.weight, sae.encoder.weight):  # type: ignore[attr-defined]
            weight.data.copy_(directions[:-1])
        config = sn.TrainConfig(steps=steps // 2, batch_size=512, seed=seed)
        sn.train(sae, x[:N_TRAIN], config, progress=False)
        numbers |= measured(name, sae, x[N_TRAIN:], both, directions[:-1])
    numbers["given ahead of topk"] = (
        numbers["given poly r2 of both"] - numbers["given topk r2 of both"]
    )
    numbers["poly ahead of topk"] = numbers["poly r2 of both"] - numbers["topk r2 of both"]
    return numbers


def concepts(n: int, generator: torch.Generator) -> Tensor:
    """Draw strengths (n, 16) with three concepts on, in some rows a planted pair among them."""
    chance = torch.rand(n, N_CONCEPTS, generator=generator)
    shares = torch.tensor([*TOGETHER, 1 - sum(TOGETHER)])
    pair = torch.multinomial(shares, n, replacement=True, generator=generator)
    for i in range(len(TOGETHER)):
        chance[pair == i, 2 * i : 2 * i + 2] += 1
    on = torch.zeros(n, N_CONCEPTS).scatter(1, chance.topk(K, dim=1).indices, 1.0)
    return on * (0.5 + 1.5 * torch.rand(n, N_CONCEPTS, generator=generator))


def trained(kind: type[sn.TopK], n_atoms: int, x: Tensor, steps: int, seed: int) -> sn.TopK:
    """Train a PolySAE or TopK from the same first atoms; only initialise it if `steps` is 0."""
    settings = {"rank": RANK} if kind is sn.PolySAE else {}
    generator = torch.Generator().manual_seed(1000 + seed)
    sae = kind(D, n_atoms, K, generator=generator, **settings)  # type: ignore[arg-type]
    if not steps:
        sae.initialise(x, generator)
        return sae.eval()
    config = sn.TrainConfig(steps=steps, batch_size=512, learning_rate=LEARNING_RATE, seed=seed)
    sn.train(sae, x, config, progress=False)
    return sae


@torch.no_grad()
def measured(
    name: str, sae: sn.TopK, x: Tensor, both: Tensor, directions: Tensor
) -> dict[str, float]:
    """Return R², and the planted pair's rank among all pairs, by decoder products and by co-occurrence."""
    codes, x_hat = sae.encode(x), sae(x)
    _, atoms, _ = sn.evaluation.match_atoms(directions, sae.dictionary)
    planted = {int(atoms[0]), int(atoms[1])}
    active = (codes.to_dense() > 0).double()
    first, second = torch.triu_indices(sae.n_atoms, sae.n_atoms, 1)
    order = (active.T @ active)[first, second].argsort(descending=True, stable=True)
    by_codes = [{int(first[i]), int(second[i])} for i in order]
    numbers = {
        f"{name} r2": sn.evaluation.explained_variance(x, x_hat),
        f"{name} r2 of both": sn.evaluation.explained_variance(x[both], x_hat[both]),
        f"{name} rank by co-occurrence": float(1 + by_codes.index(planted)),
    }
    if isinstance(sae, sn.PolySAE):
        table = sae.interactions(len(by_codes))
        pairs = [{int(i), int(j)} for i, j in zip(table.atom, table.other, strict=True)]
        numbers[f"{name} rank"] = float(1 + pairs.index(planted))
    return numbers

"""E6, on planted data: which SAEs shrink their output, meet their L0, and give an input the atoms it needs?

48 unit features pushed apart in 24 dimensions, each on independently with chance 0.05 and a strength in
[1, 2]: 2.4 per input on average, from none to nine. Every SAE has 48 atoms and its own recipe.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder

SHORT = {"steps": 600}
N_FEATURES, D_IN, CHANCE = 48, 24, 0.05
N_TRAIN, N_TEST = 40_000, 10_000
TARGET, AT = 3, 5.0


def run(seed: int, *, steps: int = 2500) -> dict[str, float]:
    """Train every kind once and measure what the claims ask for.

    `steps` of 256 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    features = repelled(N_FEATURES, D_IN, generator)
    z = drawn(N_TRAIN + N_TEST, generator)
    x, test, needed = (z @ features)[:N_TRAIN], (z @ features)[N_TRAIN:], (z > 0)[N_TRAIN:].sum(1)
    length = float((x - x.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    numbers: dict[str, float] = {}
    for name, sae in kinds(seed, length).items():
        if name != "untrained":
            sn.train(sae, x, sn.TrainConfig(steps=steps, batch_size=256, seed=seed), progress=False)
        else:
            sae.initialise(x[:8192], generator)
            sae.eval()
        found = measured(sae, test, needed, features)
        numbers |= {f"{name} {what}": value for what, value in found.items()}
    return numbers | compared(numbers)


def repelled(n: int, width: int, generator: torch.Generator) -> Tensor:
    """Return unit directions pushed apart by descent on the sum of fourth powers of their cosines."""
    rows = torch.randn(n, width, generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([rows], lr=0.02)
    for _ in range(400):
        optimiser.zero_grad()
        unit = normalize(rows, dim=1)
        (unit @ unit.T).pow(4).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return normalize(rows.detach(), dim=1)


def drawn(n: int, generator: torch.Generator) -> Tensor:
    """Draw true codes: each feature is on with chance 0.05, at a strength uniform in [1, 2]."""
    on = torch.rand(n, N_FEATURES, generator=generator) < CHANCE
    return on * (1 + torch.rand(n, N_FEATURES, generator=generator))


def kinds(seed: int, length: float) -> dict[str, SparseAutoencoder]:
    """Create every SAE by name; ReLU's λ is 0.3 and 0.6 in the units of the inputs."""

    def make(kind: Any, *counts: float, **settings: float) -> SparseAutoencoder:
        # Not the seed of the features: with the same one, the first atoms would be the true features.
        generator = torch.Generator().manual_seed(1000 + seed)
        sae: SparseAutoencoder = kind(D_IN, N_FEATURES, *counts, generator=generator, **settings)
        return sae

    return {
        "l1 .3": make(sn.ReLU, sparsity=0.3 / length),
        "l1 .6": make(sn.ReLU, sparsity=0.6 / length),
        "l1 at 5": make(sn.ReLU, l0=AT),
        "gated at 5": make(sn.Gated, l0=AT),
        "topk": make(sn.TopK, TARGET),
        "batchtopk": make(sn.BatchTopK, TARGET),
        "jumprelu": make(sn.JumpReLU, float(TARGET)),
        "untrained": make(sn.BatchTopK, TARGET),
    }


@torch.no_grad()
def measured(
    sae: SparseAutoencoder, test: Tensor, needed: Tensor, features: Tensor
) -> dict[str, float]:
    """Return L0, R², matched cosine, the best rescaling of the output, and how L0 follows the number needed."""
    codes = sae.encode(test)
    used = codes.l0.double()
    centre = test.mean(dim=0)
    x, x_hat = test - centre, sae.decode(codes) - centre
    *_, cosines = sn.evaluation.match_atoms(features, sae.dictionary)
    both = torch.stack([used, needed.double()])
    return {
        "l0": float(used.mean()),
        "l0 sd": float(used.std()),
        "r2": sn.evaluation.explained_variance(test, sae.decode(codes)),
        "mmcs": float(cosines.mean()),
        "stretch": float((x * x_hat).sum() / x_hat.square().sum()),
        "follows": float(torch.corrcoef(both)[0, 1]) if float(used.std()) > 0 else 0.0,
    }


def compared(numbers: dict[str, float]) -> dict[str, float]:
    """Return what the claims ask for: the worst of the kinds that each is about."""
    free = ("gated at 5", "topk", "batchtopk", "jumprelu")
    adaptive = ("batchtopk", "jumprelu")
    return {
        "l1 least stretch": min(numbers["l1 .3 stretch"], numbers["l1 .6 stretch"]),
        "others' largest stretch": max(abs(numbers[f"{name} stretch"] - 1) for name in free),
        "batchtopk off target": abs(numbers["batchtopk l0"] / TARGET - 1),
        "jumprelu off target": abs(numbers["jumprelu l0"] / TARGET - 1),
        "batchtopk ahead of topk": numbers["batchtopk r2"] - numbers["topk r2"],
        "adaptive follow, least": min(numbers[f"{name} follows"] for name in adaptive),
        "gated ahead of l1": numbers["gated at 5 r2"] - numbers["l1 at 5 r2"],
        "l0 apart at 5": abs(numbers["gated at 5 l0"] - numbers["l1 at 5 l0"]),
    }

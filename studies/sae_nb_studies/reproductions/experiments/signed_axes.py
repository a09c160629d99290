"""Concepts with two directions: one atom of AbsTopK, or two of TopK? (planted axes)

Twenty axes in 32 dimensions; each input has three of them, to either side. AbsTopK keeps the k codes that are
largest in size, with their signs; TopK has codes above 0 alone. TopK is given as many atoms, and twice as many.
"""

from __future__ import annotations

import torch
from torch import Tensor

import sae_nb as sn

SHORT = {"steps": 150, "n": 4000}
D_IN, N_AXES, ACTIVE, FOUND = 32, 20, 3, 0.95
TEST = 4000


def run(seed: int, *, steps: int = 1000, n: int = 20_000) -> dict[str, float]:
    """Train the three on the same rows; count the axes that they find, and with how many atoms."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.nn.functional.normalize(torch.randn(N_AXES, D_IN, generator=generator))
    x = rows(axes, n + TEST, generator)
    made = {
        "abs_topk": sn.AbsTopK(D_IN, N_AXES, ACTIVE, generator=generator),
        "topk": sn.TopK(D_IN, N_AXES, ACTIVE, generator=generator),
        "topk, twice": sn.TopK(D_IN, 2 * N_AXES, ACTIVE, generator=generator),
        "untrained": sn.AbsTopK(D_IN, N_AXES, ACTIVE, generator=generator),
    }
    numbers: dict[str, float] = {}
    for name, sae in made.items():
        if name != "untrained":
            sn.train(sae, x[:n], sn.TrainConfig(steps=steps, batch_size=256, seed=seed))
        numbers |= {f"{name}, {what}": value for what, value in measured(sae, axes, x[n:]).items()}  # type: ignore[arg-type]
    return numbers


def rows(axes: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw inputs of three axes each, with strengths of 1 to 2 to either side."""
    chosen = torch.rand(n, N_AXES, generator=generator).topk(ACTIVE, dim=1).indices
    side = torch.randint(0, 2, (n, ACTIVE), generator=generator) * 2.0 - 1
    strengths = side * (1 + torch.rand(n, ACTIVE, generator=generator))
    return torch.zeros(n, N_AXES).scatter(1, chosen, strengths) @ axes


def measured(sae: sn.TopK, axes: Tensor, x: Tensor) -> dict[str, float]:
    """Return R², and the shares of axes that one atom serves to both sides, or two atoms one side each."""
    with torch.no_grad():
        left = float((x - sae(x)).square().sum() / (x - x.mean(dim=0)).square().sum())
    cosines = axes @ sae.dictionary.T
    plus, minus = (cosines > FOUND).any(dim=1), (cosines < -FOUND).any(dim=1)
    signed = bool((sae.encode(x[:500]).values < 0).any())
    both = plus & minus
    return {
        "R²": 1 - left,
        "by one atom": float(((plus | minus) if signed else torch.zeros_like(plus)).float().mean()),
        "by two atoms": float(both.float().mean()),
        "found to a side": float((plus | minus).float().mean()),
    }

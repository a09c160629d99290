"""Target frequencies of atoms: shares of rows that fall with the rank, (rank + q)^−s, and their fit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


def zipf_rates(
    n_atoms: int, total: float, exponent: float, offset: float
) -> Float[Tensor, " n_atoms"]:
    """Return rates in proportion to (rank + q)^−s, rank 1, 2, …, that add up to `total`; none is above 1.

    The excess of an atom that would fire more often than in every row goes to the others.

    `exponent`: s; 0 gives every atom the same. `offset`: q.
    """
    weights = torch.arange(1, n_atoms + 1, dtype=torch.float64).add(offset).pow(-exponent)
    free = torch.ones(n_atoms, dtype=torch.bool)
    rates = torch.ones(n_atoms, dtype=torch.float64)
    while bool(free.any()):
        left = total - float((~free).sum())
        rates[free] = left * weights[free] / weights[free].sum()
        beyond = rates > 1
        if not bool(beyond.any()):
            break
        rates[beyond] = 1.0
        free &= ~beyond
    return rates


OFFSETS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Offsets q that a fit tries. Ours."""


class ZipfLaw(NamedTuple):
    """A law rate = scale · (rank + offset)^−exponent."""

    exponent: float
    offset: float
    scale: float

    def at(self, rank: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the rate at some ranks, from 1."""
        return self.scale * (rank.double() + self.offset).pow(-self.exponent)


def fit_zipf(rates: Float[Tensor, " n_atoms"]) -> ZipfLaw | None:
    """Return the law of the more frequent half of the atoms, by least squares of logarithms; None
    without three.

    The rarer half is left out because it is what the law is to be compared with: atoms that training has
    left behind would pull it down to themselves. Ours.
    """
    upper = rates.double().sort(descending=True).values[: (len(rates) + 1) // 2]
    upper = upper[upper > 0]
    if len(upper) < 3:
        return None
    offsets = torch.tensor(OFFSETS, dtype=torch.float64, device=upper.device)
    ranks = torch.arange(1, len(upper) + 1, dtype=torch.float64, device=upper.device)
    logs, level = (ranks + offsets[:, None]).log(), upper.log()
    across, up = logs - logs.mean(dim=1, keepdim=True), level - level.mean()
    slope = (across * up).sum(dim=1) / across.square().sum(dim=1)
    misses = (up - slope[:, None] * across).square().sum(dim=1)
    best = int(misses.argmin())
    start = level.mean() - slope[best] * logs[best].mean()
    return ZipfLaw(-float(slope[best]), OFFSETS[best], float(start.exp()))

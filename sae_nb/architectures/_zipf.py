"""How often atoms should fire: shares of rows that fall with the rank, (rank + q)^−s."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def zipf_rates(
    n_atoms: int, total: float, exponent: float, offset: float
) -> Float[Tensor, " n_atoms"]:
    """Rates in proportion to (rank + q)^−s, rank 1, 2, …, that add up to `total`; none is above 1.

    What an atom may not have, because it fires in every row already, goes to the others.

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

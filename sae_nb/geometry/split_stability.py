"""Is a geometry in all coordinates, or in a few? Two halves of the coordinates, their distances compared.

ρ = mean over splits of Spearman(RDM(X_A), RDM(X_B)), RDM the cosine distances of all pairs of rows.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_matrix

MOST_ROWS = 1600
"""Rows compared pair by pair, drawn at random from more."""


@torch.no_grad()
def feature_split_stability(
    x: Float[Tensor, "n d_in"], *, n_splits: int = 30, seed: int = 0
) -> float:
    """How alike the distances are that two random halves of the coordinates give.

    1 if every half tells the same geometry, 0 for coordinates that share nothing. Rows, not
    coordinates, must not be split: distances of two different sets of rows have no common pairs.

    Parameters
    ----------
    x
        Rows, with four coordinates or more; 1600 of them are looked at.
    n_splits
        Random halves.
    seed
        Of all draws.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than three rows or four coordinates, or a half of them is zero in a row.

    Source
    ------
    Shesha's feature split (shesha-geometry 0.2.22), the one of its splits whose pairs correspond.

    Example
    -------
    >>> draws = torch.Generator().manual_seed(0)
    >>> low_rank = torch.randn(80, 3, generator=draws) @ torch.randn(3, 200, generator=draws)
    >>> feature_split_stability(low_rank, n_splits=5) > 0.9
    True
    """
    from scipy.stats import rankdata

    rows = check_matrix(x).double()
    n_splits = check_count(n_splits, name="n_splits")
    generator = torch.Generator().manual_seed(seed)
    if len(rows) > MOST_ROWS:
        rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_ROWS]]
    n, d = rows.shape
    if n < 3 or d < 4:
        raise ValueError(
            f"`x` must have three rows and four coordinates at least, got {n} and {d}."
        )
    upper = torch.triu_indices(n, n, offset=1)
    found = []
    for _ in range(n_splits):
        order = torch.randperm(d, generator=generator)
        ranks = [
            rankdata(_distances(rows[:, part])[tuple(upper)].numpy())
            for part in (order[: d // 2], order[d // 2 :])
        ]
        found.append(float(np.corrcoef(*ranks)[0, 1]))
    return float(np.mean(found))


def _distances(x: Tensor) -> Tensor:
    norms = x.norm(dim=1, keepdim=True)
    if bool((norms == 0).any()):
        raise ValueError(
            "`x` must have no row that is zero in half of its coordinates: it has no direction there. "
            "Leave such rows out."
        )
    unit = x / norms
    return 1 - unit @ unit.T

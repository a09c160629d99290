"""E5 (iii), growth planted: does dimension by position find a growing rank, and nothing by chance?

Token t lies in 4 + 4t of 64 dimensions (`sn.data.growing_rank`). No SAE is trained.
"""

from __future__ import annotations

import statistics

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.temporal import trend

SHORT = {"orders": 5}
FIRST, STEP = 4, 4


def run(seed: int, *, sequences: int = 400, orders: int = 20) -> dict[str, float]:
    """Compute the statistic on the process, and on the same process with positions in random order.

    `orders`: number of orders over which the null is averaged, since one has only 12 positions to rank,
    and a spread of 0.3.
    """
    time = sn.studies.temporal
    x = sn.studies.data.growing_rank(sequences, first=FIRST, step=STEP, seed=seed)
    found = time.dimension_by_position(x)
    off = [value / (FIRST + STEP * t) - 1 for t, value in found.items()]
    mixed = [
        trend(time.dimension_by_position(time.permuted_order(x, 1000 * seed + i)))
        for i in range(orders)
    ]
    return {
        "growth": trend(found),
        "growth, order lost": statistics.fmean(mixed),
        "largest error": max(abs(value) for value in off),
    }

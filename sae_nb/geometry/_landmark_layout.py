"""Layouts of very many rows: some, drawn at random, are laid out, and the rest placed next to their
nearest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.geometry._cosines import SMALL_TILE, tile_rows, unit_rows

WHOLE_UP_TO = 50_000
"""Rows up to which all are laid out, and give the axes of PCA."""

SAMPLE = 20_000
"""Rows laid out of more than that. Ours: `benchmarks/maps.py layout` measures it."""

N_ANCHORS = 5
"""Rows of the sample, the nearest, that a placed row may lie between."""

_APART = 0.5  # of the way to the nearest anchor's own neighbour: rows of one anchor do not coincide


def sample_rows(n_rows: int, sample: int | None, seed: int) -> Int[np.ndarray, " m"] | None:
    """Return the rows that are laid out, in order; None where these are all.

    They are drawn without regard to where they lie, so that dense places stay dense.
    """
    n_laid_out = (n_rows if n_rows <= WHOLE_UP_TO else SAMPLE) if sample is None else sample
    if n_laid_out >= n_rows:
        return None
    return np.sort(np.random.default_rng(seed).permutation(n_rows)[:n_laid_out])


def place_rest(
    x: Float[Tensor, "n d"],
    sample: Int[np.ndarray, " m"],
    xy: Float[np.ndarray, "m 2"],
    *,
    seed: int,
    say: Callable[[str, float], None],
) -> Float[np.ndarray, "n 2"]:
    """Return places of all rows, those of the sample as they are.

    A row lies at the weighted mean of those of its five nearest sampled rows (by cosine) that are
    neighbours of the nearest on the map: a mean over places far apart would lie among strangers. A step
    at random, half as long as from that row to its neighbour, keeps rows of one place apart. Cosines
    are made in tiles: (rows × sample) is never held.
    """
    from scipy.spatial import cKDTree

    k = min(N_ANCHORS, len(sample) - 1)
    to_neighbours = cKDTree(xy).query(xy, k + 1)[0]
    places = torch.from_numpy(np.ascontiguousarray(xy, np.float32))
    reach, apart = (torch.from_numpy(to_neighbours[:, i]).float() for i in (k, 1))
    anchors = unit_rows(x[torch.from_numpy(sample)])
    step = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(seed))
    made = torch.empty(len(x), 2)
    for rows in torch.split(torch.arange(len(x)), tile_rows(len(sample), SMALL_TILE)):
        say("placing the rest", float(rows[0]) / len(x))
        cosines, near = (unit_rows(x[rows]) @ anchors.T).topk(k, dim=1)
        weight = _weights(cosines)
        around = places[near]
        weight *= (around - around[:, :1]).norm(dim=2) <= reach[near[:, :1]]
        middle = (around * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True)
        made[rows] = middle + _APART * apart[near[:, 0], None] * step[rows]
    made[torch.from_numpy(sample)] = places
    return made.numpy()


def _weights(cosines: Float[Tensor, "rows k"]) -> Float[Tensor, "rows k"]:
    """1 for the nearest, e⁻¹ for one that is farther than it by the mean difference."""
    behind = cosines[:, :1] - cosines
    return (-behind / behind.mean(dim=1, keepdim=True).clamp_min(1e-12)).exp()

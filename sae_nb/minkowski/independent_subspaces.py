"""A start for block archetypes: subspaces whose coordinates depend on each other, not across.

Independent component analysis, then components put together whose sizes rise and fall together:
q_ab = |corr(s_a², s_b²)|, and the tiles are the partition with the largest Σ of q within its parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.classical.archetypal_analysis import far_apart

PARTITIONS = 20
"""Random partitions that are improved by swaps; the best is kept (ours)."""

MOST_ITERATIONS = 500


def subspace_start(
    x: Float[Tensor, "n d_in"], tile_sizes: Sequence[int], *, seed: int
) -> Float[Tensor, "n_archetypes d_in"]:
    """Far-apart points of the data's projections on independent subspaces, tile by tile.

    A tile of K archetypes spans K − 1 directions, so Σ (K_i − 1) components are looked for. In a sum
    of tiles that move independently, components of one tile depend on each other (they share a
    simplex), and components of two tiles do not.

    Parameters
    ----------
    x
        Rows.
    tile_sizes
        Archetypes per tile.
    seed
        Of the component analysis and of all draws.

    Source
    ------
    Independent subspace analysis: Cardoso, "Multidimensional independent component analysis", ICASSP
    1998; components by FastICA (Hyvärinen 1999). As a start of block archetypes: ours.
    """
    sources, mixing = _components(x, sum(size - 1 for size in tile_sizes), seed)
    squares = sources**2
    dependence = np.nan_to_num(np.abs(np.corrcoef(squares.T)).reshape(len(mixing), len(mixing)))
    tile = dependent_groups(dependence, [size - 1 for size in tile_sizes], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    points = []
    for i, size in enumerate(tile_sizes):
        part = torch.from_numpy(sources[:, tile == i] @ mixing[tile == i]).to(x)
        points.append(part[far_apart(part, size, generator)])
    return torch.cat(points)


def _components(x: Tensor, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    analysis = FastICA(
        n, fun="cube", whiten="unit-variance", max_iter=MOST_ITERATIONS, random_state=seed
    )
    with warnings.catch_warnings():
        # Data without independent components (a Gaussian) have no fixed point; any rotation serves.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        sources = analysis.fit_transform((x - x.mean(dim=0)).double().cpu().numpy())
    return sources, analysis.mixing_.T


def dependent_groups(
    dependence: Float[np.ndarray, "n n"], sizes: Sequence[int], *, seed: int = 0
) -> Int[np.ndarray, " n"]:
    """Put components into groups of given sizes with the largest sum of dependence within groups.

    Swaps of two components as long as one helps, from several random partitions.

    Parameters
    ----------
    dependence
        Symmetric, ≥ 0.
    sizes
        Of the groups; they sum to n.
    seed
        Of the partitions.

    Example
    -------
    >>> q = np.array([[0, 0, 9, 0], [0, 0, 0, 9], [9, 0, 0, 0], [0, 9, 0, 0.0]])
    >>> group = dependent_groups(q, [2, 2])
    >>> bool(group[0] == group[2]), bool(group[1] == group[3]), bool(group[0] == group[1])
    (True, True, False)
    """
    draws = np.random.default_rng(seed)
    q = dependence - np.diag(np.diag(dependence))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = [_swapped(q, draws.permutation(labels), len(sizes)) for _ in range(PARTITIONS)]
    best, _ = max(found, key=lambda pair: pair[1])
    return best


def _swapped(
    q: Float[np.ndarray, "n n"], label: Int[np.ndarray, " n"], n_groups: int
) -> tuple[Int[np.ndarray, " n"], float]:
    """Swap the best pair until none helps."""
    each = np.arange(len(label))
    while True:
        member = np.eye(n_groups)[label]
        ties = q @ member
        own, others = ties[each, label], ties[:, label]
        gain = others + others.T - own[:, None] - own[None, :] - 2 * q
        gain[label[:, None] == label[None, :]] = 0
        first, second = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[first, second] <= 1e-12:
            return label, float((q * (member @ member.T)).sum())
        label[[first, second]] = label[[second, first]]

"""Clusters of a layout by density (HDBSCAN), and how tight each is among the vectors themselves."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count

FEWEST_POINTS = 10
"""Below this there is no density to speak of."""

MIN_SAMPLES = 2
"""Points that make a place dense; more leaves most of a dictionary unclustered. Ours, on our SAEs."""


def cluster_points(
    xy: Float[np.ndarray, "n 2"], *, min_cluster_size: int | None = None
) -> Int[np.ndarray, " n"]:
    """Return the cluster of every point of a layout, the largest first; −1 is none.

    HDBSCAN keeps the groups that stay dense over the widest range of densities. In the space of the
    atoms themselves nearly all of a dictionary is noise to it (atoms are far apart by training), so
    it reads the layout: check what it finds with `mean_cosines`.

    Parameters
    ----------
    xy
        Coordinates, from `umap_layout` say.
    min_cluster_size
        Fewest points of a cluster; None: a third of √n, at least 5.

    Raises
    ------
    ValueError: If `xy` is not a finite matrix of two columns.

    Source
    ------
    Campello, Moulavi, Sander, "Density-Based Clustering Based on Hierarchical Density Estimates"
    (2013); scikit-learn's HDBSCAN.

    Example
    -------
    >>> here, there = np.random.default_rng(0).normal(0, 0.1, (2, 20, 2))
    >>> cluster_points(np.concatenate((here, there + 5))).tolist() == [0] * 20 + [1] * 20
    True
    """
    xy = _checked(xy)
    n = len(xy)
    if min_cluster_size is None:
        min_cluster_size = max(5, round(math.sqrt(n) / 3))
    check_count(min_cluster_size, name="min_cluster_size", at_least=2)
    if n < max(FEWEST_POINTS, min_cluster_size):
        return np.full(n, -1)
    from sklearn.cluster import HDBSCAN

    fitting = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=MIN_SAMPLES, copy=True)
    return _largest_first(fitting.fit_predict(xy))


def mean_cosines(
    x: Float[Tensor, "n d"], clusters: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " clusters"]:
    """Return the mean cosine between different rows of each cluster; NaN for a single row.

    (‖Σ u_i‖² − m) / (m (m − 1)) for the m unit rows u_i of a cluster: no m × m matrix is made.

    Parameters
    ----------
    x
        Rows that the points stand for.
    clusters
        From `cluster_points`; −1 belongs to none.

    Example
    -------
    >>> mean_cosines(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), np.array([0, 0, -1])).tolist()
    [1.0]
    """
    unit = torch.nn.functional.normalize(x.detach().cpu().double(), dim=1)
    inside = torch.from_numpy(clusters >= 0)
    group = torch.from_numpy(clusters)[inside].long()
    n_clusters = int(clusters.max(initial=-1)) + 1
    sums = torch.zeros(n_clusters, x.shape[1], dtype=torch.double).index_add(0, group, unit[inside])
    # A zero row stays zero, and adds nothing to the squares.
    squares = unit[inside].square().sum(dim=1)
    diagonal = torch.zeros(n_clusters, dtype=torch.double).index_add(0, group, squares)
    sizes = torch.bincount(group, minlength=n_clusters).double()
    return ((sums.square().sum(dim=1) - diagonal) / (sizes * (sizes - 1))).numpy()


def _largest_first(found: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    sizes = np.bincount(found[found >= 0])
    new = np.empty(len(sizes) + 1, np.int64)
    new[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    new[-1] = -1  # index −1 is the last entry
    return new[found]


def _checked(xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    xy = np.asarray(xy, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise ValueError(
            f"`xy` must be a finite matrix of two columns, got shape {xy.shape}"
            f"{'' if xy.ndim != 2 or np.isfinite(xy).all() else ' with NaN or infinity'}. "
            "Use umap_layout or pca_layout."
        )
    return xy

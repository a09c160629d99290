"""Clusters of a concept map: their names, and whether the vectors themselves agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.geometry.clusters import mean_cosines
from sae_nb.summaries.concept_map import Cluster, Column


def describe_clusters(
    x: Float[Tensor, "n d"],
    groups: Int[np.ndarray, " n"],
    words: Sequence[tuple[str, ...]],
    *,
    seed: int = 0,
) -> tuple[Cluster, ...]:
    """Return clusters with their names, and their mean cosine beside that of random groups.

    Parameters
    ----------
    x
        Vectors behind the points.
    groups
        From `cluster_points`: −1 is none.
    words
        What stands out in each group; without words it is "cluster 3".
    seed
        Of the random groups, which have the sizes of the real ones.

    Example
    -------
    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> [(c.name, c.cosine) for c in describe_clusters(x, np.array([0, 0, 1, 1]), [("a",), ()])]
    [('a', 1.0), ('cluster 2', 1.0)]
    """
    drawn = np.full(len(groups), -1)
    drawn[np.random.default_rng(seed).permutation(len(groups))] = groups
    real, chance = mean_cosines(x, groups), mean_cosines(x, drawn)
    return tuple(
        Cluster(
            name=" · ".join(words[i]) or f"cluster {i + 1}",
            points=np.flatnonzero(groups == i),
            cosine=float(real[i]),
            floor=float(chance[i]),
        )
        for i in range(len(real))
    )


def cluster_column(clusters: Sequence[Cluster], n: int) -> Column:
    """Return the cluster of every point as a column.

    Parameters
    ----------
    clusters
        The largest first.
    n
        How many points there are.
    """
    values = np.full(n, -1)
    for i, cluster in enumerate(clusters):
        values[cluster.points] = i
    names = tuple(cluster.name for cluster in clusters)
    return Column(name="cluster", meaning="dense group on this map", values=values, names=names)

"""A concept map of very many points: nearest ones of one at a time, groups of a sample."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.atoms.concept_map._concept_map import Column
from sae_nb.checks import check_matrix
from sae_nb.figures.theme import format_count
from sae_nb.geometry import cluster_points

MOST_AT_ONCE = 30_000
"""Points up to which the nearest of every one are found unasked, and dense groups among all of them."""

CLUSTERED = 20_000
"""Points among which dense groups are looked for where there are more: HDBSCAN takes n²."""

CLOUD = 0.5
"""Share of all points above which a group tells nothing apart. Ours."""

_ROWS = 2**16


def lengths_of(x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return lengths of rows; 1 for a zero row, whose cosines are zero."""
    lengths = torch.cat([rows.norm(dim=1) for rows in torch.split(x, _ROWS)])
    return lengths.where(lengths > 0, torch.ones(()))


def nearest_to(
    x: Float[Tensor, "n d"], lengths: Float[Tensor, " n"], point: int, k: int
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return the rows nearest to one, itself left out, and their distances 1 − cos: one pass over all."""
    cosines = (x @ (x[point] / lengths[point])).div_(lengths)
    cosines[point] = -torch.inf
    best = cosines.topk(min(k, len(x) - 1))
    return best.indices.numpy(), (1 - best.values).clamp_min(0).numpy()


def dense_groups(xy: Float[np.ndarray, "n 2"], seed: int) -> Int[np.ndarray, " n"]:
    """Return the dense group of every point; of many, those of a sample, which its nearest points join.

    Points are drawn without regard to where they lie, so what is dense among all is dense among them. Where
    one group would hold most points, as in the map of a large dictionary, its peaks are the groups.
    """
    if len(xy) <= MOST_AT_ONCE:
        return _groups_or_peaks(xy, None, max(5, round(math.sqrt(len(xy)))))
    from scipy.spatial import cKDTree

    drawn = np.random.default_rng(seed).choice(len(xy), CLUSTERED, replace=False)
    # A third of √n of all points, as where all are looked at, is this number of the sample.
    fewest = max(5, round(CLUSTERED / math.sqrt(len(xy)) / 3))
    groups = _groups_or_peaks(xy[drawn], fewest, 3 * fewest)
    return groups[cKDTree(xy[drawn]).query(xy)[1]]


def _groups_or_peaks(
    xy: Float[np.ndarray, "n 2"], fewest: int | None, of_peak: int
) -> Int[np.ndarray, " n"]:
    """Return dense groups of points; if the largest is more than `CLOUD` of all, peaks of so many points."""
    groups = cluster_points(xy, min_cluster_size=fewest)
    if (groups == 0).mean() <= CLOUD:
        return groups
    peaks = cluster_points(xy, min_cluster_size=of_peak, finest=True)
    return peaks if peaks.max() > groups.max() else groups


def how_grouped(n: int) -> str:
    """Describe the points from which dense groups are made; nothing if these are all."""
    if n <= MOST_AT_ONCE:
        return ""
    return f", found in {format_count(CLUSTERED)} drawn by seed; each other is in the group of the nearest"


def label_column(labels: Mapping[int, str], n_atoms: int) -> Column | None:
    """Return the labels of the atoms as categories, the commonest first; None without labels."""
    known = {i: str(label) for i, label in labels.items() if label and 0 <= i < n_atoms}
    if not known:
        return None
    counts = Counter(known.values())
    names = tuple(sorted(counts, key=lambda word: (-counts[word], word)))
    place = {word: i for i, word in enumerate(names)}
    values = np.full(n_atoms, -1)
    values[list(known)] = [place[word] for word in known.values()]
    return Column("label", "what people call the atom", values, names)


def dictionary_of(sae: object, name: str) -> Float[Tensor, "n_atoms d_in"]:
    """Return the atoms of an SAE, or of a plain dictionary, as a copy on the CPU."""
    rows = sae if isinstance(sae, Tensor) else getattr(sae, "dictionary", None)
    if not isinstance(rows, Tensor):
        raise TypeError(
            f"`{name}` must be a sparse autoencoder or a (n_atoms, d_in) dictionary, got "
            f"{type(sae).__name__}. Load one with sn.load_sae."
        )
    # A copy: training goes on while the map is looked at.
    return check_matrix(rows.detach(), name=name).cpu().float().clone()

"""Layouts in the plane: nearest rows by cosine, the instant PCA view, settings, a cache, clusters."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, Share, as_tensor, at_least, check_data, check_matrix, checked
from sae_nb.files._atomic import cache_folder
from sae_nb.files._fingerprints import float32_bytes
from sae_nb.files._tensors import read_tensors, write_tensors
from sae_nb.geometry._cosines import SMALL_TILE, TILE, cosine_tiles, tile_rows, unit_rows

logger = logging.getLogger(__name__)

WHOLE_UP_TO = 50_000
"""Rows up to which all are laid out, and give the axes of PCA."""

FEWEST_ROWS = 8
"""Below this there is nothing to unfold, and PCA is the layout."""

NEAR = 1e-5
"""Share of a distance that rounding of float32 may take from it."""


@checked
@dataclass(frozen=True, kw_only=True)
class LayoutSettings:
    """Settings of a UMAP layout."""

    n_neighbours: Annotated[int, at_least(2)] = 15
    """Nearest rows that each row is tied to; fewer where there are fewer rows. umap-learn's default."""

    min_dist: Share = 0.1
    """Minimum distance of points, in the layout's units. umap-learn's default."""

    n_epochs: Count | None = None
    """Passes of the optimiser. None: umap-learn's own, 500 up to 10 000 rows and 200 above."""

    seed: Seed = 0
    """Of everything random; the layout is bit-identical for one seed on one machine."""

    sample: Annotated[int, at_least(16)] | None = None
    """Rows that UMAP lays out, drawn by the seed; the others are placed next to the nearest of them.
    None: all of up to 50 000 rows, 20 000 of more.
    """


@checked
def nearest_by_cosine(
    x: Float[Tensor, "n d"], n_nearest: Count
) -> tuple[Int[np.ndarray, "n n_nearest"], Float[np.ndarray, "n n_nearest"]]:
    """Return the nearest rows of every row, itself left out, and their cosine distances 1 − cos.

    Exact, in tiles: 10 000 rows of width 64 take a third of a second. A zero row is at distance 1 from all.

    Example
    -------
    >>> rows, distances = nearest_by_cosine(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 1)
    >>> rows.ravel().tolist()
    [1, 0, 1]
    """
    x = check_matrix(x).detach().cpu().float()
    if n_nearest >= len(x):
        raise ValueError(f"`n_nearest` must be below the {len(x)} rows of `x`, got {n_nearest}.")
    unit = unit_rows(x)
    rows, distances = [], []
    for first, cosine in cosine_tiles(unit, unit, TILE):
        own = torch.arange(len(cosine))
        cosine[own, first + own] = -torch.inf
        best = cosine.topk(n_nearest, dim=1)
        rows.append(best.indices)
        distances.append((1 - best.values).clamp_min(0))
    return torch.cat(rows).numpy(), torch.cat(distances).numpy()


@checked
def pca_layout(x: Float[Tensor, "n d"]) -> Float[np.ndarray, "n 2"]:
    """Return the two leading principal coordinates of unit rows: the view that is there at once.

    Each axis points so that its largest coordinate is positive. Above 50 000 rows the axes are those of
    50 000 drawn at random.

    Example
    -------
    >>> pca_layout(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).shape
    (2, 2)
    """
    x = check_matrix(x).detach().cpu()
    chosen = sample_rows(len(x), min(len(x), WHOLE_UP_TO), seed=0)
    unit = _unit(x if chosen is None else x[torch.from_numpy(chosen)])
    mean = unit.mean(dim=0)
    if chosen is None and len(unit) < unit.shape[1]:
        # The n × n product: the d × d one has d − n equal eigenvalues, at which LAPACK may fail.
        left = (unit - mean).double()
        values, vectors = torch.linalg.eigh(left @ left.T)
        xy = (vectors * values.clamp(min=0).sqrt()).flip(1)[:, :2]
    else:
        # The d × d product: the rows may be many, their width is not.
        square = (unit.T @ unit).double() - len(unit) * torch.outer(mean, mean).double()
        _, vectors = torch.linalg.eigh(square)
        first = vectors.flip(1)[:, :2].to(mean)
        parts = [unit] if chosen is None else map(_unit, torch.split(x, WHOLE_UP_TO))
        xy = torch.cat([rows @ first for rows in parts]) - mean @ first
    xy = torch.nn.functional.pad(xy, (0, 2 - xy.shape[1]))
    return (xy * signs_of_axes(xy)).float().numpy()


def signs_of_axes(along: Float[Tensor, "n axes"]) -> Float[Tensor, " axes"]:
    """Return −1 for the axes whose farthest point lies on the negative side, 1 for others.

    Of points as far away on both sides, up to rounding, the first decides.
    """
    away = along.abs()
    first = (away >= (1 - NEAR) * away.amax(dim=0)).int().argmax(dim=0, keepdim=True)
    return torch.where(along.gather(0, first)[0] < 0, -1.0, 1.0)


def _unit(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return torch.nn.functional.normalize(x.double(), dim=1)


def layout_key(x: Float[Tensor, "n d"], settings: LayoutSettings) -> str:
    """Return a digest of rows, settings and umap-learn's version: the name of a layout."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        made_by = version("umap-learn")
    except PackageNotFoundError:
        made_by = "absent"  # saved coordinates open without it
    given = {name: value for name, value in asdict(settings).items() if name != "sample"}
    chosen = sample_rows(len(x), settings.sample, settings.seed)
    given |= {} if chosen is None else {"sample": len(chosen)}
    text = f"{tuple(x.shape)} {given} umap-learn {made_by}"
    digest = hashlib.sha256(text.encode())
    digest.update(float32_bytes(x))
    return digest.hexdigest()[:32]


def cache_file(x: Float[Tensor, "n d"], settings: LayoutSettings) -> Path:
    """Return where the layout of these very rows with these settings is kept."""
    return cache_folder("umap") / f"{layout_key(x, settings)}.safetensors"


def cached_layout(file: Path, n_rows: int) -> Float[np.ndarray, "n 2"] | None:
    """Return the layout in a cache file, or None where there is none that can be used."""
    if not file.is_file():
        return None
    try:
        xy = read_tensors(file)["xy"].numpy()
    except (ValueError, KeyError):
        return None  # a damaged entry is made again, like a missing one
    return xy if xy.shape == (n_rows, 2) else None


def keep_layout(file: Path, xy: Float[np.ndarray, "n 2"]) -> None:
    """Write a layout to its cache file, atomically; where that cannot be, only the next start is slower."""
    try:
        write_tensors(file, {"xy": torch.from_numpy(np.ascontiguousarray(xy, np.float32))})
    except OSError as error:
        logger.warning("This layout was not kept and will be computed again: %s", error)


# -------------------------------------------------------------------------------------------------
# Very many rows: some, drawn at random, are laid out, and the rest placed next to their nearest.


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
        # 1 for the nearest, e⁻¹ for one that is farther than it by the mean difference.
        behind = cosines[:, :1] - cosines
        weight = (-behind / behind.mean(dim=1, keepdim=True).clamp_min(1e-12)).exp()
        around = places[near]
        weight *= (around - around[:, :1]).norm(dim=2) <= reach[near[:, :1]]
        middle = (around * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True)
        made[rows] = middle + _APART * apart[near[:, 0], None] * step[rows]
    made[torch.from_numpy(sample)] = places
    return made.numpy()


# -------------------------------------------------------------------------------------------------
# Clusters of a layout by density (HDBSCAN), and how tight each is among the vectors themselves.


FEWEST_POINTS = 10
"""Below this there is no density to speak of."""

MIN_SAMPLES = 2
"""Points that make a place dense; more leaves most of a dictionary unclustered. Ours, on our SAEs."""


@checked(leave=("xy",))
def cluster_points(
    xy: Float[np.ndarray, "n 2"],
    *,
    min_cluster_size: Annotated[int, at_least(2)] | None = None,
    finest: bool = False,
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
    finest
        Take the groups that fall apart into no smaller ones instead: the peaks of one large cloud.

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
    xy = check_data(as_tensor(xy, name="xy"), name="xy").double().numpy(force=True)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise ValueError(
            f"`xy` must be a finite matrix of two columns, got shape {xy.shape}"
            f"{'' if xy.ndim != 2 or np.isfinite(xy).all() else ' with NaN or infinity'}. "
            "Use umap_layout or pca_layout."
        )
    n = len(xy)
    if min_cluster_size is None:
        min_cluster_size = max(5, round(math.sqrt(n) / 3))
    if n < max(FEWEST_POINTS, min_cluster_size):
        return np.full(n, -1)
    from sklearn.cluster import HDBSCAN

    fitting = HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=MIN_SAMPLES,
        cluster_selection_method="leaf" if finest else "eom",
        copy=True,
    )
    labels = fitting.fit_predict(xy)
    sizes = np.bincount(labels[labels >= 0])
    number = np.empty(len(sizes) + 1, np.int64)
    number[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    number[-1] = -1  # index −1, for points of no cluster, is the last entry
    return number[labels]


@checked
def mean_cosines(
    x: Float[Tensor, "n d"], clusters: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " clusters"]:
    """Return the mean cosine between different rows of each cluster; NaN for a single row.

    (‖Σ u_i‖² − m) / (m (m − 1)) for the m unit rows u_i of a cluster: no m × m matrix is made. Rows of
    cluster −1 belong to none.

    Example
    -------
    >>> mean_cosines(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), np.array([0, 0, -1])).tolist()
    [1.0]
    """
    inside = torch.from_numpy(np.flatnonzero(clusters >= 0))
    group = torch.from_numpy(clusters)[inside].long()
    n_clusters = int(clusters.max(initial=-1)) + 1
    sums = torch.zeros(n_clusters, x.shape[1], dtype=torch.double)
    diagonal = torch.zeros(n_clusters, dtype=torch.double)
    for rows, own in zip(
        torch.split(inside, WHOLE_UP_TO), torch.split(group, WHOLE_UP_TO), strict=True
    ):
        unit = _unit(x[rows].detach().cpu())
        sums.index_add_(0, own, unit)
        # A zero row stays zero, and adds nothing to the squares.
        diagonal.index_add_(0, own, unit.square().sum(dim=1))
    sizes = torch.bincount(group, minlength=n_clusters).double()
    return ((sums.square().sum(dim=1) - diagonal) / (sizes * (sizes - 1))).numpy()

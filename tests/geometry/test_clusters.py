"""Clusters of a layout: planted ones found, noise left alone, tightness as counted pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import HDBSCAN

from sae_nb.geometry import cluster_points, mean_cosines


def planted(sizes: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Blobs on a circle of radius 10, and which blob each point is of, shuffled."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    angle = 2 * np.pi * truth / len(sizes)
    xy = 10 * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    order = generator.permutation(len(truth))
    return (xy + generator.normal(0, 0.2, xy.shape))[order], truth[order]


@pytest.mark.parametrize("sizes", [(60, 40, 25), (25, 60, 40), (40, 25, 60)])
def test_planted_clusters_are_found(sizes: tuple[int, ...]) -> None:
    xy, truth = planted(sizes)
    found = cluster_points(xy)
    assert np.bincount(found[found >= 0]).tolist() == sorted(np.bincount(found[found >= 0]))[::-1]
    assert (found >= 0).mean() > 0.95
    for blob, cluster in enumerate((60, 40, 25).index(size) for size in sizes):
        inside = found[truth == blob]
        assert (inside[inside >= 0] == cluster).all()


@pytest.mark.parametrize(("n", "least"), [(100, 5), (900, 10)])
def test_clusters_are_those_of_scikit_learn(n: int, least: int) -> None:
    """Two points make a place dense, and a third of √n a cluster, but five at least."""
    generator = np.random.default_rng(n)
    xy = generator.random((n, 2)) * 10 + 0.3 * generator.standard_normal((n, 2))
    found = cluster_points(xy)
    expected = HDBSCAN(min_cluster_size=least, min_samples=2, copy=True).fit_predict(xy)
    assert ((found < 0) == (expected < 0)).all()
    both = np.unique(np.stack([found, expected]), axis=1)
    assert both.shape[1] == len(set(found)) == len(set(expected)) > 2


def test_one_blob_is_no_cluster_of_everything() -> None:
    """HDBSCAN finds no structure where there is none but density, and never one that holds all."""
    found = cluster_points(np.random.default_rng(0).uniform(0, 1, (200, 2)), min_cluster_size=60)
    assert (found >= 0).mean() < 1


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_few_points_have_no_clusters(n: int) -> None:
    assert cluster_points(np.zeros((n, 2))).tolist() == [-1] * n


def test_points_in_one_place_are_no_error() -> None:
    assert len(cluster_points(np.zeros((30, 2)))) == 30


def test_mean_cosines_are_those_of_all_pairs() -> None:
    """The sum formula agrees with counting every pair; a zero row counts as cosine 0."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 5, generator=generator)
    x[7] = 0
    clusters = np.arange(30) % 4 - 1
    unit = torch.nn.functional.normalize(x.double(), dim=1).numpy()
    for cluster, value in enumerate(mean_cosines(x, clusters)):
        inside = unit[clusters == cluster]
        gram = inside @ inside.T
        pairs = gram[~np.eye(len(gram), dtype=bool)]
        assert value == pytest.approx(pairs.mean())

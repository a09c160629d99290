"""Neighbours are exact, PCA is PCA, and a layout is kept under what it depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sae_nb.geometry import LayoutSettings, nearest_by_cosine, pca_layout
from sae_nb.geometry._layout import cache_file, cached_layout, keep_layout


def test_neighbours_are_those_of_all_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    from sae_nb.geometry import _layout as layout

    x = torch.randn(50, 6)
    cosine = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    cosine.fill_diagonal_(-2)
    expected = cosine.topk(4, dim=1)
    monkeypatch.setattr(layout, "TILE", 7 * 50)
    rows, distances = nearest_by_cosine(x, 4)
    assert np.array_equal(rows, expected.indices.numpy())
    assert np.allclose(distances, 1 - expected.values.numpy(), atol=1e-6)


def test_a_zero_row_is_at_distance_one() -> None:
    x = torch.cat((torch.zeros(1, 4), torch.eye(4)))
    assert np.allclose(nearest_by_cosine(x, 2)[1][0], 1.0)
    assert np.isfinite(pca_layout(x)).all()


def test_pca_keeps_the_widest_plane() -> None:
    angle = torch.linspace(0, 3, 40, dtype=torch.float64)
    plane = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64)).Q[:2]
    x = torch.stack((angle.cos(), angle.sin()), dim=1) @ plane
    xy = torch.from_numpy(pca_layout(x)).double()
    assert torch.allclose(torch.cdist(xy, xy), torch.cdist(x, x), atol=1e-5)


def test_the_cache_tells_rows_and_settings_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAE_NB_CACHE", str(tmp_path))
    x = torch.randn(6, 4)
    changed = x.clone()
    changed[3, 2] += 1e-3
    files = {
        cache_file(x, LayoutSettings()),
        cache_file(changed, LayoutSettings()),
        cache_file(x.reshape(4, 6), LayoutSettings()),
        cache_file(x, LayoutSettings(seed=1)),
        cache_file(x, LayoutSettings(min_dist=0.2)),
    }
    assert len(files) == 5
    assert all(file.is_relative_to(tmp_path) for file in files)
    assert cache_file(x.clone(), LayoutSettings()) in files


def test_a_damaged_entry_counts_as_missing(tmp_path: Path) -> None:
    file = tmp_path / "kept.safetensors"
    assert cached_layout(file, 5) is None
    keep_layout(file, np.ones((5, 2), np.float32))
    assert cached_layout(file, 5) is not None
    assert cached_layout(file, 6) is None
    file.write_bytes(file.read_bytes()[:-3])
    assert cached_layout(file, 5) is None


@pytest.mark.parametrize("seed", range(2))
def test_of_points_as_far_on_both_sides_the_first_is_on_the_positive_one(seed: int) -> None:
    two = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed))
    assert pca_layout(two)[0, 0] > 0 > pca_layout(two)[1, 0]
    assert pca_layout(two.flip(0))[0, 0] > 0

"""Neighbours are exact, PCA is PCA, and a layout is kept under what it depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sae_nb.geometry import LayoutSettings, _layout, nearest_by_cosine, pca_layout
from sae_nb.geometry._layout import (
    cache_file,
    cached_layout,
    keep_layout,
    sample_rows,
    signs_of_axes,
)


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


@pytest.mark.parametrize("shape", [(9, 40), (40, 9)])
def test_pca_is_the_leading_singular_vectors_of_centred_unit_rows(shape: tuple[int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = x / x.norm(dim=1, keepdim=True)
    left, lengths, _ = torch.linalg.svd(unit - unit.mean(dim=0), full_matrices=False)
    xy = torch.from_numpy(pca_layout(x)).double()
    assert torch.allclose(xy.abs(), (left * lengths)[:, :2].abs(), atol=1e-5)


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


def test_an_axis_points_to_its_farthest_point() -> None:
    """Of two as far, up to rounding, to the first."""
    along = torch.tensor([[1.0, 2, -2, 1], [-3, -2, 2.0001, -3], [2, 1, -1, 3]])
    assert signs_of_axes(along).tolist() == [-1, 1, 1, -1]
    assert signs_of_axes(torch.tensor([[-2.0], [2.000002]])).tolist() == [-1]


def test_of_very_many_rows_the_axes_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """And every row is projected on them, less the mean of the sample."""
    monkeypatch.setattr(_layout, "WHOLE_UP_TO", 9)
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [3.0, 2, 1, 1]
    )
    unit = torch.nn.functional.normalize(x.double(), dim=1).numpy()
    some = unit[sample_rows(20, 9, seed=0)]
    axes = np.linalg.svd(some - some.mean(axis=0))[2][:2]
    expected = (unit - some.mean(axis=0)) @ axes.T
    expected *= np.sign(expected[np.abs(expected).argmax(axis=0), [0, 1]])
    np.testing.assert_allclose(pca_layout(x), expected, atol=1e-4)

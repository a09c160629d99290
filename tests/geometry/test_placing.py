"""Of very many rows a sample is laid out and the rest placed: beside whom they are near, by seed, in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness

from sae_nb.geometry import LayoutSettings, _layout as placing, pca_layout, umap_layout
from sae_nb.geometry._layout import layout_key

MEASURED, MARGIN = 0.9898, 0.01
"""Mean trustworthiness of ten neighbours over three seeds (0.9896, 0.9891, 0.9907); UMAP of all has 0.9983,
PCA 0.775. The margin is ten times the spread over seeds, for other builds of umap-learn."""


def _silent(_stage: str, _share: float) -> None:
    """Hears nothing."""


def _patches(seed: int, n: int = 1500) -> torch.Tensor:
    """Rows in 30 flat patches of two directions among 24, with noise."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randint(0, 30, (n,), generator=generator)
    centre, plane = (torch.randn(30, m, 24, generator=generator) for m in (1, 2))
    on_plane = 0.5 * torch.randn(n, 1, 2, generator=generator) @ plane[own]
    return (centre[own] + on_plane)[:, 0] + 0.15 * torch.randn(n, 24, generator=generator)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_placed_rows_keep_their_neighbourhoods() -> None:
    """Four fifths placed: trustworthiness far above PCA's and random places', near that of UMAP of all."""
    kept = []
    for seed in range(3):
        x = _patches(seed)
        settings = LayoutSettings(sample=300, n_epochs=100, seed=seed)
        xy = umap_layout(x, settings, cache=False)
        found = {
            "placed": xy,
            "PCA": pca_layout(x),
            "random": np.random.default_rng(seed).normal(size=(len(x), 2)),
        }
        trust = {
            name: trustworthiness(x.numpy(), places, n_neighbors=10, metric="cosine")
            for name, places in found.items()
        }
        assert trust["placed"] > trust["PCA"] + 0.05 > trust["random"], trust
        kept.append(trust["placed"])
    assert np.mean(kept) > MEASURED - MARGIN, kept


def test_a_placed_row_lies_beside_its_nearest() -> None:
    """On a patch of a sphere, whose own two angles are the layout, rows come to lie where they belong."""
    angle = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    x = torch.stack((angle[:, 0].sin(), angle[:, 1].sin(), torch.ones(4000)), dim=1)
    sample = np.arange(0, 4000, 4)
    xy = placing.place_rest(x, sample, angle[sample].numpy(), seed=0, say=_silent)
    away = np.linalg.norm(xy - angle.numpy(), axis=1)
    assert np.array_equal(xy[sample], angle[sample].numpy())
    # Anchors are 1/√1000 apart on a square of side 1.
    assert np.median(away) < 0.03
    assert away.max() < 0.15


def test_no_row_is_placed_between_groups() -> None:
    """A row half-way between two groups that are far apart on the map lies with one of them."""
    ends = torch.eye(2).repeat_interleave(20, dim=0) + 0.01 * torch.randn(40, 2)
    x = torch.cat((ends, torch.tensor([[1.0, 1.0]])))
    xy = np.repeat([[0.0, 0.0], [100.0, 0.0]], 20, axis=0) + np.random.default_rng(0).normal(
        size=(40, 2)
    )
    placed = placing.place_rest(x, np.arange(40), xy.astype(np.float32), seed=0, say=_silent)[40]
    assert min(np.linalg.norm(placed - [0, 0]), np.linalg.norm(placed - [100, 0])) < 6


def test_a_place_is_a_weighted_mean_and_a_step_at_random() -> None:
    """Of the five nearest those that are neighbours on the map, by e^(−distance / mean distance); half a gap."""
    generator = torch.Generator().manual_seed(0)
    x, xy = (torch.randn(12, d, generator=generator, dtype=torch.float64) for d in (3, 2))
    x = x.float()
    placed = placing.place_rest(x, np.arange(8), xy[:8].float().numpy(), seed=4, say=_silent)
    gaps = np.sort(np.linalg.norm(xy[:8, None] - xy[None, :8], axis=2), axis=1)
    step = torch.randn(12, 2, generator=torch.Generator().manual_seed(4)).numpy()
    unit = torch.nn.functional.normalize(x, dim=1).double().numpy()
    left_out = 0
    for row in range(8, 12):
        cosines = unit[:8] @ unit[row]
        near = np.argsort(-cosines)[:5]
        behind = cosines[near[0]] - cosines[near]
        weight = np.exp(-behind / behind.mean())
        around = xy[:8].numpy()[near]
        weight *= np.linalg.norm(around - around[0], axis=1) <= gaps[near[0], 5] + 1e-6
        left_out += int((weight == 0).sum())
        middle = (weight[:, None] * around).sum(axis=0) / weight.sum()
        np.testing.assert_allclose(
            placed[row], middle + gaps[near[0], 1] / 2 * step[row], atol=1e-5
        )
    assert left_out > 0


def test_tiles_do_not_count_and_one_seed_gives_one_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same places in tiles of seven rows; other places by another seed; progress goes up to the end."""
    x, sample = torch.randn(200, 5), np.arange(50)
    xy = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    once = placing.place_rest(x, sample, xy, seed=3, say=_silent)
    monkeypatch.setattr(placing, "SMALL_TILE", 7 * 50)
    shares: list[float] = []
    again = placing.place_rest(x, sample, xy, seed=3, say=lambda _, share: shares.append(share))
    assert np.allclose(once, again, atol=1e-5)
    assert shares == pytest.approx(np.arange(0, 200, 7) / 200)
    assert not np.allclose(once, placing.place_rest(x, sample, xy, seed=4, say=_silent), atol=1e-3)


def test_equal_rows_and_zero_rows_have_places() -> None:
    x = torch.cat((torch.ones(30, 3), torch.zeros(5, 3)))
    xy = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    assert np.isfinite(placing.place_rest(x, np.arange(20), xy, seed=0, say=_silent)).all()


def test_all_are_laid_out_up_to_fifty_thousand() -> None:
    assert placing.sample_rows(50_000, None, 0) is None
    assert placing.sample_rows(50_001, None, 0) is not None
    drawn = placing.sample_rows(10**6, None, 0)
    assert drawn is not None
    assert len(np.unique(drawn)) == len(drawn) == 20_000
    assert np.array_equal(drawn, np.sort(drawn))
    assert np.array_equal(drawn, placing.sample_rows(10**6, None, 0))
    assert placing.sample_rows(100, 200, 0) is None
    assert len(placing.sample_rows(100, 30, 0)) == 30
    # Dense places stay dense: tenths of the rows have tenths of the sample.
    share = np.bincount(drawn // 10**5) / len(drawn)
    assert np.abs(share - 0.1).max() < 0.01


def test_the_cache_knows_a_sample() -> None:
    x = torch.randn(60, 4)
    assert layout_key(x, LayoutSettings()) == layout_key(x, LayoutSettings(sample=60))
    assert layout_key(x, LayoutSettings()) != layout_key(x, LayoutSettings(sample=30))
    assert layout_key(x, LayoutSettings(min_dist=0.1, n_neighbours=15, seed=0)) == layout_key(
        x, LayoutSettings()
    )
    with pytest.raises(ValueError, match="`sample` must be"):
        LayoutSettings(sample=3)

"""Promises of markers of failure: known capacities and dimensions, and a forecast that its ranks deserve."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn


def test_points_in_general_position_have_the_capacity_two() -> None:
    """Cover: P orthogonal points can be divided in any way in P / 2 dimensions."""
    x = torch.eye(20).repeat_interleave(3, dim=0) + 1e-4 * torch.randn(60, 20)
    found = sn.geometry.class_markers(x, torch.arange(20).repeat_interleave(3), n_draws=200)
    assert found.capacity == pytest.approx(2, abs=0.2)
    assert found.radius < 0.01


def test_dimension_counts_the_directions_of_a_class() -> None:
    """Classes far apart that spread in one, two and six directions; half of the draws rest on a class."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(60)
    sizes = []
    for k in (1, 2, 6):
        x = torch.zeros(240, 30)
        x[:, :4] = 40 * torch.eye(4)[labels]
        for j in range(4):
            spread = torch.randn(60, k, generator=draws)
            x[labels == j, 4 + 6 * j : 4 + 6 * j + k] = spread / spread.norm(dim=1, keepdim=True)
        sizes.append(sn.geometry.class_markers(x, labels, per_class=60).dimension)
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[0] == pytest.approx(0.5, abs=0.2)


def test_the_forecast_ranks_as_its_markers_do() -> None:
    rng = np.random.default_rng(0)
    quality = np.arange(12.0)
    markers = {
        "dimension": quality,
        "utility": quality + rng.normal(size=12),
        "noise": rng.normal(size=12),
    }
    shifted = np.column_stack([quality, quality + rng.normal(size=12)])
    found = sn.geometry.failure_forecast(
        markers, rng.uniform(0.9, 1, 12), shifted, n_permutations=99
    )
    at = found.table.set_index("marker")
    assert at.loc["forecast", "rank"] > 0.9 > at.loc["forecast", "shuffled"]
    assert at.loc["forecast", "p"] == 0.01
    assert at.loc["dimension", "beyond"] > 0.9
    assert found.plot().data


def test_what_the_forecast_knows_by_accuracy_alone_is_not_beyond_it() -> None:
    quality = np.arange(10.0)
    found = sn.geometry.failure_forecast(
        {"m": quality}, quality, quality[::-1] ** 2, by=("m",), n_permutations=20
    )
    assert found.table.set_index("marker").loc["m", "beyond"] == 0

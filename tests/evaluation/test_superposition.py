"""Room of features, and two losses in closed form against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from sae_nb.data import sparse_features
from sae_nb.evaluation import feature_dimensionality, interference
from sae_nb_studies.evaluation import antipodal_loss, critical_sparsity, dedicated_loss


def polygon(corners: int) -> torch.Tensor:
    angle = 2 * math.pi * torch.arange(corners) / corners
    return torch.stack((angle.cos(), angle.sin()), dim=1)


@pytest.mark.parametrize("corners", [3, 4, 5, 6, 7, 12])
def test_a_polygon_shares_two_dimensions_equally(corners: int) -> None:
    room = feature_dimensionality(polygon(corners))
    assert torch.allclose(room, torch.tensor(2 / corners), atol=1e-5)


def test_interference_is_what_room_leaves_out() -> None:
    directions = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    squared = directions.square().sum(dim=1)
    expected = squared / (squared + interference(directions))
    assert torch.allclose(feature_dimensionality(directions), expected, atol=1e-5)


def test_a_feature_that_is_not_stored_takes_no_room() -> None:
    directions = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert feature_dimensionality(directions).tolist() == [1.0, 0.0]
    assert interference(directions).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("ratio", [0.3, 1.0])
def test_both_losses_are_what_two_million_inputs_say(sparsity: float, ratio: float) -> None:
    x = sparse_features(2_000_000, 2, sparsity, seed=1)
    weights = torch.tensor([1.0, ratio])
    alone = torch.stack((x[:, 0], torch.full((len(x),), (1 - sparsity) / 2)), dim=1)
    shared = torch.relu(torch.stack((x[:, 0] - x[:, 1], x[:, 1] - x[:, 0]), dim=1))
    for x_hat, expected in (
        (alone, dedicated_loss(sparsity, ratio)),
        (shared, antipodal_loss(sparsity, ratio)),
    ):
        per_input = ((x - x_hat).square() * weights).sum(dim=1)
        error = 4 * float(per_input.std()) / math.sqrt(len(x))
        assert abs(float(per_input.mean()) - expected) < error


@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0, 0.7])
def test_the_critical_sparsity_is_where_the_losses_cross(ratio: float) -> None:
    crossing = critical_sparsity(ratio)
    assert dedicated_loss(crossing, ratio) == pytest.approx(antipodal_loss(crossing, ratio))
    assert antipodal_loss(crossing - 0.05, ratio) > dedicated_loss(crossing - 0.05, ratio)
    assert antipodal_loss(crossing + 0.05, ratio) < dedicated_loss(crossing + 0.05, ratio)

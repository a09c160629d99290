"""Classes have the dimension, the width and the separability that they were made with."""

from __future__ import annotations

import pytest
import torch

from sae_nb_studies.geometry import class_geometry

LABELS = torch.arange(6).repeat(60)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CENTRES = draws(6, 20, seed=1)


def classes(dimension: int, apart: float) -> torch.Tensor:
    clouds = torch.zeros(len(LABELS), 20)
    for label in range(6):
        axes = torch.linalg.qr(draws(20, 20, seed=10 + label)).Q[:, :dimension]
        clouds[label == LABELS] = draws(60, dimension, seed=20 + label) @ axes.T
    return clouds + apart * CENTRES[LABELS]


@pytest.mark.parametrize("dimension", [1, 3, 5])
def test_each_class_has_its_own_dimension(dimension: int) -> None:
    found = class_geometry(classes(dimension, 0.1), LABELS, n_draws=2)
    assert found.dimension == pytest.approx([dimension] * 6, rel=0.15)
    assert found.dimension_floor > found.dimension.mean() + 0.5


def test_the_radius_falls_as_classes_part() -> None:
    near, far = (class_geometry(classes(3, apart), LABELS, n_draws=2) for apart in (5.0, 50.0))
    assert far.radius.mean() == pytest.approx(near.radius.mean() / 10, rel=0.1)
    assert near.radius_floor > 3


@pytest.mark.slow
def test_points_need_fewer_dimensions_than_wide_clouds() -> None:
    """Six nearly single points: at most five dimensions, by their number; clouds need more."""
    narrow, wide = (class_geometry(classes(5, apart), LABELS, n_draws=8) for apart in (100.0, 2.0))
    assert narrow.separable_at <= 5
    assert wide.separable_at > narrow.separable_at
    assert narrow.capacity_proxy > wide.capacity_proxy


@pytest.mark.slow
def test_shuffled_labels_are_not_separable_where_rows_outnumber_dimensions() -> None:
    """Cover's bound: 240 rows of no structure want about 120 dimensions, and there are 20."""
    found = class_geometry(classes(3, 20.0), LABELS, n_draws=4)
    assert found.separable_floor == float("inf")
    assert found.table["shuffled labels"].iloc[-1] == 0
    free = class_geometry(draws(30, 40), torch.arange(2).repeat(15), n_draws=4)
    assert free.separable_floor < 30


def test_classes_with_few_rows_are_marked() -> None:
    uneven = torch.cat([LABELS, torch.full((5,), 6)])
    x = torch.cat([classes(5, 3.0), draws(5, 20, seed=40)])
    few = class_geometry(x, uneven, n_draws=2).per_class
    assert few["few"].tolist() == [False] * 6 + [True]

"""Planted manifolds have the dimension, the subspace and the seams of their families."""

from __future__ import annotations

import math

import pytest
import torch

from sae_nb_studies.data import SHAPES, planted_manifolds
from sae_nb_studies.geometry import two_nn_dimension

COORDINATES = {
    "circle": 1,
    "sphere": 2,
    "torus": 2,
    "moebius": 2,
    "swiss roll": 2,
    "helix": 1,
    "disk": 2,
    "segment": 1,
}


def alone(shape: str, n: int = 1500) -> torch.Tensor:
    planted = planted_manifolds(n, shapes=(shape,), n_active=1, d_in=10, noise=0.0)
    return planted.x


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_its_dimension(shape: str) -> None:
    """The swiss roll has two, and so have all surfaces; lines have one, however they turn."""
    assert two_nn_dimension(alone(shape)) == pytest.approx(COORDINATES[shape], rel=0.12)


def test_points_of_circle_and_sphere_have_norm_one() -> None:
    for shape in ("circle", "sphere"):
        assert torch.allclose(alone(shape).norm(dim=1), torch.ones(1500), atol=1e-5)
    planted = planted_manifolds(20_000, shapes=("sphere",), n_active=1, noise=0.0)
    spread = (planted.x @ planted.directions[0].T).var(dim=0)
    assert torch.allclose(spread, torch.full((3,), 1 / 3), atol=0.01)


def test_a_moebius_band_closes_with_a_twist() -> None:
    planted = planted_manifolds(2, shapes=("moebius",), n_active=1, noise=0.0)
    planted.theta[:, 0] = torch.tensor([[0.0, 0.7], [2 * math.pi, -0.7]])
    here, there = planted.part(0)
    assert torch.allclose(here, there, atol=1e-5)


def test_parts_of_all_families_sum_to_the_rows() -> None:
    planted = planted_manifolds(200, shapes=SHAPES * 6, n_active=4, d_in=128, noise=0.0)
    parts = sum(planted.part(i) for i in range(48))
    assert torch.allclose(parts, planted.x, atol=1e-5)  # type: ignore[arg-type]
    assert planted.active.sum(dim=1).eq(4).all()
    assert planted.names[0] == "circle 1"
    assert planted.names[-1] == "segment 6"


def test_two_draws_share_their_subspaces() -> None:
    one, two = (planted_manifolds(20, draw=draw) for draw in (0, 1))
    assert torch.equal(one.directions, two.directions)
    assert not torch.equal(one.x, two.x)

"""Lines leave a ring and gated sums and stay in convex data; blocks of coefficients are found, not invented."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sae_nb_studies.data import planted_hulls
from sae_nb_studies.geometry._communities import communities
from sae_nb_studies.minkowski import (
    BlockArchetypes,
    coefficient_blocks,
    gaussian_like,
    path_support,
)
from sae_nb_studies.minkowski._blocks_and_paths import _tile_paths

ANGLE = torch.rand(400, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
RING = torch.stack([ANGLE.cos(), ANGLE.sin()], dim=1)


def test_lines_leave_a_ring_and_chains_do_not() -> None:
    ring, null = (path_support(x, n_pairs=30) for x in (RING, gaussian_like(RING)))
    assert ring.gain > 1
    assert abs(null.gain) < 0.5
    assert ring.block is None


def test_pairs_are_far_apart_and_unjoined_ones_left_out() -> None:
    draws = torch.Generator().manual_seed(0)
    clouds = [torch.randn(60, 2, generator=draws) + shift for shift in (0.0, 500.0)]
    found = path_support(torch.cat([RING, clouds[1]]), n_pairs=40, n_neighbours=5)
    assert found.n_apart + len(found.straight) == 40
    assert found.n_apart > 10
    with pytest.raises(ValueError, match="no pair is"):
        path_support(torch.cat(clouds), n_pairs=40, n_neighbours=5)


@pytest.mark.slow
def test_a_path_through_tiles_stays_in_a_gated_sum() -> None:
    planted = planted_hulls(500, n_active=1, seed=0)
    truth = BlockArchetypes(planted.archetypes, planted.tile_sizes, torch.zeros(16), 1)
    found = path_support(planted.x, truth, n_pairs=40)
    assert found.block is not None
    assert found.block.mean() < found.straight.mean() - 0.1


def test_the_codes_mixed_linearly_are_the_line() -> None:
    planted = planted_hulls(400, seed=0)
    truth = BlockArchetypes(planted.archetypes, planted.tile_sizes, torch.zeros(16))
    found = path_support(planted.x, truth, n_pairs=30)
    assert found.block_straight is not None
    assert np.allclose(found.block_straight, found.straight, atol=0.05)


@pytest.mark.slow
def test_a_tile_path_joins_the_reconstructions() -> None:
    planted = planted_hulls(50, n_active=1, seed=0)
    truth = BlockArchetypes(planted.archetypes, planted.tile_sizes, torch.zeros(16), 1)
    first, last = truth.encode(planted.x[:5]), truth.encode(planted.x[5:10])
    for path, a, b in zip(
        _tile_paths(truth, first, last), truth.decode(first), truth.decode(last), strict=True
    ):
        assert torch.allclose(path[0], a, atol=1e-4)
        assert torch.allclose(path[-1], b, atol=1e-4)
        assert torch.allclose(truth(path), path, atol=0.02)


def test_planted_blocks_are_found_and_noise_has_none() -> None:
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(300, 12, generator=draws)
    shared = torch.randn(300, 3, generator=draws).repeat_interleave(4, dim=1)
    planted = coefficient_blocks(shared + 0.3 * noise)
    assert planted.community.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert planted.excess > 0.3
    nothing = coefficient_blocks(noise)
    assert abs(nothing.excess) < 0.05 + 3 * nothing.floor_sd


def test_two_cliques_are_two_communities() -> None:
    """With the modularity of the textbook: ½ for two equal cliques that do not touch."""
    clique = np.ones((5, 5)) - np.eye(5)
    weight = np.kron(np.eye(2), clique)
    label, value = communities(weight)
    assert label.tolist() == [0] * 5 + [1] * 5
    assert value == pytest.approx(0.5)
    assert communities(np.zeros((3, 3)))[1] == 0

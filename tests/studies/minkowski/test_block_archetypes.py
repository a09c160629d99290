"""Block archetypes hold sums of hulls exactly, never leave them, and refuse what does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sae_nb.evaluation import explained_variance
from sae_nb_studies.data import planted_hulls
from sae_nb_studies.minkowski import BlockArchetypes, BlockConfig, fit_block_archetypes
from sae_nb_studies.minkowski._block_archetypes import on_simplices
from sae_nb_studies.minkowski._fitting_blocks import dependent_groups

SIZES = (3, 4)


def model(n_active: int | None = None, sizes: tuple[int, ...] = SIZES) -> BlockArchetypes:
    points = torch.randn(sum(sizes), 8, generator=torch.Generator().manual_seed(0))
    return BlockArchetypes(points, sizes, torch.ones(8), n_active)


def mixed(found: BlockArchetypes, n: int = 40) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    weights = on_simplices(torch.randn(n, found.n_archetypes, generator=draws), found.tile_sizes)
    return found.bias + weights @ found.archetypes


def test_rows_of_the_sum_are_held_exactly() -> None:
    """R² of an exact Minkowski polytope is 1, with tiles of different sizes."""
    found = model()
    x = mixed(found)
    assert explained_variance(x, found(x)) > 1 - 1e-6


def test_codes_lie_on_a_simplex_per_tile() -> None:
    codes = model().encode(100 * torch.randn(20, 8, generator=torch.Generator().manual_seed(2)))
    for part in codes.mixtures.split(SIZES, dim=1):
        assert (part >= 0).all()
        assert torch.allclose(part.sum(dim=1), torch.ones(20), atol=1e-4)


def test_what_is_outside_is_projected_on_the_hull() -> None:
    """A square: the nearest point of a point beside it is on its edge, beyond a corner the corner."""
    square = BlockArchetypes(
        torch.tensor([[-1.0, 0], [1, 0], [0, -1], [0, 1]]), (2, 2), torch.zeros(2)
    )
    x = torch.tensor([[0.3, 5.0], [4.0, 4.0], [0.2, 0.1]])
    wanted = torch.tensor([[0.3, 1.0], [1.0, 1.0], [0.2, 0.1]])
    assert torch.allclose(square(x), wanted, atol=1e-4)


@pytest.mark.slow
def test_a_soft_gate_changes_nothing_and_a_hard_one_does() -> None:
    """g · conv(T) lies in conv(T) for a centred tile; a closed tile stands at its centre."""
    found = model()
    half = found.bias + 0.5 * (mixed(found) - found.bias)
    assert explained_variance(half, found(half)) > 1 - 1e-6
    gated = model(n_active=1)
    codes = gated.encode(mixed(found))
    assert codes.active.sum(dim=1).eq(1).all()
    assert explained_variance(mixed(found), gated(mixed(found))) < 0.99


@pytest.mark.slow
def test_active_tiles_are_the_ones_that_made_the_row() -> None:
    points = torch.zeros(6, 8)
    points[:3, :3], points[3:, 4:7] = torch.eye(3), torch.eye(3)
    found = BlockArchetypes(points, (3, 3), torch.zeros(8), n_active=1)
    x = found.bias + found.archetypes
    active = found.encode(x).active
    assert active[:3, 0].all()
    assert active[3:, 1].all()
    assert torch.allclose(found(x), x, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("n_active", "count"), [(None, 12), (1, 7)])
def test_vertices_are_sums_of_one_archetype_per_active_tile(
    n_active: int | None, count: int
) -> None:
    found = model(n_active)
    corners = found.vertices()
    assert len(corners) == count
    assert torch.allclose(found(corners), corners, atol=1e-3)
    assert len(found.vertices(5)) == 5


@pytest.mark.slow
def test_a_planted_sum_is_found() -> None:
    """Held-out R², and the planted corners, from a start in independent subspaces."""
    planted = planted_hulls(700, "minkowski", tile_sizes=(3, 3), d_in=8, seed=4)
    found = fit_block_archetypes(planted.x[:500], (3, 3), BlockConfig(n_steps=150))
    test = planted.x[500:]
    # Of six seeds, products summed in two orders: R² .9990 ± .0011, the least cosine .984 ± .021.
    assert explained_variance(test, found(test)) > 0.99
    truth = BlockArchetypes(planted.archetypes, (3, 3), torch.zeros(8)).archetypes
    cosines = (
        torch.nn.functional.normalize(found.archetypes) @ torch.nn.functional.normalize(truth).T
    )
    assert float(cosines.max(dim=1).values.min()) > 0.9


@pytest.mark.slow
def test_a_pull_keeps_archetypes_in_the_hull_of_data() -> None:
    x = planted_hulls(300, "gaussian", tile_sizes=(4,), d_in=5).x
    loose = BlockConfig(n_steps=60, tightness=(0.0, 0.0), learning_rate=0.05)
    free = fit_block_archetypes(x, (4,), loose)
    held = fit_block_archetypes(x, (4,), replace(loose, pull=10.0))
    assert held.archetypes.norm(dim=1).mean() < 0.9 * free.archetypes.norm(dim=1).mean()


def test_groups_have_the_sizes_asked_for() -> None:
    import numpy as np

    block = np.kron(np.eye(3), np.ones((4, 4)))
    order = np.random.default_rng(0).permutation(12)
    group = dependent_groups(block[np.ix_(order, order)], [4, 4, 4])
    assert all(len(set(group[order // 4 == i])) == 1 for i in range(3))
    assert np.bincount(dependent_groups(block, [2, 10])).tolist() == [2, 10]

"""Block archetypes hold sums of hulls exactly, never leave them, and refuse what does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sae_nb.evaluation import explained_variance
from sae_nb_studies.data import planted_hulls
from sae_nb_studies.minkowski import (
    BlockArchetypes,
    BlockConfig,
    fit_block_archetypes,
    hull_of_rows,
    near_grassmannian_frame,
)
from sae_nb_studies.minkowski._block_archetypes import on_simplices
from sae_nb_studies.minkowski._fitting_blocks import dependent_groups

SIZES = (3, 4)


def model(n_active: int | None = None, sizes: tuple[int, ...] = SIZES) -> BlockArchetypes:
    """Random tiles in eight dimensions."""
    points = torch.randn(sum(sizes), 8, generator=torch.Generator().manual_seed(0))
    return BlockArchetypes(points, sizes, torch.ones(8), n_active)


def mixed(found: BlockArchetypes, n: int = 40) -> torch.Tensor:
    """Rows that are in the sum of the hulls."""
    draws = torch.Generator().manual_seed(1)
    weights = on_simplices(torch.randn(n, found.n_archetypes, generator=draws), found.tile_sizes)
    return found.bias + weights @ found.archetypes


def test_rows_of_the_sum_are_held_exactly() -> None:
    """R² of an exact Minkowski polytope is 1, with tiles of different sizes."""
    found = model()
    x = mixed(found)
    assert explained_variance(x, found(x)) > 1 - 1e-6


def test_codes_lie_on_a_simplex_per_tile() -> None:
    """Also for rows far outside."""
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


def test_tiles_are_centred_and_the_sum_stays_where_it_is() -> None:
    """Moving one tile and taking it back at the other changes nothing."""
    points = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    shift = torch.cat([torch.ones(3, 8), -torch.ones(4, 8)])
    one, other = (BlockArchetypes(p, SIZES, torch.zeros(8)) for p in (points, points + shift))
    assert torch.allclose(one.archetypes, other.archetypes, atol=1e-5)
    assert torch.allclose(one.bias, other.bias, atol=1e-5)
    assert torch.allclose(one.archetypes[:3].sum(dim=0), torch.zeros(8), atol=1e-5)


def test_a_soft_gate_changes_nothing_and_a_hard_one_does() -> None:
    """g · conv(T) lies in conv(T) for a centred tile; a closed tile stands at its centre."""
    found = model()
    half = found.bias + 0.5 * (mixed(found) - found.bias)
    assert explained_variance(half, found(half)) > 1 - 1e-6
    gated = model(n_active=1)
    codes = gated.encode(mixed(found))
    assert codes.active.sum(dim=1).eq(1).all()
    assert explained_variance(mixed(found), gated(mixed(found))) < 0.99


def test_active_tiles_are_the_ones_that_made_the_row() -> None:
    """Rows made by one of two orthogonal tiles."""
    points = torch.zeros(6, 8)
    points[:3, :3], points[3:, 4:7] = torch.eye(3), torch.eye(3)
    found = BlockArchetypes(points, (3, 3), torch.zeros(8), n_active=1)
    x = found.bias + found.archetypes
    active = found.encode(x).active
    assert active[:3, 0].all()
    assert active[3:, 1].all()
    assert torch.allclose(found(x), x, atol=1e-4)


@pytest.mark.parametrize(("n_active", "count"), [(None, 12), (1, 7)])
def test_vertices_are_sums_of_one_archetype_per_active_tile(
    n_active: int | None, count: int
) -> None:
    """All of them when they are few; each is held exactly; a draw when they are many."""
    found = model(n_active)
    corners = found.vertices()
    assert len(corners) == count
    assert torch.allclose(found(corners), corners, atol=1e-3)
    assert len(found.vertices(5)) == 5


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


def test_a_pull_keeps_archetypes_in_the_hull_of_data() -> None:
    """Against the same fit without it, from loose hulls."""
    x = planted_hulls(300, "gaussian", tile_sizes=(4,), d_in=5).x
    loose = BlockConfig(n_steps=60, tightness=(0.0, 0.0), learning_rate=0.05)
    free = fit_block_archetypes(x, (4,), loose)
    held = fit_block_archetypes(x, (4,), replace(loose, pull=10.0))
    assert held.archetypes.norm(dim=1).mean() < 0.9 * free.archetypes.norm(dim=1).mean()


def test_archetypes_of_rows_stay_in_their_hull() -> None:
    """No corner is larger than the largest row in any direction."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    corners = hull_of_rows(x, 6, n_steps=5).vertices()
    directions = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    reach = (x @ directions.T).max(dim=0).values
    assert ((corners @ directions.T).max(dim=0).values <= reach + 1e-4).all()


def test_fits_repeat_for_one_seed() -> None:
    """Bit by bit."""
    x = planted_hulls(120, tile_sizes=(3, 3), d_in=6).x
    config = BlockConfig(n_steps=10, seed=3)
    one, two = (fit_block_archetypes(x, (3, 3), config) for _ in range(2))
    assert torch.equal(one.archetypes, two.archetypes)


def test_fits_work_where_gradients_are_off() -> None:
    """In somebody's evaluation block, and nothing that comes back carries a gradient."""
    x = planted_hulls(80, tile_sizes=(3, 3), d_in=6).x
    with torch.no_grad():
        found = fit_block_archetypes(x, (3, 3), BlockConfig(n_steps=5, pull=0.1))
        frame = near_grassmannian_frame(6, 4, n_steps=3)
    assert not found.archetypes.requires_grad
    assert not found.bias.requires_grad
    assert not frame.requires_grad


def test_the_best_of_several_starts_is_kept() -> None:
    """More starts never give a larger error."""
    x = planted_hulls(150, tile_sizes=(3, 3), d_in=6).x
    errors = []
    for n_starts in (1, 3):
        config = BlockConfig(n_steps=30, start="rows", n_starts=n_starts, tightness=(0.0, 0.0))
        found = fit_block_archetypes(x, (3, 3), config)
        errors.append(float((x - found(x)).square().sum()))
    assert errors[1] <= errors[0] * 1.05


def test_groups_have_the_sizes_asked_for() -> None:
    """And the blocks of a block matrix are found, whatever its order."""
    import numpy as np

    block = np.kron(np.eye(3), np.ones((4, 4)))
    order = np.random.default_rng(0).permutation(12)
    group = dependent_groups(block[np.ix_(order, order)], [4, 4, 4])
    assert all(len(set(group[order // 4 == i])) == 1 for i in range(3))
    assert np.bincount(dependent_groups(block, [2, 10])).tolist() == [2, 10]


X = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_block_archetypes(X, ()), "at least one tile"),
        (lambda: fit_block_archetypes(X, (1, 4)), "at least 2"),
        (lambda: fit_block_archetypes(X, (20, 20)), "at least one row per archetype, 40"),
        (lambda: fit_block_archetypes(torch.ones(30, 6), (3,)), "must vary"),
        (lambda: fit_block_archetypes(X, (3, 3), n_active=3), "at most the 2 tiles, got 3"),
        (
            lambda: fit_block_archetypes(X, (5, 5), BlockConfig(start="subspaces")),
            r"Σ \(size − 1\) = 8 at most 6",
        ),
        (lambda: fit_block_archetypes(X * torch.nan, (3,)), "finite"),
        (lambda: BlockConfig(learning_rate=0), "positive"),
        (lambda: BlockConfig(pull=-1.0), "≥ 0"),
        (lambda: BlockArchetypes(X, (3, 4), torch.zeros(6)), "sum to the 30 rows"),
        (lambda: BlockArchetypes(X, (10, 20), torch.zeros(5)), r"shape \(6,\)"),
        (lambda: model().encode(torch.ones(2, 5)), "d_in=8"),
        (lambda: hull_of_rows(X, 31), "n_archetypes=31"),
        (lambda: planted_hulls(5, "cube"), "'minkowski', 'simplex', 'gaussian'"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_refused_by_name(call: object, message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_tiles_must_be_a_list() -> None:
    """A single number is ambiguous."""
    with pytest.raises(TypeError, match="`tile_sizes` must be a list, got 3"):
        fit_block_archetypes(X, 3)  # type: ignore[arg-type]

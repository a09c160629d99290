"""Effective ranks and dimensions on cases with known answers (E7 of the method notes)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sae_nb.geometry import (
    direction_dimension,
    effective_rank,
    participation_ratio,
    stable_rank,
    tree_dimension,
    two_nn_dimension,
)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_orthonormal_rows_have_their_number_as_rank(rank: int) -> None:
    """In every count."""
    rows = torch.linalg.qr(draws(20, rank)).Q.T
    assert stable_rank(rows) == pytest.approx(rank)
    assert effective_rank(rows) == pytest.approx(rank)


def test_a_gaussian_uses_nearly_all_its_directions() -> None:
    """N = 50 d: above 0.95 d."""
    assert effective_rank(draws(50 * 24, 24)) > 0.95 * 24


def test_directions_are_counted_by_an_exact_small_case() -> None:
    """Three unit rows: cosines 0, 0.6, 0.8, so n (n − 1) / Σ cos² = 6 / 2."""
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert direction_dimension(rows) == pytest.approx(6 / (2 * (0.36 + 0.64)), abs=1e-6)
    assert direction_dimension(5 * rows) == pytest.approx(3, abs=1e-6)


def test_directions_are_counted_without_bias_where_rows_are_few() -> None:
    """Mean over draws of 1 / d̂ is 1 / d with 15 rows in 30 directions; the plain ratio is far below."""
    sets = [draws(15, 30, seed=seed) for seed in range(40)]
    unbiased = 1 / (sum(1 / direction_dimension(x) for x in sets) / 40)
    assert unbiased == pytest.approx(30, rel=0.1)
    assert sum(participation_ratio(x) for x in sets) / 40 < 15


def test_planted_ranks_are_followed_and_permuted_rows_are_not() -> None:
    """Rank 4 + 4t at time t; with rows permuted over time the trend is gone (U-statistic of E7)."""
    from scipy.stats import spearmanr

    basis = torch.linalg.qr(draws(64, 64)).Q
    times = range(12)
    states = [draws(400, 4 + 4 * t, seed=t) @ basis[: 4 + 4 * t] for t in times]
    found = [direction_dimension(x) for x in states]
    assert all(abs(d - (4 + 4 * t)) < 0.05 * (4 + 4 * t) for t, d in zip(times, found, strict=True))
    mixed = torch.cat(states)[torch.randperm(4800, generator=torch.Generator().manual_seed(0))]
    control = [direction_dimension(x) for x in torch.tensor_split(mixed, 12)]
    assert spearmanr(times, found).statistic == pytest.approx(1)
    assert abs(spearmanr(times, control).statistic) < 0.6
    assert max(control) - min(control) < 5


def swiss_roll(n: int) -> torch.Tensor:
    uniform = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    t = 1.5 * math.pi * (1 + 2 * uniform[:, 0])
    roll = torch.stack([t * t.cos(), 21 * uniform[:, 1], t * t.sin()], dim=1)
    return roll @ torch.linalg.qr(draws(10, 3)).Q.T


def test_a_swiss_roll_is_two_dimensional() -> None:
    """In ten coordinates; copies of rows change nothing."""
    roll = swiss_roll(2000)
    assert 1.7 < two_nn_dimension(roll) < 2.3
    assert two_nn_dimension(torch.cat([roll, roll[:100]])) == pytest.approx(
        two_nn_dimension(roll), rel=1e-6
    )


def test_a_ball_of_five_dimensions_is_a_little_low() -> None:
    """A known bias of the estimate at this size."""
    directions = torch.nn.functional.normalize(draws(2000, 5), dim=1)
    radius = torch.rand(2000, 1, generator=torch.Generator().manual_seed(1)) ** (1 / 5)
    ball = directions * radius @ torch.linalg.qr(draws(20, 5)).Q.T
    assert 4.2 < two_nn_dimension(ball) < 5.4


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_tree_grows_with_the_dimension(d: int) -> None:
    """A cube of d dimensions, in ten coordinates; size, place and copies of rows change nothing."""
    cube = torch.rand(200, d, generator=torch.Generator().manual_seed(d)).double()
    x = cube @ torch.linalg.qr(draws(10, d).double()).Q.T
    value = tree_dimension(x)
    assert abs(value - d) < 0.15 * d
    # Powers of two, so that no distance is rounded otherwise and the order of rows stays.
    assert tree_dimension(torch.cat([x, x[:20]]) * 8) == pytest.approx(value, rel=1e-9)


def test_the_length_of_a_tree_is_scipys() -> None:
    """Of forty points in the plane."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    from sae_nb.geometry._dimension import _tree_length

    x = draws(40, 2).double()
    distance = torch.cdist(x, x).numpy()
    wanted = minimum_spanning_tree(distance).sum()
    assert _tree_length(distance, np.arange(40)) == pytest.approx(float(wanted))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tree_dimension(torch.ones(60, 2)), "40 distinct rows, got 1"),
        (lambda: tree_dimension(draws(60, 2), n_sizes=1), "n_sizes.*at least 2, got 1"),
        (lambda: stable_rank(torch.zeros(3, 2)), "not be all zero"),
        (lambda: effective_rank(torch.ones(3)), "shape"),
        (lambda: direction_dimension(torch.ones(1, 3)), "two rows or more"),
        (lambda: direction_dimension(torch.tensor([[1.0], [0.0]])), "none of them zero"),
        (lambda: two_nn_dimension(torch.ones(30, 2)), "10 distinct rows, got 1"),
        (lambda: two_nn_dimension(draws(30, 2), dropped=1.0), r"in \[0, 1\), got 1.0"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]

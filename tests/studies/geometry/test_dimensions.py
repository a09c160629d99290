"""Dimensions on cases with known answers (E7 of the method notes), and all of them in one table."""

from __future__ import annotations

import pytest
import torch

from sae_nb.geometry import participation_ratio
from sae_nb_studies.data import planted_manifolds
from sae_nb_studies.geometry import dimensions, direction_dimension, tree_dimension


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
def test_a_swiss_roll_spans_three_directions_and_has_two_dimensions() -> None:
    roll = planted_manifolds(2000, shapes=("swiss roll",), n_active=1, d_in=10, noise=0.0).x
    found = dimensions(roll)
    assert found["effective rank"] == pytest.approx(3, abs=0.2)
    for measure in ("two nearest neighbours", "Levina–Bickel"):
        assert found[measure] == pytest.approx(2, abs=0.3)
    assert not found.table["warning"].any()


def test_components_hold_nine_tenths_of_the_variance() -> None:
    x = torch.linalg.qr(draws(500, 10)).Q
    assert dimensions(x - x.mean(dim=0))["components for 90%"] in (9, 10)


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


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_tree_grows_with_the_dimension(d: int) -> None:
    """A cube of d dimensions, in ten coordinates; size, place and copies of rows change nothing."""
    cube = torch.rand(200, d, generator=torch.Generator().manual_seed(d)).double()
    x = cube @ torch.linalg.qr(draws(10, d).double()).Q.T
    value = tree_dimension(x)
    assert abs(value - d) < 0.15 * d
    # Powers of two, so that no distance is rounded otherwise and the order of rows stays.
    assert tree_dimension(torch.cat([x, x[:20]]) * 8) == pytest.approx(value, rel=1e-9)

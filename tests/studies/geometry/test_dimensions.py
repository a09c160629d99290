"""Dimensions on cases with known answers (E7 of the method notes), and all of them in one table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.geometry import participation_ratio, stable_rank
from sae_nb_studies.data import planted_manifolds
from sae_nb_studies.geometry import (
    dimensions,
    direction_dimension,
    tree_dimension,
    two_nn_dimension,
)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_swiss_roll_spans_three_directions_and_has_two_dimensions() -> None:
    """Spectra say three, neighbours two."""
    roll = planted_manifolds(2000, shapes=("swiss roll",), n_active=1, d_in=10, noise=0.0).x
    found = dimensions(roll)
    assert found["effective rank"] == pytest.approx(3, abs=0.2)
    for measure in ("two nearest neighbours", "Levina–Bickel"):
        assert found[measure] == pytest.approx(2, abs=0.3)
    assert not found.table["warning"].any()


def test_each_number_is_that_of_its_function() -> None:
    """Centred where the table says so."""
    x = 3 + draws(300, 8)
    found = dimensions(x)
    assert found["participation ratio"] == participation_ratio(x)
    assert found["stable rank"] == stable_rank(x)
    assert found["two nearest neighbours"] == pytest.approx(two_nn_dimension(x))
    # The mean of 3 is one direction of squared length, and none of variance.
    assert found["stable rank"] < 1.5 < found["participation ratio"]
    centred = found.table.set_index("measure")["centred"]
    assert centred["participation ratio"]
    assert not centred["stable rank"]


def test_too_few_rows_are_said() -> None:
    """Fifty rows for fifty directions bias a spectrum, and cannot show so many by neighbours."""
    x = draws(50, 50)
    warning = dimensions(x).table.set_index("measure")["warning"]
    assert "50 rows are fewer than 10 per direction" in warning["participation ratio"]
    assert "50 rows can show at most 3.4" in warning["two nearest neighbours"]
    assert "with too few rows" in repr(dimensions(x))


def test_components_hold_nine_tenths_of_the_variance() -> None:
    """Nine equal directions of ten."""
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


def test_copies_of_rows_change_nothing() -> None:
    """A row and its copy have no distance."""
    roll = planted_manifolds(2000, shapes=("swiss roll",), n_active=1, d_in=10, noise=0.0).x
    twice = two_nn_dimension(torch.cat([roll, roll[:100]]))
    assert twice == pytest.approx(two_nn_dimension(roll), rel=1e-6)


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

    from sae_nb_studies.geometry._dimension import _tree_length

    x = draws(40, 2).double()
    distance = torch.cdist(x, x).numpy()
    wanted = minimum_spanning_tree(distance).sum()
    assert _tree_length(distance, np.arange(40)) == pytest.approx(float(wanted))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dimensions(draws(30, 4)), "at least 40 distinct rows, got 30"),
        (lambda: dimensions(torch.ones(90, 4)), "got 1"),
        (lambda: dimensions(draws(90, 4))["girth"], "one of"),
        (lambda: tree_dimension(torch.ones(60, 2)), "40 distinct rows, got 1"),
        (lambda: direction_dimension(torch.ones(1, 3)), "two rows or more"),
        (lambda: direction_dimension(torch.tensor([[1.0], [0.0]])), "none of them zero"),
        (lambda: two_nn_dimension(torch.ones(30, 2)), "10 distinct rows, got 1"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]

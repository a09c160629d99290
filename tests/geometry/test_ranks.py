"""How many directions rows spread into is measured right where it is known."""

from __future__ import annotations

import math
from operator import attrgetter

import pytest
import torch

import sae_nb as sn
from sae_nb.geometry import effective_rank, local_dimensions, participation_ratio, stable_rank
from sae_nb.geometry._dimension import dimension_of_distances, feature_dimensionality, interference
from tests.left_out import numbers_left_out


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_flat_patches_have_their_dimension(dimension: int, seed: int) -> None:
    """A rotated patch in 12 dimensions; its rim, where neighbours lie to one side, costs a little."""
    turned = torch.linalg.qr(torch.randn(12, 12, generator=drawn(seed)))[0][:dimension]
    x = 1e-3 * torch.rand(1500, dimension, generator=drawn(seed)) @ turned
    # Measured over 3 seeds: 0.95 to 0.98 of it at 1, 0.94 at 2, 0.88 to 0.89 at 4.
    assert 0.82 * dimension < float(local_dimensions(x).median()) < 1.05 * dimension


def test_the_dimension_of_three_distances_by_hand() -> None:
    """(k − 2) / Σ log(T_k / T_j), with k = 3: 1 / (log 4 + log 2)."""
    found = dimension_of_distances(torch.tensor([[1.0, 2.0, 4.0]]).double())
    assert float(found) == pytest.approx(1 / math.log(8))


def test_rows_of_two_kinds_keep_their_dimensions() -> None:
    line = torch.rand(500, 1, generator=drawn(0)) @ torch.ones(1, 3)
    cube = 10 + torch.rand(500, 3, generator=drawn(1))
    low, high = local_dimensions(torch.cat([line, cube])).quantile(
        torch.tensor([0.25, 0.75], dtype=torch.float64)
    )
    assert low < 1.3
    assert high > 2.4


def test_copies_are_left_out() -> None:
    x = torch.rand(200, 2, generator=drawn(0))
    twice = torch.cat([x, x])
    assert torch.equal(local_dimensions(twice), local_dimensions(x))
    assert torch.equal(local_dimensions(x), local_dimensions(x, 20))


def test_the_dimension_around_four_points_of_a_line_by_hand() -> None:
    """0, 1, 3 and 7: the distances from 0 are 1, 3 and 7, from 3 they are 2, 3 and 4."""
    found = local_dimensions(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), 3)
    assert float(found[0]) == pytest.approx(1 / (math.log(7) + math.log(7 / 3)))
    assert float(found[2]) == pytest.approx(1 / (math.log(2) + math.log(4 / 3)))


def test_where_the_rows_lie_makes_no_difference() -> None:
    x = torch.rand(500, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(local_dimensions(1e6 + x), local_dimensions(x), rtol=1e-3)


def test_participation_ratio_counts_equal_directions() -> None:
    """m equal variances count m; a single direction, or a width of one, counts 1."""
    x = torch.randn(20000, 6, generator=drawn(0))
    assert participation_ratio(x) == pytest.approx(6, rel=0.01)
    assert participation_ratio(x[:, :1]) == pytest.approx(1)
    assert participation_ratio(x[:, :1] @ torch.ones(1, 4)) == pytest.approx(1)


def test_ranks_of_two_lengths_by_hand() -> None:
    """σ² are 9 and 16: 25 / 16, and the exponential of the entropy of .36 and .64."""
    x = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert stable_rank(x) == pytest.approx(25 / 16)
    assert effective_rank(x) == pytest.approx(0.36**-0.36 * 0.64**-0.64)
    assert effective_rank(torch.tensor([[2.0, 0.0]])) == pytest.approx(1)
    for rank in (stable_rank, effective_rank):
        with pytest.raises(ValueError, match="all zero"):
            rank(torch.zeros(3, 2))
    assert participation_ratio(x) == pytest.approx(1)
    with pytest.raises(ValueError, match="two rows"):
        participation_ratio(x[:1])
    with pytest.raises(ValueError, match="distinct rows, got 2"):
        local_dimensions(x, 2)


def test_the_room_of_features_by_hand() -> None:
    """⅖ in a pentagon; of two along one line the longer has more, and neither is read without the other."""
    angle = torch.arange(5) * 2 * math.pi / 5
    pentagon = torch.stack([angle.cos(), angle.sin()], dim=1)
    for unit in (1.0, 1e-3):
        torch.testing.assert_close(feature_dimensionality(unit * pentagon), torch.full((5,), 0.4))
    torch.testing.assert_close(interference(pentagon), torch.full((5,), 1.5))
    rows = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    torch.testing.assert_close(
        feature_dimensionality(rows), torch.tensor([16 / 20, 1 / 5, 1.0, 0.0])
    )
    torch.testing.assert_close(interference(rows), torch.tensor([1.0, 4.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("LayoutSettings", {'n_neighbours': 15, 'min_dist': 0.1, 'seed': 0}),
        ("Ring.coordinate", {'steps': 24}),
        ("coactivation_ring", {'n_shuffled': 20, 'seed': 0}),
        ("containment", {'n_random': 5, 'seed': 0}),
        ("curve", {'n_shuffled': 20, 'seed': 0}),
        ("local_dimensions", {'n_neighbours': 20}),
    ],
)  # fmt: skip
def test_numbers_that_are_left_out_are_those_that_its_page_states(
    name: str, numbers: dict[str, float]
) -> None:
    assert numbers_left_out(attrgetter(name)(sn.geometry)) == numbers

"""Stability: what a permutation, a sign, chance and a training seed do to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn


def dictionary(n_atoms: int, d_in: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n_atoms, d_in, generator=generator), dim=1)


def test_a_permuted_dictionary_is_the_same_dictionary():
    atoms = dictionary(40, 16, 0)
    shuffled = atoms[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    for signed in (False, True):
        found = sn.evaluation.stability([atoms, 3 * shuffled], signed=signed)
        assert found.value == pytest.approx(1, abs=1e-6)
        assert found.shared_fraction == 1
        assert found.mean_max == pytest.approx(1, abs=1e-6)


def test_a_negated_dictionary_matches_only_where_signs_do_not_count():
    atoms = dictionary(40, 16, 0)
    assert sn.evaluation.stability([atoms, -atoms], signed=True).value == pytest.approx(1, abs=1e-6)
    assert sn.evaluation.stability([atoms, -atoms]).value < 0.9


@pytest.mark.parametrize(
    ("d_in", "n_atoms", "floor", "mean_max"),
    [
        (64, 256, 0.335, 0.352),
        pytest.param(64, 1024, 0.379, 0.394, marks=pytest.mark.slow),
        pytest.param(256, 2048, 0.206, 0.213, marks=pytest.mark.slow),
    ],
)
def test_the_random_floor_is_where_it_was_measured(d_in, n_atoms, floor, mean_max):
    """Two random dictionaries reach 0.34 at d = 64: the floor says so, and independent ones agree."""
    pair = [dictionary(n_atoms, d_in, seed) for seed in (10, 11)]
    found = sn.evaluation.stability(pair, n_bootstrap=50)
    assert found.floor == pytest.approx(floor, abs=0.01)
    assert found.value == pytest.approx(floor, abs=0.01)
    assert found.mean_max == pytest.approx(mean_max, abs=0.01)
    assert found.mean_max >= found.value


def test_the_hungarian_matching_is_optimal():
    from itertools import permutations

    first, second = dictionary(6, 4, 0), dictionary(6, 4, 1)
    cosines = (first @ second.T).numpy()
    best = max(cosines[range(6), list(order)].mean() for order in permutations(range(6)))
    assert sn.evaluation.stability([first, second]).value == pytest.approx(best, abs=1e-6)


def test_the_largest_cosines_count_in_both_directions():
    one, three = torch.eye(4)[:1], torch.eye(4)[:3]
    assert sn.evaluation.stability([one, three]).mean_max == pytest.approx((1 + 1 / 3) / 2)


def test_large_dictionaries_are_matched_by_auction_and_say_so(monkeypatch):
    first = dictionary(200, 16, 0)
    second = first[torch.randperm(200)] + 0.2 * dictionary(200, 16, 1)
    exact = sn.evaluation.stability([first, second])
    assert exact.error == 0
    monkeypatch.setattr("sae_nb.geometry._matching.HUNGARIAN_UP_TO", 100)
    near = sn.evaluation.stability([first, second])
    assert (exact.definition, near.definition) == ("stability_hungarian", "stability_auction")
    assert exact.value - near.error - 1e-6 <= near.value <= exact.value + 1e-6
    for pair in ((first[:150], second), (first, second[:150])):
        rows, columns, cosines = sn.evaluation.match_atoms(*pair)
        assert len(set(rows)) == len(set(columns)) == 150
        unit = [torch.nn.functional.normalize(d, dim=1).numpy() for d in pair]
        assert cosines == pytest.approx((unit[0][rows] * unit[1][columns]).sum(1), abs=1e-5)


def test_a_dictionary_collapsed_to_one_direction_is_no_better_than_pairs_at_random():
    """Copies of one atom match perfectly, and so they do at random: the control says so."""
    one = dictionary(1, 32, 0).expand(50, 32) + 0.01 * dictionary(50, 32, 1)
    collapsed = sn.evaluation.stability([one, one.flip(0)])
    assert collapsed.value > 0.99
    assert collapsed.value - collapsed.control < 0.01
    spread = sn.evaluation.stability([dictionary(50, 32, 0), dictionary(50, 32, 0)])
    assert spread.value - spread.control > 0.9


def test_an_atom_that_others_find_again_is_stable():
    """One column for the concept map: 1 where found, low where not, NaN without a partner."""
    atoms = torch.eye(6)
    other = torch.cat([atoms[:3], dictionary(3, 6, 1)])
    column = sn.evaluation.atom_stability(atoms, [other.flip(0), other])
    assert column[:3] == pytest.approx(1)
    assert (column[3:] < 0.95).all()
    smaller = sn.evaluation.atom_stability(atoms, [atoms[:4]])
    assert np.isnan(smaller).tolist() == [False] * 4 + [True] * 2


def test_several_dictionaries_are_compared_pair_by_pair():
    three = [dictionary(20, 8, seed) for seed in range(3)]
    found = sn.evaluation.stability(three)
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    assert found.cosines.shape == (3, 20)
    assert found.value == pytest.approx(found.cosines.mean())
    assert found.interval[0] <= found.value <= found.interval[1]


def test_dictionaries_of_different_sizes_match_the_smaller():
    large = dictionary(50, 16, 0)
    found = sn.evaluation.stability([large[:20], large])
    assert found.value == pytest.approx(1, abs=1e-6)
    assert np.allclose(found.cosines, 1, atol=1e-6)

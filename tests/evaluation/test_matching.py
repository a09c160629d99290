"""Stability: what a permutation, a sign, chance and a training seed do to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation.dictionary import _matching as matching
from sae_nb.evaluation.dictionary._matching import auction
from sae_nb.evaluation.dictionary._matching_many import CANDIDATES, WANTED, _enough, match_near
from sae_nb.geometry._ivf_index import Lists


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


@pytest.mark.parametrize("mix", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("signed", [False, True])
def test_the_auction_is_as_near_the_optimum_as_it_says(mix, signed):
    """Chance, partial and nearly full agreement: the gap to Hungarian is within the stated error."""
    from scipy.optimize import linear_sum_assignment

    first = dictionary(700, 48, 0)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(2))
    second = mix * first[order] + (1 - mix) * dictionary(700, 48, 1)
    second = torch.nn.functional.normalize(second, dim=1) * (-1 if signed else 1)
    found = auction(first, second, signed=signed)
    cosines = (first @ second.T).double().numpy()
    cosines = np.abs(cosines) if signed else cosines
    best = cosines[linear_sum_assignment(cosines, maximize=True)].mean()
    assert sorted(found.partner) == list(range(700))
    assert found.cosines == pytest.approx(cosines[range(700), found.partner], abs=1e-6)
    assert -1e-6 <= best - found.cosines.mean() <= found.error + 1e-6
    assert found.error < 1e-3


def test_an_auction_that_is_cut_short_states_a_larger_error(monkeypatch):
    """One round with short lists leaves atoms to be matched as they come; the bound still holds."""
    from scipy.optimize import linear_sum_assignment

    first, second = dictionary(600, 16, 0), dictionary(600, 16, 1)
    whole = auction(first, second)
    monkeypatch.setattr("sae_nb.evaluation.dictionary._matching.CANDIDATES", 3)
    found = auction(first, second, rounds=1)
    cosines = (first @ second.T).double().numpy()
    best = cosines[linear_sum_assignment(cosines, maximize=True)].mean()
    assert sorted(found.partner) == list(range(600))
    assert best - found.cosines.mean() <= found.error + 1e-6
    assert found.error > whole.error


def test_large_dictionaries_are_matched_by_auction_and_say_so(monkeypatch):
    first = dictionary(200, 16, 0)
    second = first[torch.randperm(200)] + 0.2 * dictionary(200, 16, 1)
    exact = sn.evaluation.stability([first, second])
    assert exact.error == 0
    monkeypatch.setattr(matching, "HUNGARIAN_UP_TO", 100)
    near = sn.evaluation.stability([first, second])
    assert (exact.definition, near.definition) == ("stability_hungarian", "stability_auction")
    assert exact.value - near.error - 1e-6 <= near.value <= exact.value + 1e-6
    for pair in ((first[:150], second), (first, second[:150])):
        rows, columns, cosines = sn.evaluation.match_atoms(*pair)
        assert len(set(rows)) == len(set(columns)) == 150
        unit = [torch.nn.functional.normalize(d, dim=1).numpy() for d in pair]
        assert cosines == pytest.approx((unit[0][rows] * unit[1][columns]).sum(1), abs=1e-5)


def test_very_large_dictionaries_are_matched_within_lists():
    """Small ones here, all of whose pairs are looked at: as good as the best matching of all."""
    from scipy.optimize import linear_sum_assignment

    first, noise = dictionary(90, 6, 0), dictionary(120, 6, 1)
    order = np.random.default_rng(0).permutation(120)
    second = torch.cat([first + 0.3 * noise[:90], noise[90:]])[order]
    unit = torch.nn.functional.normalize(second, dim=1)
    cosines = (first @ unit.T).double().numpy()
    best = cosines[linear_sum_assignment(cosines, maximize=True)]
    found = match_near(first, second, seed=0)
    assert len(set(found.others)) == len(found.atoms)
    np.testing.assert_allclose(found.cosines, cosines[found.atoms, found.others], atol=1e-6)
    assert found.cosines.sum() == pytest.approx(best.sum(), rel=5e-3)
    assert found.found == 1
    turned = match_near(second, first, seed=0)
    assert turned.atoms.tolist() == sorted(turned.atoms)
    np.testing.assert_allclose(turned.cosines, cosines[turned.others, turned.atoms], atol=1e-6)
    assert turned.cosines.sum() == pytest.approx(best.sum(), rel=5e-3)


def test_as_many_lists_are_searched_as_hold_the_best_of_nearly_all():
    """98 of 100 best partners are in so many lists, and were not in half as many; by every cosine."""
    first, second = dictionary(200, 16, 0), dictionary(900, 16, 1)
    lists = Lists(second, seed=0)
    of = lists.nearest_list(first)
    cosines = first @ second.T

    def share(looked_at: int) -> float:
        held = [lists.among(int(one), looked_at, CANDIDATES) for one in of]
        seen = torch.stack([row[open_].max() for row, open_ in zip(cosines, held, strict=True)])
        return float((seen >= cosines.amax(dim=1) - 1e-6).double().mean())

    looked_at, found = _enough(first, second, lists, of, 0)
    assert found == pytest.approx(share(looked_at))
    assert share(looked_at // 2) < WANTED <= found


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


def test_those_left_over_are_matched_among_those_left_over() -> None:
    """Atom 1 has taken partner 0, so that atoms 0 and 2 share 1, 2 and 3 as well as they can; or with signs."""
    unit = torch.nn.functional.normalize
    first = unit(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]]), dim=1)
    second = unit(torch.tensor([[1.0, 0, 0], [1, 2, 0], [1, 0, 1], [-9, -1, 0]]), dim=1)
    for signed, wanted in ((False, [2, 0, 1]), (True, [3, 0, 1])):
        match, owner = np.array([-1, 0, -1]), np.array([1, -1, -1, -1])
        matching._match_rest(first, second, match, owner, signed=signed)
        assert match.tolist() == wanted
        assert [int(owner[i]) for i in wanted] == [0, 1, 2]
        assert owner.tolist().count(-1) == 1
    # Partner 1 belongs to atom 0.
    match, owner = np.array([1, -1, -1]), np.array([-1, 0, -1, -1])
    matching._match_rest(first, second, match, owner, signed=False)
    assert match.tolist() == [1, 0, 2]


def test_a_list_holds_the_best_and_what_is_best_beyond_it() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[0.6, 0.8], [1.0, 0.0], [-0.8, 0.6]])
    prices = np.array([0.0, 0.5, 0.0])
    values, columns, beyond = matching._lists(first, second, np.arange(2), prices, 2, signed=False)
    assert columns.tolist() == [[0, 1], [0, 2]]
    np.testing.assert_allclose(values, [[0.6, 1.0], [0.8, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(beyond, [0.5, 0.6], rtol=1e-6)
    values, columns, beyond = matching._lists(first, second, np.array([0]), prices, 3, signed=True)
    assert columns.tolist() == [[2, 0, 1]]
    np.testing.assert_allclose(values, [[0.8, 0.6, 1.0]], rtol=1e-6)
    assert beyond.tolist() == [-np.inf]


@pytest.mark.parametrize("width", [2, 3])
def test_atoms_bid_by_what_the_next_best_would_bring(width: int) -> None:
    """Both want partner 0, worth 5 and 4; the second best is worth 1 to each.

    Atom 1, last in line, bids first: 4 − 1 + ε. Atom 0 outbids it by 5 − 1 less the price, and what is left to atom
    1 is its second best. With a list that promises less than what lies beyond it, it gives up.
    """
    values = np.array([[5.0, 1.0, 0.0], [4.0, 1.0, 0.5]], np.float32)[:, :width]
    columns = np.array([[0, 1, 2], [0, 1, 2]], np.int32)[:, :width]
    epsilon = 0.125

    def auctioned(beyond: list[float]) -> tuple[list[int], list[int], list[float], list[int]]:
        prices, owner, match = np.zeros(3), np.full(3, -1), np.full(2, -1)
        given_up = np.full(2, -1)
        waiting = np.array([0, 1])
        n = matching.bid(
            values, columns, np.array(beyond), prices, owner, match, waiting, 2, epsilon, given_up
        )
        return match.tolist(), owner.tolist(), prices.tolist(), given_up[:n].tolist()

    match, owner, prices, given_up = auctioned([0.0, 0.0])
    assert (match, owner, given_up) == ([0, 1], [0, 1, -1], [])
    first = 4 - 1 + epsilon
    second = first + (5 - first) - 1 + epsilon
    third = 1 - (0.5 if width == 3 else 0) + epsilon
    assert prices == pytest.approx([second, third, 0])
    match, _, prices, given_up = auctioned([0.0, 1.5])
    assert (match, given_up) == ([0, -1], [1])
    # Its first bid was against 1.5 beyond the list, and atom 0 then had 1 as its second best.
    first = 4 - 1.5 + epsilon
    assert prices == pytest.approx([first + (5 - first) - 1 + epsilon, 0, 0])

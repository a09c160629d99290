"""Atoms matched one to one: an auction within its error, lists that hold the best, rounds by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.geometry import _matching as matching
from sae_nb.geometry._ivf_index import Lists
from sae_nb.geometry._matching import auction
from sae_nb.geometry._matching_many import CANDIDATES, WANTED, _enough, match_near


def dictionary(n_atoms: int, d_in: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n_atoms, d_in, generator=generator), dim=1)


def test_few_atoms_are_matched_so_that_their_cosines_add_up_to_the_most() -> None:
    """Lengths do not matter, and a zero row matches nothing; 1 + 0.6 is less than 0.8 + 1."""
    first = torch.tensor([[0.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    second = torch.tensor([[6.0, 8.0], [0.0, -1.0]])
    rows, columns, cosines = matching.match_atoms(first, second, signed=False)
    assert sorted(zip(rows, columns, cosines.round(6), strict=True)) == [(1, 0, 1.0), (2, 1, 0.0)]
    rows, columns, cosines = matching.match_atoms(first, second, signed=True)
    assert sorted(zip(rows, columns, cosines.round(6), strict=True)) == [(0, 1, 1.0), (1, 0, 1.0)]
    for saes, given in ((first, "a single tensor"), ([first], "got 1")):
        with pytest.raises(ValueError, match=f"at least two SAEs or dictionaries.*{given}"):
            matching.unit_dictionaries(saes)
    assert [len(matching.unit_dictionaries([first] * n)) for n in (2, 3)] == [2, 3]


def test_each_further_sae_of_another_hook_point_is_warned_of() -> None:
    """What block 0 gives is what block 1 gets: one place."""
    saes = [sn.TopK(d_in=2, n_atoms=3, k=1) for _ in range(4)]
    for sae, place in zip(saes, (0, 1, 2), strict=False):
        sae.hook_point = f"resid_post.{place}"
    saes[3].hook_point = "resid_pre.1"
    with pytest.warns(UserWarning, match="two different spaces") as said:
        matching.unit_dictionaries(saes)
    assert [f"and at resid_post.{place}" in str(one.message) for one in said for place in (1, 2)] == [
        True, False, False, True,
    ]  # fmt: skip


def test_of_two_lengths_the_longer_dictionary_waits(monkeypatch) -> None:
    """Above the size that is matched exactly the shorter one bids, and rows come in order."""
    monkeypatch.setattr(matching, "HUNGARIAN_UP_TO", 2)
    first, second = torch.eye(3), torch.eye(3)[[2, 0]]
    rows, columns, cosines = matching.match_atoms(first, second)
    assert (rows.tolist(), columns.tolist(), cosines.tolist()) == ([0, 2], [1, 0], [1, 1])
    rows, columns, cosines = matching.match_atoms(second, first)
    assert (rows.tolist(), columns.tolist(), cosines.tolist()) == ([0, 1], [2, 0], [1, 1])
    assert [matching.matched_exactly(torch.eye(n), torch.eye(2)) for n in (2, 3)] == [True, False]


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
    monkeypatch.setattr("sae_nb.geometry._matching.CANDIDATES", 3)
    found = auction(first, second, rounds=1)
    cosines = (first @ second.T).double().numpy()
    best = cosines[linear_sum_assignment(cosines, maximize=True)].mean()
    assert sorted(found.partner) == list(range(600))
    assert best - found.cosines.mean() <= found.error + 1e-6
    assert found.error > whole.error


def test_lists_are_remade_until_every_atom_has_a_partner(monkeypatch):
    """Both want partner 0: with lists of one they bid in turns, until atom 0 is better off with partner 1."""
    monkeypatch.setattr(matching, "CANDIDATES", 1)
    monkeypatch.setattr(matching, "EPSILON", 0.125)
    first = torch.tensor([[1.0, 0.45], [0.9, 0.1]])
    found = auction(first, torch.eye(2))
    assert found.partner.tolist() == [1, 0]
    assert found.cosines.tolist() == pytest.approx([0.45, 0.9])
    assert auction(first, torch.eye(2), rounds=1).partner.tolist() == [0, 1]


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


def test_of_two_copies_the_first_has_the_nearer_partner() -> None:
    """Its bid comes first: 1 − 0.6 and a little more, so that the other partner is worth more to the second copy."""
    found = match_near(torch.eye(2)[[0, 0]], torch.tensor([[3.0, 4.0], [1.0, 0.0]]), seed=0)
    assert (found.atoms.tolist(), found.others.tolist()) == ([0, 1], [1, 0])


def test_an_atom_opposed_to_all_stays_alone() -> None:
    first = torch.tensor([[2.0, 0.0], [-1.0, -1.0], [0.0, 1.0]])
    second = torch.tensor([[3.0, 4.0], [0.0, 5.0], [4.0, 3.0], [9.0, 0.0]])
    found = match_near(first, second, seed=0)
    assert (found.atoms.tolist(), found.others.tolist()) == ([0, 2], [3, 1])
    assert found.cosines.tolist() == pytest.approx([1, 1])
    assert found.found == 1

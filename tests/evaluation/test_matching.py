"""Stability: what a permutation, a sign, chance and a training seed do to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation import matching


def dictionary(n_atoms: int, d_in: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n_atoms, d_in, generator=generator), dim=1)


def test_a_permuted_dictionary_is_the_same_dictionary():
    """stability(D, ΠD) = 1, and scaling rows changes nothing."""
    atoms = dictionary(40, 16, 0)
    shuffled = atoms[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    for signed in (False, True):
        found = sn.evaluation.stability([atoms, 3 * shuffled], signed=signed)
        assert found.value == pytest.approx(1, abs=1e-6)
        assert found.shared_fraction == 1
        assert found.mean_max == pytest.approx(1, abs=1e-6)


def test_matching_finds_the_permutation():
    """Which atom of the other dictionary each one is."""
    atoms, order = dictionary(30, 12, 0), torch.randperm(30)
    rows, columns, _ = sn.evaluation.match_atoms(atoms[order], atoms)
    assert rows.tolist() == list(range(30))
    assert columns.tolist() == order.tolist()


def test_a_negated_dictionary_matches_only_where_signs_do_not_count():
    """stability(D, −D) is 1 signed and below 1 unsigned."""
    atoms = dictionary(40, 16, 0)
    assert sn.evaluation.stability([atoms, -atoms], signed=True).value == pytest.approx(1, abs=1e-6)
    assert sn.evaluation.stability([atoms, -atoms]).value < 0.9


@pytest.mark.parametrize(
    ("d_in", "n_atoms", "floor", "mean_max"),
    [(64, 256, 0.335, 0.352), (64, 1024, 0.379, 0.394), (256, 2048, 0.206, 0.213)],
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
    """No permutation of a small dictionary does better, by brute force."""
    from itertools import permutations

    first, second = dictionary(6, 4, 0), dictionary(6, 4, 1)
    cosines = (first @ second.T).numpy()
    best = max(cosines[range(6), list(order)].mean() for order in permutations(range(6)))
    assert sn.evaluation.stability([first, second]).value == pytest.approx(best, abs=1e-6)


def test_large_dictionaries_are_matched_greedily_and_say_so(monkeypatch):
    """The greedy result is a valid matching, never above the optimum, and close to it."""
    first = dictionary(200, 16, 0)
    second = first[torch.randperm(200)] + 0.2 * dictionary(200, 16, 1)
    exact = sn.evaluation.stability([first, second])
    monkeypatch.setattr(matching, "HUNGARIAN_UP_TO", 100)
    greedy = sn.evaluation.stability([first, second])
    assert (exact.definition, greedy.definition) == ("stability_hungarian", "stability_greedy")
    assert exact.value - 0.02 < greedy.value <= exact.value + 1e-9
    _, columns, _ = sn.evaluation.match_atoms(first, second)
    assert len(set(columns[columns >= 0])) == (columns >= 0).sum()


def test_several_dictionaries_are_compared_pair_by_pair():
    """Three give three pairs, and the value is their mean."""
    three = [dictionary(20, 8, seed) for seed in range(3)]
    found = sn.evaluation.stability(three)
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    assert found.cosines.shape == (3, 20)
    assert found.value == pytest.approx(found.cosines.mean())
    assert found.interval[0] <= found.value <= found.interval[1]


def test_dictionaries_of_different_sizes_match_the_smaller():
    """A dictionary inside a larger one is found whole."""
    large = dictionary(50, 16, 0)
    found = sn.evaluation.stability([large[:20], large])
    assert found.value == pytest.approx(1, abs=1e-6)
    assert np.allclose(found.cosines, 1, atol=1e-6)


def test_bad_lists_are_refused():
    """One alone, a bare tensor, different widths."""
    one = dictionary(8, 4, 0)
    with pytest.raises(ValueError, match="at least two"):
        sn.evaluation.stability([one])
    with pytest.raises(ValueError, match="list"):
        sn.evaluation.stability(one)
    with pytest.raises(ValueError, match="d_in=4"):
        sn.evaluation.stability([one, dictionary(8, 5, 0)])

"""Promises of what documents are used for, on planted ones: by brute force, sparse, and checked."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import sae_nb as sn
from tests.studies.uses.planting import documents_of


def drawn(n: int = 60, n_atoms: int = 12, chance: float = 0.3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, n_atoms, generator=generator) < chance).float()


def test_npmi_is_that_of_all_pairs() -> None:
    x = drawn()
    x[:, 1] = x[:, 0]
    table = sn.uses.cooccurrence(documents_of(x), n=1000, high=1.0, min_count=1, alike=2.0).table
    counts = x.sum(dim=0)
    for atom, other, value in zip(table.atom, table.other, table.npmi):
        p = float((x[:, atom] * x[:, other]).mean())
        wanted = math.log(p / float(counts[atom] * counts[other]) * 60**2) / -math.log(p)
        assert value == pytest.approx(wanted, abs=1e-6)
    assert len(table) == sum(
        bool((x[:, i] * x[:, j]).any()) for i, j in itertools.combinations(range(12), 2)
    )
    assert (table.atom[0], table.other[0], table.npmi[0]) == (0, 1, pytest.approx(1.0))


def test_pairs_that_are_alike_are_left_out() -> None:
    x = drawn()
    x[:, 1] = x[:, 2] = x[:, 0]
    x[:, 11] = 1.0
    dictionary = torch.eye(12)
    dictionary[1] = dictionary[0]
    docs = documents_of(x, {0: "a red car", 2: "a red car"}, dictionary)
    table = sn.uses.cooccurrence(docs).table
    pairs = set(zip(table.atom, table.other))
    assert (0, 1) not in pairs
    assert (0, 2) not in pairs
    assert (1, 2) in pairs
    assert 11 not in set(table.atom) | set(table.other)


@pytest.mark.slow
def test_targeted_groups_are_the_attribute_and_all_atoms_are_not() -> None:
    """Four of many atoms say what was asked; the others are noise of their own groups."""
    attribute = np.arange(80) % 2
    x = torch.cat([drawn(80, 40, 0.5), torch.zeros(80, 4)], dim=1)
    other = np.arange(80) // 40
    for group in range(2):
        x[other == group, group * 20 : group * 20 + 20] = 1.0
        x[attribute == group, 40 + 2 * group : 42 + 2 * group] = 1.0
    docs = documents_of(
        x, {40: "first kind", 41: "first kind", 42: "second kind", 43: "second kind"}
    )
    for method in ("spectral", "kmeans"):
        targeted = sn.uses.cluster(docs, 2, atoms="kind", method=method, attribute=attribute)  # type: ignore[arg-type]
        assert targeted.ari == 1.0
        assert set(targeted.table[targeted.table.difference == 1].atom) == {40, 41, 42, 43}
    everything = sn.uses.cluster(docs, 2, attribute=attribute)
    assert everything.ari < 0.1
    assert everything.scores.method.tolist() == ["atoms", "activations"]


def test_retrieval_is_the_weighted_sum_and_is_judged() -> None:
    """MAP and nDCG of a perfect order are 1; a loud atom is not the whole query."""
    x = torch.zeros(6, 4)
    x[:3, 0] = torch.tensor([1.0, 0.5, 0.25])
    x[2:5, 1] = 100.0
    docs = documents_of(x, {0: "dogs", 1: "cats"})
    found = sn.uses.retrieve(docs, {0: 2.0, 1: 1.0}, relevant=[1, 1, 1, 0, 0, 0])
    assert np.allclose(found.scores, [2.0, 1.0, 1.5, 1.0, 1.0, 0.0])
    assert found.order[0] == 0
    assert sn.uses.retrieve(docs, 0, relevant=[1, 1, 1, 0, 0, 0]).table["map"][0] == 1.0
    assert sn.uses.retrieve(docs, "dogs").weights == {0: 1.0}
    assert found.table.method.tolist() == ["atoms", "activations"]


def test_coverage_is_the_mean_over_all_parts() -> None:
    x = drawn(6, 9, 0.4, seed=3)
    docs = documents_of(x)
    there = x[:, x.any(dim=0)].bool()
    means = []
    for size in range(1, 7):
        shares = [
            there[list(part)].any(dim=0).float().mean()
            for part in itertools.combinations(range(6), size)
        ]
        means.append(float(torch.stack(shares).mean()))
    result = sn.uses.redundancy(docs)
    assert result.curve.coverage.tolist() == pytest.approx(means, abs=1e-6)
    assert result.value == pytest.approx(np.mean(means), abs=1e-6)


def test_redundancy_rises_with_copies_and_overlap_is_not_symmetric() -> None:
    values = [
        sn.uses.redundancy(documents_of(torch.eye(30)[torch.arange(30) % n])).value
        for n in (30, 15, 5)
    ]
    assert values == sorted(values)
    assert values[0] == pytest.approx(31 / 60)
    a, b = documents_of(torch.eye(8)[:2].repeat(2, 1)), documents_of(torch.eye(8)[:6])
    table = sn.uses.overlap({"a": a, "b": b}).set_index(["a", "b"])
    assert table.overlap.to_dict() == {("a", "b"): 1.0, ("b", "a"): pytest.approx(1 / 3)}
    assert set(table.of_smaller) == {1.0}
    assert sn.uses.footprint(a).tolist() == [0, 1]


def test_what_fires_everywhere_does_not_hide_copies() -> None:
    own = torch.eye(20).repeat_interleave(2, dim=1)  # document i has atoms 2i and 2i + 1
    values = {
        strongest: [
            sn.uses.redundancy(
                documents_of((0.1 + own)[torch.arange(20) % n]), strongest=strongest
            ).value
            for n in (20, 5)
        ]
        for strongest in (2, None)
    }
    assert values[2][0] == pytest.approx(21 / 40)  # no two share an atom
    assert values[2][1] == pytest.approx(21 / 20 * 4 / 5)  # each of four
    assert values[None][0] == values[None][1] == pytest.approx(1.0)
    docs = documents_of(0.1 + own)
    assert sn.uses.footprint(docs, strongest=2, min_count=2).tolist() == []
    assert sn.uses.select(docs, 3, strongest=2).table.coverage.tolist() == pytest.approx(
        [0.05, 0.1, 0.15]
    )
    halves = {"a": docs.subset(slice(10)), "b": docs.subset(slice(10, 20))}
    assert sn.uses.overlap(halves, strongest=2).overlap.tolist() == [0.0, 0.0]
    assert sn.uses.overlap(halves, strongest=None).overlap.tolist() == [1.0, 1.0]


def test_greedy_choice_takes_what_adds_most() -> None:
    x = drawn(25, 30, 0.2, seed=4)
    selection = sn.uses.select(documents_of(x), 6)
    covered = torch.zeros(30, dtype=torch.bool)
    for row in selection.chosen.tolist():
        gains = (x.bool() & ~covered).sum(dim=1)
        assert gains[row] == gains.max()
        covered |= x[row].bool()
    assert selection.table.coverage.iloc[-1] == pytest.approx(
        float(covered.sum() / x.any(dim=0).sum())
    )
    assert (selection.table.coverage >= selection.table.random - 1e-9).all()


@pytest.mark.slow
def test_the_or_rule_finds_two_causes() -> None:
    kind = np.arange(80) % 2 == 0
    x = drawn(80, 20, 0.2, seed=5)
    x[:, :2] = 0.0
    x[kind, (np.arange(80) // 2 % 2)[kind]] = 1.0
    result = sn.uses.or_rule(documents_of(x), kind, ks=(1, 2))
    table = result.table.set_index("method")
    assert set(result.atoms.atom[:2]) == {0, 1}
    assert table.f1["or of 2"] == 1.0
    assert table.f1["or of 1"] < 0.9
    assert {"activations", "always yes"} <= set(table.index)


@pytest.mark.slow
def test_the_layer_is_chosen_without_unseen_documents() -> None:
    kind = np.arange(80) % 2 == 0
    told, noise = drawn(80, 20, 0.2, seed=6), drawn(80, 20, 0.2, seed=7)
    told[:, 3] = torch.from_numpy(kind.astype(np.float32))
    docs = [replace(documents_of(x), hook_point=place) for x, place in ((noise, "0"), (told, "1"))]
    table = sn.uses.or_rule_by_layer(docs, kind, ks=(1, 2)).set_index("hook_point")
    assert table.chosen.tolist() == [False, True]
    assert table.delta["1"] == table.or_f1["1"] == 1.0
    assert table.or_f1["0"] < 0.9
    with pytest.raises(ValueError, match="different hook points, got 80 at 0, 80 at 0"):
        sn.uses.or_rule_by_layer([docs[0], docs[0]], kind)
    with pytest.raises(TypeError, match="documents of two places or more"):
        sn.uses.or_rule_by_layer([docs[0]], kind)

"""Matching finds planted factors, at the threshold that is best, and judges elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix

from sae_nb.codes import SparseCodes
from sae_nb.evaluation.concepts._factors import (
    FOUND_FROM,
    Factor,
    FactorEvidence,
    FactorMatch,
    _best_atoms,
    _best_cuts,
    _Ranking,
    judge,
    largest_of_each,
    match_factors,
    strongest_rows,
)


def test_a_cut_never_parts_equal_strengths() -> None:
    """Strengths 3 3 2 1 gain ½, ¼, ½, 0 for one factor and 0, 0, 0, 1 for the other: cut at 1½ and at ½."""
    values = np.array([3.0, 1.0, 3.0, 2.0])
    shares = np.array([[0.5, 0.0], [-0.5, 1.0], [-0.25, 0.0], [0.25, 0.0]])
    gains, cuts = _best_cuts(values, shares)
    assert gains.tolist() == [0.5, 1]
    assert cuts.tolist() == [1.5, 0.5]
    gains, cuts = _best_cuts(np.array([3.0, 2.0, 2.0]), np.array([[0.0], [0.5], [-0.5]]))
    assert (gains.tolist(), cuts.tolist()) == ([0], [2.5])


def test_an_atom_is_chosen_on_one_half_by_balanced_accuracy() -> None:
    """Of the first five units two are yes, of the other four the first two: a yes is a quarter, a no a sixth."""
    known = np.array([[1], [1], [0], [0], [0], [1], [1], [0], [0]], bool)
    fit = np.arange(9) < 5

    def chosen(*atoms: dict[int, float]) -> tuple[object, ...]:
        strengths = np.zeros((9, len(atoms)))
        for j, atom in enumerate(atoms):
            strengths[[*atom], j] = [*atom.values()]
        ((found,), predicted) = _best_atoms(csc_matrix(strengths), known, fit, ["a"])
        assert found.share == 4 / 9
        return found.atom, found.sign, found.threshold, found.accuracy, predicted[:, 0].sum()

    one, both = {0: 1.0}, {0: 1.0, 1: 1.0}
    assert chosen({}) == (-1, 1, np.inf, 0.5, 0)
    assert chosen({3: 1.0}) == (-1, 1, np.inf, 0.5, 0)
    # 1/2 − 1/6 is more than 1/4, and 1/2 − 2/6 is less
    assert chosen(one, both | {2: 1.0})[:3] == (1, 1, 0.5)
    assert chosen(one, both | {2: 1.0, 3: 1.0})[:3] == (0, 1, 0.5)
    assert chosen(both, both)[0] == 0
    # where it is negative: −4 and −2, not −1; of the other half −3, not −1, and not 9
    below = {0: -4.0, 1: -2, 3: -1, 4: 5, 5: -3, 6: -1, 7: 9}
    assert chosen(one, below) == (1, -1, 1.5, 0.75, 3)
    assert chosen({0: -0.5, 1: -0.5}) == (0, -1, 0.25, 0.5, 2)
    # 3 and 2 are told apart, 1 of the other half is between neither
    assert chosen({0: 3.0, 1: 3, 2: 2, 5: 3, 6: 1, 8: 2.5}) == (0, 1, 2.5, 0.75, 3)


def test_a_gain_is_the_place_between_floor_and_one() -> None:
    match = FactorMatch(
        atom=0, factor="a", f1=0.8, precision=1.0, recall=2 / 3, per="row", threshold=0.0, floor=0.5
    )
    assert match.gain == pytest.approx(0.6)
    assert match.found == (FOUND_FROM <= 0.6)
    assert replace(match, floor=1.0).gain == 0
    assert replace(match, f1=0.5 + 0.5 * FOUND_FROM).found
    assert not replace(match, f1=0.499 + 0.5 * FOUND_FROM).found


def _codes(z: torch.Tensor) -> SparseCodes:
    return SparseCodes.from_dense(z)


def _evidence(
    z: torch.Tensor, *factors: Factor, sample: np.ndarray | None = None
) -> FactorEvidence:
    rows = np.arange(len(z)) if sample is None else sample
    return FactorEvidence(codes=_codes(z), sample=rows, factors=factors)


def _f1(says: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (says & truth).sum() / (says.sum() + truth.sum())


def test_atom_and_threshold_are_the_best_of_all() -> None:
    """No atom at no threshold reaches a larger F1, by trying every one."""
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.integers(0, 5, (60, 7)).astype(np.float32))
    truth = rng.random(60) < 0.3
    evidence = _evidence(z, Factor(name="f", per="row", truth=truth))
    (found,) = match_factors(evidence, evidence).by_factor
    best = max(_f1(z[:, a].numpy() > t, truth) for a in range(7) for t in (0, 1, 2, 3, 4))
    assert found.f1 == pytest.approx(best)
    assert found.f1 == pytest.approx(_f1(z[:, found.atom].numpy() > found.threshold, truth))


def test_every_atom_gets_the_factor_it_tells_best() -> None:
    truths = np.eye(3, dtype=bool).repeat(10, axis=0)
    z = torch.from_numpy(truths.astype(np.float32) * 2)
    z = torch.cat((z[:, [2, 0, 1]], torch.zeros(30, 1)), dim=1)
    factors = [Factor(name=f"f{i}", per="row", truth=truths[:, i]) for i in range(3)]
    evidence = _evidence(z, *factors)
    matches = match_factors(evidence, evidence)
    assert [(m.factor, m.atom) for m in matches.by_factor] == [("f0", 1), ("f1", 2), ("f2", 0)]
    assert [(m.factor, m.atom) for m in matches.by_atom] == [("f2", 0), ("f0", 1), ("f1", 2)]
    assert all(m.f1 == 1 for m in matches.by_factor)


def test_scores_come_from_the_fresh_set() -> None:
    """An atom that was right where it was chosen and is wrong elsewhere scores nothing."""
    truth = np.array([True, True, False, False])
    here = _evidence(
        torch.tensor([[1.0], [1.0], [0.0], [0.0]]), Factor(name="f", per="row", truth=truth)
    )
    there = _evidence(
        torch.tensor([[0.0], [0.0], [1.0], [1.0]]), Factor(name="f", per="row", truth=truth)
    )
    (found,) = match_factors(here, there).by_factor
    assert (found.f1, found.precision, found.recall) == (0, 0, 0)
    assert found.floor == pytest.approx(2 * 2 / (4 + 2))


def test_chance_stays_near_the_floor() -> None:
    rng = np.random.default_rng(1)

    def draw() -> FactorEvidence:
        z = torch.from_numpy(np.maximum(rng.standard_normal((2000, 40)), 0).astype(np.float32))
        return _evidence(z, Factor(name="f", per="row", truth=rng.random(2000) < 0.1))

    (found,) = match_factors(draw(), draw()).by_factor
    assert found.f1 < found.floor + 0.05


def test_a_sample_is_as_strong_as_its_strongest_row() -> None:
    rng = np.random.default_rng(2)
    z = torch.from_numpy(np.maximum(rng.standard_normal((50, 6)), 0).astype(np.float32))
    sample = np.sort(rng.choice([0, 1, 2, 4], 50))
    whole = strongest_rows(_codes(z), sample).to_dense()
    for number in range(5):
        mine = z[torch.from_numpy(sample == number)]
        expected = mine.amax(dim=0) if len(mine) else torch.zeros(6)
        assert torch.equal(whole[number], expected)


def test_precision_and_recall_are_told_apart() -> None:
    factor = Factor(name="f", per="row", truth=np.array([1, 1, 1, 1, 0, 0], dtype=bool))
    found = judge(_codes(torch.tensor([[3.0], [3], [1], [0], [3], [0]])), factor, 0, 2.0)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 4)
    assert found.f1 == pytest.approx(2 * 2 / 7)


def test_the_largest_of_each_group_is_the_last_of_equal_ones() -> None:
    assert largest_of_each(np.array([2, 0, 2, 0, 2]), np.array([1.0, 5, 3, 2, 3])).tolist() == [
        1,
        4,
    ]
    assert largest_of_each(np.array([0, 0]), np.array([1.0, 0])).tolist() == [0]
    assert largest_of_each(np.zeros(0, int), np.zeros(0)).tolist() == []


def test_a_sample_with_negative_rows_has_the_least_negative() -> None:
    """Of an atom that is negative there, the row in which it is least so; where it is silent, nothing."""
    z = torch.tensor([[1.0, 0, -3], [2, 0, -1], [0, 4, 0], [0, 3, 5]])
    found = strongest_rows(SparseCodes.from_dense(z), np.array([0, 0, 2, 2])).to_dense()
    assert found.tolist() == [[2, 0, -1], [0, 0, 0], [0, 4, 5]]


def test_every_threshold_of_every_atom_is_tried() -> None:
    """Atom 0 at 3, 2, 2, 1 in rows that are right, right, wrong, right: all of them, F1 6 / 7; atom 1 never fires."""
    z = torch.tensor([[3.0, 0], [2, 0], [2, 0], [1, 0], [0, 0]])
    ranking = _Ranking(SparseCodes.from_dense(z))
    f1, threshold = ranking.best(np.array([True, True, False, True, False]))
    assert f1.tolist() == pytest.approx([6 / 7, -np.inf])
    assert threshold.tolist() == [0.5, 0]
    f1, threshold = ranking.best(np.array([True, False, False, False, False]))
    assert (f1[0], threshold[0]) == (1, 2.5)
    f1, threshold = ranking.best(np.array([False, True, False, False, False]))
    assert (f1[0], threshold[0]) == (0.5, 1.5)  # both rows of strength 2 or none: 2 / (3 + 1)

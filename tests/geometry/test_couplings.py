"""Couplings are those of the penalised likelihood; a common cause couples nothing; communities are those planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import block_diag, csr_matrix

from sae_nb.codes import SparseCodes
from sae_nb.geometry import communities, couplings
from sae_nb.geometry._couplings import descend, loss, screened


def codes_of(*columns: np.ndarray) -> SparseCodes:
    return SparseCodes.from_dense(torch.from_numpy(np.stack(columns, axis=1).astype(np.float32)))


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


@pytest.mark.parametrize("both", [180, 0])
def test_two_atoms_are_coupled_by_their_table(both: int) -> None:
    """The fitted table has the margins of the counted one, and the penalty less in common.

    Of 1000 rows atom 0 fires in 200, atom 1 in 300, together in 180 or none, by chance in 60.
    """
    rows = np.arange(1000)
    second = (rows < both) | ((rows >= 200) & (rows < 500 - both))
    j = couplings(codes_of(rows < 200, second), penalty=2.0).toarray()
    penalty = 2.0 * np.sqrt(1000 * 0.2 * 0.8 * 0.3 * 0.7)
    held = both - penalty if both else both + penalty
    one = logit(held / 300) - logit((200 - held) / 700)
    other = logit(held / 200) - logit((300 - held) / 800)
    np.testing.assert_allclose(j, [[0, (one + other) / 2], [(one + other) / 2, 0]], atol=2e-3)


def test_a_common_cause_couples_nothing() -> None:
    """Atoms 1 and 2 follow atom 0 each by itself: correlated, and coupled to atom 0 alone."""
    rng = np.random.default_rng(0)
    cause = rng.random(20_000) < 0.3
    one, two = (rng.random(20_000) < np.where(cause, 0.4, 0.05) for _ in range(2))
    assert np.corrcoef(one, two)[0, 1] * np.sqrt(20_000) > 20
    j = couplings(codes_of(cause, one, two)).toarray()
    assert j[0, 1] > 1.5
    assert j[0, 2] > 1.5
    assert j[1, 2] == 0
    np.testing.assert_array_equal(j, j.T)


def test_rare_atoms_and_those_of_more_than_half_of_the_rows_are_left_out() -> None:
    rows = np.arange(1000)
    pair = rows < 100
    assert couplings(codes_of(pair, pair)).nnz == 2
    assert couplings(codes_of(rows < 19, rows < 19)).nnz == 0
    assert couplings(codes_of(rows < 20, rows < 20)).nnz == 2
    assert couplings(codes_of(rows < 500, rows < 500)).nnz == 2
    assert couplings(codes_of(rows < 501, rows < 501)).nnz == 0


def test_signs_are_counted_by_firing_alone() -> None:
    rows = np.arange(1000)
    fires = (rows < 100).astype(float)
    one = couplings(codes_of(fires, -3 * fires)).toarray()
    np.testing.assert_array_equal(one, couplings(codes_of(fires, fires)).toarray())


@pytest.mark.parametrize(
    ("first", "second", "both", "looked_at"),
    [(100, 100, 34, False), (100, 100, 35, True), (400, 250, 47, False), (400, 250, 46, True)],
)
def test_a_pair_is_looked_at_from_six_deviations_on(
    first: int, second: int, both: int, looked_at: bool
) -> None:
    """√(2 (m ln(m / e) − m + e)) of e by chance: 5.93 and 6.14 of 10; −5.92 and −6.05 of 100."""
    rows = np.concatenate([np.arange(first), np.arange(first - both, first - both + second)])
    offsets, candidates = screened(np.array([0, first, first + second]), rows, 1000)
    assert candidates.tolist() == ([1, 0] if looked_at else [])
    assert offsets.tolist() == ([0, 1, 2] if looked_at else [0, 0, 0])


def test_the_strongest_thirty_two_of_each_sign_are_looked_at() -> None:
    """Atom j ≤ 40 shares 40 + j of its 100 rows with atom 0, which has 1000 of 10 000; 40 others share 10 each."""
    shares = [*range(41, 81), *[10] * 40]
    begins = np.arange(1000, 10_000, 100)
    columns = [np.arange(1000)]
    for j, both in enumerate(shares):
        columns.append(np.r_[np.arange(10 * j, 10 * j + both), begins[j] + np.arange(100 - both)])
    offsets, candidates = screened(
        np.cumsum([0, *map(len, columns)]), np.concatenate(columns), 10_000
    )
    assert candidates[: offsets[1]].tolist() == list(range(9, 41))


def test_couplings_of_several_minimise_the_penalised_loss() -> None:
    """By plain gradient steps on the same loss, over four atoms with ties of both signs."""
    rng = np.random.default_rng(3)
    a = rng.random(4000) < 0.3
    b = rng.random(4000) < np.where(a, 0.5, 0.1)
    c = rng.random(4000) < np.where(a, 0.05, 0.3)
    d = rng.random(4000) < np.where(b & c, 0.8, np.where(b, 0.4, 0.1))
    s = np.stack([a, b, c, d], axis=1).astype(float)
    one_way = np.zeros((4, 4))
    patterns, counts = np.unique(s, axis=0, return_counts=True)
    p = s.mean(axis=0)
    for i in range(4):
        others = [j for j in range(4) if j != i]
        penalty = 4 * np.sqrt(4000 * p[i] * (1 - p[i]) * p[others] * (1 - p[others]))
        x, y, w, bias = patterns[:, others], patterns[:, i], np.zeros(3), 0.0
        for _ in range(1500):
            off = counts * (1 / (1 + np.exp(-(x @ w + bias))) - y)
            bias -= off.sum() / 2000
            w -= off @ x / 2000
            w = np.sign(w) * np.maximum(np.abs(w) - penalty / 2000, 0)
        one_way[i, others] = w
    wanted = np.where((one_way != 0) & (one_way.T != 0), (one_way + one_way.T) / 2, 0)
    assert (wanted > 0.3).sum() >= 4
    assert (wanted < -0.3).sum() >= 2
    np.testing.assert_allclose(couplings(codes_of(a, b, c, d)).toarray(), wanted, atol=5e-3)


def test_loss_slope_and_curvature_are_those_of_all_rows() -> None:
    """Rows 0 and 1 of atoms {0, 2} and {1}; three rows of none, in one of which the atom fires."""
    weights = np.array([0.5, -0.7, 0.2, -0.4])
    slope, curvature = np.full(4, 9.0), np.full((4, 4), 9.0)
    starts, inside, y = np.array([0, 2, 3]), np.array([0, 2, 1], np.int32), np.array([1.0, 0.0])
    value = loss.py_func(starts, inside, y, 3, 1, weights, slope, curvature)
    x = np.array([[1, 0, 1, 1], [0, 1, 0, 1], *[[0, 0, 0, 1.0]] * 3])
    fires = np.array([1, 0, 1, 0, 0.0])
    p = 1 / (1 + np.exp(-x @ weights))
    np.testing.assert_allclose(value, -np.sum(np.log(np.where(fires == 1, p, 1 - p))))
    np.testing.assert_allclose(slope, x.T @ (p - fires))
    np.testing.assert_allclose(curvature, x.T @ np.diag(p * (1 - p)) @ x)


def test_a_step_minimises_the_penalised_quadratic() -> None:
    """Of a diagonal curvature by hand: (w − g / h) shrunk by λ / h, less w; what is not curved stays."""
    weights, slope = np.array([1.0, 0.5, -2.0, 1.0]), np.array([2.0, 3.0, -4.0, 5.0])
    step = descend.py_func(
        weights, slope, np.diag([4.0, 2.0, 8.0, 0.0]), np.array([1.0, 0.5, 4.0, 0.0])
    )
    np.testing.assert_allclose(step, [0.25 - 1, -0.75 - 0.5, -1.0 + 2, 0], atol=1e-12)
    curvature = np.array([[2.0, 1.0], [1.0, 3.0]])  # no penalty: −curvature⁻¹ slope
    step = descend.py_func(np.zeros(2), np.array([1.0, -2.0]), curvature, np.zeros(2))
    np.testing.assert_allclose(step, [-1.0, 1.0], atol=1e-3)


def clique(m: int) -> np.ndarray:
    return 1.0 - np.eye(m)


def test_communities_are_the_cliques_by_either_sign() -> None:
    weights = csr_matrix(block_diag([clique(3), -clique(4), [[0.0]]]))
    assert [one.tolist() for one in communities(weights)] == [[3, 4, 5, 6], [0, 1, 2]]


def test_a_large_community_is_divided_by_its_own_ties_or_left_out() -> None:
    """Two cliques of six, tied by one weak edge, and a clique of nine that nothing divides."""
    two = block_diag([clique(6), clique(6)]).toarray()
    two[0, 6] = two[6, 0] = 0.1
    found = communities(csr_matrix(block_diag([two, clique(9)])), at_most=8)
    assert [one.tolist() for one in found] == [list(range(6)), list(range(6, 12))]
    pairs = csr_matrix(block_diag([clique(2), clique(3)]))
    assert [one.tolist() for one in communities(pairs, at_most=3)] == [[2, 3, 4], [0, 1]]
    assert [one.tolist() for one in communities(pairs, at_most=2)] == [[0, 1]]

"""Permutation floors: exact where everything can be tried, and rarely passed by chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix

from sae_nb.statistics import (
    correlation,
    mantel_null,
    n_arrangements,
    permutation_p,
    permuted_difference,
    q_values,
)


def sparse(rows: int, columns: int, seed: int, density: float = 0.3) -> csr_matrix:
    generator = np.random.default_rng(seed)
    values = generator.exponential(size=(rows, columns))
    return csr_matrix(values * (generator.random((rows, columns)) < density))


def test_every_arrangement_is_tried_where_they_are_few() -> None:
    """p-values and floor equal a brute force over all 20 arrangements of 3 + 3."""
    a, b = sparse(3, 5, 0, 0.9), sparse(3, 5, 1, 0.9)
    found = permuted_difference(a, b, n_permutations=20)
    units = np.concatenate((a.toarray(), b.toarray()))
    scale = units.std(axis=0) * 2 / 3 * np.sqrt(9 / 6)
    observed = np.abs(units[:3].mean(0) - units[3:].mean(0))
    drawn = np.array(
        [
            np.abs(units[list(c)].mean(0) - np.delete(units, list(c), 0).mean(0))
            for c in itertools.combinations(range(6), 3)
        ]
    )
    assert n_arrangements(3, 3) == len(drawn) == 20
    np.testing.assert_allclose(found.value, units[:3].mean(0) - units[3:].mean(0))
    np.testing.assert_allclose(found.p, (drawn >= observed - 1e-12).mean(axis=0))
    tops = (drawn / scale).max(axis=1)
    expected = [(tops >= o - 1e-9).mean() for o in observed / scale]
    np.testing.assert_allclose(found.p_adjusted, expected)
    np.testing.assert_allclose(found.floor, np.quantile(tops, 0.95, method="higher") * scale)


@pytest.mark.slow
def test_chance_passes_the_floor_in_about_one_of_twenty_trials() -> None:
    """Family-wise: any of 40 columns beyond its floor, over 200 trials without a difference."""
    passed = [
        permuted_difference(
            sparse(15, 40, 2 * s), sparse(15, 40, 2 * s + 1), n_permutations=200, seed=s
        ).above_floor.any()
        for s in range(200)
    ]
    assert 0.005 <= np.mean(passed) <= 0.10


def test_planted_difference_is_found_and_has_the_smallest_p() -> None:
    a, b = sparse(20, 300, 0).toarray(), sparse(20, 300, 1)
    a[:, 7] += 2
    found = permuted_difference(csr_matrix(a), b, n_permutations=500, seed=0)
    assert found.above_floor.tolist().count(True) == 1
    assert found.above_floor[7]
    assert found.p_adjusted[7] == pytest.approx(1 / 501)
    assert (found.p_adjusted >= found.p - 1e-12).all()
    apart = csr_matrix(np.arange(12.0)[:, None] + 99)
    assert permuted_difference(apart, csr_matrix(np.ones((12, 1)))).p == 1 / 1001


def test_blocks_of_permutations_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    from sae_nb.statistics import _permutations as permutations

    a, b = sparse(3, 20, 0), sparse(4, 20, 1)
    whole = permuted_difference(a, b, n_permutations=1000)
    monkeypatch.setattr(permutations, "_NUMBERS", 5)
    parts = permuted_difference(a, b, n_permutations=1000)
    np.testing.assert_allclose(whole.p_adjusted, parts.p_adjusted)
    np.testing.assert_allclose(whole.floor, parts.floor)
    apart = csr_matrix(np.arange(12.0)[:, None] + 99)
    monkeypatch.setattr(permutations, "_NUMBERS", 60)
    assert permuted_difference(apart, 0 * apart, n_permutations=101).p == 1 / 102


def test_the_unit_of_a_column_changes_no_p() -> None:
    a, b = sparse(3, 4, 0, 0.9), sparse(4, 4, 1, 0.9)
    for unit in (1e-12, 1e12):
        found = permuted_difference(a * unit, b * unit)
        np.testing.assert_allclose(found.p, permuted_difference(a, b).p)
        np.testing.assert_allclose(found.floor, permuted_difference(a, b).floor * unit)


def test_sums_of_groups_of_two_sizes_by_brute_force() -> None:
    """All ten arrangements of 3 + 2: how far Σ_a − Σ_b is from what their sizes give, total / 5."""
    units = np.array([5.0, 1, 2, 7, 4])
    a, b = csr_matrix(units[:3, None]), csr_matrix(units[3:, None])
    found = permuted_difference(a, b, weights=(1.0, 1.0))
    drawn = [
        abs(units[list(c)].sum() - np.delete(units, list(c)).sum() - 19 / 5)
        for c in itertools.combinations(range(5), 3)
    ]
    assert found.value == [-3]
    assert found.expected == pytest.approx([19 / 5])
    assert found.p == pytest.approx(np.mean(np.array(drawn) >= 34 / 5 - 1e-9))
    assert not found.above_floor[0]


def test_columns_that_never_vary_differ_by_nothing() -> None:
    a = csr_matrix(np.array([[0.0, 2.0, 1.0]] * 4))
    b = csr_matrix(np.array([[0.0, 2.0, 0.0]] * 4))
    found = permuted_difference(a, b)
    assert found.p[:2].tolist() == [1.0, 1.0]
    assert found.above_floor.tolist()[:2] == [False, False]
    assert found.p[2] == pytest.approx(2 / 70)


def test_sums_of_unequal_groups_are_compared_with_what_their_sizes_give() -> None:
    """Ten units sum to more than five by their number alone, and that is no difference."""
    a, b = csr_matrix(np.ones((10, 1)) + 0.01 * sparse(10, 1, 0, 1.0)), csr_matrix(np.ones((5, 1)))
    found = permuted_difference(a, b, weights=(1.0, 1.0), n_permutations=400)
    assert found.value[0] > 4.9
    assert found.expected[0] == pytest.approx(5.0, abs=0.1)
    assert abs(found.value[0] - found.expected[0]) < 0.2
    assert not found.above_floor[0]


def test_p_counts_the_observed_value_as_one_of_the_draws() -> None:
    """One null for all, or one each; by brute force and as scipy's permutation test counts."""
    generator = np.random.default_rng(0)
    null, observed = generator.integers(0, 9, (60, 5)).astype(float), np.arange(5.0) * 2
    each = [(1 + sum(draw >= o for draw in column)) / 61 for column, o in zip(null.T, observed)]
    np.testing.assert_allclose(permutation_p(null, observed), each)
    shared = [(1 + sum(draw >= o for draw in null[:, 0])) / 61 for o in observed]
    np.testing.assert_allclose(permutation_p(null[:, 0], observed), shared)
    one = stats.permutation_test(
        (generator.random(12),), np.max, permutation_type="samples", n_resamples=40,
        alternative="greater", random_state=0,
    )  # fmt: skip
    assert permutation_p(one.null_distribution, one.statistic) == pytest.approx(one.pvalue)


def test_p_of_what_has_no_value_is_one_and_slack_forgives_rounding() -> None:
    """NaN draws are left out, an observed NaN is beyond nothing, 0.3 reaches 0.1 + 0.2."""
    null = np.array([1.0, np.nan, 3.0])
    assert permutation_p(null, 2.0) == pytest.approx(2 / 3)
    assert permutation_p(null, float("nan")) == 1
    assert permutation_p(np.array([0.3]), 0.1 + 0.2) == 0.5
    assert permutation_p(np.array([0.3]), 0.1 + 0.2, slack=1e-12) == 1
    assert permutation_p(np.array([[0.3]]), np.array([0.1 + 0.2]), slack=1e-12).tolist() == [1]


def test_q_is_the_least_false_discovery_rate_at_which_p_passes() -> None:
    """By definition: q_i = min over p_j ≥ p_i of m p_j / rank_j; of nothing, nothing."""
    p = np.random.default_rng(0).random(40) ** 3
    rank = stats.rankdata(p)
    expected = [min(40 * p[j] / rank[j] for j in range(40) if p[j] >= p[i]) for i in range(40)]
    np.testing.assert_allclose(q_values(p), np.minimum(expected, 1))
    assert len(q_values(np.zeros(0))) == 0


def test_mantel_permutes_things_and_not_pairs() -> None:
    points = np.random.default_rng(0).random((9, 2))
    theirs = np.linalg.norm(points[:, None] - points, axis=-1)
    upper = np.triu_indices(9, 1)
    ours, generator = theirs[upper] ** 2, np.random.default_rng(3)
    orders = [generator.permutation(9) for _ in range(5)]
    expected = [np.corrcoef(ours, theirs[np.ix_(o, o)][upper])[0, 1] for o in orders]
    np.testing.assert_allclose(mantel_null(ours, theirs[upper], 5, 3), expected)
    assert correlation(ours, theirs[upper]) > max(expected)

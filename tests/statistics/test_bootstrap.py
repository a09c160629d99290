"""Intervals: they cover what they claim to cover, and keep samples together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sae_nb.statistics import (
    Bootstrap,
    bootstrap_counts,
    bootstrap_interval,
    group_rows,
    mean_interval,
    percentile_interval,
    percentile_intervals,
    wilson_interval,
)
from sae_nb.statistics._bootstrap import MAX_GROUPS


def interval(sums, n_bootstrap=1000, seed=0):
    return Bootstrap(n_bootstrap, seed).interval(sums, lambda s: s[:, 0] / s[:, 1])


@pytest.mark.slow
def test_the_interval_of_a_mean_is_two_standard_errors():
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    low, high = interval(np.stack((values, np.ones(2000)), 1), n_bootstrap=2000)
    error = values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_cover_the_truth_about_95_times_in_100(statistic):
    truth = 1.0 if statistic == "mean" else np.log(2)
    generator, hits = np.random.default_rng(1), 0
    for _ in range(200):
        low, high = Bootstrap(400).spread(generator.exponential(size=150), statistic)
        hits += low <= truth <= high
    assert 180 <= hits <= 199


def test_rows_of_one_sample_are_drawn_together():
    """Ten copies of each row give the interval of the samples, not one √10 narrower."""
    values = np.random.default_rng(0).normal(size=400)
    repeated, sample = np.repeat(values, 10), np.repeat(np.arange(400) * 7, 10)
    group, n_groups = group_rows(sample, 4000, seed=0)
    sums = np.zeros((n_groups, 2))
    np.add.at(sums, group, np.stack((repeated, np.ones(4000)), 1))
    low, high = interval(sums)
    assert n_groups == 400
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


@pytest.mark.slow
def test_many_samples_are_pooled_without_changing_the_interval():
    n = 5 * MAX_GROUPS + 3
    values = np.random.default_rng(0).normal(size=n)
    group, n_groups = group_rows(None, n, seed=0)
    assert n_groups == MAX_GROUPS
    sums = np.zeros((n_groups, 2))
    np.add.at(sums, group, np.stack((values, np.ones(n)), 1))
    low, high = interval(sums)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(n), rel=0.1)


def test_of_too_many_samples_each_group_pools_as_many_as_another() -> None:
    group, n_groups = group_rows(None, 5 * MAX_GROUPS + 3, seed=0)
    sizes = np.bincount(group)
    assert n_groups == len(sizes) == MAX_GROUPS
    assert sorted(sizes)[-4:] == [5, 6, 6, 6]
    assert sizes.min() == 5
    assert (group_rows(None, MAX_GROUPS, seed=0)[0] == np.arange(MAX_GROUPS)).all()


def test_the_interval_is_of_one_resample_for_each_that_was_asked_for() -> None:
    """In blocks or at once: 300 products of drawn counts, divided, and their quantiles."""
    sums = np.random.default_rng(0).random((6, 2)) + 1
    resampled = bootstrap_counts(6, 300, 4) @ sums
    wanted = np.quantile(resampled[:, 0] / resampled[:, 1], (0.025, 0.975))
    assert interval(sums, 300, 4) == pytest.approx(tuple(wanted))
    found = Bootstrap(300, 4).estimates(sums, {"ratio": lambda s: s[:, 0] / s[:, 1]})["ratio"]
    assert found == (sums[:, 0].sum() / sums[:, 1].sum(), pytest.approx(tuple(wanted)))


def test_the_interval_of_a_mean_and_of_quantiles() -> None:
    """Of 0 and 4 a resample has mean 0, 2 or 4, a quarter of them 0; quantiles of a ramp are Beta quantiles."""
    assert Bootstrap(1000).spread(np.array([0.0, 4.0])) == (0, 4)
    assert Bootstrap(1000).spread(np.array([3.0, 3.0])) == (3, 3)
    for statistic in ("mean", "median"):
        low, high = Bootstrap(1).spread(np.array([0.0, 4.0]), statistic)
        assert 0 <= low == high <= 4
    assert Bootstrap().weights(np.arange(2), 2).shape == (1000, 2)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        Bootstrap(seed=-1)
    assert np.isnan(Bootstrap(1000).spread(np.array([3.0]))).all()
    ramp = np.linspace(0, 1, 199)[::-1]
    for statistic, share in (("median", 0.5), (0.1, 0.1)):
        wanted = stats.beta.ppf((0.025, 0.975), 200 * share, 200 * (1 - share))
        found = Bootstrap(40_000).spread(ramp, statistic)
        assert found == pytest.approx(tuple(wanted), abs=2e-3)


def test_one_group_or_no_resamples_give_no_interval():
    one = interval(np.ones((1, 2)))
    none = interval(np.ones((5, 2)), n_bootstrap=0)
    assert np.isnan([*one, *none]).all()
    for statistic in ("mean", "median"):
        assert np.isnan(Bootstrap(100).spread(np.array([3.0]), statistic)).all()
        assert np.isnan(Bootstrap(0).spread(np.array([3.0, 4.0]), statistic)).all()
    assert np.isnan(bootstrap_interval((np.ones(1),), np.mean, n_resamples=9, seed=0)).all()
    assert np.isnan(bootstrap_interval((np.ones(2),), np.mean, n_resamples=0, seed=0)).all()
    assert bootstrap_interval((np.ones(2),), np.mean, n_resamples=1, seed=0) == (1, 1)


def test_groups_of_rows_are_sums_of_samples() -> None:
    """Of more samples than are drawn singly, also those of a mean."""
    rows, sample = np.array([[1.0, 1], [2, 1], [4, 1]]), np.array([7, 5, 7])
    np.testing.assert_array_equal(Bootstrap().grouped(rows, sample), [[2, 1], [5, 2]])
    values = np.random.default_rng(0).random(MAX_GROUPS + 900)
    few = Bootstrap(3)
    pooled = few.grouped(np.stack((values, np.ones_like(values)), axis=1), None)
    assert len(pooled) == MAX_GROUPS
    assert few.spread(values) == few.interval(pooled, lambda s: s[:, 0] / s[:, 1])


def test_counts_are_resamples_of_the_seed() -> None:
    counts = bootstrap_counts(7, 4000, 1)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.06)
    assert counts.var() == pytest.approx(6 / 7, rel=0.05)
    generator = np.random.default_rng(1)
    parts = [bootstrap_counts(7, 2000, generator) for _ in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), counts)


def test_any_statistic_has_the_interval_that_scipy_gives() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 60)).cumsum(axis=1)
    low, high = bootstrap_interval((x,), np.mean, n_resamples=500, seed=4)
    drawn = np.random.default_rng(4).integers(60, size=(500, 60))
    assert (low, high) == pytest.approx(np.quantile(x[drawn].mean(axis=1), (0.025, 0.975)))
    found = bootstrap_interval(
        (x, y), lambda a, b: np.corrcoef(a, b)[0, 1], n_resamples=300, seed=2
    )
    expected = stats.bootstrap(
        (x, y), lambda a, b: np.corrcoef(a, b)[0, 1], paired=True, n_resamples=300,
        method="percentile", random_state=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert found == pytest.approx(tuple(expected))


def test_percentiles_leave_out_what_is_undefined() -> None:
    values = np.arange(101.0)
    assert percentile_interval([*values, np.nan, np.inf]) == (2.5, 97.5)
    assert np.isnan(percentile_interval([np.nan, 1.0], at_least=2)).all()
    assert np.isnan(percentile_interval([])).all()
    assert percentile_interval([4.0, np.nan]) == (4, 4)
    both = percentile_intervals(np.stack([values, 2 * values], axis=1))
    np.testing.assert_allclose(both, [[2.5, 5.0], [97.5, 195.0]])
    nothing = percentile_intervals(np.zeros((0, 3)))
    assert nothing.shape == (2, 3)
    assert np.isnan(nothing).all()


def test_wilsons_interval_of_eight_in_ten() -> None:
    """p = .8, z² / n = .38415: centre .99207, half √(.016 + .0096037) · 1.95996, over 1.38415."""
    low, high = wilson_interval(8, 10)
    assert float(low) == pytest.approx((0.9920729 - 0.3136153) / 1.3841459, abs=1e-6)
    assert float(high) == pytest.approx((0.9920729 + 0.3136153) / 1.3841459, abs=1e-6)
    assert wilson_interval(1, 1) == pytest.approx((1 / (1 + 1.9599640**2), 1))
    assert wilson_interval(0, 0) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 10, 333])
def test_wilson_is_that_of_scipy(n: int) -> None:
    counts = np.arange(n + 1)
    expected = [stats.binomtest(int(k), n).proportion_ci(method="wilson") for k in counts]
    np.testing.assert_allclose(np.stack(wilson_interval(counts, n), 1), expected, atol=1e-12)


def test_the_interval_of_a_mean_is_students() -> None:
    values = [0.2, 0.5, 0.9, 0.4]
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    wanted = stats.t.interval(0.95, 3, loc=mean, scale=sd / 2)
    assert mean_interval(mean, sd, 4) == pytest.approx(wanted)
    assert mean_interval(1.0, 0.0, 1) == (-np.inf, np.inf)
    half = 12.706205 * 0.5 / np.sqrt(2)  # Student's 97.5 % with one degree of freedom
    assert mean_interval(1.0, 0.5, 2) == pytest.approx((1 - half, 1 + half))

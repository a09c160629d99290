"""Intervals: they cover what they claim to cover, and keep samples together."""

from __future__ import annotations

import numpy as np
import pytest

from sae_nb.evaluation.report._measurement import MAX_GROUPS, Resampling, group_rows


def interval(sums, n_bootstrap=1000, seed=0):
    """The interval of the mean."""
    return Resampling(n_bootstrap, seed).interval(sums, lambda s: s[:, 0] / s[:, 1])


def test_the_interval_of_a_mean_is_two_standard_errors():
    """For many independent groups the bootstrap equals the textbook interval."""
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    low, high = interval(np.stack((values, np.ones(2000)), 1), n_bootstrap=2000)
    error = values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_cover_the_truth_about_95_times_in_100(statistic):
    """Over 200 draws from a skewed distribution."""
    truth = 1.0 if statistic == "mean" else np.log(2)
    generator, hits = np.random.default_rng(1), 0
    for _ in range(200):
        low, high = Resampling(400).spread(generator.exponential(size=150), statistic)
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


def test_many_samples_are_pooled_without_changing_the_interval():
    """Above MAX_GROUPS the groups are random pools; the width of the interval stays."""
    n = 5 * MAX_GROUPS + 3
    values = np.random.default_rng(0).normal(size=n)
    group, n_groups = group_rows(None, n, seed=0)
    assert n_groups == MAX_GROUPS
    sums = np.zeros((n_groups, 2))
    np.add.at(sums, group, np.stack((values, np.ones(n)), 1))
    low, high = interval(sums)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(n), rel=0.1)


def test_one_group_or_no_resamples_give_no_interval():
    """NaN says that nothing can be said."""
    one = interval(np.ones((1, 2)))
    none = interval(np.ones((5, 2)), n_bootstrap=0)
    assert np.isnan([*one, *none]).all()


def test_the_same_seed_gives_the_same_interval():
    """And another one another."""
    sums = np.random.default_rng(0).random((50, 2)) + 1
    first = interval(sums, seed=4)
    assert interval(sums, seed=4) == first
    assert interval(sums, seed=5) != first

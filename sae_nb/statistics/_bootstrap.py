"""Intervals of 95 %: by the percentile bootstrap, of whole samples where rows belong together, and of shares.

Resampling n things with replacement gives counts (c_1, …, c_n) ~ Multinomial(n; 1/n, …, 1/n), so that a
resampled sum is Σ c_i x_i: one product for all resamples of all columns. The ends of an interval are the 2.5 %
and 97.5 % quantiles of what the resamples give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import stdtrit

ENDS = (0.025, 0.975)
MAX_GROUPS = 4096  # the bootstrap's cost and memory stay flat in the number of rows
_AT_ONCE = 64  # resamples whose counts are held at a time, as floats, in cache
_MOST_HELD = 2**23  # counts that the next interval of as many things need not draw again: 8 MiB

Interval = tuple[float, float]
Statistic = Callable[[Float[np.ndarray, "resamples columns"]], Float[np.ndarray, " resamples"]]
Seed = int | Sequence[int] | np.random.Generator

UNKNOWN: Interval = (float("nan"), float("nan"))
"""The interval of something that could not be resampled."""


# -------------------------------------------------------------------------------------------------
# What resamples give, and the interval of it.


def bootstrap_counts(n: int, n_resamples: int, seed: Seed) -> Float[np.ndarray, "n_resamples n"]:
    """Return how often each of n things is drawn in each resample."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(n, np.full(n, 1 / n), n_resamples).astype(np.float64)


def _drawn(n: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the counts of some resamples at a time, one stream of draws for all."""
    generator = np.random.default_rng(seed)
    for start in range(0, n_resamples, _AT_ONCE):
        yield bootstrap_counts(n, min(_AT_ONCE, n_resamples - start), generator)


@lru_cache(maxsize=1)
def _held(n: int, n_resamples: int, seed: int) -> tuple[np.ndarray, ...]:
    """The same, a byte each: to draw them takes a hundred times as long as to use them."""
    return tuple(c.astype(np.min_scalar_type(int(c.max()))) for c in _drawn(n, n_resamples, seed))


def percentile_interval(values: ArrayLike, *, at_least: int = 1) -> Interval:
    """Return the interval of resampled values; NaN where fewer than `at_least` are finite."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if len(finite) < at_least:
        return UNKNOWN
    low, high = np.quantile(finite, ENDS)
    return (float(low), float(high))


def percentile_intervals(
    values: Float[np.ndarray, "resamples ..."],
) -> Float[np.ndarray, "2 ..."]:
    """Return the intervals of columns of finite resampled values; NaN where there are no resamples."""
    if not len(values):
        return np.full((2, *values.shape[1:]), np.nan)
    return np.asarray(np.quantile(values, ENDS, axis=0))


def bootstrap_interval(
    samples: Sequence[Float[np.ndarray, " n"]],
    statistic: Callable[..., Any],
    *,
    n_resamples: int,
    seed: Seed,
) -> Interval:
    """Return the interval of any statistic of columns, whose rows are drawn together.

    `statistic` takes the columns, and `axis` if it computes many resamples at once. Where it is a function of
    sums, `Bootstrap` costs less.
    """
    from scipy.stats import bootstrap

    if n_resamples < 1 or len(samples[0]) < 2:
        return UNKNOWN
    found = bootstrap(
        samples,
        statistic,
        n_resamples=n_resamples,
        paired=len(samples) > 1,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return percentile_interval(found.bootstrap_distribution)


# -------------------------------------------------------------------------------------------------
# Rows of one sample stay together: tokens of one text and patches of one image are correlated.


def group_rows(
    sample: Int[np.ndarray, " n"] | None, n: int, *, seed: int
) -> tuple[Int[np.ndarray, " n"], int]:
    """Return which bootstrap group each row belongs to, and how many groups there are.

    A group is a sample. Above `MAX_GROUPS` samples, samples are pooled at random into that many groups, which
    leaves the variance of a mean over samples as it is. None: every row is a sample.
    """
    if sample is None:
        index, n_samples = np.arange(n, dtype=np.int64), n
    else:
        unique, index = np.unique(sample, return_inverse=True)
        n_samples = len(unique)
    if n_samples <= MAX_GROUPS:
        return index.astype(np.int64), n_samples
    pool = np.random.default_rng(seed).permutation(n_samples) % MAX_GROUPS
    return pool[index].astype(np.int64), MAX_GROUPS


@dataclass(frozen=True)
class Bootstrap:
    """Number of resamples for intervals, and their seed."""

    n: int = 1000  # Resamples; 0 leaves intervals out
    seed: int = 0  # of every draw: all intervals of one call see the same resamples

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"`seed` must be at least 0, got {self.seed}.")

    def grouped(
        self, rows: Float[np.ndarray, "n columns"], sample: Int[np.ndarray, " n"] | None
    ) -> Float[np.ndarray, "groups columns"]:
        """Return the sums of each bootstrap group, see `group_rows`."""
        group, n_groups = group_rows(sample, len(rows), seed=self.seed)
        sums = np.zeros((n_groups, rows.shape[1]))
        np.add.at(sums, group, rows)
        return sums

    def estimates(
        self, sums: Float[np.ndarray, "groups columns"], statistics: Mapping[str, Statistic]
    ) -> dict[str, tuple[float, Interval]]:
        """Return statistics of column sums, each with its interval."""
        intervals = self.intervals(sums, statistics)
        total = sums.sum(axis=0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {k: (float(f(total)[0]), intervals[k]) for k, f in statistics.items()}

    def interval(self, sums: Float[np.ndarray, "groups columns"], statistic: Statistic) -> Interval:
        """Return the interval of one statistic of column sums."""
        return self.intervals(sums, {"it": statistic})["it"]

    def intervals(
        self, sums: Float[np.ndarray, "groups columns"], statistics: Mapping[str, Statistic]
    ) -> dict[str, Interval]:
        """Return intervals of statistics of column sums, resampling groups.

        All statistics see the same resamples, which are what the time goes into.
        """
        n_groups = len(sums)
        if n_groups < 2 or self.n < 1:
            return dict.fromkeys(statistics, UNKNOWN)
        draw = _held if n_groups * self.n <= _MOST_HELD else _drawn
        counts = draw(n_groups, self.n, self.seed)
        resampled = np.concatenate([some.astype(np.float64, copy=False) @ sums for some in counts])
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                name: percentile_interval(value(resampled)) for name, value in statistics.items()
            }

    def spread(
        self, values: Float[np.ndarray, " n"], statistic: Literal["mean", "median"] | float = "mean"
    ) -> Interval:
        """Return the interval of the mean, the median or another quantile of independent values."""
        if len(values) < 2 or self.n < 1:
            return UNKNOWN
        if statistic == "mean":
            if len(values) <= MAX_GROUPS:  # as many are drawn as there are
                return self.interval(values[:, None], lambda sums: sums[:, 0] / len(values))
            columns = np.stack((values, np.ones_like(values)), axis=1)
            sums = self.grouped(columns, None)
            return self.interval(sums, lambda sums: sums[:, 0] / sums[:, 1])
        # A resampled quantile is an order statistic: its rank is Beta distributed, so no resample
        # needs to be made.
        n = len(values)
        place = (n + 1) * (0.5 if statistic == "median" else float(statistic))
        ranks = np.random.default_rng(self.seed).beta(place, n + 1 - place, size=self.n)
        with np.errstate(invalid="ignore"):  # between two infinite values
            low, high = np.quantile(np.sort(values), np.quantile(ranks, ENDS))
        return (float(low), float(high))

    def weights(
        self, group: Int[np.ndarray, " n"], n_groups: int
    ) -> Float[np.ndarray, "resamples n"]:
        """Return how often each row counts in each resample of groups."""
        return bootstrap_counts(n_groups, self.n, self.seed)[:, group]


# -------------------------------------------------------------------------------------------------
# The interval of a share.

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson_interval(
    count: int | Int[np.ndarray, " m"], n: int
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return Wilson's 95 % interval of each share count / n; all of [0, 1] where nothing was counted.

    The same as scipy's `binomtest(count, n).proportion_ci(method="wilson")`, which takes one count at a time
    and tests it too, some ten thousand times slower on a thousand counts.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if n == 0:
        return np.zeros(np.shape(count)), np.ones(np.shape(count))
    p, z2 = np.asarray(count) / n, Z95**2 / n
    centre, half = p + z2 / 2, Z95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n))
    return np.maximum((centre - half) / (1 + z2), 0.0), np.minimum((centre + half) / (1 + z2), 1.0)


def mean_interval(mean: float, sd: float, n: int) -> tuple[float, float]:
    """Return Student's 95 % interval of a mean of `n` values with this sample standard deviation.

    Without end on both sides for one value, which has no spread.
    """
    if n < 2:
        return -math.inf, math.inf
    half = float(stdtrit(n - 1, ENDS[1])) * sd / math.sqrt(n)
    return mean - half, mean + half

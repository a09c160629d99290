"""One number with everything needed to judge it, and the bootstrap behind its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

MAX_GROUPS = 4096  # the bootstrap's cost and memory stay flat in the number of rows

Interval = tuple[float, float]
Statistic = Callable[[Float[np.ndarray, "resamples columns"]], Float[np.ndarray, " resamples"]]

UNKNOWN: Interval = (float("nan"), float("nan"))
"""The interval of something that could not be resampled."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value beside what doing nothing and what chance would reach.

    The floor and the control are None where the quantity is a description and has none.
    """

    value: float
    """What was measured."""

    floor: float | None
    """What the trivial answer reaches; which one, `define(definition).floor` says."""

    control: float | None
    """What a random dictionary with the same number of atoms and the same L0 reaches."""

    interval: Interval
    """Bootstrap 95 % interval of the value; NaN where fewer than two things could be resampled."""

    definition: str
    """Id of the formula, see `define`."""

    n: int
    """How many `unit`s the value is a mean over."""

    unit: str
    """"rows", "tokens", "samples", "atoms" or "pairs"."""

    seconds: float = float("nan")
    """What it cost, control and floor included; NaN where several rows share one pass."""

    def __float__(self) -> float:
        return float(self.value)


def group_rows(
    sample: Int[np.ndarray, " n"] | None, n: int, *, seed: int
) -> tuple[Int[np.ndarray, " n"], int]:
    """Return which bootstrap group each row belongs to, and how many groups there are.

    Rows of one sample stay together, because tokens of one text and patches of one picture are
    correlated; above `MAX_GROUPS` samples, samples are pooled at random into that many groups,
    which leaves the variance of a mean over samples as it is.
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


def bootstrap(
    sums: Float[np.ndarray, "groups columns"],
    statistics: Mapping[str, Statistic],
    *,
    n_bootstrap: int,
    seed: int,
) -> dict[str, Interval]:
    """Return 95 % percentile intervals of statistics of column sums, resampling groups.

    All statistics see the same resamples, which are what the time goes into.
    """
    n_groups = len(sums)
    if n_groups < 2 or n_bootstrap < 1:
        return dict.fromkeys(statistics, UNKNOWN)
    generator = np.random.default_rng(seed)
    evenly = np.full(n_groups, 1 / n_groups)
    drawn = []
    for start in range(0, n_bootstrap, 256):  # (256, groups) of counts at a time
        size = min(256, n_bootstrap - start)
        drawn.append(generator.multinomial(n_groups, evenly, size=size).astype(np.float64) @ sums)
    resampled = np.concatenate(drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {name: _interval(value(resampled)) for name, value in statistics.items()}


def _interval(values: Float[np.ndarray, " resamples"]) -> Interval:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return UNKNOWN
    low, high = np.quantile(finite, [0.025, 0.975])
    return (float(low), float(high))


def bootstrap_values(
    values: Float[np.ndarray, " n"],
    statistic: Literal["mean", "median"] | float,
    *,
    n_bootstrap: int,
    seed: int,
) -> Interval:
    """Return the 95 % interval of the mean, the median or another quantile of independent values."""
    if len(values) < 2 or n_bootstrap < 1:
        return UNKNOWN
    if statistic == "mean":
        columns = np.stack((values, np.ones_like(values)), axis=1)
        means = {"mean": lambda sums: sums[:, 0] / sums[:, 1]}
        return bootstrap(_pool(columns, seed), means, n_bootstrap=n_bootstrap, seed=seed)["mean"]
    # A resampled quantile is an order statistic: its rank is Beta distributed, so no resample needs to
    # be made.
    n = len(values)
    place = (n + 1) * (0.5 if statistic == "median" else float(statistic))
    ranks = np.random.default_rng(seed).beta(place, n + 1 - place, size=n_bootstrap)
    with np.errstate(invalid="ignore"):  # between two infinite values
        low, high = np.quantile(np.sort(values), np.quantile(ranks, [0.025, 0.975]))
    return (float(low), float(high))


def _pool(columns: Float[np.ndarray, "n columns"], seed: int) -> Float[np.ndarray, "m columns"]:
    if len(columns) <= MAX_GROUPS:
        return columns
    groups = np.random.default_rng(seed).permutation(len(columns)) % MAX_GROUPS
    pooled = np.zeros((MAX_GROUPS, columns.shape[1]))
    np.add.at(pooled, groups, columns)
    return pooled

"""Promises of the null distribution: its p, its line, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from sae_nb.figures import null_distribution


def test_p_counts_the_observed_value() -> None:
    """(1 + values that reach it) / (1 + n), ties included."""
    names = [trace.name for trace in null_distribution(np.array([1.0, 2, 2, 3]), 2.0).data]
    assert names == ["null, n = 4", "observed, p = 0.8"]


def test_all_of_the_null_is_drawn() -> None:
    values = np.random.default_rng(0).normal(size=300)
    bars = null_distribution(values, 4.0).data[0]
    assert sum(bars.y) == 300
    assert np.allclose(np.diff(bars.x), bars.width[0])


@pytest.mark.parametrize(("n", "level"), [(19, 0.05), (99, 0.05), (99, 0.01), (1000, 0.1)])
def test_the_line_is_the_last_place_that_is_not_significant(n: int, level: float) -> None:
    """A statistic at the line has p > level, and one just above it p ≤ level."""
    null = np.random.default_rng(n).normal(size=n)
    line = null_distribution(null, 0.0, level=level).data[2].x[0]
    p_at, p_above = (
        (1 + (null >= value).sum()) / (1 + n) for value in (line, np.nextafter(line, np.inf))
    )
    assert p_above <= level < p_at

"""Promises of the null distribution: its p, its line, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sae_nb.figures import null_distribution


def test_p_counts_the_observed_value() -> None:
    """(1 + values that reach it) / (1 + n), ties included."""
    names = [trace.name for trace in null_distribution(np.array([1.0, 2, 2, 3]), 2.0).data]
    assert names == ["null, n = 4", "observed, p = 0.8"]


def test_all_of_the_null_is_drawn() -> None:
    """Bars count every value once, and touch each other."""
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


def test_no_line_where_the_null_is_too_short() -> None:
    """Of 18 values no p is 0.05."""
    assert len(null_distribution(np.arange(18.0), 20.0).data) == 2


@pytest.mark.parametrize(
    ("null", "observed"), [([], 1.0), ([1.0, math.nan], 1.0), ([1.0], math.inf)]
)
def test_what_is_no_null_is_refused(null: list[float], observed: float) -> None:
    """Nothing, and no number."""
    with pytest.raises(ValueError, match="must"):
        null_distribution(np.array(null), observed)

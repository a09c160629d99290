"""The learning rate rises, stays and falls as the formula says."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from sae_nb.training._schedule import Schedule


def test_schedule_has_three_linear_parts() -> None:
    schedule = Schedule(base=2.0, steps=20, warmup_steps=4, decay_fraction=0.25)
    rates = [schedule(step) for step in range(20)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5:15] == [2.0] * 10
    assert rates[15:] == pytest.approx([2 * share / 6 for share in (5, 4, 3, 2, 1)])


@pytest.mark.slow
@given(
    steps=st.integers(1, 300),
    warmup_steps=st.integers(0, 400),
    decay_fraction=st.floats(0, 1),
)
def test_no_step_is_wasted_and_none_overshoots(
    steps: int, warmup_steps: int, decay_fraction: float
) -> None:
    """Whatever the lengths, 0 < learning rate ≤ base, and it never rises after it fell."""
    schedule = Schedule(
        base=1.0, steps=steps, warmup_steps=warmup_steps, decay_fraction=decay_fraction
    )
    rates = [schedule(step) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_live_base_keeps_the_shape() -> None:
    schedule = Schedule(base=1.0, steps=10, warmup_steps=1, decay_fraction=0.3)
    before = [schedule(step) for step in range(10)]
    schedule.base = 3.0
    assert [schedule(step) for step in range(10)] == pytest.approx([3 * rate for rate in before])

"""What a reading of hidden values shows, each sentence beside the condition under which it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_nb.steering import CurveReading

MOST = 0.9
"""Share of the hidden values from which on a curve is said to read them; a control reads half at most."""


def reading_title(reading: CurveReading, noun: str) -> str:
    """State how many hidden values are read right along the curve, or that they are read right off it."""
    right, n, ring = reading.n_right, len(reading.hidden), ring_word(reading)
    control = max(reading.n_half_way, reading.n_shuffled)
    enough = right >= MOST * n
    if enough and 2 * control > right:
        return f"Off the {ring} the model answers {_count(control, n)} left-out {noun}, too"
    only = "" if enough or not right else "only "
    return f"Along the {ring}, the model answers {only}{_count(right, n)} left-out {noun}"


def reading_answer(reading: CurveReading, noun: str) -> tuple[str, tuple[str, ...]]:
    """Return how that was asked and what the straight line gives, and the words that are bold."""
    n_known, n, ring = len(reading.fitted.values), len(reading.hidden), ring_word(reading)
    straight = _times(reading.n_half_way)
    return (
        f"A {ring} was fitted to the model's states at {n_known} of {n_known + n} {noun}. Its places for the "
        f"other {n} are answered right {_times(reading.n_right)}; half-way between two known {noun} "
        f"{straight}.",
        (straight,),
    )


def ring_word(reading: CurveReading) -> str:
    """Return what a curve is called: a ring where it is closed."""
    return "ring" if reading.fitted.closed else "curve"


def _times(k: int) -> str:
    return "never" if k == 0 else "once" if k == 1 else f"{k} times"


def _count(k: int, n: int) -> str:
    return f"all {n}" if k == n else f"{k} of {n}" if k else f"none of {n}"

"""A player keeps its pace: what a step takes is no part of the pause after it."""

from __future__ import annotations

import pytest
from sae_nb_widgets.panel import _playing


class Ended:
    """A flag that notes for how long it was waited for, and is set after some pauses."""

    def __init__(self, n: int) -> None:
        self.pauses: list[float] = []
        self.n = n

    def wait(self, seconds: float) -> bool:
        """Note it, without waiting."""
        self.pauses.append(seconds)
        return len(self.pauses) == self.n


def test_a_step_counts_for_the_pause_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four a second: a step of .1 s leaves .15 s; after one of a second a click still gets its turn."""
    now, steps = 0.0, iter([0.1, 1.0])

    def advance() -> bool:
        nonlocal now
        now += next(steps)
        return True

    monkeypatch.setattr(_playing.time, "perf_counter", lambda: now)
    ended = Ended(3)
    _playing.Player(advance, lambda: 4.0)._run(ended)
    assert ended.pauses == pytest.approx([0.25, 0.15, _playing.SHORTEST_PAUSE])

"""What depends on the step alone: learning rate, values of k, and whether a training still gets anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass


def growing(k: float) -> list[float]:
    """Return the values that k takes on its way: 1, 2, 4 … and k itself.

    Example
    -------
    >>> growing(6), growing(1), growing(1.36)
    ([1, 2, 4, 6], [1], [1, 1.36])
    """
    smaller = [2**i for i in range(math.ceil(math.log2(k)))] if k > 1 else []
    return [*smaller, k]


@dataclass(kw_only=True)
class Schedule:
    """Learning rate by step; `base` may be replaced while the training runs.

    Source: saprmarks/dictionary_learning, trainers/trainer.py: warm-up, constant, linear decay to 0.
    """

    base: float
    steps: int
    warmup_steps: int
    decay_fraction: float
    phases: int = 1
    """Equal shares of the steps that each warm up and decay."""

    def phase(self, step: int) -> int:
        """Return which share of the steps `step` is in."""
        return step * self.phases // self.steps

    def begins(self, step: int) -> bool:
        """Return whether a phase begins at `step`."""
        return step == self._first(self.phase(step))

    def _first(self, phase: int) -> int:
        return -(-phase * self.steps // self.phases)

    def __call__(self, step: int) -> float:
        """Learning rate of optimiser step `step`, counted from 0."""
        return self.base * self.factor(step)

    def factor(self, step: int) -> float:
        """Return share of `base` that applies at `step`, in (0, 1]."""
        phase = min(self.phase(step), self.phases - 1)
        first, last = self._first(phase), self._first(phase + 1)
        decay_steps = round(self.decay_fraction * (last - first))
        rising = (step - first + 1) / (self.warmup_steps + 1)
        falling = (last - step) / (decay_steps + 1)
        return max(min(1.0, rising, falling), 0.0)


# -------------------------------------------------------------------------------------------------
# When a training has stopped getting anywhere: its running loss finds no lower value for long.
#
# Looked at once per record. A running loss counts as lower when it lies more than `LEAST_GAIN` below the
# last that counted, so slow progress adds up and is not taken for none. Only steps of the same objective
# and the same learning rate compare: records before a tenth of the steps (where learning rates warm up
# and sparsity weights rise) and those of the final decay are not looked at.

LEAST_GAIN = 0.01
"""Share by which the running loss must fall to count as lower. Ours."""

FIRST_SHARE = 0.1
"""Share of the steps before which nothing counts: no sparsity weight rises for longer. Ours."""


class Plateau:
    """Records in a row in which the running loss of one SAE has not fallen."""

    def __init__(self) -> None:
        self.waited = 0
        self.lowest = math.inf

    def look(self, running_loss: float, step: int, schedule: Schedule) -> None:
        """Take in the running loss at the record of a step, counted from 1."""
        steady = schedule.factor(step - 1) == 1.0 and step > FIRST_SHARE * schedule.steps
        if not steady:
            return
        if self.lowest - running_loss > LEAST_GAIN * abs(running_loss):
            self.lowest, self.waited = running_loss, 0
        else:
            self.waited += 1

    def forget(self) -> None:
        """Start over: losses before and after a change of the objective do not compare."""
        self.waited, self.lowest = 0, math.inf

    def to_json(self) -> dict[str, float | None]:
        """Return the state that a checkpoint needs to continue counting."""
        return {"waited": self.waited, "lowest": None if self.lowest == math.inf else self.lowest}

    def load(self, state: dict[str, float | None]) -> None:
        """Load the result of `to_json`."""
        self.waited = int(state["waited"] or 0)
        self.lowest = math.inf if state["lowest"] is None else state["lowest"]

"""Learning-rate schedule: lr(t) = base · min(warm-up, 1, decay), linear at both ends.

With W warm-up steps and decay over the last D of T steps, step t = 0 … T − 1 has
warm-up = (t + 1) / (W + 1) and decay = (T − t) / (D + 1): neither end is ever exactly 0, so no step
is wasted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class Schedule:
    """Learning rate by step; `base` may be replaced while the training runs.

    Source
    ------
    Warm-up, constant, linear decay to 0: saprmarks/dictionary_learning, trainers/trainer.py.

    Example
    -------
    >>> schedule = Schedule(base=0.01, steps=10, warmup_steps=1, decay_fraction=0.3)
    >>> [round(schedule(step), 4) for step in (0, 1, 6, 7, 9)]
    [0.005, 0.01, 0.01, 0.0075, 0.0025]
    """

    base: float
    steps: int
    warmup_steps: int
    decay_fraction: float

    def __call__(self, step: int) -> float:
        """Learning rate of optimiser step `step`, counted from 0."""
        return self.base * self.factor(step)

    def factor(self, step: int) -> float:
        """Share of `base` that applies at `step`, in (0, 1]."""
        decay_steps = round(self.decay_fraction * self.steps)
        rising = (step + 1) / (self.warmup_steps + 1)
        falling = (self.steps - step) / (decay_steps + 1)
        return max(min(1.0, rising, falling), 0.0)

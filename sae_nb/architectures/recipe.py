"""How an architecture likes to be trained: the defaults a training loop takes where it is told nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimiser settings of one architecture at one size.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Example
    -------
    >>> Recipe(learning_rate=1e-3).warmup_steps(400)
    20
    """

    learning_rate: float
    """Adam step size between warm-up and decay."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's memories of gradient and squared gradient. Adam's own (openai/sparse_autoencoder)."""

    epsilon: float = 6.25e-10
    """Adam's guard against division by zero (openai/sparse_autoencoder, train.py)."""

    weight_decay: float = 0.0
    """L2 pull per step. None of the published SAE recipes uses one."""

    warmup_fraction: float = 0.05
    """Share of the steps over which the learning rate rises. Ours, for runs of hundreds of steps."""

    longest_warmup_steps: int = 1000
    """Warm-up never takes more steps (saprmarks/dictionary_learning)."""

    decay_fraction: float = 0.2
    """Last share of the steps, over which the learning rate falls to 0 (mpsae/MP-SAE)."""

    gradient_clip: float = 1.0
    """Largest global norm of the gradient (saprmarks/dictionary_learning, overcomplete)."""

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(
                f"`learning_rate` must be positive and finite, got {self.learning_rate}."
            )
        for name in ("warmup_fraction", "decay_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {getattr(self, name)}.")

    def warmup_steps(self, steps: int) -> int:
        """Steps of warm-up in a run of `steps`.

        Parameters
        ----------
        steps
            Length of the run.
        """
        return min(self.longest_warmup_steps, round(self.warmup_fraction * steps))


def ramp(step_fraction: float, over: float) -> float:
    """How far a term of the loss has set in: 0 at the start of the run, 1 once `over` of it is past.

    Parameters
    ----------
    step_fraction
        Share of the run that is past.
    over
        Share of the run over which the term sets in; 0 is at once.

    Example
    -------
    >>> [ramp(t, 0.1) for t in (0.0, 0.05, 0.5)]
    [0.0, 0.5, 1.0]
    """
    return 1.0 if step_fraction >= over else step_fraction / over

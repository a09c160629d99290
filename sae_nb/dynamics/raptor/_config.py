"""Every setting of a Raptor's training, its unit and where its default comes from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sae_nb.checks import check_count, checked, one_of
from sae_nb.training import check_number

Forcing = Literal["annealed", "always", "never"]
FORCINGS = ("annealed", "always", "never")
OWN_BUSINESS = ("checkpoint", "checkpoint_every", "log_every")
"""Settings that leave every step as it is, so a resumed run may change them."""


@checked(leave=("checkpoint",))
@dataclass(frozen=True, kw_only=True)
class RaptorConfig:
    """How a Raptor learns its teacher's states.

    Stage 1, every block by itself: λ · teacher forcing + (1 − λ) · own roll-out from the first state
    of its phase, λ = max(0, 1 − step / (anneal_fraction · steps)). Stage 2, all blocks together: own
    roll-out from the embeddings. Each layer's squared error is divided by that layer's variance.

    Raises
    ------
    TypeError, ValueError: If a setting is of another type or out of range.

    Source
    ------
    KempnerInstitute/raptor, raptor/trainer.py and runs/; sizes by our dynamics notes, experiment E2.
    The authors take plain squares, for 312 500 steps per stage with AdamW 3e-4; divided by the
    variance, early layers count at a few hundred steps too (`normalise=False` takes it away).

    Example
    -------
    >>> RaptorConfig(steps_1=10, steps_2=20).steps
    30
    """

    steps_1: int = 200
    """Steps of stage 1, in which every block learns alone. Ours (E2)."""

    steps_2: int = 300
    """Steps of stage 2, all blocks. Ours (E2)."""

    batch_size: int = 48
    """Images per step; all of them when there are fewer. Ours (E2)."""

    learning_rate: float = 2e-3
    """Peak of AdamW's one-cycle schedule, in each stage. Ours (E2)."""

    weight_decay: float = 1e-4
    """The authors'."""

    gradient_clip: float = 1.0
    """Largest norm of the gradient: of each block in stage 1, of all in stage 2. The authors'."""

    anneal_fraction: float = 0.25
    """Share of stage 1 over which λ falls from 1 to 0. The authors'."""

    forcing: Forcing = "annealed"
    """Teacher forcing in stage 1: "annealed", "always" (λ = 1) or "never" (λ = 0)."""

    last_weights: tuple[float, float, float] = (0.34, 0.33, 0.33)
    """Weights of cls, registers and patches in stage 1 at the last block. The authors'."""

    joint_weights: tuple[float, float, float] = (0.45, 0.10, 0.45)
    """Weights of cls, registers and patches in stage 2. The authors'."""

    normalise: bool = True
    """Divide each layer's error by that layer's variance. Ours."""

    test_fraction: float = 0.25
    """Share of the images kept for R² and relative error."""

    seed: int = 0
    """Of the blocks' initial weights, of the split and of the order of images."""

    log_every: int = 10
    """Steps between two records."""

    checkpoint: str | Path | None = None
    """Folder for checkpoints, from which the same call resumes. None: none are written."""

    checkpoint_every: int = 100
    """Steps between two checkpoints; the last step is always one."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "log_every", "checkpoint_every"):
            check_count(getattr(self, name), name=name)
        for name in ("steps_1", "steps_2", "seed"):
            check_count(getattr(self, name), name=name, at_least=0)
        if self.steps < 1:
            raise ValueError("`steps_1` and `steps_2` must not both be 0. Ask for some steps.")
        check_number(self.learning_rate, "learning_rate", above=0.0)
        check_number(self.gradient_clip, "gradient_clip", above=0.0, infinite=True)
        check_number(self.weight_decay, "weight_decay", least=0.0)
        check_number(self.anneal_fraction, "anneal_fraction", above=0.0, most=1.0)
        check_number(self.test_fraction, "test_fraction", least=0.0, most=0.9)
        one_of(self.forcing, FORCINGS, name="forcing")
        for name in ("last_weights", "joint_weights"):
            weights = tuple(getattr(self, name))
            if len(weights) != 3 or min(weights) < 0 or sum(weights) <= 0:
                raise ValueError(
                    f"`{name}` must be three weights ≥ 0 (cls, registers, patches), got {weights}."
                )
            object.__setattr__(self, name, weights)

    @property
    def steps(self) -> int:
        """Steps of both stages."""
        return self.steps_1 + self.steps_2

    def to_json(self) -> dict[str, Any]:
        """Settings as plain JSON values."""
        plain = asdict(self) | {
            "last_weights": list(self.last_weights),
            "joint_weights": list(self.joint_weights),
        }
        plain["checkpoint"] = None if self.checkpoint is None else str(self.checkpoint)
        return {name: "inf" if value == math.inf else value for name, value in plain.items()}

    def stage(self, step: int) -> tuple[int, int, int]:
        """Return which stage a step (from 0) belongs to, its number there, and the stage's length.

        Example
        -------
        >>> RaptorConfig(steps_1=10, steps_2=20).stage(12)
        (2, 2, 20)
        """
        if step < self.steps_1:
            return 1, step, self.steps_1
        return 2, step - self.steps_1, self.steps_2

    def forced_share(self, step: int) -> float:
        """Return λ, the weight of teacher forcing, at a step of stage 1.

        Example
        -------
        >>> config = RaptorConfig(steps_1=100)
        >>> [config.forced_share(step) for step in (0, 5, 25)]
        [1.0, 0.8, 0.0]
        """
        if self.forcing != "annealed":
            return float(self.forcing == "always")
        return max(0.0, 1 - step / (self.anneal_fraction * self.steps_1))


def one_cycle(step: int, steps: int, *, rising: float = 0.2) -> float:
    """Share of the peak learning rate at a step: up from 1/25 and down to 1/1000 by half cosines."""
    at = step / max(steps - 1, 1)
    if at < rising:
        return 1 + (0.04 - 1) * (1 + math.cos(math.pi * at / rising)) / 2
    return 0.001 + (1 - 0.001) * (1 + math.cos(math.pi * (at - rising) / (1 - rising))) / 2

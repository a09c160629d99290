"""Every setting of a Raptor's training, its unit and where its default comes from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from sae_nb.checks import Between, Count, Positive, Seed, Weight, at_least, checked

Schedule = Literal["joint", "published"]
Forcing = Literal["annealed", "always", "never"]
Mix = Literal["states", "losses"]
Optimiser = Literal["muon", "adamw"]
OWN_BUSINESS = ("checkpoint", "checkpoint_every", "log_every")
"""Settings that leave every step as it is, so a resumed run may change them."""

_BY_SCHEDULE: Any = None
"""The default of what `DEFAULTS` sets by schedule."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "joint": {
        "steps": 1500,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "weight_decay": 0.0,
        "mix": "states",
        "optimiser": "muon",
    },
    "published": {
        "batch_size": 48,
        "learning_rate": 2e-3,
        "weight_decay": 1e-4,
        "mix": "losses",
        "optimiser": "adamw",
        "last_weights": (0.34, 0.33, 0.33),
        "joint_weights": (0.45, 0.10, 0.45),
    },
}


@checked(leave=("checkpoint",))
@dataclass(frozen=True, kw_only=True)
class RaptorConfig:
    """Settings of a Raptor that learns its teacher's states.

    `schedule="joint"`: all blocks together, rolled out from the embeddings. After every layer the next
    block reads λ · teacher's state + (1 − λ) · own state, λ = max(0, 1 − step / (anneal_fraction · steps)).

    `schedule="published"`: the authors' two stages. Stage 1, every block by itself: λ · error of single
    steps from the teacher's states + (1 − λ) · error of its own roll-out from the first state of its
    phase. Stage 2, all blocks together: own roll-out from the embeddings.

    In both, each layer's squared error is divided by that layer's variance. Settings marked "by
    schedule" have one default for each; `dataclasses.replace(config, schedule=…)` keeps its present
    values.

    Raises
    ------
    ValueError: If a setting belongs to the other schedule.

    Source
    ------
    KempnerInstitute/raptor, raptor/trainer.py and runs/, for "published"; the authors take plain squares,
    and 312 500 steps per stage with AdamW 3e-4. "joint" is ours: it needs 1 500 steps.

    Example
    -------
    >>> RaptorConfig().steps, RaptorConfig(schedule="published", steps_1=10, steps_2=20).steps
    (1500, 30)
    """

    schedule: Schedule = _BY_SCHEDULE
    """Either "joint", or "published", which is also what `steps_1`, `steps_2` or `last_weights` imply."""

    steps: Count = _BY_SCHEDULE
    """Steps in all: 1 500 if joint; else `steps_1` + `steps_2`, to which `steps` alone gives 40 and 60 %."""

    steps_1: Annotated[int, at_least(0)] | None = None
    """Published only: steps of stage 1, in which every block learns alone; 200 by default."""

    steps_2: Annotated[int, at_least(0)] | None = None
    """Published only: steps of stage 2, all blocks; 300 by default."""

    batch_size: Count = _BY_SCHEDULE
    """Images per step: 16 if joint, 48 if published. Fewer to train on are refused."""

    optimiser: Optimiser = _BY_SCHEDULE
    """By schedule: "muon" (joint), for the matrices of attention and MLP, with AdamW for the rest; or "adamw"
    for all (published)."""

    learning_rate: Positive = _BY_SCHEDULE
    """Peak of AdamW: 3e-3 if joint, with a warm-up over 10 % of the steps and then half a cosine; 2e-3 in
    each stage if published, as one cycle."""

    muon_learning_rate: Positive = 0.02
    """Peak of Muon, which follows the same course."""

    weight_decay: Weight = _BY_SCHEDULE
    """Of AdamW: 0 if joint; the authors' 1e-4 if published. Muon has none."""

    gradient_clip: Annotated[float, Between(0, math.inf, "(]")] = 1.0
    """Largest norm of the gradient: of each block in stage 1, else of all. The authors'."""

    anneal_fraction: Annotated[float, Between(0, 1, "(]")] = 0.25
    """Share of the steps (of stage 1, if published) over which λ falls from 1 to 0. The authors'."""

    forcing: Forcing = "annealed"
    """Teacher forcing: "annealed", "always" (λ = 1) or "never" (λ = 0)."""

    mix: Mix = _BY_SCHEDULE
    """Quantities that λ mixes: "states" of one roll-out if joint, "losses" of two if published."""

    last_weights: tuple[float, float, float] | None = None
    """Published only: weights of cls, registers and patches in stage 1 at the last block; .34, .33, .33."""

    joint_weights: tuple[float, float, float] | None = None
    """Weights of cls, registers and patches where all blocks learn together: every token alike if joint
    (None), the authors' .45, .10, .45 in stage 2 if published."""

    normalise: bool = True
    """Divide each layer's error by that layer's variance. Ours."""

    test_fraction: Annotated[float, Between(0, 0.9)] = 0.25
    """Share of the images kept for R² and relative error."""

    seed: Seed = 0
    """Of the blocks' initial weights, of the split and of the order of images."""

    log_every: Count = 10
    """Steps between two records."""

    checkpoint: str | Path | None = None
    """Folder for checkpoints, from which the same call resumes. None: none are written."""

    checkpoint_every: Count = 100
    """Steps between two checkpoints; the last step is always one."""

    def __post_init__(self) -> None:
        self._settle()
        for name in ("last_weights", "joint_weights"):
            weights = getattr(self, name)
            if weights is None:
                continue
            if len(weights) != 3 or min(weights) < 0 or sum(weights) <= 0:
                raise ValueError(
                    f"`{name}` must be three weights ≥ 0 (cls, registers, patches), got {weights}."
                )
            object.__setattr__(self, name, tuple(weights))

    def _settle(self) -> None:
        """Give every setting that was left open the value of its schedule."""
        staged = [
            name
            for name in ("steps_1", "steps_2", "last_weights")
            if getattr(self, name) is not None
        ]
        schedule = self.schedule or ("published" if staged else "joint")
        if schedule == "joint" and staged:
            raise ValueError(
                f"`{staged[0]}` must be left out with schedule='joint', which has one stage, got"
                f" {getattr(self, staged[0])!r}. Pass `steps`, or schedule='published'."
            )
        defaults = DEFAULTS[schedule] | {"schedule": schedule}
        if schedule == "published":
            defaults |= self._stages()
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def _stages(self) -> dict[str, int]:
        """Steps of both stages, and of both together."""
        if self.steps is not None and self.steps_1 is None and self.steps_2 is None:
            first = round(0.4 * self.steps)
            return {"steps_1": first, "steps_2": self.steps - first}
        first = 200 if self.steps_1 is None else self.steps_1
        second = 300 if self.steps_2 is None else self.steps_2
        if first + second < 1:
            raise ValueError("`steps_1` and `steps_2` must not both be 0. Ask for some steps.")
        if self.steps not in (None, first + second):
            raise ValueError(
                f"`steps` must be steps_1 + steps_2 = {first + second}, got {self.steps}. Leave it out."
            )
        return {"steps_1": first, "steps_2": second, "steps": first + second}

    def to_json(self) -> dict[str, Any]:
        """Return settings as plain JSON values."""
        plain = asdict(self)
        plain["checkpoint"] = None if self.checkpoint is None else str(self.checkpoint)
        for name in ("last_weights", "joint_weights"):
            plain[name] = None if plain[name] is None else list(plain[name])
        return {name: "inf" if value == math.inf else value for name, value in plain.items()}

    def n_test(self, n: int) -> int:
        """Return how many of n images are kept for R² and relative error; one at least trains.

        Example
        -------
        >>> RaptorConfig().n_test(100)
        25
        """
        return min(round(self.test_fraction * n), n - 1)

    def stage(self, step: int) -> tuple[int, int, int]:
        """Return which stage a step (from 0) belongs to, its number there, and the stage's length.

        All blocks learn together in stage 2; the joint schedule has no other.

        Example
        -------
        >>> RaptorConfig(steps_1=10, steps_2=20).stage(12), RaptorConfig(steps=30).stage(12)
        ((2, 2, 20), (2, 12, 30))
        """
        first = self.steps_1 or 0
        return (1, step, first) if step < first else (2, step - first, self.steps - first)

    def forced_share(self, step: int) -> float:
        """Return λ, the weight of the teacher's states (or of errors from them), at a step.

        Example
        -------
        >>> config = RaptorConfig(steps=100)
        >>> [config.forced_share(step) for step in (0, 5, 25)]
        [1.0, 0.8, 0.0]
        """
        stage, at, length = self.stage(step)
        if self.schedule == "published" and stage == 2:
            return 0.0
        if self.forcing != "annealed":
            return float(self.forcing == "always")
        return max(0.0, 1 - at / (self.anneal_fraction * length))

    def rate_share(self, step: int) -> float:
        """Return the share of the peak learning rates at a step.

        Example
        -------
        >>> config = RaptorConfig(steps=100)
        >>> [round(config.rate_share(step), 3) for step in (0, 9, 54, 99)]
        [0.1, 1.0, 0.5, 0.0]
        """
        _, at, length = self.stage(step)
        if self.schedule == "published":
            return one_cycle(at, length)
        rising = max(1, round(0.1 * length))
        if at < rising:
            return (at + 1) / rising
        return (1 + math.cos(math.pi * (at + 1 - rising) / max(length - rising, 1))) / 2


def one_cycle(step: int, steps: int, *, rising: float = 0.2) -> float:
    """Return the share of the peak learning rate at a step: up from 1/25 and down to 1/1000 by half
    cosines.
    """
    at = step / max(steps - 1, 1)
    if at < rising:
        return 1 + (0.04 - 1) * (1 + math.cos(math.pi * at / rising)) / 2
    return 0.001 + (1 - 0.001) * (1 + math.cos(math.pi * (at - rising) / (1 - rising))) / 2

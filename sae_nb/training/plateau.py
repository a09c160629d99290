"""When a training has stopped getting anywhere: its running loss finds no lower value for long.

Looked at once per record. A running loss counts as lower when it lies more than `LEAST_GAIN` below the
last that counted, so slow progress adds up and is not taken for none. Only steps of the same objective
and the same learning rate compare: records before a tenth of the steps (where learning rates warm up
and sparsity weights rise) and those of the final decay are not looked at.
"""

from __future__ import annotations

import math

from sae_nb.training.schedule import Schedule

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
        """What a checkpoint needs to go on counting."""
        return {"waited": self.waited, "lowest": None if self.lowest == math.inf else self.lowest}

    def load(self, state: dict[str, float | None]) -> None:
        """Back from `to_json`."""
        self.waited = int(state["waited"] or 0)
        self.lowest = math.inf if state["lowest"] is None else state["lowest"]

"""The state of a PursuitStepper as traits that refuse what cannot be shown."""

from __future__ import annotations

import traitlets as t
from torch import Tensor

from sae_nb.summaries.pursuit_steps import (
    ALGORITHMS,
    PENALTY_SHARE,
    PURSUITS,
    SOLVER_STEPS,
    PursuitSteps,
)
from sae_nb_widgets.playing import PlayingPanel
from sae_nb_widgets.pursuit_inputs import NONE

FASTEST = 50.0
"""Steps per second: more cannot be told apart."""


class PursuitTraits(PlayingPanel):
    """Which step of which algorithms on which input; each part can be set, observed and linked."""

    # What `close` reads, also of a panel that was refused before it was built.
    _closed = True

    n_atoms: int
    steps: tuple[PursuitSteps, ...]
    _x: Tensor
    _dictionaries: tuple[Tensor, Tensor]

    step = t.Int(0, help="Which step is shown; 0 is before the first.")
    row = t.Int(0, help="Which of the inputs.")
    algorithm_a = t.Enum(ALGORITHMS, default_value="mp", help="First algorithm.")
    algorithm_b = t.Enum(
        (*ALGORITHMS, NONE), default_value=NONE, help="Second algorithm; empty for none."
    )
    k = t.Int(16, help="Steps of a greedy algorithm.")
    penalty_share = t.Float(PENALTY_SHARE, help="λ of ISTA and FISTA as a share of the largest.")
    nonnegative = t.Bool(True, help="Only coefficients ≥ 0.")
    order = t.Enum(("sorted", "dictionary"), default_value="sorted", help="Order of the bars.")
    fit_bars = t.Bool(False, help="Scale the bars to the step that is shown.")
    atom = t.Int(0, help="Atom of the first dictionary that was clicked; can be linked.")
    marked = t.Bool(False, help="Whether that atom is marked in the bars and lists.")

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The one or two algorithms shown."""
        return (self.algorithm_a, *([self.algorithm_b] if self.algorithm_b != NONE else []))

    @property
    def last_step(self) -> int:
        """Last step of the player: of the records, or the most there can be until they are there."""
        if self.steps:
            return max(one.n_steps for one in self.steps)
        return max(self.k if name in PURSUITS else SOLVER_STEPS for name in self.algorithms)

    @t.validate("step")
    def _step_exists(self, proposal: t.Bunch) -> int:
        if not 0 <= proposal["value"] <= self.last_step:
            raise t.TraitError(
                f"`step` must be between 0 and {self.last_step}, got {proposal['value']}."
            )
        return int(proposal["value"])

    @t.validate("row", "k", "atom")
    def _in_range(self, proposal: t.Bunch) -> int:
        name, value = proposal["trait"].name, int(proposal["value"])
        fewest = min(len(one) for one in self._dictionaries)
        ends = {"row": (0, len(self._x) - 1), "k": (1, fewest), "atom": (0, self.n_atoms - 1)}
        low, high = ends[name]
        if not low <= value <= high:
            raise t.TraitError(f"`{name}` must be between {low} and {high}, got {value}.")
        return value

    @t.validate("speed", "penalty_share")
    def _positive(self, proposal: t.Bunch) -> float:
        name, value = proposal["trait"].name, float(proposal["value"])
        high = {"speed": FASTEST, "penalty_share": 1.0}[name]
        if not 0 < value < high:
            raise t.TraitError(f"`{name}` must be above 0 and below {high:g}, got {value:g}.")
        return value

"""The player bar of the PursuitStepper and its other controls, each linked to one trait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw

from sae_nb.architectures import PursuitSteps
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.panel._declaring import control, icon_button, line
from sae_nb_widgets.panel._playing import play_button
from sae_nb_widgets.pursuit._runs import NONE, OWN

if TYPE_CHECKING:
    from sae_nb_widgets.pursuit._panel import PursuitStepper

TITLES = {
    "mp": "matching pursuit",
    "omp": "orthogonal MP",
    "gp": "gradient pursuit",
    "cg": "conjugate gradients",
}
SPEEDS = (0.5, 1.0, 2.0, 4.0, 8.0)
ORDERS = {"sorted": "sorted", "dictionary": "dictionary order"}
ORDER_TIPS = {
    "sorted": "By correlation with the input; bars keep their places",
    "dictionary": "By number of the atom",
}


class PursuitControls:
    """The controls of `panel`: the player, those always there, and those behind "more"."""

    def __init__(self, panel: PursuitStepper, n_rows: int) -> None:
        player = self._player(panel)
        names = line(_algorithm(panel, "algorithm_a", "A"), _algorithm(panel, "algorithm_b", "B"))
        tip = "How well each atom matches what is left, the atoms in use and their coefficients"
        self.first = [player, names, control(panel, "show_bars", "bars and coefficients", tip)]
        if n_rows > 1:
            self.first.insert(2, control(panel, "number", "input", "Which of the inputs", 100))
        self.more = [*_drawn(panel), *_asked(panel)]

    def _player(self, panel: PursuitStepper) -> ipw.Box:
        self.play = play_button(panel, "Play from here, or pause (space)")
        tip = "Go to a step; going back is exact"
        self.step = control(panel, "step", "step", tip, 190, kind=ipw.IntSlider, readout=False)
        self.count = HTML()
        return line(
            icon_button("step-backward", "One step back (←)", panel.back),
            self.play,
            icon_button("step-forward", "One step on (→)", panel.forth),
            self.step,
            self.count,
        )

    def show_step(self, step: int, last: int) -> None:
        """Let the slider end at the last step there is, and say which one is shown."""
        self.step.max = max(last, 1)
        self.step.disabled = last == 0
        self.count.value = f'<span class="sae-nb-keep">{step} of {last}</span>'


def _algorithm(panel: PursuitStepper, name: str, letter: str) -> ipw.Dropdown:
    offered: dict[str, str] = {name: _title(name) for name in PursuitSteps.ALGORITHMS}
    if panel.runs.own is not None:
        offered = {OWN: f"{panel.runs.own_name}: its own"} | offered
    if letter == "B":
        offered[NONE] = "none"
    tip = f"Algorithm {letter}; both step together"
    return control(panel, name, letter, tip, 220, options=offered)


def _drawn(panel: PursuitStepper) -> list[ipw.Widget]:
    """Return its speed and the order of the bars."""
    speeds = {speed: f"{speed:g} steps / s" for speed in SPEEDS}
    return [
        control(panel, "speed", "speed", "Steps per second while it plays", 170, options=speeds),
        control(panel, "order", "", ORDER_TIPS, kind=ipw.ToggleButtons, options=ORDERS),
    ]


def _asked(panel: PursuitStepper) -> list[ipw.Widget]:
    """Return the algorithms' settings, and the scale of their bars."""
    return [
        control(panel, "k", "steps k", "Steps that a greedy algorithm may take", 120),
        control(
            panel,
            "penalty_share",
            "λ / λ_max",
            "Penalty of ISTA, FISTA and ADMM, as a share of the one at which no atom is used; ridge of CG",
            250,
            min=0.01,
            max=0.9,
            step=0.01,
            readout_format=".2f",
            continuous_update=False,
        ),
        control(
            panel,
            "nonnegative",
            "only positive coefficients",
            "As in most SAEs; otherwise an atom may be subtracted too",
        ),
        control(
            panel,
            "fit_bars",
            "scale bars to the step",
            "Late steps become readable, but heights no longer compare between steps",
        ),
    ]


def _title(name: str) -> str:
    """An algorithm's name, and in brackets what the panel calls it."""
    short = name.upper()
    return f"{TITLES[name]} ({short})" if name in TITLES else short

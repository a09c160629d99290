"""The controls of the TrainingMonitor: the hands on a running training, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw

from sae_nb_widgets.panel._declaring import Entry, button, control
from sae_nb_widgets.training._gallery import run_name
from sae_nb_widgets.training._tracking import GOING

if TYPE_CHECKING:
    from sae_nb_widgets.training._panel import TrainingMonitor

HANDS = {
    "pause": ("pause", "Pause after this step"),
    "resume": ("play", "Continue after a pause"),
    "stop": ("stop", "End the training after this step"),
}
"""Actions on a run: sign and tip of the button."""

LIVE_TIPS = {
    "k": "Atoms that may be used at a time",
    "l0": "Atoms that should be used at a time",
    "sparsity": "Weight of the sparsity penalty",
    "aux_weight": "Weight of the loss that revives dead atoms",
}


class TrainingControls:
    """The controls of `panel`, whose runs these are."""

    def __init__(self, panel: TrainingMonitor, runs: Sequence[Any]) -> None:
        self.buttons = {
            what: button(what, tip, partial(panel.act, what), icon=sign)
            for what, (sign, tip) in HANDS.items()
        }
        self.rate = control(
            panel,
            "learning_rate",
            "peak learning rate",
            "What the learning rate climbs to while it warms up; takes effect at the next step",
            330,
            kind=ipw.FloatLogSlider,
            min=-6,
            max=-1,
            step=0.02,
            readout_format=".2e",
            continuous_update=False,
        )
        self.first = list(self.buttons.values()) if runs else []
        if len(runs) > 1:
            self.first.append(_acts_on(panel, runs))
        tip = "Every curve, how often each atom fires, and how fast atoms turn"
        self.first.append(control(panel, "everything", "all plots", tip))
        self.live = [
            control(
                panel,
                name,
                name.replace("_", " "),
                f"{LIVE_TIPS.get(name, name)}; takes effect at the next step",
                150,
                kind=Entry,
            )
            for name in panel.live_numbers
        ]
        tip = "Draw the steps on a logarithmic axis"
        self.more = [
            *([self.rate] if runs else []),
            *self.live,
            control(panel, "log_x", "log steps", tip),
        ]
        if panel.has_atoms:
            self.more.append(_map_by(panel))

    def show(self, states: set[str]) -> None:
        """Have only those answer that can act on runs in these states."""
        self.buttons["pause"].disabled = "running" not in states
        self.buttons["resume"].disabled = "paused" not in states
        self.buttons["stop"].disabled = not states & {"running", "paused"}
        for field in (self.rate, *self.live):
            field.disabled = not states & set(GOING)


def _acts_on(panel: TrainingMonitor, runs: Sequence[Any]) -> ipw.Dropdown:
    named = [(run_name(run, i), i) for i, run in enumerate(runs)]
    tip = "Which run the buttons and the learning rate act on, and which is drawn atom by atom"
    return control(panel, "acts_on", "run", tip, 240, options=[("all runs", -1), *named])


def _map_by(panel: TrainingMonitor) -> ipw.Dropdown:
    meanings = {"frequency": "how often it fires", "motion": "how fast it turns"}
    tip = "What the colours of the map of all atoms show"
    return control(panel, "map_by", "map shows", tip, options=meanings)

"""The player bar of the PursuitStepper and its other controls, each linked to one trait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.summaries import ALGORITHMS, TITLES
from sae_nb_widgets.panel import icon_button, line, play_button
from sae_nb_widgets.pursuit._traits import NONE

SPEEDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_TIGHT = {"description_width": "initial"}


@dataclass(frozen=True)
class Controls:
    """Widgets by name."""

    play: ipw.ToggleButton
    step: ipw.IntSlider
    count: ipw.HTML
    first: tuple[ipw.Widget, ...]
    more: tuple[ipw.Widget, ...]


def build(panel: Any, n_rows: int) -> Controls:
    """Return the controls of `panel`, linked to its traits."""
    play = play_button(panel, "Play from here, or pause (space)")
    step = ipw.IntSlider(
        min=0,
        max=max(panel.last_step, 1),
        description="step",
        readout=False,
        tooltip="Go to a step; going back is exact",
        style=_TIGHT,
        layout=ipw.Layout(width="190px"),
    )
    count = ipw.HTML()
    t.link((panel, "step"), (step, "value"))
    player = line(
        icon_button("step-backward", "One step back (←)", panel.back),
        play,
        icon_button("step-forward", "One step on (→)", panel.forth),
        step,
        count,
    )
    names = line(_algorithm(panel, "algorithm_a", "A"), _algorithm(panel, "algorithm_b", "B"))
    rows = [_number(panel, "row", "input", n_rows - 1)] if n_rows > 1 else []
    more = (
        _speed(panel),
        _order(panel),
        _number(panel, "k", "k", panel.n_atoms, least=1),
        _share(panel),
        _check(
            panel,
            "nonnegative",
            "only positive coefficients",
            "As in most SAEs; otherwise atoms are chosen by the size of their correlation",
        ),
        _check(
            panel,
            "fit_bars",
            "scale bars to the step",
            "Late steps become readable, and heights of different steps no longer compare",
        ),
    )
    return Controls(play, step, count, (player, names, *rows), more)


def fit_slider(made: Controls, step: int, last: int) -> None:
    """Let the slider end at the last step there is."""
    made.step.max = max(last, 1)
    made.step.disabled = last == 0
    made.count.value = f'<span class="sae-nb-keep">{step} of {last}</span>'


def _algorithm(panel: Any, name: str, letter: str) -> ipw.Dropdown:
    options: list[tuple[str, str]] = [(_listed(name), name) for name in ALGORITHMS]
    if letter == "B":
        options.append(("none", NONE))
    chosen = ipw.Dropdown(
        options=options,
        description=letter,
        tooltip=f"Algorithm {letter}; both take their steps together",
        style=_TIGHT,
        layout=ipw.Layout(width="160px"),
    )
    t.link((panel, name), (chosen, "value"))
    return chosen


def _listed(algorithm: str) -> str:
    return TITLES[algorithm].replace("orthogonal matching pursuit", "orthogonal MP")


def _number(panel: Any, name: str, text: str, most: int, *, least: int = 0) -> ipw.BoundedIntText:
    tips = {"row": "Which of the inputs", "k": "Steps that a greedy algorithm may take"}
    field = ipw.BoundedIntText(
        min=least,
        max=most,
        description=text,
        tooltip=tips[name],
        style=_TIGHT,
        layout=ipw.Layout(width="100px"),
    )
    t.link((panel, name), (field, "value"))
    return field


def _speed(panel: Any) -> ipw.Dropdown:
    # Further speeds can be set by the trait; the menu then shows the one chosen last.
    menu = ipw.Dropdown(
        options=[(f"{speed:g} steps / s", speed) for speed in SPEEDS],
        description="speed",
        tooltip="Steps per second while it plays",
        style=_TIGHT,
        layout=ipw.Layout(width="170px"),
        value=panel.speed,
    )
    menu.observe(lambda change: setattr(panel, "speed", change["new"]), "value")

    def follow(change: t.Bunch) -> None:
        if change["new"] in SPEEDS:
            menu.value = change["new"]

    panel.observe(follow, "speed")
    return menu


def _order(panel: Any) -> ipw.ToggleButtons:
    buttons = ipw.ToggleButtons(
        options=[("sorted", "sorted"), ("dictionary order", "dictionary")],
        tooltips=["By correlation with the input: bars keep their places", "By row"],
        style={"button_width": "auto"},
    )
    t.link((panel, "order"), (buttons, "value"))
    return buttons


def _share(panel: Any) -> ipw.FloatSlider:
    slider = ipw.FloatSlider(
        min=0.01,
        max=0.9,
        step=0.01,
        description="λ / λ_max",
        readout_format=".2f",
        continuous_update=False,
        tooltip="Penalty of ISTA and FISTA, as a share of the one that gives the zero code",
        style=_TIGHT,
        layout=ipw.Layout(width="250px"),
    )
    t.link((panel, "penalty_share"), (slider, "value"))
    return slider


def _check(panel: Any, name: str, text: str, tip: str) -> ipw.Checkbox:
    box = ipw.Checkbox(description=text, indent=False, tooltip=tip, layout=ipw.Layout(width="auto"))
    t.link((panel, name), (box, "value"))
    return box

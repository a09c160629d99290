"""Atoms that are changed together with the one in question: a row each, with its own slider."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as ipw
import traitlets as t

from sae_nb.steering_modes import Mode
from sae_nb_widgets import steering_controls
from sae_nb_widgets.figures.theme import escape
from sae_nb_widgets.strength_scale import StrengthScale

Others = Sequence[tuple[int, float]]


class SteeringMix(ipw.Box):
    """One row per combined atom: its strength, its unit, and a button that takes it away.

    Parameters
    ----------
    changed
        Called with all pairs of atom and strength after a slider moved or a row was taken away.
    """

    def __init__(self, changed: Callable[[tuple[tuple[int, float], ...]], None]) -> None:
        super().__init__(layout=ipw.Layout(flex_flow="row wrap", width="100%", display="none"))
        self._changed = changed
        self._sliders: dict[int, ipw.FloatSlider] = {}
        self._rows: list[ipw.Box] = []

    def show(self, others: Others, scale: StrengthScale, mode: Mode) -> None:
        """Draw the combined atoms; rows that are there already keep their sliders."""
        if [atom for atom, _ in others] != list(self._sliders):
            for part in [part for row in self._rows for part in (*row.children, row)]:
                part.close()
            self._sliders = {}
            self._rows = [self._row(atom, scale, mode) for atom, _ in others]
            self.children = self._rows
            self.layout.display = None if others else "none"
        for atom, strength in others:
            steering_controls.follow(self._sliders[atom], strength)

    def _row(self, atom: int, scale: StrengthScale, mode: Mode) -> ipw.Box:
        slider = ipw.FloatSlider(
            description=f"+ atom {atom}",
            tooltip=f"How strongly atom {atom} is changed too; the model runs while you move it",
            readout_format=".2f",
            layout=ipw.Layout(width="300px"),
            style={"description_width": "initial"},
        )
        steering_controls.fit_slider(slider, 0.0, *scale.limits(atom, mode))
        slider.observe(self._moved, "value")
        self._sliders[atom] = slider
        words = scale.words(atom, mode)
        away = ipw.Button(
            description=f"without {atom}",
            tooltip=f"Change atom {atom} no longer",
            layout=ipw.Layout(width="auto"),
        )
        away.on_click(lambda _: self._take_away(atom))
        return ipw.Box([slider, ipw.HTML(f"<span>{escape(words)}</span>"), away]).add_class(
            "sae-nb-line"
        )

    def values(self) -> tuple[tuple[int, float], ...]:
        """Every combined atom with the strength its slider shows."""
        return tuple((atom, float(slider.value)) for atom, slider in self._sliders.items())

    def _moved(self, _: t.Bunch) -> None:
        self._changed(self.values())

    def _take_away(self, atom: int) -> None:
        self._changed(tuple(pair for pair in self.values() if pair[0] != atom))

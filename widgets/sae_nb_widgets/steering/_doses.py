"""The dose–response curve under the bars of a SteeringPanel: measured on request, of one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sae_nb.summaries import SteeringSummary
from sae_nb.summaries._dose_response import (
    SteeringCurve,
    summarise_dose_response,
)
from sae_nb.summaries._steering import SteeringRecipe
from sae_nb_widgets.steering._figure import mark_strength, update_curve
from sae_nb_widgets.steering._words import curve_words

if TYPE_CHECKING:
    from sae_nb_widgets.steering._panel import SteeringPanel

CURVE_POINTS = 11
STATES_HAVE_NO_CURVE = (
    "A dose–response curve needs class scores (wrap the model with class_names=) or next tokens"
)


class Doses:
    """The curve of `panel`: it stays as long as it is of what is asked, whatever the strength."""

    def __init__(self, panel: SteeringPanel) -> None:
        self._panel = panel
        self.curve: SteeringCurve | None = None

    def measure(self, strengths: Sequence[float] | None, n_controls: int) -> None:
        """Have it measured at some strengths, in the panel's unit; None takes the slider's range."""
        panel = self._panel
        summary, recipe, inputs = panel.summary, panel.current, panel.given()
        if summary.outcome == "state":
            raise ValueError(f"{STATES_HAVE_NO_CURVE}, and {panel.model.name} gives states.")
        if strengths is None:
            high = panel.scale.limits(panel.atom, "add")[1]
            strengths = np.linspace(-high, high, CURVE_POINTS).tolist()
        model, sae, target, given = panel.model, panel.sae, summary.target, list(strengths)
        panel.run_async(
            lambda: summarise_dose_response(
                model, inputs, sae, recipe, given, target, n_controls=n_controls
            ),
            self._take,
            doing="dose–response",
            channel="curve",
        )

    def _take(self, curve: SteeringCurve) -> None:
        self.show(curve)
        if len(curve.response.control):
            self._panel.say(curve_words(curve))

    def show(self, curve: SteeringCurve | None) -> None:
        """Draw another curve, or none."""
        self.curve = curve
        with self._panel._drawing:
            self.draw()
            mark_strength(self._panel.plot, None if curve is None else self._panel.strength)

    def draw(self) -> None:
        """Draw the curve with the names and the sizes of now."""
        update_curve(self._panel.plot, self.curve, self._panel.names.name)

    def follow(self, summary: SteeringSummary, target: str) -> None:
        """Mark another answer's strength on the curve; take the curve away if it is of another question."""
        if self.curve is None:
            return
        about = not target or self.curve.target_name == summary.target_name
        if about and _question(self.curve.recipe) == _question(summary.recipe):
            mark_strength(self._panel.plot, summary.recipe.strength)
        else:
            self.show(None)


def _question(recipe: SteeringRecipe) -> SteeringRecipe:
    """Return what a dose–response curve is about: everything but how strong."""
    parts = recipe.scaled(1 / recipe.strength).others if recipe.strength else recipe.others
    others = tuple((atom, float(f"{amount:.4g}")) for atom, amount in parts)
    return replace(recipe, strength=0.0, others=others, seed=0, mode="add", target_kl=None)

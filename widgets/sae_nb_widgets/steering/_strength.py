"""The slider of a strength in units of the atom's own peak, next to its name and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import traitlets as t

from sae_nb.steering._modes import (
    MODES,
    Mode,
)
from sae_nb_widgets.components import StrengthSlider
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb_widgets.steering._panel import SteeringPanel

SAME = 1e-9
"""Relative difference that a division and a multiplication may leave."""


class StrengthControl:
    """Shows the strength of `panel` on a slider, and sets it from there."""

    def __init__(self, panel: SteeringPanel, tip: str) -> None:
        self._panel, self._factor = panel, 1.0
        self._ends = (0.0, 0.0)
        self.slider = StrengthSlider(description=f"strength: {tip}")
        self.slider.observe(self._moved, "value")

    def _moved(self, change: t.Bunch) -> None:
        strength = float(change["new"]) * self._factor
        if abs(strength - self._panel.strength) > SAME * max(abs(strength), 1.0):
            self._panel.strength = strength

    def fit(self, scale: StrengthScale, mode: Mode) -> None:
        """Give the slider the range of the atom that is shown, its name, and the strength in force."""
        panel, slider = self._panel, self.slider
        atom, how = panel.atom, MODES[mode]
        self._factor, unit = scale.of_peak(atom, mode)
        low, high = (end / self._factor for end in scale.limits(atom, mode))
        self._ends = low, high
        value = panel.strength / self._factor
        peaks = unit.endswith(("peak", "here"))
        sure, words = panel.names.sureness(atom)
        with slider.hold_sync():
            slider.name = panel.names.short(atom)
            slider.sure, slider.sure_words = sure, words
            # Until the unit is known a number would be taken back.
            slider.unit = unit if panel.ready else "…"
            slider.neutral = how.neutral or 0.0
            slider.size = scale.unit_size(atom, mode) * self._factor if peaks else 0.0
            slider.fit(min(low, value), max(high, value), usual=(0.0, 1.0) if peaks else None)
            slider.value = value

    def follow(self) -> None:
        """Show the strength in force, on a wider slider if it is beyond the ends."""
        panel, slider, (low, high) = self._panel, self.slider, self._ends
        value = panel.strength / self._factor
        if (slider.low, slider.high) == (low, high) and low <= value <= high:
            slider.value = value
        else:
            self.fit(panel.scale, panel.mode)

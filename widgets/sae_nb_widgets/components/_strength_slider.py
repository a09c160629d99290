"""StrengthSlider: how strongly an atom is turned up or down, next to how strongly it fires by itself."""

from __future__ import annotations

import math

import traitlets as t

from sae_nb.figures import current_theme, theme
from sae_nb.figures.shapes import Drawing, Label, Rectangle, Stroke
from sae_nb.figures.theme import css_colour, escape, format_number
from sae_nb_widgets.components._base import Component, title_drawing
from sae_nb_widgets.components._chips import sure_dots
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import stacked

STEPS = 200
"""Steps from one end of a slider to the other."""

OFF, USUAL, STRONGEST = "off", "usual", "strongest seen"

FAR = 45
"""Percent of the track beyond which words end at their mark: after it there is no room."""


class StrengthSlider(Component):
    """A strength on a track from blue (turned down) over zero to orange (turned up); `value` is the strength.

    How strongly it usually fires is marked, and the strongest that was seen, where they are known.
    Drag, click, or use the arrow keys (Page Up and Down: ten steps; Home and End: the ends; 0: off).
    Values beyond the ends are shown at the end.

    Examples
    --------
    >>> slider = StrengthSlider(name="television series", size=39.0)
    >>> slider.fit(-2.0, 3.0, usual=1.0, strongest=1.4)
    >>> slider.value = 0.9
    >>> slider.words_of_value, slider.model_units
    ('0.9 × usual', '35.1 in the model’s own units')
    """

    _esm = script("strength_slider")

    value = t.Float(0.0, help="The strength, in units.").tag(sync=True)
    low = t.Float(-2.0, help="Left end.").tag(sync=True)
    high = t.Float(2.0, help="Right end.").tag(sync=True)
    usual = t.Float(None, allow_none=True, help="Its usual strength; None if unknown.").tag(
        sync=True
    )
    strongest = t.Float(None, allow_none=True, help="The largest that was seen.").tag(sync=True)
    unit = t.Unicode("× usual", help="Unit of `value`, in words.").tag(sync=True)
    size = t.Float(0.0, help="One unit in the model's own units; 0 if unknown.").tag(sync=True)
    neutral = t.Float(0.0, help="Value that changes nothing, marked as off.").tag(sync=True)
    name = t.Unicode("", help="What is turned up, at the left.").tag(sync=True)
    sure = t.Int(None, allow_none=True, help="Dots of that name, 0 to 4; None for none.").tag(
        sync=True
    )
    sure_words = t.Unicode("", help="What the dots mean.").tag(sync=True)
    disabled = t.Bool(False, help="Whether it can be moved.").tag(sync=True)

    @t.validate("value", "low", "high", "size", "neutral")
    def _is_finite(self, proposal: t.Bunch) -> float:
        value = float(proposal["value"])
        if not math.isfinite(value):
            raise t.TraitError(f"`{proposal['trait'].name}` must be finite, got {value}.")
        return value

    def fit(
        self,
        low: float,
        high: float,
        *,
        usual: float | None = None,
        strongest: float | None = None,
    ) -> None:
        """Give the slider its ends, and what is marked on it, in one message.

        Parameters
        ----------
        low, high
            Ends of the track, in units; `low` below `high`.
        usual
            How strongly the atom usually fires; None if unknown.
        strongest
            The largest strength that was seen; None if unknown.

        Raises
        ------
        ValueError: If `low` is not below `high`.
        """
        if not low < high:
            raise ValueError(f"`low` must be below `high`, got {low} and {high}.")
        with self.hold_sync(), self.hold_trait_notifications():
            self.low, self.high = float(low), float(high)
            self.usual = None if usual is None else float(usual)
            self.strongest = None if strongest is None else float(strongest)

    @property
    def words_of_value(self) -> str:
        """The value in words, in its unit."""
        return f"{format_short(self.value)} {self.unit}".strip()

    @property
    def model_units(self) -> str:
        """The value in the model's units; empty where they are unknown."""
        number = format_number(self.value * self.size)
        return f"{number} in the model’s own units" if self.size else ""

    def _percent(self, value: float) -> float:
        return 100 * min(max((value - self.low) / (self.high - self.low or 1.0), 0.0), 1.0)

    def static_html(self) -> str:
        """Return the slider as escaped HTML that cannot be moved."""
        name = f'<span class="sae-nb-slidername">{escape(self.name)}</span>' if self.name else ""
        return (
            f'<div class="sae-nb-component sae-nb-slide">{name}{sure_dots(self.sure, self.sure_words)}'
            f'<div class="sae-nb-slidertrack" style="--zero:{self._percent(self.neutral):.1f}%">'
            f'<i class="sae-nb-thumb" style="left:{self._percent(self.value):.1f}%"></i>{self._ticks_html()}'
            f'</div><output class="sae-nb-number" title="{escape(self.model_units)}">'
            f"{escape(self.words_of_value)}</output></div>"
        )

    def _ticks(self) -> list[tuple[float, str]]:
        """Marks on the track, as percent and words."""
        marks = ((self.neutral, OFF), (self.usual, USUAL), (self.strongest, STRONGEST))
        return [
            (self._percent(value), words)
            for value, words in marks
            if value is not None and self.low <= value <= self.high
        ]

    def _ticks_html(self) -> str:
        return "".join(
            f'<span class="sae-nb-slidertick sae-nb-{words.split()[0]}{" sae-nb-far" * (at > FAR)}" '
            f'style="left:{at:.1f}%">'
            f"{escape(words)}</span>"
            for at, words in self._ticks()
        )

    def drawing(self, width: float) -> Drawing:
        """Return the slider as strokes: name, track, thumb, value."""
        size = current_theme().font_px
        strokes: list[Stroke] = []
        zero, steps = self._percent(self.neutral) / 100, 60
        for step in range(steps):
            share = (step + 0.5) / steps
            side = theme.SIGNED[0] if share < zero else theme.SIGNED[-1]
            far = (
                (zero - share) / max(zero, 1e-9)
                if share < zero
                else (share - zero) / max(1 - zero, 1e-9)
            )
            colour = css_colour(side, 0.12 + 0.75 * far)
            strokes.append(Rectangle(step * width / steps, 6, width / steps, 6, colour))
        strokes.append(Rectangle(self._percent(self.value) / 100 * width - 2, 0, 4, 18))
        for at, words in self._ticks():
            strokes.append(Rectangle(at / 100 * width - 1, 2, 2, 14, theme.GREY))
            ends = words == OFF or (words == STRONGEST and at > FAR)
            anchor, y = "end" if ends else "start", 20 + size * (2 if words == STRONGEST else 1)
            strokes.append(Label(at / 100 * width, y, words, anchor, size))
        head = " · ".join(filter(None, (self.name, self.words_of_value)))
        return stacked(
            [title_drawing(head, width), Drawing(width, 24 + 2 * size, tuple(strokes))], gap=4
        )


def format_short(value: float) -> str:
    """Return a strength in at most two digits after the point: 0.9, −1.25, 2."""
    return (
        format_number(round(value, 2)).rstrip("0").rstrip(".")
        if round(value, 2) % 1
        else f"{value:.0f}"
    )

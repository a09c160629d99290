"""Sparkbars: small labelled bars, with ticks for the value before and for a random control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import traitlets as t

from sae_nb.figures import current_theme, fade, theme
from sae_nb.figures._svg_layout import key, paragraph, solid_tick, stacked
from sae_nb.figures._svg_shapes import Drawing, Label, Rectangle, Stroke, text_width
from sae_nb.figures.theme import escape, format_number
from sae_nb_widgets.components._base import (
    TRACK,
    Component,
    float_list,
    icon_html,
    label_strokes,
    tag_html,
    tick_strokes,
    title_drawing,
)
from sae_nb_widgets.components._scripts import script


class Sparkbars(Component):
    """Labelled bars; click one to select it.

    Examples
    --------
    >>> bars = Sparkbars(description="nearest atoms")
    >>> bars.show(["atom 3", "atom 9"], [0.8, 0.4])
    >>> bars.selected = 1
    >>> bars.labels[bars.selected]
    'atom 9'
    """

    _esm = script("sparkbars")

    labels = t.List(t.Unicode(), help="What each bar is.").tag(sync=True)
    values = t.List(help="Length of each bar; None for absent.").tag(sync=True)
    notes = t.List(t.Unicode(), help="Text at the end of each bar; its number when empty.").tag(
        sync=True
    )
    before = t.List(help="Value before an edit: a solid tick on each bar.").tag(sync=True)
    bands = t.List(help="Least, median and most of random controls: a grey band.").tag(sync=True)
    colour = t.Unicode("", help="CSS colour of the bars; neutral when empty.").tag(sync=True)
    colours = t.List(t.Unicode(), help="CSS colour per bar; empty takes `colour`.").tag(sync=True)
    signed = t.Bool(False, help="Draw from a zero in the middle.").tag(sync=True)
    maximum = t.Float(0.0, help="Value of the full width; 0 takes the largest shown.").tag(
        sync=True
    )
    thin = t.Bool(False, help="Draw short thin bars at the right of the names.").tag(sync=True)
    bare = t.Bool(False, help="Leave out the numbers of thin bars.").tag(sync=True)
    selected = t.Int(-1, help="Index of the bar chosen; -1 for none.").tag(sync=True)

    def show(
        self,
        labels: Sequence[str],
        values: Sequence[float],
        *,
        notes: Sequence[str] = (),
        before: Sequence[float | None] | None = None,
        bands: Sequence[Sequence[float]] = (),
        colours: Sequence[str] = (),
        atoms: Sequence[int] = (),
        icons: Sequence[str] = (),
        signed: bool = False,
        maximum: float = 0.0,
    ) -> None:
        """Replace what is shown, in one message to the browser.

        Parameters
        ----------
        labels, values
            One per bar.
        notes
            Text at the end of each bar in place of its number.
        before
            Value before an edit, drawn as a solid tick.
        bands
            Least, median and most of random controls, drawn as a grey band; () for none.
        colours
            CSS colour per bar; an empty string takes `colour`.
        atoms, icons
            Atom of each bar, whose card is shown on pointing at it; an image before each label.
        signed
            Draw from a zero in the middle.
        maximum
            Value of the full width; 0 takes the largest shown.

        Raises
        ------
        ValueError: If a list has not one entry per label.
        """
        given = {"values": values, "notes": notes or None, "before": before, "bands": bands or None}
        given |= {"colours": colours or None, "atoms": atoms or None, "icons": icons or None}
        for name, entries in given.items():
            if entries is not None and len(entries) != len(labels):
                raise ValueError(
                    f"`{name}` must have one entry per label ({len(labels)}), got {len(entries)}."
                )
        with self.hold_sync(), self.hold_trait_notifications():
            self.labels, self.values = [str(x) for x in labels], float_list(values)
            self.notes, self.colours = [str(x) for x in notes], [str(c) for c in colours]
            self.atoms, self.icons = [int(a) for a in atoms], list(icons)
            self.before, self.bands = float_list(before), [list(map(float, one)) for one in bands]
            self.signed, self.maximum, self.selected = signed, float(maximum), -1

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> int:
        if not -1 <= proposal["value"] < len(self.labels):
            raise t.TraitError(
                f"`selected` must be the index of one of {len(self.labels)} bars, or -1, "
                f"got {proposal['value']}."
            )
        return int(proposal["value"])

    def static_html(self) -> str:
        """Return the bars as escaped HTML."""
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        title = title if self.description else ""
        if not self.labels:
            return f'<div class="sae-nb-component">{title}{self._empty_html()}</div>'
        rows = "".join(self._row_html(i) for i in range(len(self.labels)))
        longest = max(3, *(len(self._note(i)) for i in range(len(self.labels))))
        return (
            f'<div class="sae-nb-component">{title}'
            f'<div class="sae-nb-bars{self._look}" style="--number-width:{longest}ch">{rows}</div></div>'
        )

    @property
    def _look(self) -> str:
        return " sae-nb-thin" * self.thin + " sae-nb-plain" * (self.thin and self.bare)

    def _note(self, i: int) -> str:
        return self.notes[i] if self.notes else format_number(self.values[i])

    def _percent(self, value: float) -> float:
        ends = [v for band in self.bands for v in band]
        known = [abs(v) for v in [*self.values, *self.before, *ends] if v is not None]
        top = self.maximum or max(known, default=0.0) or 1.0
        low = -top if self.signed else 0.0
        return 100 * float(np.clip((value - low) / (top - low), 0, 1))

    def drawing(self, width: float) -> Drawing:
        """Return the bars as strokes, with a key of the ticks that are drawn."""
        title = title_drawing(self.description, width)
        if not self.labels:
            return stacked([title, paragraph(self.empty_text, width)], gap=4)
        size = current_theme().font_px
        high = 1.5 * size
        icon = 1.3 * size + 4 if any(self.icons) else 0
        names = min(0.45 * width, 10 + icon + max(text_width(x, size) for x in self.labels))
        number = 10 + max(text_width(self._note(i), size) for i in range(len(self.labels)))
        long = max(width - names - number, 20)
        strokes: list[Stroke] = []
        for i, label in enumerate(self.labels):
            y, foot = i * high, i * high + size
            strokes += label_strokes(self, i, label, y, names - 8)
            strokes.append(Rectangle(names, y + 3, long, 12, TRACK))
            zero, end = self._percent(0.0), self._percent(self.values[i] or 0.0)
            left, wide = names + min(zero, end) / 100 * long, abs(end - zero) / 100 * long
            colour = (self.colours[i] if self.colours else "") or self.colour or theme.NEUTRAL
            strokes.append(Rectangle(left, y + 3, wide, 12, colour))
            if self.bands and self.bands[i]:
                low, middle, high_end = (
                    names + self._percent(v) / 100 * long for v in self.bands[i]
                )
                strokes.append(Rectangle(low, y + 6, high_end - low, 6, fade(theme.CONTROL, 0.6)))
                strokes += tick_strokes(middle, y + 4, 10, False)
            if self.before and self.before[i] is not None:
                at = names + self._percent(self.before[i]) / 100 * long
                strokes += tick_strokes(at, y + 3, 12, False)
            strokes.append(Label(width, foot, self._note(i), "end", size))
        marks = [(solid_tick(), "before")] * any(v is not None for v in self.before)
        band = Rectangle(0, 3, 16, 6, fade(theme.CONTROL, 0.6))
        marks += [(band, "random controls")] * any(self.bands)
        rows = Drawing(width, high * len(self.labels), tuple(strokes))
        return stacked([title, rows, key(marks, width)], gap=4)

    def _row_html(self, i: int) -> str:
        value = self.values[i]
        zero, end = self._percent(0.0), self._percent(value if value is not None else 0.0)
        colour = (self.colours[i] if self.colours else "") or self.colour
        fill = f";--fill:{escape(colour)}" if colour else ""
        track = (
            f'<div class="sae-nb-fill" style="left:{min(zero, end):.1f}%;'
            f'width:{abs(end - zero):.1f}%{fill}"></div>'
        )
        if self.bands and self.bands[i]:
            low, middle, high = map(self._percent, self.bands[i])
            least, _, most = map(format_number, self.bands[i])
            track += (
                f'<div class="sae-nb-band" style="left:{low:.1f}%;width:{high - low:.1f}%" '
                f'title="random controls {least} to {most}"></div>'
                f'<div class="sae-nb-median" style="left:{middle:.1f}%"></div>'
            )
        if self.before and self.before[i] is not None:
            track += (
                f'<div class="sae-nb-before" style="left:{self._percent(self.before[i]):.1f}%" '
                f'title="before {format_number(self.before[i])}"></div>'
            )
        chosen = " sae-nb-selected" if self.selected == i else ""
        return (
            f'<div class="sae-nb-barrow{chosen}"{tag_html(self, i)}><div class="sae-nb-label" dir="auto">'
            f'{icon_html(self, i)}{escape(self.labels[i])}</div><div class="sae-nb-track">{track}</div>'
            f'<div class="sae-nb-number">{escape(self._note(i))}</div></div>'
        )


class ThinBars(Sparkbars):
    """Names with a short thin bar each, for the margin of a panel; the one chosen is orange.

    Examples
    --------
    >>> bars = ThinBars(description="Firing at “Rome”", bare=True)
    >>> bars.show(["cities of Italy", "place after “in”"], [9.2, 7.1])
    """

    thin = t.Bool(True, help="Draw short thin bars at the right of the names.").tag(sync=True)

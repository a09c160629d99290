"""Sparkbars: one column of labelled bars, with ticks for the value before and a band of random controls."""

from __future__ import annotations

from collections.abc import Sequence

import traitlets as t

from sae_nb.figures.shapes import Rectangle, Stroke
from sae_nb.figures.theme import format_number
from sae_nb_widgets.components._base import float_list
from sae_nb_widgets.components._paired_bars import BAND, Column, PairedBars
from sae_nb_widgets.components._sheets import solid_tick


class Sparkbars(PairedBars):
    """Labelled bars; click one to select it.

    Examples
    --------
    >>> bars = Sparkbars(description="nearest atoms")
    >>> bars.show(["atom 3", "atom 9"], [0.8, 0.4])
    >>> bars.selected = 1
    >>> bars.labels[bars.selected]
    'atom 9'
    """

    colour = t.Unicode("", help="CSS colour of the bars; neutral when empty.")
    thin = t.Bool(False, help="Draw short thin bars at the right of the names.")
    bare = t.Bool(False, help="Leave out the numbers of thin bars.")

    @t.default("look")
    def _bars(self) -> str:
        return (
            "sae-nb-bars" + " sae-nb-thin" * self.thin + " sae-nb-plain" * (self.thin and self.bare)
        )

    @property
    def values(self) -> list[float | None]:
        """Length of each bar; None for absent."""
        return list(self.columns[0]["values"]) if self.columns else []

    @property
    def bands(self) -> list[list[float]]:
        """Least, median and most of random controls of each bar."""
        return list(self.columns[0]["bands"]) if self.columns else []

    def show(  # type: ignore[override]  # its one column, argument by argument
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
        words = [*notes] or [""] * len(labels)
        words = [str(w) or format_number(v) for w, v in zip(words, float_list(values), strict=True)]
        tips = [[word] for word in words]
        for tip, value in zip(tips, float_list(before), strict=False):
            tip += [] if value is None else [f"before {format_number(value)}"]
        for tip, band in zip(tips, bands, strict=False):
            ends = [format_number(float(band[i])) for i in (0, 2)] if len(band) else []
            tip += [f"random controls {' to '.join(ends)}"] if ends else []
        column = Column(
            title="",
            values=values,
            notes=words,
            tips=[" · ".join(tip) for tip in tips],
            exact=() if before is None else before,
            bands=bands,
            colours=[str(c) or self.colour for c in colours] or [self.colour] * len(labels),
            signed=signed,
            maximum=maximum,
        )
        super().show(labels, column, atoms=atoms, icons=icons)

    def _marks(self) -> list[tuple[Stroke, str]]:
        column = self.columns[0]
        marks: list[tuple[Stroke, str]] = []
        if any(value is not None for value in column["exact"]):
            marks.append((solid_tick(), "before"))
        if any(column["bands"]):
            marks.append((Rectangle(0, 3, 16, 6, BAND), "random controls"))
        return marks


class ThinBars(Sparkbars):
    """Names with a short thin bar each, for the margin of a panel; the one chosen is orange.

    Examples
    --------
    >>> bars = ThinBars(description="Firing at “Rome”", bare=True)
    >>> bars.show(["cities of Italy", "place after “in”"], [9.2, 7.1])
    """

    thin = t.Bool(True, help="Draw short thin bars at the right of the names.")

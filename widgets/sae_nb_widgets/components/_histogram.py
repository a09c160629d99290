"""Histogram: bars of counts, with marks that can be clicked and, where asked for, a range to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import traitlets as t
from jaxtyping import Float, Int

from sae_nb.figures import current_theme, theme
from sae_nb.figures.shapes import Drawing, Label, Polyline, Rectangle, Stroke
from sae_nb.figures.theme import escape, format_count
from sae_nb_widgets.components._base import Component, title_drawing
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import paragraph, stacked

HEIGHTS: dict[str, Callable[[Any], Any]] = {"root": np.sqrt, "linear": np.asarray, "log": np.log1p}
"""A bar's height as a function of its count; all but "linear" keep rare values in sight."""


@dataclass(frozen=True)
class Mark:
    """A place on the axis with a name, such as a median."""

    at: float
    """Where, in bars from the left: 2.5 is the middle of the third."""

    words: str
    """Short: they are written under the bars, between the ends."""

    chosen: bool = False
    tip: str = ""


class Histogram(Component):
    """The distribution of values: bars, the two ends below them, marks between.

    With `brush`, drag over the bars to keep a range, click once to keep everything: `chosen` is the first and
    the last bar kept, outlines count everything, filled bars what is shown. Without it a click on a bar sets
    `clicked`, a click on a mark `marked`. Both work from the keyboard.

    Examples
    --------
    >>> bars = Histogram(description="frequency")
    >>> bars.show([1, 4, 2], ends=["0.1 %", "1 %", "3 %", "10 %"])
    >>> bars.chosen = (1, 2)
    """

    _esm = script("histogram")

    counts = t.List(t.Int(), help="How many there are in each bar.").tag(sync=True)
    inside = t.List(t.Int(), help="How many of them are shown.").tag(sync=True)
    ends = t.List(t.Unicode(), help="The value at each end of a bar, in words.").tag(sync=True)
    marks = t.List(t.Dict(), help="Named places on the axis.").tag(sync=True)
    tall = t.Enum(tuple(HEIGHTS), "root", help="What a bar's height is of its count.").tag(
        sync=True
    )
    brush = t.Bool(True, help="Whether a range can be kept.").tag(sync=True)
    chosen = t.Tuple(help="First and last bar kept; () keeps all.").tag(sync=True)
    clicked = t.Int(-1, help="Bar clicked last, where no range is kept; -1 for none.").tag(
        sync=True
    )
    marked = t.Int(-1, help="Mark clicked last; -1 for none.").tag(sync=True)

    def show(
        self,
        counts: Int[np.ndarray, " bars"] | Sequence[int],
        inside: Int[np.ndarray, " bars"] | Sequence[int] | None = None,
        ends: Sequence[str] = (),
        *,
        marks: Sequence[Mark] = (),
    ) -> None:
        """Replace what is shown, in one message to the browser.

        Parameters
        ----------
        counts
            One number per bar.
        inside
            How many of each bar are shown; all when None.
        ends
            The values between bars, in words: one more than bars.
        marks
            Named places on the axis; at most one is `chosen`.

        Raises
        ------
        ValueError: If the lists do not fit together, or a mark lies beyond the bars.
        """
        inside = counts if inside is None else inside
        if len(ends) != len(counts) + 1 or len(inside) != len(counts):
            raise ValueError(
                f"`ends` must have one entry more than the {len(counts)} `counts` and `inside` as "
                f"many, got {len(ends)} and {len(inside)}."
            )
        if beyond := [mark.words for mark in marks if not 0 <= mark.at <= len(counts)]:
            raise ValueError(
                f"`marks` must lie between 0 and {len(counts)} bars, and these do not: {beyond}. Give `at` "
                "in bars from the left."
            )
        with self.hold_sync(), self.hold_trait_notifications():
            self.counts = [int(n) for n in counts]
            self.inside = [int(n) for n in inside]
            self.ends = [str(end) for end in ends]
            self.marks = [asdict(mark) for mark in marks]
            self.clicked = self.marked = -1

    @t.validate("chosen")
    def _bars_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        chosen = tuple(int(bar) for bar in proposal["value"])
        if chosen and not (len(chosen) == 2 and 0 <= chosen[0] <= chosen[1] < len(self.counts)):
            raise t.TraitError(
                f"`chosen` must be the first and the last of {len(self.counts)} bars, or (), got "
                f"{chosen}."
            )
        return chosen

    @t.validate("clicked", "marked")
    def _one_exists(self, proposal: t.Bunch) -> int:
        name, value = proposal["trait"].name, int(proposal["value"])
        n = len(self.counts if name == "clicked" else self.marks)
        if not -1 <= value < n:
            raise t.TraitError(f"`{name}` must be one of {n}, or -1, got {value}.")
        return value

    def heights(self) -> Float[np.ndarray, " bars"]:
        """Return the height of each bar as a share of the highest."""
        tall = HEIGHTS[self.tall](np.array(self.counts, float))
        return tall / max(tall.max(initial=0), 1e-9)

    def _tip(self, bar: int) -> str:
        return f"{self.ends[bar]} to {self.ends[bar + 1]}: {format_count(self.counts[bar])}"

    def static_html(self) -> str:
        """Return the bars as SVG that needs no script."""
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        title = title if self.description else ""
        if not self.counts:
            return f'<div class="sae-nb-component">{title}{self._empty_html()}</div>'
        n = len(self.counts)
        bars = "".join(
            f'<rect class="sae-nb-in" x="{i + 0.08:g}" y="{1 - h:.3f}" width="0.84" height="{h:.3f}">'
            f"<title>{escape(self._tip(i))}</title></rect>"
            for i, h in enumerate(self.heights())
        )
        marks = "".join(
            f'<span class="sae-nb-axismark{" sae-nb-selected" * mark["chosen"]}" '
            f'style="left:{100 * mark["at"] / n:.1f}%" title="{escape(mark["tip"])}">'
            f"{escape(mark['words'])}</span>"
            for mark in self.marks
        )
        return (
            f'<div class="sae-nb-component sae-nb-brush">{title}'
            f'<svg viewBox="0 0 {n} 1" preserveAspectRatio="none" '
            f'role="img" aria-label="{escape(self.description)}">{bars}</svg>'
            f'<div class="sae-nb-axismarks"{"" if marks else " hidden"}>{marks}</div>'
            f'<div class="sae-nb-brush-ends"><span>{escape(self.ends[0])}</span>'
            f"<span>{escape(self.ends[-1])}</span></div></div>"
        )

    def drawing(self, width: float) -> Drawing:
        """Return the bars as strokes."""
        title = title_drawing(self.description, width)
        if not self.counts:
            return stacked([title, paragraph(self.empty_text, width)], gap=4)
        size, high, wide = current_theme().font_px, 56.0, width / len(self.counts)
        strokes: list[Stroke] = [
            Rectangle(i * wide, high * (1 - share), 0.85 * wide, high * share, theme.NEUTRAL)
            for i, share in enumerate(self.heights().tolist())
        ]
        strokes.append(Polyline([(0, high), (width, high)], theme.AXIS, 1))
        foot = high + 1.2 * size
        for mark in self.marks:
            strokes.append(Polyline([(mark["at"] * wide, high), (mark["at"] * wide, high + 4)]))
            strokes.append(Label(mark["at"] * wide, foot, mark["words"], "middle", size))
        foot += 1.3 * size * bool(self.marks)
        strokes.append(Label(0, foot, self.ends[0], "start", size))
        strokes.append(Label(width, foot, self.ends[-1], "end", size))
        return stacked([title, Drawing(width, foot + 0.4 * size, tuple(strokes))], gap=4)

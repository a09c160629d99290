"""BrushBars: a small histogram on which a range can be marked with mouse or keyboard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import traitlets as t
from jaxtyping import Float, Int

from sae_nb.figures import (
    Drawing,
    Label,
    Rectangle,
    Stroke,
    current_theme,
    escape,
    paragraph,
    stacked,
    theme,
)
from sae_nb_widgets.components._base import Component, script, style_sheet, title_drawing


class BrushBars(Component):
    """The distribution of values; drag over the bars to keep a range, click once to keep everything.

    Outlines count everything, filled bars what is shown; `chosen` is the first and the last bar kept.

    Examples
    --------
    >>> bars = BrushBars(description="frequency")
    >>> bars.show([1, 4, 2], [1, 4, 2], ["0.1 %", "1 %", "3 %", "10 %"])
    >>> bars.chosen = (1, 2)
    """

    _esm = script("brush_bars")
    _css = style_sheet("components.css", "point_map.css")

    counts = t.List(t.Int(), help="How many there are in each bar.").tag(sync=True)
    inside = t.List(t.Int(), help="How many of them are shown.").tag(sync=True)
    ends = t.List(t.Unicode(), help="The value at each end of a bar, in words.").tag(sync=True)
    chosen = t.Tuple(help="First and last bar kept; () keeps all.").tag(sync=True)

    def show(
        self,
        counts: Int[np.ndarray, " bars"] | Sequence[int],
        inside: Int[np.ndarray, " bars"] | Sequence[int],
        ends: Sequence[str],
    ) -> None:
        """Replace what is shown, in one message to the browser."""
        if len(ends) != len(counts) + 1 or len(inside) != len(counts):
            raise ValueError(
                f"`ends` must have one entry more than the {len(counts)} `counts` and `inside` as "
                f"many, got {len(ends)} and {len(inside)}."
            )
        with self.hold_sync(), self.hold_trait_notifications():
            self.counts = [int(n) for n in counts]
            self.inside = [int(n) for n in inside]
            self.ends = [str(end) for end in ends]

    @t.validate("chosen")
    def _bars_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        chosen = tuple(int(bar) for bar in proposal["value"])
        if chosen and not (len(chosen) == 2 and 0 <= chosen[0] <= chosen[1] < len(self.counts)):
            raise t.TraitError(
                f"`chosen` must be the first and the last of {len(self.counts)} bars, or (), got "
                f"{chosen}."
            )
        return chosen

    def heights(self) -> Float[np.ndarray, " bars"]:
        """Return the height of each bar: the square root, so that rare values are seen."""
        counts = np.array(self.counts, float)
        return np.sqrt(counts / max(counts.max(initial=0), 1))

    def static_html(self) -> str:
        """Return the bars as SVG that needs no script."""
        if not self.counts:
            return self._empty_html()
        n = len(self.counts)
        bars = "".join(
            f'<rect class="sae-nb-in" x="{i}" y="{1 - h:.3f}" width="0.85" height="{h:.3f}">'
            f"<title>{escape(self.ends[i])} to {escape(self.ends[i + 1])}: {self.counts[i]}</title></rect>"
            for i, h in enumerate(self.heights())
        )
        return (
            f'<div class="sae-nb-component sae-nb-brush"><div class="sae-nb-cardtitle">'
            f'{escape(self.description)}</div><svg viewBox="0 0 {n} 1" preserveAspectRatio="none" '
            f'role="img" aria-label="{escape(self.description)}">{bars}</svg>'
            f'<div class="sae-nb-brush-ends"><span>{escape(self.ends[0])}</span>'
            f"<span>{escape(self.ends[-1])}</span></div></div>"
        )

    def drawing(self, width: float) -> Drawing:
        """Return the bars as strokes."""
        if not self.counts:
            return paragraph(self.empty_text, width)
        size, high, wide = current_theme().font_px, 40.0, width / len(self.counts)
        strokes: list[Stroke] = [
            Rectangle(i * wide, high * (1 - share), 0.85 * wide, high * share, theme.NEUTRAL)
            for i, share in enumerate(self.heights().tolist())
        ]
        strokes.append(Label(0, high + 1.2 * size, self.ends[0], "start", size))
        strokes.append(Label(width, high + 1.2 * size, self.ends[-1], "end", size))
        bars = Drawing(width, high + 1.6 * size, tuple(strokes))
        return stacked([title_drawing(self.description, width), bars], gap=4)

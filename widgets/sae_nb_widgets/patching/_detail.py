"""The column next to the PatchingPanel's map: one cell's numbers, and the largest places."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as ipw
import traitlets as t

from sae_nb.figures import fade, theme
from sae_nb.figures.theme import escape
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.patching import _words as words
from sae_nb_widgets.patching._queries import Answer

N_LISTED = 8


class PatchingDetail:
    """A chosen cell by its effect, estimate and control; the list chooses others."""

    def __init__(self, choose: Callable[[int, int], None]) -> None:
        self._choose = choose
        self._cells: list[tuple[int, int]] = []
        self.place = ipw.HTML()
        empty = "Click a cell for its numbers."
        self.bars = Sparkbars(description="Share of the answer", empty_text=empty)
        self.largest = RowTable(description="Largest places, shares in percent")
        self.largest.observe(self._take, "selected")
        self.widgets: tuple[ipw.Widget, ...] = (self.place, self.bars, self.largest)

    def show(self, seen: Answer, row: int, column: int) -> None:
        """Show the numbers of a cell."""
        name = words.place_words(seen, row, column)
        title = escape(name[0].upper() + name[1:])
        self.place.value = f'<div class="sae-nb-cardtitle">{title}</div>'
        bars: list[tuple[str, float, str]] = []
        if seen.exact:
            effect = float(seen.effect[row, column])
            bars.append(("measured", effect, _colour(effect)))
        if words.shows_estimates(seen):
            estimate = float(seen.estimated[row, column])
            bars.append(("estimated", estimate, fade(_colour(estimate), 0.9)))
        if not seen.of_atoms:
            least, most = (float(end[row, column]) for end in seen.ends)
            bars += [
                ("control, least", least, theme.CONTROL),
                ("control, most", most, theme.CONTROL),
            ]
        self.bars.show(
            [name for name, *_ in bars],
            [value for _, value, _ in bars],
            notes=[words.percent(value) for _, value, _ in bars],
            colours=[colour for *_, colour in bars],
            signed=True,
            maximum=max(1.0, *(abs(value) for _, value, _ in bars)),
        )
        chosen = (row, column)
        at = self._cells.index(chosen) if chosen in self._cells else -1
        if self.largest.selected != at:
            self.largest.selected = at

    def list(self, seen: Answer) -> None:
        """List the places of the largest effects; of states the largest at each position."""
        self._cells = words.largest_cells(seen, N_LISTED)
        columns = {"exact": seen.effect} if seen.exact else {}
        columns |= {"estimate": seen.estimated} if words.shows_estimates(seen) else {}
        columns |= {} if seen.of_atoms else dict(zip(("least", "most"), seen.ends, strict=True))
        rows = [
            [_short(seen, *cell), *(words.hundredths(float(of[cell])) for of in columns.values())]
            for cell in self._cells
        ]
        self.largest.show(["place", *columns], rows, numeric=[False, *[True] * len(columns)])

    def clear(self) -> None:
        """Show nothing."""
        self._cells = []
        self.place.value = ""
        self.bars.show([], [])
        self.largest.show([], [])

    def _take(self, change: t.Bunch) -> None:
        if 0 <= change["new"] < len(self._cells):
            self._choose(*self._cells[change["new"]])


def _colour(effect: float) -> str:
    """Return the colour that the map gives an effect: towards the other answer, or against it."""
    return theme.WARM if effect >= 0 else theme.BLUE


def _short(seen: Answer, row: int, column: int) -> str:
    """Return a cell's name in a list: numbers, and the token."""
    if seen.of_atoms:
        return seen.rows[row]
    if getattr(seen.found, "sites", "") == "heads":
        return f"{seen.rows[row]}.{seen.columns[column]}"
    return f"{words.row_names(seen)[1][row]} {words.token_words(seen.columns[column])}"

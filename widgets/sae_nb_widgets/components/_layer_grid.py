"""LayerGrid: words or signed shares, a row per layer and a column per place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import traitlets as t

from sae_nb.figures import visible_token
from sae_nb.figures.theme import css_colour, escape, format_number, heat_colour
from sae_nb_widgets.components._base import Component, style_sheet
from sae_nb_widgets.components._scripts import read_static, script

LEAST_GREEN = 0.3
"""Share of the tint that the model's own answer has at least, so that its green is seen."""

LEAST_TINT = 0.15
"""Share as which a smaller one is painted where others are grey, so that it is told from them."""

LEAST_WRITTEN = 0.1
"""Size of a share from which on its number is written in its cell."""


class LayerGrid(Component):
    """Words at each layer and place: green for the model's own answer, else blue, stronger where more probable.

    Click a cell to select it.

    With `show_shares` cells are signed shares: orange above zero, blue below.

    Examples
    --------
    >>> grid = LayerGrid(description="top output")
    >>> grid.show(["1", "0"], ["The", " cat"], [["a", " sat"], ["x", " the"]],
    ...           tints=[[0.5, 0.9], [0.1, 0.2]], agrees=[[True, True], [False, False]])
    >>> grid.selected = (0, 1)
    >>> grid.cells[grid.selected[0]][grid.selected[1]]
    ' sat'
    """

    FEW_CELLS = 64
    """Cells up to which those of shares are drawn large (in `layer_grid.js`, too)."""

    ROOMY = 8
    """Columns up to which those of shares are as wide as their words (in `layer_grid.js`, too)."""

    _esm = script("layer_grid")
    _css = style_sheet("components.css", "layer_grid.css")

    rows = t.List(t.Unicode(), help="Name of each layer, the last one first.").tag(sync=True)
    columns = t.List(t.Unicode(), help="Text of each place.").tag(sync=True)
    cells = t.List(t.List(t.Unicode()), help="Output on top in each cell, row by row.").tag(
        sync=True
    )
    tints = t.List(t.List(t.Float()), help="Its probability.").tag(sync=True)
    agrees = t.List(t.List(t.Bool()), help="Whether it is the model's own answer there.").tag(
        sync=True
    )
    side = t.List(t.Float(), help="A number per layer, drawn as a bar at the end of its row.").tag(
        sync=True
    )
    side_title = t.Unicode("", help="What these numbers are.").tag(sync=True)
    signed = t.Bool(
        False, help="Whether cells are signed shares of `maximum`, and their texts numbers."
    ).tag(sync=True)
    maximum = t.Float(1.0, help="Share at which a cell is darkest.").tag(sync=True)
    names = t.Tuple(
        t.Unicode(), t.Unicode(), default_value=("", ""), help="Words for a row and for a column."
    ).tag(sync=True)
    compact = t.Bool(False, help="Whether cells are colours alone.").tag(sync=True)
    spread = t.Bool(
        False, help="Whether many columns share the width, every fifth with its name."
    ).tag(sync=True)
    quiet = t.List(t.List(t.Bool()), help="Cells that are grey, row by row; none if empty.").tag(
        sync=True
    )
    marked = t.Int(-1, help="Column with a frame and its name; -1 for none.").tag(sync=True)
    selected = t.Tuple(
        t.Int(), t.Int(), default_value=(-1, -1), help="Row and column chosen; -1 for none."
    ).tag(sync=True)

    def show(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        cells: Sequence[Sequence[str]],
        *,
        tints: Sequence[Sequence[float]],
        agrees: Sequence[Sequence[bool]],
        side: Sequence[float] = (),
        side_title: str = "",
    ) -> None:
        """Replace what is shown, in one message to the browser."""
        with self.hold_sync(), self.hold_trait_notifications():
            self.rows, self.columns = list(map(str, rows)), list(map(str, columns))
            self.cells = [list(map(str, row)) for row in cells]
            self.tints = [list(map(float, row)) for row in tints]
            self.agrees = [list(map(bool, row)) for row in agrees]
            self.side, self.side_title = list(map(float, side)), side_title
            self.signed = self.compact = self.spread = False
            self.quiet, self.marked = [], -1
            self.selected = (-1, -1)

    def show_shares(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        shares: Sequence[Sequence[float]],
        *,
        maximum: float = 1.0,
        names: tuple[str, str] = ("", ""),
        compact: bool = False,
        quiet: Sequence[Sequence[bool]] = (),
        spread: bool = False,
        marked: int = -1,
    ) -> None:
        """Replace what is shown by signed shares; the larger ones in percent, unless `compact`.

        `quiet` cells are grey. `spread` columns share the width and have no numbers left of the `marked` one.
        """
        written = [
            [
                ""
                if compact or abs(one) < LEAST_WRITTEN or (spread and not 0 <= marked <= i)
                else f"{100 * one:.0f}".replace("-", "−")
                for i, one in enumerate(row)
            ]
            for row in shares
        ]
        with self.hold_sync(), self.hold_trait_notifications():
            agrees = [[False] * len(columns)] * len(rows)
            self.show(rows, columns, written, tints=shares, agrees=agrees)
            self.signed, self.compact = True, compact
            self.maximum, self.names = float(maximum), names
            self.spread, self.marked = spread, marked
            self.quiet = [list(map(bool, row)) for row in quiet]

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> tuple[int, int]:
        row, column = proposal["value"]
        if not (-1 <= row < len(self.rows) and -1 <= column < len(self.columns)):
            raise t.TraitError(
                f"`selected` must be one of {len(self.rows)} rows and {len(self.columns)} columns, or -1, got "
                f"{(row, column)}."
            )
        return int(row), int(column)

    def static_html(self) -> str:
        """Return the table as escaped HTML."""
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        if not self.rows or not self.columns:
            return f'<div class="sae-nb-component">{title}{self._empty_html()}</div>'
        end = f"<th>{escape(self.side_title)}</th>" if self.side else ""
        names = "".join(map(self._head_html, range(len(self.columns))))
        if self.compact:
            names = f'<th colspan="{len(self.columns)}">&nbsp;</th>'
        first = "" if self.compact else escape(self.names[0])
        lines = "".join(map(self._line_html, range(len(self.rows))))
        return (
            f"<style>{read_static('layer_grid.css')}</style>"
            f'<div class="sae-nb-component">{title}<div class="sae-nb-layerbox">'
            f'<table class="sae-nb-layers{self._kinds}" style="--rows:{len(self.rows)}"><tr><th>{first}</th>'
            f"{names}{end}</tr>{lines}</table></div></div>"
        )

    @property
    def _kinds(self) -> str:
        signed = " sae-nb-shares" if self.signed else ""
        short = " sae-nb-upright" if max(map(len, self.columns), default=0) > 2 else ""
        few = len(self.rows) * len(self.columns) <= self.FEW_CELLS
        signed += " sae-nb-few" * (self.signed and few)
        signed += " sae-nb-roomy" * (len(self.columns) <= self.ROOMY and not self.compact)
        if self.spread:
            return f"{signed} sae-nb-spread"
        return f"{signed}{short} sae-nb-compact" if self.compact else signed + short

    def _is_quiet(self, row: int, column: int) -> bool:
        return bool(self.quiet) and self.quiet[row][column]

    def _head_html(self, column: int) -> str:
        """Return a column's words; of one that differs, "clean → corrupted", in two lines."""
        lines = (escape(visible_token(part)) for part in self.columns[column].split(" → "))
        kind = ' class="sae-nb-marked"' if column == self.marked else ""
        return f"<th{kind}>{'<br>→ '.join(lines)}</th>"

    def _line_html(self, row: int) -> str:
        cells = ""
        line = zip(self.cells[row], self.tints[row], self.agrees[row], strict=True)
        for column, (text, tint, agrees) in enumerate(line):
            tone = "strength" if self.signed else "confirmed" if agrees else "predicted"
            share = tint / self.maximum if self.signed else max(tint, LEAST_GREEN * agrees)
            if self.quiet and tint:
                share = math.copysign(max(abs(share), LEAST_TINT), share)
            *rgb, opacity = heat_colour(share, self.signed, tone)
            classes = "sae-nb-agrees " * agrees + "sae-nb-inside " * self._is_quiet(row, column)
            classes += "sae-nb-marked " * (column == self.marked)
            classes += "sae-nb-selected" * (self.selected == (row, column))
            kind = f' class="{classes.strip()}"' if classes else ""
            style = f"background:{css_colour([int(c) for c in rgb], opacity)}"
            shown = text if self.signed else visible_token(text)
            cells += f'<td{kind} style="{style}">{escape(shown)}</td>'
        end = f"<td>{format_number(self.side[row])}</td>" if self.side else ""
        return f"<tr><th>{escape(self.rows[row])}</th>{cells}{end}</tr>"

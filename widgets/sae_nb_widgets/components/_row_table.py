"""RowTable: a small table whose rows can be chosen with mouse or keyboard."""

from __future__ import annotations

from collections.abc import Sequence

import traitlets as t

from sae_nb.figures import escape
from sae_nb_widgets.components._base import Component, read_static, script, style_sheet


class RowTable(Component):
    """Rows of words and numbers; click one, or Enter on it, to select it."""

    _esm = script("row_table")
    _css = style_sheet("components.css", "row_table.css")

    headers = t.List(t.Unicode(), help="Name of each column.").tag(sync=True)
    cells = t.List(t.List(t.Unicode()), help="Text of every cell, row by row.").tag(sync=True)
    numeric = t.List(t.Bool(), help="Which columns are numbers, set flush right.").tag(sync=True)
    selected = t.Int(-1, help="Index of the row chosen; -1 for none.").tag(sync=True)

    def show(
        self,
        headers: Sequence[str],
        cells: Sequence[Sequence[str]],
        *,
        numeric: Sequence[bool] = (),
    ) -> None:
        """Replace what is shown, in one message to the browser."""
        wrong = next((i for i, row in enumerate(cells) if len(row) != len(headers)), None)
        if wrong is not None:
            raise ValueError(
                f"`cells` must have one cell per column ({len(headers)}) in every row, got "
                f"{len(cells[wrong])} in row {wrong}."
            )
        with self.hold_sync(), self.hold_trait_notifications():
            self.headers = [str(name) for name in headers]
            self.cells = [[str(cell) for cell in row] for row in cells]
            self.numeric = [bool(flag) for flag in numeric] or [False] * len(headers)
            self.selected = -1

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> int:
        if not -1 <= proposal["value"] < len(self.cells):
            raise t.TraitError(
                f"`selected` must be the index of one of {len(self.cells)} rows, or -1, got "
                f"{proposal['value']}."
            )
        return int(proposal["value"])

    def static_html(self) -> str:
        """Return the table as escaped HTML."""
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        if not self.cells:
            return f'<div class="sae-nb-component">{title}{self._empty_html()}</div>'
        kinds = [' class="sae-nb-number"' if flag else "" for flag in self.numeric]
        head = "".join(f"<th{k}>{escape(h)}</th>" for k, h in zip(kinds, self.headers))
        rows = "".join(
            "<tr>" + "".join(f"<td{k}>{escape(c)}</td>" for k, c in zip(kinds, row)) + "</tr>"
            for row in self.cells
        )
        return (
            f"<style>{read_static('row_table.css')}</style>"
            f'<div class="sae-nb-component">{title}<div class="sae-nb-tablebox">'
            f'<table class="sae-nb-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
            "</table></div></div>"
        )

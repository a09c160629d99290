"""RowTable: a small table whose rows can be chosen and sorted with mouse or keyboard."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import traitlets as t

from sae_nb.figures.theme import THIN_SPACE, escape
from sae_nb_widgets.components._base import Component, one_of_rows, style_sheet, tag_html
from sae_nb_widgets.components._scripts import read_static, script


class RowTable(Component):
    """Rows of words and numbers; click one, or Enter on it, to select it; click a header to sort.

    Examples
    --------
    >>> table = RowTable(description="atoms")
    >>> table.show(["atom", "label"], [["9", "tail"], ["17", "ear"]], numeric=[True, False])
    >>> table.sorted_by = (1, False)
    >>> table.order, table.cells[table.order[0]]
    ([1, 0], ['17', 'ear'])
    """

    _esm = script("row_table")
    _css = style_sheet("components.css", "row_table.css")

    headers = t.List(t.Unicode(), help="Name of each column.").tag(sync=True)
    cells = t.List(t.List(t.Unicode()), help="Text of every cell, row by row.").tag(sync=True)
    numeric = t.List(t.Bool(), help="Which columns are numbers, set flush right.").tag(sync=True)
    selected = t.Int(-1, help="Index of the row chosen; -1 for none.").tag(sync=True)
    sorted_by = t.Tuple(
        t.Int(),
        t.Bool(),
        default_value=(-1, False),
        help="Column and whether it falls; -1: as given.",
    ).tag(sync=True)
    order = t.List(t.Int(), help="Index of each row in the order shown.").tag(sync=True)

    def show(
        self,
        headers: Sequence[str],
        cells: Sequence[Sequence[str]],
        *,
        numeric: Sequence[bool] = (),
        atoms: Sequence[int] = (),
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
            self.atoms = [int(atom) for atom in atoms]
            self.selected = -1
            if self.sorted_by[0] >= len(headers):
                self.sorted_by = (-1, False)
            self._sort()

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> int:
        return one_of_rows(proposal, len(self.cells))

    @t.validate("sorted_by")
    def _column_exists(self, proposal: t.Bunch) -> tuple[int, bool]:
        column, falling = proposal["value"]
        if not -1 <= column < len(self.headers):
            raise t.TraitError(
                f"`sorted_by` must name one of {len(self.headers)} columns, or -1 for the order in "
                f"which rows were given, got {column}."
            )
        return int(column), bool(falling)

    @t.observe("sorted_by")
    def _sort(self, _: t.Bunch | None = None) -> None:
        """Numbers by size and words by the alphabet; empty cells come last either way."""
        column, falling = self.sorted_by
        order = list(range(len(self.cells)))
        if column >= 0:
            key = _size if self.numeric[column] else str.casefold
            texts = [row[column] for row in self.cells]
            filled = [i for i in order if texts[i]]
            filled.sort(key=lambda i: key(texts[i]), reverse=falling)
            order = [*filled, *(i for i in order if not texts[i])]
        self.order = order

    def to_csv(self) -> str:
        """Return what is shown as comma-separated text, a line of headers first.

        Numbers are written plainly; words that a spreadsheet would take for a formula get an
        apostrophe in front.
        """
        return csv_text(self.headers, [self.cells[i] for i in self.order], self.numeric)

    def static_html(self) -> str:
        """Return the table as escaped HTML."""
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        if not self.cells:
            return f'<div class="sae-nb-component">{title}{self._empty_html()}</div>'
        kinds = [' class="sae-nb-number"' if flag else "" for flag in self.numeric]
        head = "".join(f"<th{k}>{escape(h)}</th>" for k, h in zip(kinds, self.headers))
        rows = "".join(
            f"<tr{tag_html(self, i)}>"
            + "".join(f"<td{k}>{escape(c)}</td>" for k, c in zip(kinds, self.cells[i]))
            + "</tr>"
            for i in self.order
        )
        return (
            f"<style>{read_static('row_table.css')}</style>"
            f'<div class="sae-nb-component">{title}<div class="sae-nb-tablebox">'
            f'<table class="sae-nb-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
            "</table></div></div>"
        )


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return a table as comma-separated text; see `RowTable.to_csv`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(headers)
    for row in rows:
        writer.writerow(map(plain_cell, row, numeric))
    return buffer.getvalue()


def plain_cell(text: str, is_number: bool) -> str:
    """Return a cell as a spreadsheet may read it: a number without our signs, words that are not a formula."""
    if is_number:
        return text.replace(THIN_SPACE, "").replace("−", "-")
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _size(text: str) -> float:
    """The number a cell begins with, for sorting."""
    number = plain_cell(text, True).removesuffix("%").strip()
    try:
        return float(number)
    except ValueError:
        return -math.inf

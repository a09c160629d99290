"""A table of claims: in a notebook each claim once, with its verdict, above its numbers."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import Any

import pandas as pd

COLUMNS = ("claim", "number", "measured", "asked", "met", "verdict")

# JupyterLab sets every cell of a table to the right and breaks lines wherever there is a space.
_LEFT = "text-align:left;white-space:normal;max-width:34em"
_CELL = {"number": f"{_LEFT};padding-left:1.6em"}
_NUMBER = "text-align:right;white-space:nowrap"
_HEADS = (("number", "number"), ("measured (mean ± sd)", ""), ("asked", ""), ("met", ""))


class ClaimTable(pd.DataFrame):
    """A row for every number; a notebook shows each claim and its verdict once, and the whole table."""

    def _repr_html_(self) -> str:
        rows: list[dict[str, Any]] = self.to_dict("records")
        head = "".join(
            f'<th style="{_CELL.get(kind, _NUMBER)}">{name}</th>' for name, kind in _HEADS
        )
        groups = groupby(rows, key=lambda row: (row["claim"], row["verdict"]))
        body = "".join(_claim(*key) + "".join(map(_row, lines)) for key, lines in groups)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _claim(name: str, verdict: str) -> str:
    return f'<tr><th colspan="4" style="{_LEFT}">{escape(name)}: {escape(verdict)}</th></tr>'


def _row(row: dict[str, Any]) -> str:
    cells = (
        f'<td style="{_CELL.get(column, _NUMBER)}">{escape(str(row[column]))}</td>'
        for column in COLUMNS[1:5]
    )
    return f"<tr>{''.join(cells)}</tr>"

"""A short table as text and as HTML: words to the left, numbers to the right, in four digits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from sae_nb.figures import visible_token

if TYPE_CHECKING:
    from pandas import DataFrame, Index, Series

LEFT = ' style="text-align:left;white-space:pre-wrap"'


def is_numbered(table: DataFrame) -> bool:
    """Return whether rows have no names but 0, 1, …, which are not shown."""
    return list(table.index) == list(range(len(table)))


def aligned(table: DataFrame) -> str:
    """Return a table as text: its titles, then a line per row; what is unknown is left empty."""
    lines = zip(*(column.lines() for column in _columns(table)), strict=True)
    return "\n".join("  ".join(cells).rstrip() for cells in lines)


def as_html(table: DataFrame) -> str:
    """Return the same as a table of HTML; texts keep their line breaks."""
    columns = list(_columns(table))
    head = "".join(f"<th{column.style}>{escape(column.title)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(cells)}</tr>" for cells in zip(*(c.cells() for c in columns), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True)
class _Column:
    title: str
    texts: tuple[str, ...]
    counted: bool  # whether a text of it reads as a number

    @property
    def style(self) -> str:
        return "" if self.counted else LEFT

    def lines(self) -> list[str]:
        """Return title and texts, padded to one width."""
        texts = [text and visible_token(text) for text in (self.title, *self.texts)]
        width = max(map(len, texts))
        return [text.rjust(width) if self.counted else text.ljust(width) for text in texts]

    def cells(self) -> Iterator[str]:
        """Yield each text as a cell."""
        return (f"<td{self.style}>{escape(text)}</td>" for text in self.texts)


def _columns(table: DataFrame) -> Iterator[_Column]:
    """Yield the levels of the index, unless it is numbered, then the columns."""
    for level in range(0 if is_numbered(table) else table.index.nlevels):
        yield _column(table.index.names[level], table.index.get_level_values(level))
    for i, name in enumerate(table.columns):
        yield _column(name, table.iloc[:, i])


def _column(title: object, values: Index | Series) -> _Column:
    texts = tuple(map(_text, values.tolist()))
    return _Column("" if title is None else str(title), texts, any(map(_is_number, texts)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)

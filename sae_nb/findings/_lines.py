"""A table as lines of text: words to the left, numbers to the right, in four digits."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame


def is_numbered(table: DataFrame) -> bool:
    """Return whether rows have no names but 0, 1, …, which are not shown."""
    return list(table.index) == list(range(len(table)))


def aligned(table: DataFrame) -> str:
    """Return a table as text: its titles, then a line per row; what is unknown is left empty."""
    levels = range(0 if is_numbered(table) else table.index.nlevels)
    columns = [_column(table.index.names[i], table.index.get_level_values(i)) for i in levels]
    columns += [_column(name, table.iloc[:, i]) for i, name in enumerate(table.columns)]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def _column(title: Any, values: Any) -> list[str]:
    """The title and the cells of a column, all of one width."""
    values = values.tolist()
    texts = ["" if title is None else str(title), *map(_cell, values)]
    width = max(map(len, texts))
    counted = any(isinstance(x, numbers.Real) and not isinstance(x, bool) for x in values)
    return [text.rjust(width) if counted else text.ljust(width) for text in texts]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)

"""The bars of an InputLens as a plotly figure, for pictures and readers without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from sae_nb_widgets.components.paired_bars import NEGATIVE, POSITIVE
from sae_nb_widgets.figures.theme import BLACK, CONTROL, NEUTRAL, plot_text, template

ROW_PX = 24
LONGEST_NAME = 22


def input_lens_figure(labels: Sequence[str], columns: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Return one panel of lying bars per column, the first row on top."""
    figure = go.Figure()
    names = [_short(label, i) for i, label in enumerate(labels)]
    share = 1 / max(len(columns), 1)
    for i, column in enumerate(columns):
        axis = "" if i == 0 else f"{i + 1}"
        _add_bars(figure, names, column, axis)
        domain = [i * share + (0.04 if i else 0), (i + 1) * share - 0.02]
        figure.layout[f"xaxis{axis}"] = {
            "domain": domain,
            "title": {"text": plot_text(column["title"])},
            "anchor": f"y{axis}",
        }
        figure.layout[f"yaxis{axis}"] = {
            "autorange": "reversed",
            "anchor": f"x{axis}",
            "showticklabels": i == 0,
            "type": "category",
        }
    figure.update_layout(
        template=template(), showlegend=False, height=90 + ROW_PX * max(len(labels), 1)
    )
    return figure


def _add_bars(
    figure: go.Figure, names: Sequence[str], column: Mapping[str, Any], axis: str
) -> None:
    where = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
    values = column["values"]
    colour: Any = NEUTRAL
    if column["signed"]:
        colour = [NEGATIVE if (value or 0) < 0 else POSITIVE for value in values]
    figure.add_bar(
        x=values, y=names, orientation="h", marker={"color": colour}, name=column["title"], **where
    )
    for key, style in (
        ("control", {"symbol": "line-ns-open", "color": CONTROL, "size": 12}),
        ("exact", {"symbol": "line-ns-open", "color": BLACK, "size": 12}),
    ):
        known = [(v, n) for v, n in zip(column[key], names) if v is not None]
        if known:
            ends, rows = zip(*known, strict=True)
            figure.add_scatter(x=ends, y=rows, mode="markers", marker=style, name=key, **where)


def _short(label: str, row: int) -> str:
    """Cut a long name; names of rows must differ, so the row's number joins where it is cut."""
    if len(label) <= LONGEST_NAME:
        return plot_text(label)
    return plot_text(f"{label[: LONGEST_NAME - 4]}… {row + 1}")

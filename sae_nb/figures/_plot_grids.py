"""Frames that figures share: one titled plot, plots or heat-maps side by side, lines with markers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy.typing import ArrayLike
from plotly.basedatatypes import BaseTraceType
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from sae_nb.figures.theme import (
    CONTROL,
    CONTROL_DASH,
    GREY,
    colour_scale,
    plot_text,
    scaled,
    template,
)

DOTTED = {"color": GREY, "width": 1.2, "dash": "dot"}
"""A place that the data itself does not have: where training was, where an event begins."""

FLOOR = {"color": CONTROL, "width": 1.6, "dash": CONTROL_DASH}
"""Line of a method that learned nothing."""

MOST_TICKS = 6
"""Cells of a heat-map up to which each is numbered: with more of them plotly never puts a tick in between."""

SYMBOLS = ("circle", "square", "diamond")
Margin = tuple[int, int, int, int]
MARGIN: Margin = (56, 16, 34, 46)
"""Left, right, top, bottom, in CSS pixels."""


def framed(
    traces: Iterable[BaseTraceType],
    *,
    x: str = "",
    y: str = "",
    height: float | None = None,
    margin: Margin = MARGIN,
    **layout: Any,
) -> go.Figure:
    """Return one plot in the current theme, its axes titled `x` and `y`; `height` grows with the scale."""
    figure = go.Figure(list(traces))
    dress(figure, height, margin)
    figure.update_layout(xaxis_title_text=x, yaxis_title_text=y)
    return figure.update_layout(layout)


def side_by_side(
    titles: Sequence[str],
    *,
    y: str | Sequence[str] = "",
    gap: float = 0.05,
    widths: Sequence[float] | None = None,
    height: float | None = None,
    margin: Margin = MARGIN,
) -> go.Figure:
    """Return empty plots next to each other, their titles below.

    The first has the vertical axis of all, titled `y`; where `y` is a list, each has its own.
    """
    figure = make_subplots(cols=len(titles), horizontal_spacing=gap, column_widths=widths)
    dress(figure, height, margin)
    shared = isinstance(y, str)
    y_titles = [y, *[""] * (len(titles) - 1)] if shared else y
    for column, (x_title, y_title) in enumerate(zip(titles, y_titles, strict=True), start=1):
        figure.update_xaxes(title_text=x_title, col=column)
        figure.update_yaxes(title_text=y_title, col=column)
        figure.update_yaxes(showticklabels=column == 1 or not shared, col=column)
    return figure


def heatmaps(
    matrices: Mapping[str, Float[np.ndarray, "rows columns"]],
    *,
    ends: tuple[float, float],
    hover: str,
    bar: str,
    signed: bool = False,
    over: Mapping[str, Iterable[go.Scatter]] | None = None,
    gap: float = 0.04,
    **frame: Any,
) -> go.Figure:
    """Draw one heat-map per title, on one scale of colours with one bar; `over` holds the marks on each.

    Cells that hold no number stay empty. Titles are text, whatever they hold.
    """
    figure = side_by_side([plot_text(title) for title in matrices], gap=gap, **frame)
    for column, (title, matrix) in enumerate(matrices.items(), start=1):
        name = plot_text(title)
        figure.add_heatmap(
            z=heatmap_cells(matrix),
            zmin=ends[0],
            zmax=ends[1],
            colorscale=colour_scale(signed=signed),
            showscale=column == len(matrices),
            colorbar={"title": {"text": bar}, "thickness": 10},
            name=name,
            hovertemplate=f"{hover}<extra>{name}</extra>",
            row=1,
            col=column,
        )
        for trace in (over or {}).get(title, ()):
            figure.add_trace(trace, row=1, col=column)
        rows, columns = (
            matrix.shape
        )  # of a few cells each has its tick, and none stands between two
        figure.update_xaxes(dtick=1 if columns <= MOST_TICKS else None, col=column)
        figure.update_yaxes(dtick=1 if rows <= MOST_TICKS else None, col=column)
    return figure


def heatmap_cells(matrix: Float[np.ndarray, "rows columns"]) -> np.ndarray:
    """Return a heat-map's numbers, with None for NaN: NaN is not valid JSON, and a kernel warns of it."""
    finite = np.isfinite(matrix)
    if finite.all():
        return matrix
    cells = np.asarray(matrix, dtype=object).copy()
    cells[~finite] = None
    return cells


def named_ticks(
    names: Iterable[object], at: Iterable[float] | None = None, **axis: Any
) -> dict[str, Any]:
    """Return settings of an axis with a name at 0, 1, 2 … or at given places: text, whatever it holds.

    >>> named_ticks(["<s>", "a"])
    {'tickvals': [0, 1], 'ticktext': ['&lt;s&gt;', 'a']}
    """
    text = [plot_text(name) for name in names]
    places = list(range(len(text))) if at is None else list(at)
    return {"tickvals": places, "ticktext": text, **axis}


def line(
    name: str,
    x: ArrayLike | Sequence[float | None],
    y: ArrayLike | Sequence[float | None],
    *,
    colour: str,
    symbol: str = "",
    size: float | None = None,
    width: float = 2,
    dash: str = "solid",
    hover: str = "",
    **more: Any,
) -> go.Scatter:
    """Return a line, with markers if a symbol is given; hovering shows `hover` and the name of the line.

    Its name, and places that are words, are text, whatever they hold.
    """
    name = plot_text(name)
    return go.Scatter(
        name=name,
        x=_places(x),
        y=_places(y),
        mode="lines+markers" if symbol else "lines",
        line={"color": colour, "width": width, "dash": dash},
        marker={"color": colour, "symbol": symbol, "size": size} if symbol else None,
        hovertemplate=f"{hover}<extra>{name}</extra>" if hover else None,
        **more,
    )


def _places(
    along: ArrayLike | Sequence[float | None],
) -> ArrayLike | Sequence[float | None]:
    """Numbers as they are, words as text."""
    values = np.asarray(along)
    if values.dtype.kind not in "OU":
        return along
    return [plot_text(value) if isinstance(value, str) else value for value in values.tolist()]


def dress(figure: go.Figure, height: float | None, margin: Margin) -> None:
    """Give a figure the current theme, and a height that grows with the scale."""
    figure.update_layout(
        template=template(),
        height=None if height is None else scaled(height),
        margin=dict(zip("lrtb", margin, strict=True)),
        # Measured from the figure's edge: from the plot's, a plot that shrinks for a long legend may
        # come to lie under it.
        legend={"y": 1.0, "yref": "container", "yanchor": "top"},
    )


def broken(
    pieces: Iterable[Sequence[tuple[float, float]]],
) -> tuple[list[float | None], list[float | None]]:
    """Join several lines into one with gaps between them: shapes would be missing in still images."""
    x: list[float | None] = []
    y: list[float | None] = []
    for piece in pieces:
        x += [*(point[0] for point in piece), None]
        y += [*(point[1] for point in piece), None]
    return x, y


def squares(cuts: Sequence[int]) -> tuple[list[float | None], list[float | None]]:
    """Return outlines of the phases between cuts, on the diagonal of a matrix of layers from 1."""
    ends = [(first + 0.5, last + 0.5) for first, last in pairwise(cuts)]
    return broken([(a, a), (b, a), (b, b), (a, b), (a, a)] for a, b in ends)


def number_of(place: int) -> str:
    """Return number of an axis as plotly writes it: none for the first.

    >>> number_of(0), number_of(1)
    ('', '2')
    """
    return "" if place == 0 else str(place + 1)


def icicle(labels: Sequence[str], parents: Sequence[str], shade: Any, **trace: Any) -> go.Icicle:
    """Return a forest by the name of each one's parent ("" for a root), coloured by `shade`, 0 to 1."""
    # As colours, not as numbers: a scale would paint the empty root too.
    colours = sample_colorscale(colour_scale(), shade)
    return go.Icicle(
        labels=labels,
        parents=parents,
        marker={"colors": colours},
        root={"color": "rgba(0, 0, 0, 0)"},
        **trace,
    )


def on_axes(place: int) -> dict[str, str]:
    """Return the axes of a trace in the plot at a place.

    >>> on_axes(0), on_axes(2)
    ({'xaxis': 'x', 'yaxis': 'y'}, {'xaxis': 'x3', 'yaxis': 'y3'})
    """
    return {"xaxis": f"x{number_of(place)}", "yaxis": f"y{number_of(place)}"}


def named(figure: go.Figure, name: str) -> BaseTraceType:
    """Return the trace of that name."""
    return figure.data[next(i for i, one in enumerate(figure._data) if one.get("name") == name)]


def plot_title(
    place: int, text: str, *, size: float, x: float = 0.5, anchor: str = "center"
) -> dict[str, Any]:
    """Return title above the plot at a place, tied to its axes so that it stays there in every drawing."""
    number = number_of(place)
    return {
        "text": text,
        "x": x,
        "y": 1.0,
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "xanchor": anchor,
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": size},
    }

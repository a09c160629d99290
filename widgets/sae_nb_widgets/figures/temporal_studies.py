"""Time in activations → plotly figures: energies of both parts, curves over time, squares of likeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb_widgets.figures.theme import (
    CONTROL,
    NOVEL,
    PREDICTED,
    category_style,
    colour_scale,
    plot_text,
    template,
    theme,
)

GAP = 0.04
HEIGHT_PX = 230
BORDER = {"color": "#808080", "width": 1.2, "dash": "dot"}
COLOURS = {"predicted": PREDICTED, "novel": NOVEL, "TopK": CONTROL}


def bands_figure(
    energy: Float[np.ndarray, "time 2"],
    *,
    borders: Sequence[int] = (),
    tokens: Sequence[str] | None = None,
    y_title: str = "energy",
) -> go.Figure:
    """Energy of the predicted and the novel part of each token, one on top of the other.

    Parameters
    ----------
    energy
        Of predicted and novel, token by token.
    borders
        Tokens at which an event begins: a dotted line before each.
    tokens
        Their text, shown on hovering.
    y_title
        Of the vertical axis.
    """
    values = np.asarray(energy, dtype=np.float64)
    names = None if tokens is None else [plot_text(token) for token in tokens]
    figure = go.Figure()
    for name, column in (("predicted", values[:, 0]), ("novel", values[:, 1])):
        figure.add_bar(
            x=np.arange(len(values)),
            y=column,
            name=name,
            marker={"color": COLOURS[name], "line": {"width": 0}},
            text=names,
            textposition="none",
            showlegend=True,
            hovertemplate=("%{text} · " if names else "token %{x} · ")
            + f"{name} %{{y:.3g}}<extra></extra>",
        )
    _draw_borders(figure, borders, (0.0, float(values.sum(axis=1).max())))
    figure.update_layout(
        template=template(),
        barmode="stack",
        bargap=0.08,
        height=_height(),
        xaxis={"title": {"text": "token"}, "showgrid": False},
        yaxis={"title": {"text": y_title}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 60, "r": 12, "t": 30, "b": 44},
    )
    return figure


def time_curves_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_title: str, y_title: str
) -> go.Figure:
    """Curves over time or lag; the two parts have their own colours everywhere.

    Parameters
    ----------
    curves
        Places and values, by name. What ends in "order lost" is dashed, in the colour before it.
    x_title, y_title
        Of the axes.
    """
    figure = go.Figure()
    index, colour = -1, CONTROL
    for name, (x, y) in curves.items():
        dashed = name.endswith("order lost")
        if not dashed:
            index += 1
            colour = COLOURS.get(name, category_style(index)[0])
        figure.add_scatter(
            x=list(x),
            y=list(y),
            name=name,
            showlegend=True,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": "dash" if dashed else "solid"},
            marker={"color": colour, "symbol": ("circle", "square", "diamond")[index % 3]},
            hovertemplate="%{x}: %{y:.3g}<extra>" + name + "</extra>",
        )
    figure.update_layout(
        template=template(),
        height=_height(),
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 60, "r": 12, "t": 34, "b": 44},
    )
    return figure


def moments_figure(
    matrices: Mapping[str, Float[np.ndarray, "time time"]], *, borders: Sequence[int] = ()
) -> go.Figure:
    """Cosine of each token with each other, one square per kind of code; events show as blocks.

    Parameters
    ----------
    matrices
        Cosines, by the title of their square.
    borders
        Tokens at which an event begins.
    """
    figure, n = go.Figure(), len(matrices)
    part = (1 - GAP * (n - 1)) / n
    for i, (title, cosines) in enumerate(matrices.items()):
        number = "" if i == 0 else str(i + 1)
        figure.add_heatmap(
            z=np.asarray(cosines, dtype=np.float64),
            zmin=-1,
            zmax=1,
            colorscale=colour_scale(signed=True),
            showscale=i == n - 1,
            colorbar={"title": {"text": "cosine"}, "thickness": 10},
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            hovertemplate="tokens %{x}, %{y}: %{z:.2f}<extra>" + title + "</extra>",
        )
        left = i * (part + GAP)
        x = {"domain": [left, left + part], "anchor": f"y{number}", "title": {"text": title}}
        y = {"autorange": "reversed", "anchor": f"x{number}", "showticklabels": i == 0}
        grid = {"showgrid": False, "zeroline": False}
        figure.update_layout({f"xaxis{number}": {**x, **grid}, f"yaxis{number}": {**y, **grid}})
        _draw_borders(figure, borders, (-0.5, len(cosines) - 0.5), number)
    figure.update_layout(
        template=template(),
        height=int(1.15 * _height()),
        margin={"l": 34, "r": 10, "t": 10, "b": 40},
    )
    return figure


def _draw_borders(
    figure: go.Figure, borders: Sequence[int], ends: tuple[float, float], number: str = ""
) -> None:
    """Dotted lines as one trace broken between them: a shape would be missing in stills."""
    places: list[float | None] = []
    for border in borders:
        places += [border - 0.5, border - 0.5, None]
    if places:
        figure.add_scatter(
            x=places,
            y=[*ends, None] * len(borders),
            mode="lines",
            line=BORDER,
            name="event begins",
            showlegend=not number and "bar" in {trace.type for trace in figure.data},
            hoverinfo="skip",
            xaxis=f"x{number}",
            yaxis=f"y{number}",
        )


def _height() -> int:
    return int(HEIGHT_PX * theme().font_px / 13)

"""What SAEs make of a hierarchy → plotly figures: cosines of atoms side by side, and curves by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb_widgets.figures.theme import category_style, colour_scale, template, theme

GAP = 0.03
HEIGHT_PX = 250


def likeness_figure(dictionaries: Mapping[str, Float[np.ndarray, "n_atoms d_in"]]) -> go.Figure:
    """Cosines of all pairs of atoms, one square per dictionary, atoms in the same order.

    Parameters
    ----------
    dictionaries
        Unit atoms, by the title of their square.
    """
    figure, n = go.Figure(), len(dictionaries)
    part = (1 - GAP * (n - 1)) / n
    for i, (title, atoms) in enumerate(dictionaries.items()):
        rows = np.asarray(atoms, dtype=np.float64)
        number = "" if i == 0 else str(i + 1)
        figure.add_heatmap(
            z=rows @ rows.T,
            zmin=-1,
            zmax=1,
            colorscale=colour_scale(signed=True),
            showscale=i == n - 1,
            colorbar={"title": {"text": "cosine"}, "thickness": 10},
            name=title,
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            hovertemplate="atoms %{x}, %{y}: %{z:.2f}<extra>" + title + "</extra>",
        )
        left = i * (part + GAP)
        x = {"domain": [left, left + part], "anchor": f"y{number}", "title": {"text": title}}
        y = {"autorange": "reversed", "anchor": f"x{number}", "showticklabels": i == 0}
        figure.update_layout({f"xaxis{number}": {**x, "showgrid": False}, f"yaxis{number}": y})
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        margin={"l": 30, "r": 10, "t": 8, "b": 40},
    )
    return figure


def curve_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_title: str,
    y_title: str,
    trained_at: float | None = None,
    y_range: tuple[float, float] | None = None,
) -> go.Figure:
    """Curves over a size, each with its own colour and marker; a dotted line where training was.

    Parameters
    ----------
    curves
        Sizes and values, by name.
    x_title, y_title
        Of the axes.
    trained_at
        The size in training; None draws no line.
    y_range
        Ends of the vertical axis; None leaves them to the curves.
    """
    figure = go.Figure()
    for index, (name, (x, y)) in enumerate(curves.items()):
        colour, _ = category_style(index)
        figure.add_scatter(
            x=list(x),
            y=list(y),
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"color": colour, "symbol": ("circle", "square", "diamond")[index % 3]},
            hovertemplate="%{x}: %{y:.3f}<extra>" + name + "</extra>",
        )
    ticks = sorted({value for x, _ in curves.values() for value in x})
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        xaxis={"type": "log", "title": {"text": x_title}},
        yaxis={"title": {"text": y_title}, "range": y_range},
        margin={"l": 56, "r": 16, "t": 34, "b": 46},
    )
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{value:g}" for value in ticks])
    if trained_at is not None:
        figure.add_vline(x=trained_at, line={"color": "#808080", "width": 1.2, "dash": "dot"})
    return figure

"""Dictionaries compared → plotly figures: one number of each against another."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from sae_nb.figures import category_style, framed, theme

HEIGHT_PX = 320


def trade_off_figure(
    points: Mapping[str, tuple[float, float]],
    lines: Mapping[str, float],
    *,
    x_title: str,
    y_title: str,
) -> go.Figure:
    """Draw a point per dictionary, named in the key; those without a horizontal number are dashed lines.

    Parameters
    ----------
    points
        Coordinates of each, by name; one with a NaN is left out.
    lines
        Heights to draw across, by name.
    x_title, y_title
        Of the axes.
    """
    shown = {name: at for name, at in points.items() if not any(map(math.isnan, at))}
    marks = []
    for index, (name, (x, y)) in enumerate(shown.items()):
        colour, symbol = category_style(index)
        marks.append(
            go.Scatter(
                name=name,
                x=[x],
                y=[y],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 11},
                line={"color": colour},  # no line is drawn; a still image takes its key from it
                hovertemplate=f"{name}: %{{x:.2f}}, %{{y:.3f}}<extra></extra>",
                showlegend=True,
            )
        )
    figure = framed(marks, x=x_title, y=y_title, height=HEIGHT_PX)
    for name, height in lines.items():
        figure.add_hline(
            y=height,
            line={"color": theme.CONTROL, "dash": theme.CONTROL_DASH},
            annotation={"text": name, "xanchor": "right"},
        )
    return figure

"""Where in a plane a latent is on → plotly figures: one square per SAE, with the points of each concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from sae_nb_widgets.figures.theme import category_style, colour_scale, template, theme

GAP = 0.05
HEIGHT_PX = 290
MARKS = (-2, -1, 0, 1, 2)
MOST_POINTS = 60
"""Of each concept: enough to see where it lies."""


def region_figure(
    strengths: Mapping[str, Float[np.ndarray, "side side"]],
    ticks: Float[np.ndarray, " side"],
    points: Float[np.ndarray, "n 2"],
    concept: Int[np.ndarray, " n"],
) -> go.Figure:
    """How strongly one latent of each SAE is on over the plane; dark is off.

    Parameters
    ----------
    strengths
        By the title of their square; rows are the second coordinate.
    ticks
        Of both coordinates.
    points
        Of the concepts.
    concept
        Of each point.
    """
    figure, n = go.Figure(), len(strengths)
    part = (1 - GAP * (n - 1)) / n
    cells, side = _in_cells(np.asarray(points), np.asarray(ticks))
    for i, (title, strength) in enumerate(strengths.items()):
        number = "" if i == 0 else str(i + 1)
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        figure.add_heatmap(
            z=_relative(np.asarray(strength, dtype=np.float64)),
            zmin=0,
            zmax=1,
            colorscale=colour_scale(),
            showscale=i == n - 1,
            colorbar={"title": {"text": "share of<br>its most"}, "thickness": 10},
            name=title,
            hovertemplate="%{z:.2f}<extra>" + title + "</extra>",
            **axes,
        )
        _add_points(figure, cells, np.asarray(concept), legend=i == 0, **axes)
        left = i * (part + GAP)
        x = {"domain": [left, left + part], "anchor": f"y{number}", "title": {"text": title}}
        y = {"anchor": f"x{number}", "showticklabels": i == 0}
        figure.update_layout({f"xaxis{number}": x | side, f"yaxis{number}": y | side})
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        margin={"l": 30, "r": 10, "t": 40, "b": 40},
    )
    return figure


def _in_cells(
    points: Float[np.ndarray, "n 2"], ticks: Float[np.ndarray, " side"]
) -> tuple[Float[np.ndarray, "n 2"], dict[str, Any]]:
    """Points and an axis in cells of the map, which is how a still picture draws it, too."""
    first, step = float(ticks[0]), float(ticks[1] - ticks[0])
    marks = [mark for mark in MARKS if first <= mark <= float(ticks[-1])]
    side: dict[str, Any] = {
        "range": [-0.5, len(ticks) - 0.5],
        "tickvals": [(mark - first) / step for mark in marks],
        "ticktext": [str(mark) for mark in marks],
    }
    return (points - first) / step, side


def _relative(strength: Float[np.ndarray, "side side"]) -> Float[np.ndarray, "side side"]:
    most = float(strength.max())
    return strength / most if most > 0 else strength


def _add_points(
    figure: go.Figure,
    points: Float[np.ndarray, "n 2"],
    concept: Int[np.ndarray, " n"],
    *,
    legend: bool,
    **axes: str,
) -> None:
    for c in np.unique(concept):
        colour, _ = category_style(int(c))
        some = points[concept == c][:MOST_POINTS]
        figure.add_scatter(
            x=some[:, 0],
            y=some[:, 1],
            mode="markers",
            name=f"concept {c}",
            legendgroup=f"concept {c}",
            showlegend=legend,
            line={"color": colour},  # no line is drawn; a still picture takes its key from it
            # A light rim keeps points apart from a dark ground.
            marker={"color": colour, "size": 4, "line": {"color": "#ffffff", "width": 0.5}},
            hoverinfo="skip",
            **axes,
        )

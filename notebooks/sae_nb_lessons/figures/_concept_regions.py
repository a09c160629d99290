"""Regions of a plane where a latent is on → plotly figures: a square per SAE, with points of each concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from sae_nb.figures import category_style, heatmaps, theme

HEIGHT_PX = 290
MARKS = (-2, -1, 0, 1, 2)
MOST_POINTS = 60
"""Points drawn of each concept: enough to see its place."""


def region_figure(
    strengths: Mapping[str, Float[np.ndarray, "side side"]],
    ticks: Float[np.ndarray, " side"],
    points: Float[np.ndarray, "n 2"],
    concept: Int[np.ndarray, " n"],
) -> go.Figure:
    """Draw the strength of one latent of each SAE over the plane; dark is off.

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
    cells, side = _in_cells(np.asarray(points), np.asarray(ticks))
    drawn = {title: np.asarray(z, dtype=np.float64) for title, z in strengths.items()}
    figure = heatmaps(
        {title: z / (z.max() if z.max() > 0 else 1) for title, z in drawn.items()},
        ends=(0, 1),
        hover="%{z:.2f}",
        bar="share of<br>its most",
        over={
            title: _points(cells, np.asarray(concept), legend=i == 0)
            for i, title in enumerate(strengths)
        },
        gap=0.05,
        height=HEIGHT_PX,
        margin=(30, 10, 40, 40),
    )
    return figure.update_xaxes(side).update_yaxes(side)


def _in_cells(
    points: Float[np.ndarray, "n 2"], ticks: Float[np.ndarray, " side"]
) -> tuple[Float[np.ndarray, "n 2"], dict[str, Any]]:
    """Express points and an axis in cells of the map, as a still picture draws them, too."""
    first, step = float(ticks[0]), float(ticks[1] - ticks[0])
    marks = [mark for mark in MARKS if first <= mark <= float(ticks[-1])]
    side: dict[str, Any] = {
        "range": [-0.5, len(ticks) - 0.5],
        "tickvals": [(mark - first) / step for mark in marks],
        "ticktext": [str(mark) for mark in marks],
    }
    return (points - first) / step, side


def _points(
    points: Float[np.ndarray, "n 2"], concept: Int[np.ndarray, " n"], *, legend: bool
) -> list[go.Scatter]:
    """Draw some points of each concept, in its colour."""
    traces = []
    for c in np.unique(concept):
        colour, _ = category_style(int(c))
        some = points[concept == c][:MOST_POINTS]
        trace = go.Scatter(
            x=some[:, 0],
            y=some[:, 1],
            mode="markers",
            name=f"concept {c}",
            legendgroup=f"concept {c}",
            showlegend=legend,
            line={"color": colour},  # no line is drawn; a still picture takes its key from it
            # A light rim keeps points apart from a dark ground.
            marker={"color": colour, "size": 4, "line": {"color": theme.WHITE, "width": 0.5}},
            hoverinfo="skip",
        )
        traces.append(trace)
    return traces

"""Where in a plane a latent is on → plotly figures: one square per SAE, with the points of each concept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from sae_nb_widgets.theming import category_style, colour_scale, template, theme

GAP = 0.05
HEIGHT_PX = 290
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
    for i, (title, strength) in enumerate(strengths.items()):
        number = "" if i == 0 else str(i + 1)
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        figure.add_heatmap(
            x=np.asarray(ticks, dtype=np.float64),
            y=np.asarray(ticks, dtype=np.float64),
            z=_relative(np.asarray(strength, dtype=np.float64)),
            zmin=0,
            zmax=1,
            colorscale=colour_scale(),
            showscale=i == n - 1,
            colorbar={"title": {"text": "share of<br>its most"}, "thickness": 10},
            name=title,
            hovertemplate="(%{x:.2f}, %{y:.2f}): %{z:.2f}<extra>" + title + "</extra>",
            **axes,
        )
        _add_points(figure, np.asarray(points), np.asarray(concept), legend=i == 0, **axes)
        left = i * (part + GAP)
        x = {"domain": [left, left + part], "anchor": f"y{number}", "title": {"text": title}}
        y = {"anchor": f"x{number}", "showticklabels": i == 0}
        figure.update_layout({f"xaxis{number}": x, f"yaxis{number}": y})
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        margin={"l": 30, "r": 10, "t": 40, "b": 40},
    )
    return figure


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
            # A light rim keeps points apart from a dark ground.
            marker={"color": colour, "size": 4, "line": {"color": "#ffffff", "width": 0.5}},
            hoverinfo="skip",
            **axes,
        )

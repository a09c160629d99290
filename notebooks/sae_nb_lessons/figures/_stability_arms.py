"""Arms of a comparison → a plotly figure: one line of points per arm, one point per seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures import FLOOR, fade, framed, theme

ROW_PX = 26
BAR = fade(theme.OKABE_ITO[5], 0.3)
"""Pale, since the names are written on it."""


def arms_figure(
    arms: Mapping[str, Float[np.ndarray, " seeds"]], *, floor: float, x_title: str
) -> go.Figure:
    """Draw all arms below each other, smallest mean first; bars are means, points seeds, the line the floor.

    Parameters
    ----------
    arms
        A number of every seed, by arm.
    floor
        The same number for something that learned nothing.
    x_title
        Name of the number.
    """
    means = {name: float(np.mean(values)) for name, values in arms.items()}
    names = sorted(means, key=means.__getitem__)
    figure = framed(
        [],
        x=x_title,
        height=90 + ROW_PX * len(names),
        margin=(16, 16, 30, 46),
        xaxis_range=[0, 1],
        yaxis_showticklabels=False,
    )
    figure.add_bar(
        x=[means[name] for name in names],
        y=names,
        orientation="h",
        name="mean",
        marker={"color": BAR},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=[float(value) for name in names for value in arms[name]],
        y=[name for name in names for _ in arms[name]],
        mode="markers",
        name="seeds",
        marker={"color": theme.OKABE_ITO[0], "size": 6},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    # Names are long: on the bars they are whole, wherever the figure is shown.
    figure.add_scatter(
        x=[0.01] * len(names),
        y=names,
        text=names,
        mode="text",
        textposition="middle right",
        showlegend=False,
        hoverinfo="skip",
    )
    return figure.add_vline(x=floor, line=FLOOR)

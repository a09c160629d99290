"""Lengths of codes against lengths of their inputs: the ZF plot."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures._plot_grids import DOTTED, broken, framed, line
from sae_nb.figures.theme import GREY, category_style, fade

MOST_POINTS = 4000
"""Rows drawn; of more, every second, third, …"""

BAND = 0.5
"""Dotted lines mark where ‖x − b‖² and ‖z‖² differ by this share of ‖z‖². One of the three of arXiv
2503.24277 (visualization/zf-plot.ipynb).
"""


def lengths_of_codes(
    lengths: Float[np.ndarray, " rows"], code_lengths: Float[np.ndarray, " rows"]
) -> go.Figure:
    """Return one point per row, ‖z‖ over ‖x − b‖; a line where they are equal, dotted ones where
    squares differ.
    """
    every = -(-len(lengths) // MOST_POINTS)
    end = 1.05 * float(max(lengths.max(), code_lengths.max())) or 1.0
    colour, _ = category_style(0)
    points = go.Scatter(
        name="rows",
        x=lengths[::every],
        y=code_lengths[::every],
        mode="markers",
        marker={"color": fade(colour, 0.5), "size": 4},
        hovertemplate="‖x − b‖ %{x:.3g}<br>‖z‖ %{y:.3g}<extra></extra>",
    )
    lower, upper = 1 / (1 + BAND) ** 0.5, 1 / (1 - BAND) ** 0.5
    x, y = broken([[(0, 0), (end, lower * end)], [(0, 0), (end / upper, end)]])
    band = go.Scatter(name="squares differ by half", x=x, y=y, mode="lines", line=DOTTED)
    equal = line("equal", [0, end], [0, end], colour=GREY, width=1.5)
    axes = {"range": [0, end]}
    return framed(
        [points, band, equal],
        x="length of the input, ‖x − b‖",
        y="length of its code, ‖z‖",
        height=420,
        margin=(56, 16, 40, 46),
        xaxis=axes,
        yaxis=axes,
    )

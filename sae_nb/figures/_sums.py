"""A vector as a sum of vectors: one strip of coloured cells a term, the whole above, what is left below."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from plotly.subplots import make_subplots

from sae_nb.figures._frames import dress
from sae_nb.figures.theme import NOVEL, colour_scale, plot_text, scaled

STRIP = 25
"""Height of a strip, in CSS pixels."""


def sum_of_strips(
    strips: Mapping[str, Float[np.ndarray, " d"]],
    *,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
    box: tuple[float, float, float, float] | None = None,
    caption: str = "",
) -> go.Figure:
    """Draw one row of cells for each vector, from above, in one scale of colours; its origin next to it.

    Parameters
    ----------
    image, box
        Shown at the right, with a rectangle (left, top, right, bottom) in pixels; None: no image.
    caption
        Under the image; above the strips where there is none.
    """
    matrix = np.stack(list(strips.values()))
    widths = [0.78, 0.22] if image is not None else [1.0]
    figure = make_subplots(cols=len(widths), column_widths=widths, horizontal_spacing=0.03)
    end = float(np.abs(matrix).max()) or 1.0
    figure.add_heatmap(
        z=matrix,
        y=[plot_text(name) for name in strips],
        zmin=-end,
        zmax=end,
        ygap=4,
        colorscale=colour_scale(signed=True),
        showscale=False,
        hovertemplate="%{y}<br>neuron %{x}: %{z:.3g}<extra></extra>",
        col=1,
        row=1,
    )
    margin = (10, 24, 46 if image is None else 12, 46)
    dress(figure, STRIP * len(strips) + sum(margin[2:]), margin)
    # Names take the room they need, however narrow the page.
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, col=1)
    numbers = f"the {matrix.shape[1]} numbers of the vector: orange above zero, blue below"
    figure.update_xaxes(title_text=numbers, col=1)
    if image is None:
        return figure.update_layout(title={"text": plot_text(caption), "font_size": scaled(13)})
    figure.add_image(z=image, hoverinfo="skip", col=2, row=1)
    if box is not None:
        left, top, right, bottom = box
        figure.add_scatter(
            x=[left, right, right, left, left],
            y=[top, top, bottom, bottom, top],
            mode="lines",
            line={"color": NOVEL, "width": 3},
            hoverinfo="skip",
            showlegend=False,
            col=2,
            row=1,
        )
    bare = {"showticklabels": False, "showgrid": False, "ticks": "", "col": 2}
    figure.update_xaxes(title_text=plot_text(caption), **bare)
    figure.update_yaxes(**bare)
    return figure

"""A vector as a sum of vectors: one strip of coloured cells a term, the whole above, what is left below."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from plotly.subplots import make_subplots

from sae_nb.figures._plot_grids import dress
from sae_nb.figures.theme import NOVEL, colour_scale, plot_text, scaled

STRIP, NAME, IMAGE = 20, 21, 120
"""Heights of a strip, of the name above it and of the image, in CSS pixels."""


def sum_of_strips(
    strips: Mapping[str, Float[np.ndarray, " d"]],
    *,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
    box: tuple[float, float, float, float] | None = None,
    caption: str = "",
) -> go.Figure:
    """Draw one row of cells for each vector, from above, in one scale of colours; its name above it.

    Parameters
    ----------
    image, box
        Shown above the strips, with a rectangle (left, top, right, bottom) in pixels; None: no image.
    caption
        Above all.
    """
    matrix, names = np.stack(list(strips.values())), [plot_text(name) for name in strips]
    below = (STRIP + NAME) * len(names)
    heights = [IMAGE, below] if image is not None else [below]
    spacing = 0.02 if image is not None else 0.0
    figure = make_subplots(rows=len(heights), row_heights=heights, vertical_spacing=spacing)
    margin = (10, 10, 46, 46)
    dress(figure, sum(heights) + sum(margin[2:]), margin)
    figure.update_layout(
        title={"text": plot_text(caption), "font_size": scaled(13), "x": 0, "xref": "paper"}
    )
    if image is not None:
        _show(figure, image, box)
    last = len(heights)
    end = float(np.abs(matrix).max()) or 1.0
    figure.add_heatmap(
        z=matrix,
        y=names,
        zmin=-end,
        zmax=end,
        ygap=NAME,
        colorscale=colour_scale(signed=True),
        showscale=False,
        hovertemplate="%{y}<br>neuron %{x}: %{z:.3g}<extra></extra>",
        row=last,
        col=1,
    )
    for name in names:
        place = {"x": 0, "xref": "x domain", "xanchor": "left", "y": name, "yanchor": "bottom"}
        figure.add_annotation(
            text=name, yshift=STRIP // 2, showarrow=False, **place, row=last, col=1
        )
    figure.update_yaxes(autorange="reversed", visible=False, row=last)
    numbers = f"{matrix.shape[1]} numbers: orange above zero, blue below"
    return figure.update_xaxes(title_text=numbers, showgrid=False, row=last)


def _show(
    figure: go.Figure,
    image: UInt8[np.ndarray, "height width 3"],
    box: tuple[float, float, float, float] | None,
) -> None:
    """Draw an image in the first row, at its left."""
    figure.add_image(z=image, hoverinfo="skip", row=1, col=1)
    if box is not None:
        left, top, right, bottom = box
        figure.add_scatter(
            x=[left, right, right, left, left],
            y=[top, top, bottom, bottom, top],
            mode="lines",
            line={"color": NOVEL, "width": 3},
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=1,
        )
    figure.update_xaxes(visible=False, constrain="domain", constraintoward="left", row=1)
    figure.update_yaxes(visible=False, row=1)

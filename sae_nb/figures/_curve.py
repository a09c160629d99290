"""A curve through states in its two largest axes, and the way along it beside the chord."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures._plot_grids import framed, line
from sae_nb.figures.theme import CONTROL, CONTROL_DASH, NOVEL, PREDICTED, format_percent, plot_text

Places = Float[np.ndarray, "n 2"]


def curve_with_chord(
    curve: Places,
    states: Places,
    ways: Sequence[Places],
    *,
    names: Sequence[str],
    ends: Sequence[str],
    shares: Sequence[float],
) -> go.Figure:
    """Return the curve, the states that it was fitted to, and a way along it beside the straight one.

    Parameters
    ----------
    ways
        Of each end that can be chosen: several have a slider, which works without a kernel.
    names, ends
        Of the states, and of the ends of the ways.
    shares
        Of the curve's extent, along each of both axes.
    """
    points = go.Scatter(
        name="states",
        x=states[:, 0],
        y=states[:, 1],
        mode="markers+text",
        text=[plot_text(name) for name in names],
        textposition="top center",
        marker={"color": PREDICTED, "size": 7},
        hovertemplate="%{text}<extra></extra>",
    )
    moved = [_along(ways[0]), _chord(ways[0])]
    figure = framed(
        [line("curve", *curve.T, colour=PREDICTED, width=1.5), points, *moved],
        x=f"first axis of the curve, {format_percent(shares[0])} of it",
        y=f"second axis, {format_percent(shares[1])}",
        height=460 if len(ways) == 1 else 540,
        margin=(56, 16, 40, 46 if len(ways) == 1 else 130),
        yaxis={"scaleanchor": "x", "zeroline": False},
        xaxis={"zeroline": False},
    )
    if len(ways) > 1:
        steps = [_step(way, end) for way, end in zip(ways, ends, strict=True)]
        shown = {"prefix": "to ", "xanchor": "left"}
        figure.update_layout(sliders=[{"steps": steps, "currentvalue": shown, "pad": {"t": 50}}])
    return figure


def _along(way: Places) -> go.Scatter:
    return line("along the curve", *way.T, colour=NOVEL, width=4)


def _chord(way: Places) -> go.Scatter:
    return line("chord", *way[[0, -1]].T, colour=CONTROL, width=2.5, dash=CONTROL_DASH)


def _step(way: Places, end: str) -> dict[str, object]:
    """What a slider does: put the two ways, traces 2 and 3, elsewhere."""
    chord = way[[0, -1]]
    moved = {f: [way[:, i].tolist(), chord[:, i].tolist()] for i, f in enumerate("xy")}
    return {"method": "restyle", "label": plot_text(end), "args": [moved, [2, 3]]}

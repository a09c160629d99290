"""Repetition over depth → plotly figures: similarities of layers, phases compared with bands, R² by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures import (
    broken,
    category_style,
    framed,
    heatmaps,
    line,
    side_by_side,
    squares,
    theme,
)

if TYPE_CHECKING:
    from sae_nb.dynamics import PhaseEvidence


HEIGHT_PX = 270


def similarities_figure(
    readings: Mapping[str, Float[np.ndarray, "layers layers"]],
    cuts: Mapping[str, Sequence[int]] | None = None,
    *,
    low: float | None = None,
) -> go.Figure:
    """Draw the similarities of all pairs of layers, one square per reading, phases outlined."""
    matrices = {name: np.asarray(matrix, dtype=np.float64) for name, matrix in readings.items()}
    if low is None:
        low = min(0.0, *(float(np.nanmin(matrix)) for matrix in matrices.values()))
    figure = heatmaps(
        matrices,
        ends=(low, 1),
        hover="layers %{x}, %{y}: %{z:.2f}",
        bar="similarity",
        over={title: _outline(some) for title, some in (cuts or {}).items()},
        y="layer",
        height=HEIGHT_PX,
        margin=(44, 10, 8, 44),
    )
    for column, matrix in enumerate(matrices.values(), start=1):
        layers = list(range(1, len(matrix) + 1))
        figure.update_traces(x=layers, y=layers, selector={"type": "heatmap"}, col=column)
        ticks = {"tickvals": layers[:: max(1, len(layers) // 6)], "showgrid": False}
        figure.update_xaxes(range=[0.5, len(layers) + 0.5], col=column, **ticks)
        figure.update_yaxes(range=[len(layers) + 0.5, 0.5], col=column, **ticks)
    return figure


def _outline(cuts: Sequence[int]) -> list[go.Scatter]:
    x, y = squares(cuts)
    outline = line("phases", x, y, colour=theme.NOVEL, width=2.5, showlegend=False)
    return [outline.update(hoverinfo="skip")] if x else []


def evidence_figure(networks: Mapping[str, Sequence[PhaseEvidence]]) -> go.Figure:
    """Draw the gain of the best cut and the step at its borders over k; bars are bands without phases."""
    figure = side_by_side(
        ["phases k", "phases k"],
        y=["dissimilarity cut away", "step at the cuts"],
        gap=0.11,
        widths=(45, 44),
        height=HEIGHT_PX,
    )
    ks = sorted({one.phases.k for evidence in networks.values() for one in evidence})
    for index, (name, evidence) in enumerate(networks.items()):
        colour, symbol = category_style(index)
        places = [one.phases.k + 0.1 * (index - 0.5) for one in evidence]
        gains = [one.phases.gain for one in evidence], [one.banded_gain for one in evidence]
        steps = [one.phases.contrast for one in evidence], [one.banded_contrast for one in evidence]
        for column, (values, draws) in enumerate((gains, steps), start=1):
            figure.add_trace(_bars(places, draws, colour), row=1, col=column)
            figure.add_scatter(
                x=places,
                y=values,
                name=name,
                showlegend=column == 1,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 10},
                hovertemplate="%{y:.3f}<extra>" + name + "</extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(tickvals=ks, showgrid=False, range=[ks[0] - 0.4, ks[-1] + 0.4])
    return figure


def _bars(
    places: Sequence[float], draws: Sequence[Float[np.ndarray, " draws"]], colour: str
) -> go.Scatter:
    """Draw the central 90 % of the draws at each place, as one broken line."""
    ends = [np.nanpercentile(d, (5, 95)) if not np.isnan(d).all() else (0.0, 0.0) for d in draws]
    x, y = broken([(k, float(low)), (k, float(high))] for k, (low, high) in zip(places, ends))
    bars = line("band", x, y, colour=colour, width=7, opacity=0.35, showlegend=False)
    return bars.update(hoverinfo="skip")


def layers_figure(
    curves: Mapping[str, Float[np.ndarray, " layers"]],
    *,
    y_title: str,
    floors: Mapping[str, Float[np.ndarray, " layers"]] | None = None,
    y_range: tuple[float, float] | None = None,
) -> go.Figure:
    """Draw a number of every layer, one line per network or surrogate; floors dashed."""

    def drawn(name: str, values: Float[np.ndarray, " layers"], **look: Any) -> go.Scatter:
        layers, heights = list(range(1, len(values) + 1)), np.asarray(values, dtype=np.float64)
        return line(name, layers, heights, hover="layer %{x}: %{y:.3f}", **look)

    traces = [
        drawn(name, values, colour=colour, symbol=symbol, size=7)
        for index, (name, values) in enumerate(curves.items())
        for colour, symbol in [category_style(index)]
    ]
    traces += [
        drawn(name, values, colour=theme.CONTROL, width=1.6, dash=theme.CONTROL_DASH)
        for name, values in (floors or {}).items()
    ]
    longest = max((len(values) for values in curves.values()), default=0)
    return framed(
        traces,
        x="layer",
        y=y_title,
        height=HEIGHT_PX,
        xaxis_tickvals=list(range(1, longest + 1)),
        yaxis_range=y_range,
    )

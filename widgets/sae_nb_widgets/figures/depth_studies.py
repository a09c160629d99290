"""What depth repeats → plotly figures: similarities of layers, phases beside bands, R² by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

if TYPE_CHECKING:
    from sae_nb.dynamics import PhaseEvidence

from sae_nb_widgets.figures.theme import CONTROL, category_style, colour_scale, template, theme

GAP = 0.04
HEIGHT_PX = 270
PHASE_LINE = "#D55E00"


def similarities_figure(
    readings: Mapping[str, Float[np.ndarray, "layers layers"]],
    cuts: Mapping[str, Sequence[int]] | None = None,
    *,
    low: float | None = None,
) -> go.Figure:
    """Similarities of all pairs of layers, one square per reading, phases outlined.

    Parameters
    ----------
    readings
        Matrices by the title of their square.
    cuts
        Phases to outline, by title; a reading without any has none.
    low
        Lower end of the colours; None: the smallest value shown, or 0 if that is larger.
    """
    figure, n = go.Figure(), len(readings)
    part = (1 - GAP * (n - 1)) / n
    matrices = {name: np.asarray(matrix, dtype=np.float64) for name, matrix in readings.items()}
    smallest = min(float(np.nanmin(matrix)) for matrix in matrices.values())
    for i, (title, matrix) in enumerate(matrices.items()):
        number = "" if i == 0 else str(i + 1)
        layers = list(range(1, len(matrix) + 1))
        figure.add_heatmap(
            z=matrix,
            x=layers,
            y=layers,
            zmin=min(smallest, 0.0) if low is None else low,
            zmax=1,
            colorscale=colour_scale(),
            showscale=i == n - 1,
            colorbar={"title": {"text": "similarity"}, "thickness": 10},
            name=title,
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            hovertemplate="layers %{x}, %{y}: %{z:.2f}<extra>" + title + "</extra>",
        )
        _outline(figure, (cuts or {}).get(title, ()), number)
        left = i * (part + GAP)
        ticks = {"tickvals": layers[:: max(1, len(layers) // 6)], "showgrid": False}
        ends = [0.5, len(layers) + 0.5]
        x = {"domain": [left, left + part], "anchor": f"y{number}", "title": {"text": title}}
        x["range"] = ends
        y = {"range": ends[::-1], "anchor": f"x{number}", "showticklabels": i == 0}
        y |= {"title": {"text": "layer"}} if i == 0 else {}
        figure.update_layout({f"xaxis{number}": x | ticks, f"yaxis{number}": y | ticks})
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        margin={"l": 44, "r": 10, "t": 8, "b": 44},
    )
    return figure


def _outline(figure: go.Figure, cuts: Sequence[int], number: str) -> None:
    """Boxes around phases, as one line broken between them: a shape would be missing in stills."""
    x: list[float | None] = []
    y: list[float | None] = []
    for a, b in pairwise(cuts):
        low, high = a + 0.5, b + 0.5
        x += [low, high, high, low, low, None]
        y += [low, low, high, high, low, None]
    if x:
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            name="phases",
            showlegend=False,
            line={"color": PHASE_LINE, "width": 2.5},
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            hoverinfo="skip",
        )


def evidence_figure(networks: Mapping[str, Sequence[PhaseEvidence]]) -> go.Figure:
    """What the best cut gains, and the step at its borders, over k; bars are bands without phases.

    Parameters
    ----------
    networks
        Evidence for k = 2, 3, … by the name of the network. A bar holds nine tenths of the draws.
    """
    figure = go.Figure()
    for index, (name, evidence) in enumerate(networks.items()):
        colour, symbol = category_style(index)
        ks = [one.phases.k for one in evidence]
        parts = {
            "": ([one.phases.gain for one in evidence], [one.banded_gain for one in evidence]),
            "2": (
                [one.phases.contrast for one in evidence],
                [one.banded_contrast for one in evidence],
            ),
        }
        for number, (values, draws) in parts.items():
            _bars(figure, [k + 0.1 * (index - 0.5) for k in ks], draws, colour, number)
            figure.add_scatter(
                x=[k + 0.1 * (index - 0.5) for k in ks],
                y=values,
                name=name,
                showlegend=not number,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 10},
                xaxis=f"x{number}",
                yaxis=f"y{number}",
                hovertemplate="%{y:.3f}<extra>" + name + "</extra>",
            )
    axis = {"title": {"text": "phases k"}, "tickvals": sorted(set(ks)), "showgrid": False}
    axis["range"] = [min(ks) - 0.4, max(ks) + 0.4]
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        xaxis={**axis, "domain": [0, 0.45]},
        xaxis2={**axis, "domain": [0.56, 1], "anchor": "y2"},
        yaxis={"title": {"text": "dissimilarity cut away"}},
        yaxis2={"title": {"text": "step at the cuts"}, "anchor": "x2"},
        margin={"l": 56, "r": 16, "t": 34, "b": 46},
    )
    return figure


def _bars(
    figure: go.Figure,
    x: Sequence[float],
    draws: Sequence[Float[np.ndarray, " draws"]],
    colour: str,
    number: str,
) -> None:
    ends = [np.nanpercentile(d, (5, 95)) if not np.isnan(d).all() else (0.0, 0.0) for d in draws]
    figure.add_scatter(
        x=[value for k in x for value in (k, k, None)],
        y=[value for low, high in ends for value in (float(low), float(high), None)],
        name="band",
        showlegend=False,
        mode="lines",
        line={"color": colour, "width": 7},
        opacity=0.35,
        xaxis=f"x{number}",
        yaxis=f"y{number}",
        hoverinfo="skip",
    )


def layers_figure(
    curves: Mapping[str, Float[np.ndarray, " layers"]],
    *,
    y_title: str,
    floors: Mapping[str, Float[np.ndarray, " layers"]] | None = None,
    y_range: tuple[float, float] | None = None,
) -> go.Figure:
    """A number of every layer, one line per network or surrogate; floors dashed.

    Parameters
    ----------
    curves
        Values of layers 1, 2, … by name.
    y_title
        What the number is.
    floors
        The same number for something that learned nothing.
    y_range
        Ends of the vertical axis; None leaves them to the curves.
    """
    figure, longest = go.Figure(), 0
    for index, (name, values) in enumerate(curves.items()):
        colour, symbol = category_style(index)
        longest = max(longest, len(values))
        figure.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=np.asarray(values, dtype=np.float64),
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"color": colour, "symbol": symbol, "size": 7},
            hovertemplate="layer %{x}: %{y:.3f}<extra>" + name + "</extra>",
        )
    for name, values in (floors or {}).items():
        figure.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=np.asarray(values, dtype=np.float64),
            name=name,
            mode="lines",
            line={"color": CONTROL, "width": 1.6, "dash": "dash"},
            hovertemplate="layer %{x}: %{y:.3f}<extra>" + name + "</extra>",
        )
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        xaxis={"title": {"text": "layer"}, "tickvals": list(range(1, longest + 1))},
        yaxis={"title": {"text": y_title}, "range": y_range},
        margin={"l": 56, "r": 16, "t": 34, "b": 46},
    )
    return figure

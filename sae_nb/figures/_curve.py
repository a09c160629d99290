"""A curve through states: the way along it beside the chord, and what is read at values left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures._plot_grids import broken, framed, line, named_ticks
from sae_nb.figures.theme import (
    CONTROL,
    CONTROL_DASH,
    GREY,
    MID_GREY,
    NOVEL,
    PREDICTED,
    WARM,
    fade,
    format_percent,
    plot_text,
)

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


def hidden_values(
    known: Float[np.ndarray, " known"],
    hidden: Float[np.ndarray, " hidden"],
    on_curve: Float[np.ndarray, " hidden"],
    half_way: Float[np.ndarray, " hidden"],
    *,
    ring: str,
    noun: str,
    names: Mapping[float, str] | None = None,
) -> go.Figure:
    """Return what is read at values that a curve was not fitted on: on the diagonal it is right.

    Parameters
    ----------
    on_curve, half_way
        The value read where the curve has each hidden one, and half-way between its known neighbours.
    ring, noun
        What the curve and its values are called.
    names
        Of values that are not numbers.
    """
    low, high = (f(known.tolist() + hidden.tolist()) for f in (min, max))
    right = line("", [low, high], [low, high], colour=fade(GREY, 0.22), width=14, hoverinfo="skip")
    off = broken([(u, u), (u, read)] for u, read in zip(hidden, half_way, strict=True))
    stems = line("", *off, colour=fade(GREY, 0.4), width=1, hoverinfo="skip")
    drawn: list[go.Scatter] = [right.update(showlegend=False), stems.update(showlegend=False)]
    marks = (
        (f"{noun} it was fitted to", known, known, CONTROL, "circle", 6),
        ("half-way between two known ones", hidden, half_way, MID_GREY, "x-thin", 8),
        (f"left-out {noun}, on the {ring}", hidden, on_curve, WARM, "circle", 12),
    )
    for name, x, y, colour, symbol, size in marks:
        said = [[plot_text(_said(v, names)) for v in pair] for pair in zip(x, y, strict=True)]
        drawn.append(
            go.Scatter(
                name=name, x=x, y=y, mode="markers", customdata=said,
                marker={"color": colour, "symbol": symbol, "size": size,
                        "line": {"width": 2.2 if symbol == "x-thin" else 0, "color": colour}},
                hovertemplate="at %{customdata[0]} the model answers %{customdata[1]}<extra></extra>",
            )
        )  # fmt: skip
    ticks = {} if names is None or len(names) > 12 else named_ticks(names.values(), names)
    return framed(
        drawn,
        x=f"place on the {ring}",
        y="the model's answer there",
        height=460,
        margin=(56, 16, 62, 46),
        xaxis=ticks,
        yaxis=ticks,
        legend_traceorder="reversed",
    )


def _said(value: float, names: Mapping[float, str] | None) -> str:
    return f"{value:g}" if names is None else names[value]

"""The empty frame of a sequence's figure: its traces, its axes, and how rows share the height."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb_widgets.figures.frames import number_of, on_axes, plot_title
from sae_nb_widgets.figures.theme import (
    CONTROL,
    CONTROL_DASH,
    GREY,
    MID_GREY,
    NEUTRAL,
    NOVEL,
    PREDICTED,
    colour_scale,
    fade,
    scaled,
    template,
    theme,
)

NAMES_PX = 88
"""Between raster and what is under it: slanted names of times, and a title."""
ONE = (170, 29, 200, NAMES_PX, 214)
TWO = (120, 29, 80, 29, 141, NAMES_PX, 214)
"""Rows and the gaps between them for one and for two sequences. The sum is the same: a shown figure
whose height changes no longer refits its column."""
TOP_PX, BOTTOM_PX = 26, 44
ARC_FOOT, ARC_TOP = 1.04, 1.5
"""Arcs start just above the bands, whose top is 1, and rise with their span."""
MOST_ARCS = 6
PARTS = ("predicted", "novel", "raw")
COLOURS = {"predicted": PREDICTED, "novel": NOVEL}
CURSOR = fade(GREY, 0.45)
THIRDS = ((0.0, 0.28), (0.36, 0.64), (0.72, 1.0))
HALVES = ((0.0, 0.44), (0.56, 1.0))


def empty_figure() -> go.Figure:
    """Every trace and every axis, nothing in them yet."""
    figure = go.Figure(_traces())
    figure.update_layout(
        template=template(),
        margin={"l": 58, "r": 12, "t": TOP_PX, "b": BOTTOM_PX},
        barmode="stack",
        bargap=0.08,
        hovermode="closest",
        showlegend=True,
        legend={"x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom", "itemclick": False},
        annotations=[
            plot_title(place, "", size=theme().font_px, x=0.0, anchor="left") for place in range(8)
        ],
        height=figure_height(),
        **_axes(),
    )
    place_rows(figure, False)
    return figure


def figure_height() -> int:
    """Height in CSS pixels at the current scale."""
    return scaled(sum(ONE)) + TOP_PX + BOTTOM_PX


def place_rows(figure: go.Figure, two: bool) -> None:
    """Give every row its part of the height; the second bands have none where there is one sequence."""
    rows = TWO if two else ONE
    edges = 1 - np.cumsum([0, *rows]) / sum(rows)
    spans = [(float(edges[i + 1]), float(edges[i])) for i in range(0, len(rows), 2)]
    first, rest = spans[0], spans[1:]
    second = rest.pop(0) if two else (first[0], first[0] + 1e-3)
    for axis, span in (("", first), ("2", second), ("3", rest[0])):
        figure.layout[f"yaxis{axis}"].domain = span
    for number in range(4, 9):
        figure.layout[f"yaxis{number}"].domain = rest[1]
    for side in "xy":
        figure.layout[f"{side}axis2"].visible = two
    for trace in figure.data:
        if trace.xaxis == "x2":
            trace.visible = two


def _traces() -> list[Any]:
    return [
        _band("predicted", 0, PREDICTED, legend=True),
        _band("novel", 0, NOVEL, legend=True),
        _control("in other orders", 0, legend=True),
        _line("boundaries", 0, {"color": NEUTRAL, "width": 1.5, "dash": "dot"}),
        *(_line(f"arc {i}", 0, {"color": PREDICTED, "width": 2}) for i in range(MOST_ARCS)),
        _line("cursor", 0, {"color": CURSOR, "width": 5}),
        _band("second predicted", 1, PREDICTED),
        _band("second novel", 1, NOVEL),
        _control("second in other orders", 1),
        _line("second boundaries", 1, {"color": NEUTRAL, "width": 1.5, "dash": "dot"}),
        _line("second cursor", 1, {"color": CURSOR, "width": 5}),
        _heat("raster", 2, "atom %{customdata} at %{x}: %{z:.3g}<extra></extra>"),
        _line("raster cursor", 2, {"color": CURSOR, "width": 5}),
        *(
            _heat(f"{part} similarity", place, "%{x} and %{y}: cosine %{z:.2f}<extra></extra>")
            for place, part in enumerate(PARTS, start=3)
        ),
        *_map("predicted", 6),
        *_map("novel", 7),
    ]


def _band(name: str, place: int, colour: str, *, legend: bool = False) -> go.Bar:
    return go.Bar(
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        hoverinfo="text",
        showlegend=legend,
        **on_axes(place),
    )


def _control(name: str, place: int, *, legend: bool = False) -> go.Scatter:
    trace = _line(name, place, {"color": CONTROL, "width": 2, "dash": CONTROL_DASH})
    trace.showlegend = legend
    trace.line.shape = "hvh"
    return trace


def _line(name: str, place: int, line: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        name=name,
        mode="lines",
        line=line,
        hoverinfo="skip",
        showlegend=False,
        **on_axes(place),
    )


def _heat(name: str, place: int, hover: str) -> go.Heatmap:
    return go.Heatmap(
        name=name,
        showscale=False,
        colorscale=colour_scale(),
        hovertemplate=hover,
        hoverongaps=False,
        **on_axes(place),
    )


def _map(part: str, place: int) -> list[go.Scatter]:
    axes: dict[str, Any] = on_axes(place) | {"showlegend": False}
    path = go.Scatter(
        name=f"{part} map",
        mode="lines+markers",
        line={"color": fade(GREY, 0.35), "width": 1},
        marker={"size": 7, "colorscale": colour_scale()},
        hoverinfo="text",
        **axes,
    )
    ring = go.Scatter(
        name=f"{part} chosen",
        mode="markers",
        marker={"symbol": "circle-open", "size": 15, "color": MID_GREY, "line": {"width": 3}},
        hoverinfo="skip",
        **axes,
    )
    return [path, ring]


def _axes() -> dict[str, Any]:
    quiet = {"showgrid": False, "fixedrange": True}
    axes: dict[str, Any] = {
        "xaxis": {"showticklabels": False, "ticks": "", "showgrid": False},
        "xaxis2": {"showticklabels": False, "ticks": "", "showgrid": False, "matches": "x"},
        "xaxis3": {"matches": "x", "showgrid": False},
        "yaxis": {"fixedrange": True, "title": {"text": "share"}},
        "yaxis2": {"fixedrange": True, "title": {"text": "share"}},
        "yaxis3": {**quiet, "title": {"text": "atoms"}, "showticklabels": False, "ticks": ""},
    }
    for number in (4, 5, 6):
        axes[f"xaxis{number}"] = {**quiet, "constrain": "domain", "nticks": 4}
        axes[f"yaxis{number}"] = {
            **quiet,
            "autorange": "reversed",
            "scaleanchor": f"x{number}",
            "constrain": "domain",
            "nticks": 4,
        }
    for name in ("xaxis7", "yaxis7", "xaxis8", "yaxis8"):
        axes[name] = {**quiet, "showticklabels": False, "ticks": ""}
    for place, domain in enumerate(((0.0, 1.0),) * 3 + THIRDS + HALVES):
        suffix = number_of(place)
        axes[f"xaxis{suffix}"] |= {"domain": domain, "anchor": f"y{suffix}"}
        axes[f"yaxis{suffix}"] |= {"anchor": f"x{suffix}"}
    return axes

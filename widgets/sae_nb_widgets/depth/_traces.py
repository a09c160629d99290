"""The empty traces and axes of the figure of depth, made once and filled in place ever after."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb.figures import colour_scale, fade, number_of, on_axes, theme

CLASS_COLOURS = theme.OKABE_ITO[2:]
"""Blue and vermilion are taken: what Raptor predicts, and what a push brings."""
MOST_GROUPS = 10
"""Colours of paths; further classes share the last."""
UP = (0.0, 0.95)
HIDDEN = (0.0, 1e-3)
PLACES = {
    "paths": {"x3": (0.0, 1.0), "y3": UP},
    "phases": {"x": (0.0, 0.46), "y": UP, "x2": (0.58, 1.0), "y2": UP},
    "all": {"x": (0.0, 0.36), "y": (0.47, 0.95), "x2": (0.0, 0.36), "y2": (0.0, 0.24),
            "x3": (0.47, 1.0), "y3": UP},
}  # fmt: skip
"""Where similarity (x), gain (x2) and paths (x3) lie in each arrangement; what is not named is hidden."""
OWN, HEAD, PUSHED, ROLLED = "this one", "this one now", "pushed", "Raptor"


def style_of(group: int) -> tuple[str, str]:
    """Colour and marker of a class: the palette without the colours that mean something else."""
    row, place = divmod(group, len(CLASS_COLOURS))
    return CLASS_COLOURS[place], theme.MARKERS[row]


def heatmap() -> go.Heatmap:
    """Draw the similarity of blocks; its title explains the ends of the colours."""
    return go.Heatmap(
        meta="similarity",
        z=np.zeros((2, 2)),
        colorscale=colour_scale(),
        showscale=False,
        hovertemplate="block %{y} with block %{x}: %{z:.3f}<extra></extra>",
    )


def outline(name: str, colour: str, width: float) -> go.Scatter:
    """Draw the squares of the phases, without hover."""
    return go.Scatter(
        meta=name,
        mode="lines",
        line={"color": colour, "width": width},
        hoverinfo="skip",
        showlegend=False,
    )


def mark(name: str, x: str, y: str, size: int) -> go.Scatter:
    """Draw a white dot with a dark rim: where the cursor or k is."""
    return go.Scatter(
        meta=name,
        xaxis=x,
        yaxis=y,
        mode="markers",
        marker={
            "size": size,
            "color": theme.WHITE,
            "line": {"color": theme.PAGE_INKS[0], "width": 2},
        },
        hoverinfo="skip",
        showlegend=False,
    )


def gain_curve() -> go.Scatter:
    """Draw the gain of every k; a click chooses one."""
    return go.Scatter(
        meta="gain",
        **on_axes(1),
        mode="lines+markers",
        line={"color": theme.CONTROL, "width": 2},
        marker={"size": 7, "color": theme.CONTROL},
        hovertemplate="%{x} phases explain %{y:.0%} of the layer differences"
        "<br>click to choose<extra></extra>",
        showlegend=False,
    )


def group_traces(group: int) -> list[go.Scatter]:
    """Draw paths and heads of one colour, in the plane."""
    colour, symbol = style_of(group)
    line, heads = _group(group, "", colour, width=1.2, opacity=0.45, size=8, symbol=symbol)
    return [go.Scatter(**line, **on_axes(2)), go.Scatter(**heads, **on_axes(2))]


def group_traces_3d(group: int) -> list[go.Scatter3d]:
    """Draw paths and heads of one colour, in space."""
    colour, symbol = style_of(group)
    near = symbol_3d(symbol)
    line, heads = _group(group, " 3d", colour, width=2, opacity=0.5, size=4.5, symbol=near)
    return [go.Scatter3d(**line), go.Scatter3d(**heads)]


def _group(
    group: int, suffix: str, colour: str, *, width: float, opacity: float, size: float, symbol: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    hidden = {"showlegend": False, "visible": False}
    line = {
        "meta": f"path {group}{suffix}",
        "mode": "lines",
        "line": {"color": colour, "width": width},
        "opacity": opacity,
        "hoverinfo": "skip",
    }
    heads = {
        "meta": f"head {group}{suffix}",
        "mode": "markers",
        "marker": {"size": size, "color": colour, "symbol": symbol},
        "hovertemplate": "%{hovertext}<extra></extra>",
        "textposition": "top center",
    }
    return line | hidden, heads | hidden


def overlay_traces() -> list[go.Scatter]:
    """Draw the rim of a map, and the selected path with its overlays, in the plane."""
    rim = go.Scatter(
        meta="rim",
        **on_axes(2),
        mode="lines",
        line={"color": fade(theme.GREY, 0.5), "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    made = [go.Scatter(**on_axes(2), **_overlay(*style)) for style in OVERLAYS]
    return [rim, *made]


def overlay_traces_3d() -> list[go.Scatter3d]:
    """Draw a faint globe, and the selected path with its overlays, in space."""
    x, y, z = _globe()
    globe = go.Scatter3d(
        meta="globe",
        x=x,
        y=y,
        z=z,
        mode="lines",
        line={"color": theme.GLOBE, "width": 1.5},
        opacity=0.6,
        hoverinfo="skip",
        showlegend=False,
        visible=False,
    )
    made = [
        go.Scatter3d(**_overlay(f"{name} 3d", colour, dash, 2 * width))
        for name, colour, dash, width in OVERLAYS
    ]
    return [globe, *made]


def _globe() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Circles of latitude and meridians of the unit sphere, gaps between them."""
    turn = np.linspace(0, 2 * np.pi, 49)
    parts = []
    for up in np.deg2rad([-60, -30, 0, 30, 60]):
        flat = np.cos(up)
        parts.append(np.stack([flat * np.cos(turn), flat * np.sin(turn), np.full(49, np.sin(up))]))
    for east in np.deg2rad([0, 30, 60, 90, 120, 150]):
        ring = np.cos(turn)
        parts.append(np.stack([ring * np.cos(east), ring * np.sin(east), np.sin(turn)]))
    gap = np.full((3, 1), np.nan)
    joined = np.concatenate([piece for part in parts for piece in (part, gap)], axis=1)
    x, y, z = joined.astype(np.float32)
    return x, y, z


OVERLAYS = (
    (ROLLED, theme.PREDICTED, "dash", 2.5),
    (PUSHED, theme.NOVEL, "dot", 2.5),
    (OWN, theme.PAGE_INKS[0], "solid", 2.5),
    (HEAD, theme.PAGE_INKS[0], "solid", 2.5),
)


def _overlay(name: str, colour: str, dash: str, width: float) -> dict[str, Any]:
    return {
        "meta": name,
        "name": name.removesuffix(" 3d"),
        "mode": "lines+markers" + "+text" * (name in (OWN, HEAD)),
        "textposition": "bottom center",
        "line": {"color": colour, "dash": dash, "width": width},
        "marker": {"color": colour, "size": _marker_size(name)},
        "hoverinfo": "skip",
        "showlegend": False,
        "visible": False,
    }


def _marker_size(name: str) -> float:
    flat = name.removesuffix(" 3d")
    size = 12.0 if flat == HEAD else 4.5
    return size if name == flat else 0.6 * size


def symbol_3d(symbol: str) -> str:
    """Return the nearest symbol that three-dimensional plots know."""
    known = ("circle", "square", "diamond", "cross", "x")
    return symbol if symbol in known else "diamond"


def title(place: int) -> dict[str, Any]:
    """Return the title of similarity (0), gain (1) or paths (2)."""
    return {
        "text": ("similarity of blocks", "differences between phases", "paths")[place],
        "x": 0,
        "y": 1,
        "yshift": 3,
        "xref": f"x{number_of(place)} domain",
        "yref": f"y{number_of(place)} domain",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }


def axes() -> dict[str, Any]:
    """Return quiet axes for paths, square ones for similarity; their positions are in `PLACES`."""
    soft = {"backgroundcolor": theme.CLEAR, "gridcolor": theme.GLOBE_GRID,
            "zerolinecolor": theme.GLOBE_GRID, "showticklabels": False,
            "showspikes": False}  # fmt: skip
    quiet = {"showticklabels": False, "ticks": "", "showgrid": True, "automargin": False}
    square = {"constrain": "domain", "showgrid": False}
    return {
        "xaxis": {"anchor": "y", "constraintoward": "left", "title": {"text": "block"}, **square},
        "yaxis": {"anchor": "x", "constraintoward": "top", "scaleanchor": "x", **square},
        "xaxis2": {"anchor": "y2", "title": {"text": "phases"}, "dtick": 1},
        "yaxis2": {"anchor": "x2", "range": [-0.05, 1.05], "tickvals": [0, 0.5, 1],
                   "tickformat": ".0%"},
        "xaxis3": {"anchor": "y3", "constrain": "domain", **quiet},
        "yaxis3": {"anchor": "x3", "constrain": "domain", **quiet},
        "scene": {"aspectmode": "cube", "xaxis": soft, "yaxis": soft, "zaxis": soft,
                  "camera": {"eye": {"x": 1.1, "y": 1.0, "z": 0.65}}},
    }  # fmt: skip

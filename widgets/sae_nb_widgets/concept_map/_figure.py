"""The map as a plain figure, for files and for readers without JavaScript: record in, `go.Figure` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from sae_nb.figures import css_colour, current_theme, plot_text, template, theme
from sae_nb.summaries import ConceptMapSummary
from sae_nb_widgets.concept_map._raster import MOST_AS_MARKS, placed_raster
from sae_nb_widgets.concept_map._styles import Look, base_size, map_height

# plotly copies a trace whole for each property read: drawn without it, small ones are faster.
PART = 512
MOST_NAMES = 12
NAME_CHARACTERS = 36
NOMINAL_PX = (760, 440)
"""A little less than the sheet: names that fit here fit there."""
AROUND = np.array(
    [(0.0, 0.0)]
    + [
        (1.6 * far * np.cos(angle), far * np.sin(angle))
        for far in (18, 34, 52, 72)
        for angle in np.arange(12) * np.pi / 6
    ]
)
"""Where a name may stand around the middle of its cluster, in pixels, the nearest first."""
POINTS_PER_PIXEL = 0.04
"""So many points may be covered for a name to stand so much nearer."""

Word = Sequence[Any]


def still_figure(
    record: ConceptMapSummary,
    look: Look,
    *,
    shown: Int[np.ndarray, " shown"],
    sizes: Float[np.ndarray, " n"],
    chosen: Int[np.ndarray, " m"],
    current: int,
    words: Sequence[Word],
    spokes: Sequence[tuple[Sequence[float], float]],
    both: bool,
) -> go.Figure:
    """Return the points `shown`, what is chosen ringed, a cone's lines and widths, names, and a key."""
    figure = go.Figure()
    if record.archetypes is not None:
        corners = record.archetypes.corners
        thin = {"color": theme.NEUTRAL, "width": 1.2}
        _line(figure, np.concatenate([corners, corners[:1]]), thin)
    if both and record.other_xy is not None:
        faint = {"size": 4, "symbol": "square", "color": theme.CONTROL}
        _scatter(figure, record.other_xy, faint, "other dictionary")
    told = dict(look.legend)
    if look.bar:
        title, *ticks = look.bar
        told |= {1: f"{title.split(':')[0]} {ticks[0][1]}", len(look.palette) - 1: ticks[-1][1]}
    many = len(shown) > MOST_AS_MARKS
    if many:
        figure.add_layout_image(placed_raster(record.xy, look, shown))
    for style, entry in enumerate(look.palette):
        points = shown[look.styles[shown] == style]
        if many:  # one that the key and the axes go by
            points = points[[0]] if len(points) and told.get(style) else points[:0]
        for start in range(0, len(points), PART):
            some = points[start : start + PART]
            symbol = "circle-open" if entry["shape"] == "ring" else entry["shape"]
            marker = {
                "color": css_colour(entry["light"]),
                "symbol": symbol,
                "size": sizes[some].tolist(),
            }
            _scatter(figure, record.xy[some], marker, told.get(style, "") if start == 0 else "")
    for (x, y, to_x, to_y), width in spokes:
        ends = np.array([(x, y), (to_x, to_y)])
        _line(figure, ends, {"color": theme.RINGS[0], "width": width})
    ring = {"symbol": "circle-open", "color": theme.RINGS[0], "size": base_size(len(sizes)) + 6}
    for start in range(0, len(chosen), PART):
        _scatter(figure, record.xy[chosen[start : start + PART]], {**ring, "line": {"width": 1.6}})
    if 0 <= current < len(record.xy):
        thick = {**ring, "size": base_size(len(sizes)) + 9, "line": {"width": 2.6}}
        _scatter(figure, record.xy[[current]], thick)
    names = placed_words(words, record.xy)
    figure.add_scatter(
        x=[x for x, _, _ in names],
        y=[y for _, y, _ in names],
        text=[plot_text(text) for _, _, text in names],
        mode="text",
        textfont={"size": current_theme().font_px},
        showlegend=False,
        hoverinfo="skip",
    )
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    figure.update_layout(
        template=template(),
        height=map_height(),
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        xaxis=hidden,
        yaxis={**hidden, "scaleanchor": "x"},
    )
    return figure


def _line(figure: go.Figure, xy: Float[np.ndarray, "n 2"], look: dict[str, Any]) -> None:
    figure.add_scatter(
        x=xy[:, 0].tolist(), y=xy[:, 1].tolist(), mode="lines", line=look, showlegend=False
    )


def _scatter(
    figure: go.Figure, xy: Float[np.ndarray, "n 2"], marker: dict[str, Any], name: str = ""
) -> None:
    figure.add_scatter(
        x=xy[:, 0].tolist(),
        y=xy[:, 1].tolist(),
        mode="markers",
        marker=marker,
        line={"color": marker["color"]},  # the key of a still drawing takes its colour from it
        name=plot_text(name),
        showlegend=bool(name),
        hoverinfo="skip",
    )


def placed_words(words: Sequence[Word], xy: Float[np.ndarray, "n 2"]) -> list[Word]:
    """Return the names that fit on the sheet, none over another, each where it covers few points."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    # Pixels per unit of a map that is drawn to one scale in both directions.
    scale = float(min(np.array(NOMINAL_PX) / np.maximum(high - low, 1e-9)))
    some = xy[:: -(-len(xy) // MOST_AS_MARKS)]
    each = len(xy) / len(some)
    points, rim = (some - low) * scale, (high - low) * scale
    size = current_theme().font_px
    kept: list[Word] = []
    taken: list[tuple[Any, Any]] = []
    for x, y, name in words[:MOST_NAMES]:
        text = name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"
        half = np.array([0.3 * size * len(text) + 4, 0.75 * size])
        inwards = np.minimum(half, rim / 2)
        spots = np.clip((np.array([x, y]) - low) * scale + AROUND, inwards, rim - inwards)
        cost = POINTS_PER_PIXEL * np.linalg.norm(AROUND, axis=1)
        cost += each * (np.abs(points - spots[:, None]) < half).all(axis=2).sum(axis=1)
        for middle, other in taken:
            cost[(np.abs(spots - middle) < half + other).all(axis=1)] = np.inf
        best = int(cost.argmin())
        if np.isfinite(cost[best]):
            taken.append((spots[best], half))
            kept.append((*(low + spots[best] / scale).tolist(), text))
    return kept

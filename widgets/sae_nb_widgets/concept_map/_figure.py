"""The map as a plain figure, for files and for readers without JavaScript: record in, `go.Figure` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from sae_nb.atoms import ConceptMapSummary
from sae_nb.figures import current_theme, plot_text, template, theme
from sae_nb.figures.theme import css_colour
from sae_nb_widgets.concept_map._raster import MOST_AS_MARKS, placed_raster
from sae_nb_widgets.concept_map._styles import Look, base_size, map_height

# plotly copies a trace whole for each property read: drawn without it, small ones are faster.
PART = 512
MOST_NAMES = 24
MOST_RINGS = 500
"""Rings around what one of two dictionaries alone has, of those in view; as in `point_crowd.js`."""
MOST_RINGED, FAINT = 20, 0.45
"""Chosen points from which on none has a ring: they are lit, and the others grey, as in `point_map.js`."""
MOST_COMPARED = 5000
"""Squares of a second dictionary, and lines between pairs, that are drawn."""
NAME_CHARACTERS = 36
NOMINAL_PX = (760, 440)
"""A little less than the sheet: names that fit here fit there."""
AROUND = np.array(
    [(0.0, 0.0)]
    + [
        (1.6 * far * np.cos(angle), far * np.sin(angle))
        for far in (18, 34)
        for angle in np.arange(12) * np.pi / 6
    ]
)
"""Candidate positions of a name around the middle of its cluster, in pixels, the nearest first."""
POINTS_PER_PIXEL = 0.04
"""Number of points that may be covered for a name to be one pixel nearer."""

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
    _draw_others(figure, record, both)
    back = shown[~np.isin(shown, chosen)] if len(chosen) else shown[:0]
    _draw_points(figure, record.xy, look, back, sizes, FAINT)
    _draw_points(figure, record.xy, look, shown[~np.isin(shown, back)], sizes)
    for (x, y, to_x, to_y), width in spokes:
        ends = np.array([(x, y), (to_x, to_y)])
        _line(figure, ends, {"color": theme.RINGS[0], "width": width})
    _draw_rings(figure, record.xy, base_size(len(sizes)), chosen, current)
    _draw_names(figure, placed_words(words, record.xy))
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    figure.update_layout(
        template=template(),
        height=map_height(),
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        xaxis=hidden,
        yaxis={**hidden, "scaleanchor": "x"},
    )
    return figure


def _draw_others(figure: go.Figure, record: ConceptMapSummary, both: bool) -> None:
    """Draw the layers under the atoms: the corners they are mixtures of, the second dictionary."""
    if record.archetypes is not None:
        corners = record.archetypes.corners
        thin = {"color": theme.NEUTRAL, "width": 1.2}
        _line(figure, np.concatenate([corners, corners[:1]]), thin)
    if both and record.other_xy is not None:
        faint = {"size": 4, "symbol": "square", "color": theme.CONTROL}
        _scatter(figure, few(record.other_xy), faint, "other dictionary")


def _draw_points(
    figure: go.Figure,
    xy: Float[np.ndarray, "n 2"],
    look: Look,
    shown: Int[np.ndarray, " shown"],
    sizes: Float[np.ndarray, " n"],
    opacity: float = 1.0,
) -> None:
    """The points, style by style with the words of the key; very many as one raster."""
    words = _key_words(look)
    many = len(shown) > MOST_AS_MARKS
    if many:
        figure.add_layout_image(placed_raster(xy, look, shown))
    for style, entry in enumerate(look.palette):
        points = shown[look.styles[shown] == style]
        if many:  # one that the key and the axes go by
            points = points[[0]] if len(points) and words.get(style) else points[:0]
        symbol = "circle-open" if entry["shape"] == "ring" else entry["shape"]
        colour = css_colour(entry["light"]) if opacity == 1 else theme.GREY
        marker = {"color": colour, "symbol": symbol, "opacity": opacity}
        for start in range(0, len(points), PART):
            some = points[start : start + PART]
            name = words.get(style, "") if start == 0 and opacity == 1 else ""
            _scatter(figure, xy[some], {**marker, "size": sizes[some].tolist()}, name)


def _key_words(look: Look) -> dict[int, str]:
    """Return the text of the key for a style; of a scale, its ends."""
    words = dict(look.legend)
    if look.bar:
        title, *ticks = look.bar
        words |= {1: f"{title.split(':')[0]} {ticks[0][1]}", len(look.palette) - 1: ticks[-1][1]}
    return words


def _draw_rings(
    figure: go.Figure,
    xy: Float[np.ndarray, "n 2"],
    size: float,
    chosen: Int[np.ndarray, " m"],
    current: int,
) -> None:
    """A ring around each point that is chosen, a thick one around the current one."""
    ring = {"symbol": "circle-open", "color": theme.RINGS[0], "size": size + 6}
    if len(chosen) <= MOST_RINGED:
        _scatter(figure, xy[chosen], {**ring, "line": {"width": 1.6}})
    if 0 <= current < len(xy):
        _scatter(figure, xy[[current]], {**ring, "size": size + 9, "line": {"width": 2.6}})


def _draw_names(figure: go.Figure, names: Sequence[Word]) -> None:
    figure.add_scatter(
        x=[x for x, _, _ in names],
        y=[y for _, y, _ in names],
        text=[plot_text(text) for _, _, text in names],
        mode="text",
        textfont={"size": current_theme().font_px},
        showlegend=False,
        hoverinfo="skip",
    )


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
    for x, y, name, *_ in words[:MOST_NAMES]:
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


def few(rows: np.ndarray, most: int = MOST_COMPARED) -> np.ndarray:
    """Return some of very many rows, evenly; all of few."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]

"""The traces of a still picture as strokes: bars, lines and markers, heat-maps."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np
from jaxtyping import Float

from sae_nb_widgets.figures.axes import Axis, categories_of, numbers_of
from sae_nb_widgets.figures.canvas import Dot, Label, Polyline, Rectangle, Stroke
from sae_nb_widgets.figures.theme import (
    GREY,
    cividis,
    css_colour,
    fade,
    format_number,
    signed_colours,
    theme,
)

MOST_CELLS = 64
"""Along one side of a heat-map; more are thinned."""


@dataclass
class Beside:
    """How the bars of a trace stand to the others of their subplot."""

    place: int = 0
    of: int = 1
    stacked: dict[float, float] | None = None
    """Heights so far by place; None where bars do not stand on each other."""


def colour_at(colour: Any, index: int, otherwise: str) -> str:
    """Return the colour of one mark: its own, the trace's, or from the sequential map."""
    if isinstance(colour, str):
        return colour
    if colour is None:
        return otherwise
    value = colour[index]
    if isinstance(value, str):
        return value
    known = np.asarray(colour, dtype=np.float64)
    low, high = np.nanmin(known), np.nanmax(known)
    share = (value - low) / ((high - low) or 1.0)
    return css_colour(cividis(np.array([share]))[0].tolist())


def _bars(trace: Any, x: Axis, y: Axis, colour: str, beside: Beside) -> list[Stroke]:
    lying = trace.orientation == "h"
    along, across = (x, y) if lying else (y, x)
    lengths = numbers_of(trace.x if lying else trace.y, [])
    names = categories_of([trace], "y" if lying else "x")
    given = trace.y if lying else trace.x
    at = numbers_of(given, names) if given is not None else np.arange(len(lengths), dtype=float)
    step = float(np.min(np.diff(np.sort(at)))) if len(at) > 1 else 1.0
    widths = np.broadcast_to(0.9 * step if trace.width is None else trace.width, at.shape)
    feet = _feet(at, lengths, beside)
    start = float(along.start)
    strokes: list[Stroke] = []
    for i, (middle, foot, length) in enumerate(zip(at.tolist(), feet, lengths.tolist())):
        end = float(along.place(foot + length)[0])
        if not np.isfinite(end):
            continue
        part = float(widths[i]) / beside.of
        first = middle - float(widths[i]) / 2 + part * beside.place
        a, b = sorted(across.place([first, first + part]).tolist())
        low, high = sorted((start if along.log else float(along.place(foot)[0]), end))
        left, top, right, bottom = (low, a, high, b) if lying else (a, low, b, high)
        title = f"{middle:g}: {format_number(length)}"
        fill = colour_at(trace.marker.color, i, colour)
        strokes.append(Rectangle(left, top, right - left, bottom - top, fill, title))
    return strokes


def _feet(
    at: Float[np.ndarray, " n"], lengths: Float[np.ndarray, " n"], beside: Beside
) -> list[float]:
    """Where bars begin: at zero, or on top of what stands at their place already."""
    if beside.stacked is None:
        return [0.0] * len(lengths)
    feet = [beside.stacked.get(float(place), 0.0) for place in at]
    for place, foot, length in zip(at.tolist(), feet, np.nan_to_num(lengths).tolist()):
        beside.stacked[place] = foot + length
    return feet


def _scatter(trace: Any, x: Axis, y: Axis, colour: str, _: Beside) -> list[Stroke]:
    names_x, names_y = categories_of([trace], "x"), categories_of([trace], "y")
    height = numbers_of(trace.y, names_y)
    along = np.arange(len(height)) if trace.x is None else numbers_of(trace.x, names_x)
    points = list(zip(x.place(along).tolist(), y.place(height).tolist()))
    mode = trace.mode or ("lines+markers" if len(points) < 20 else "lines")
    line_colour = trace.line.color if isinstance(trace.line.color, str) else colour
    strokes: list[Stroke] = []
    for run in _runs(points):
        if trace.fill in ("tozeroy", "toself", "tonexty"):
            closed = run if trace.fill == "toself" else [(run[0][0], y.start), *run]
            closed = closed if trace.fill == "toself" else [*closed, (run[-1][0], y.start)]
            fill = trace.fillcolor or fade(GREY, 0.2)
            strokes.append(Polyline(closed, "none", 0, fill=fill))
        if "lines" in mode:
            dashed = trace.line.dash not in (None, "solid")
            strokes.append(Polyline(run, line_colour, trace.line.width or 2, dashed))
    strokes += _markers(trace, points, line_colour) if "markers" in mode else []
    return strokes + (_texts(trace, points) if "text" in mode else [])


def _markers(trace: Any, points: list[tuple[float, float]], colour: str) -> list[Stroke]:
    marker = trace.marker
    # Read once: plotly takes half a millisecond for every attribute.
    size, ink_given, symbol, opacity = marker.size, marker.color, marker.symbol, marker.opacity
    edge_given, edge_ink = marker.line.width, marker.line.color
    strokes: list[Stroke] = []
    for i, (px, py) in enumerate(points):
        faint = float(_of(opacity, i, 1.0))
        if not (math.isfinite(px) and math.isfinite(py)) or faint == 0:
            continue
        radius = float(_of(size, i, 6)) / 2
        ink = colour_at(ink_given, i, colour)
        is_open = str(_of(symbol, i, "circle")).endswith("-open")
        edge = float(_of(edge_given, i, 2 if is_open else 0))
        # Without a colour of its own an edge has the marker's.
        outline = (ink if is_open else colour_at(edge_ink, i, ink)) if edge else ""
        strokes.append(Dot(px, py, radius, "none" if is_open else ink, outline, edge, faint))
    return strokes


def _of(given: Any, index: int, otherwise: Any) -> Any:
    """One of a list, or the one that stands for all."""
    if isinstance(given, list | tuple | np.ndarray):
        return given[index] if index < len(given) else otherwise
    return otherwise if given is None else given


def _texts(trace: Any, points: list[tuple[float, float]]) -> list[Stroke]:
    texts = [trace.text] * len(points) if isinstance(trace.text, str) else trace.text or ()
    sides = trace.textposition or "middle center"
    strokes: list[Stroke] = []
    for i, ((px, py), text) in enumerate(zip(points, texts)):
        if not text or not (math.isfinite(px) and math.isfinite(py)):
            continue
        side = sides if isinstance(sides, str) else sides[i]
        up = {"top": -9.0, "bottom": 18.0}.get(side.split()[0], 4.0)
        # Text to the left of a point ends there.
        anchor = {"left": "end", "right": "start"}.get(side.split()[-1], "middle")
        size = theme().font_px - 1
        strokes.append(Label(px, py + up, unescape(str(text)), anchor=anchor, size=size))
    return strokes


def _runs(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if all(math.isfinite(v) for v in point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _heatmap(trace: Any, x: Axis, y: Axis, _: str, __: Beside) -> list[Stroke]:
    z = _matrix(trace.z)
    if not z.size or not np.isfinite(z).any():
        return []
    skip = [max(1, math.ceil(n / MOST_CELLS)) for n in z.shape]
    low = trace.zmin if trace.zmin is not None else np.nanmin(z)
    high = trace.zmax if trace.zmax is not None else np.nanmax(z)
    paint = signed_colours if low < 0 < high else cividis
    scaled = (z - low) / ((high - low) or 1.0)
    scaled = 2 * scaled - 1 if paint is signed_colours else scaled
    tops, lefts = (_edges(trace, side, n, axis) for side, n, axis in zip("yx", z.shape, (y, x)))
    strokes: list[Stroke] = []
    for row in range(0, z.shape[0], skip[0]):
        for column in range(0, z.shape[1], skip[1]):
            block = scaled[row : row + skip[0], column : column + skip[1]]
            known = block[np.isfinite(block)]
            if not known.size:
                continue  # a gap shows what is behind
            ends = min(column + skip[1], z.shape[1]), min(row + skip[0], z.shape[0])
            left, right = sorted((lefts[column], lefts[ends[0]]))
            top, bottom = sorted((tops[row], tops[ends[1]]))
            # The strongest of a thinned block: a rare firing must stay visible.
            fill = css_colour(paint(known[[np.abs(known).argmax()]])[0].tolist())
            strokes.append(Rectangle(left, top, right - left, bottom - top, fill))
    return strokes


def _matrix(given: Any) -> Float[np.ndarray, "rows columns"]:
    """The heights of a heat-map, also as plotly writes them to JSON."""
    if isinstance(given, dict):
        flat = np.frombuffer(base64.b64decode(given["bdata"]), given["dtype"])
        sizes = [int(n) for n in str(given["shape"]).split(",")]
        return flat.reshape(sizes).astype(np.float64)
    return np.asarray([] if given is None else given, dtype=np.float64)


def _edges(trace: Any, side: str, n: int, axis: Axis) -> list[float]:
    """Pixel positions of the n + 1 borders between cells."""
    given = trace[side]
    centres = None if given is None else numbers_of(given, categories_of([trace], side))
    if centres is None or len(centres) != n:
        borders = np.arange(n + 1) - 0.5
    elif n == 1:
        borders = centres[0] + np.array([-0.5, 0.5])
    else:
        middles = (centres[1:] + centres[:-1]) / 2
        borders = np.concatenate(
            ([2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]])
        )
    return [float(v) for v in axis.place(borders)]


DRAWN = {"bar": _bars, "scatter": _scatter, "scattergl": _scatter, "heatmap": _heatmap}
"""How each kind of trace is drawn."""

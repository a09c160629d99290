"""The traces of a still image as strokes: bars, lines and markers, heat-maps."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from plotly.basedatatypes import BaseTraceType

from sae_nb.figures._axes import Axis, borders, categories_of, matrix, numbers_of, plain
from sae_nb.figures.shapes import Dot, Label, Picture, Polyline, Rectangle, Stroke, parse_colour
from sae_nb.figures.theme import (
    GREY,
    cividis,
    css_colour,
    current_theme as theme,
    fade,
    format_number,
    signed_colours,
)

TEXT_GAP = 7.0
"""Distance from a point to the words next to it, in CSS pixels."""

_ARM = 0.35  # half the width of the arms of a cross
_PLUS = (
    (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
    (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
)  # fmt: skip
CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
    "triangle-up": ((0, -1.1), (1.1, 0.8), (-1.1, 0.8)),
    "triangle-down": ((0, 1.1), (1.1, -0.8), (-1.1, -0.8)),
    "cross": _PLUS,
    "x": tuple(((a - b) * 0.75, (a + b) * 0.75) for a, b in _PLUS),
    "star": tuple(
        (r * math.sin(math.pi * i / 5), -r * math.cos(math.pi * i / 5))
        for i, r in enumerate([1.3, 0.55] * 5)
    ),
}
"""Of the markers that are not round, in radii."""

SHADES = 8
"""Of a heat-map's colours in the legend."""

MOST_CELLS = 64
"""Along one side of a heat-map; more are thinned."""


@dataclass
class BarPlace:
    """The arrangement of the bars of a trace with the others of their subplot; `stacked`: heights so
    far by place.
    """

    place: int = 0
    of: int = 1
    stacked: dict[float, float] | None = None


def colour_at(colour: Sequence[float | str] | str | None, index: int, otherwise: str) -> str:
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


def _bars(trace: BaseTraceType, x: Axis, y: Axis, colour: str, among: BarPlace) -> list[Stroke]:
    lying = trace.orientation == "h"
    along, across = (x, y) if lying else (y, x)
    lengths = numbers_of(trace.x if lying else trace.y, [])
    names = categories_of([trace], "y" if lying else "x")
    given = trace.y if lying else trace.x
    at = numbers_of(given, names) if given is not None else np.arange(len(lengths), dtype=float)
    step = float(np.min(np.diff(np.sort(at)))) if len(at) > 1 else 1.0
    widths = np.broadcast_to(0.9 * step if trace.width is None else trace.width, at.shape)
    feet = _feet(at, lengths, among)
    start = float(along.start)
    strokes: list[Stroke] = []
    for i, (middle, foot, length) in enumerate(zip(at.tolist(), feet, lengths.tolist())):
        end = float(along.place(foot + length)[0])
        if not np.isfinite(end):
            continue
        part = float(widths[i]) / among.of
        first = middle - float(widths[i]) / 2 + part * among.place
        a, b = sorted(across.place([first, first + part]).tolist())
        low, high = sorted((start if along.log else float(along.place(foot)[0]), end))
        left, top, right, bottom = (low, a, high, b) if lying else (a, low, b, high)
        title = f"{middle:g}: {format_number(length)}"
        fill = colour_at(trace.marker.color, i, colour)
        strokes.append(Rectangle(left, top, right - left, bottom - top, fill, title))
    return strokes


def _feet(
    at: Float[np.ndarray, " n"], lengths: Float[np.ndarray, " n"], among: BarPlace
) -> list[float]:
    """Return the lower ends of bars: zero, or the top of the bars below them."""
    if among.stacked is None:
        return [0.0] * len(lengths)
    feet = [among.stacked.get(float(place), 0.0) for place in at]
    for place, foot, length in zip(at.tolist(), feet, np.nan_to_num(lengths).tolist()):
        among.stacked[place] = foot + length
    return feet


def _scatter(trace: BaseTraceType, x: Axis, y: Axis, colour: str, _: BarPlace) -> list[Stroke]:
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
            strokes += _area(trace, closed)
        if "lines" in mode:
            dashed = trace.line.dash not in (None, "solid")
            strokes.append(Polyline(run, line_colour, trace.line.width or 2, dashed))
    strokes += markers(trace, points, line_colour) if "markers" in mode else []
    return strokes + (_texts(trace, points) if "text" in mode else [])


def _area(trace: BaseTraceType, corners: list[tuple[float, float]]) -> list[Stroke]:
    """Return the area that a line encloses, as a tint."""
    return [Polyline(corners, "none", 0, fill=trace.fillcolor or fade(GREY, 0.2))]


def markers(trace: BaseTraceType, points: list[tuple[float, float]], colour: str) -> list[Stroke]:
    """Return the markers of a trace at some points, in pixels."""
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
        shape = str(_of(symbol, i, "circle")).removesuffix("-open")
        inside = "none" if is_open else ink
        if shape in CORNERS and faint == 1:
            corners = [(px + radius * dx, py + radius * dy) for dx, dy in CORNERS[shape]]
            line = outline or "none"
            strokes.append(Polyline([*corners, corners[0]], line, edge, fill=inside))
        else:
            strokes.append(Dot(px, py, radius, inside, outline, edge, faint))
    return strokes


def _of(given: object, index: int, otherwise: float | str) -> Any:
    """One of a list, or the one for all."""
    if isinstance(given, list | tuple | np.ndarray):
        return given[index] if index < len(given) else otherwise
    return otherwise if given is None else given


def _texts(trace: BaseTraceType, points: list[tuple[float, float]]) -> list[Stroke]:
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
        aside = {"end": -TEXT_GAP, "start": TEXT_GAP}.get(anchor, 0.0)
        lines = re.split(r"<br\s*/?>", str(text))
        # Lines above a point end there, those below begin there, others are centred on it.
        first = {"top": 1 - len(lines), "bottom": 0}.get(side.split()[0], (1 - len(lines)) / 2)
        for number, words in enumerate(lines):
            at = py + up + (first + number) * 1.25 * size
            strokes.append(Label(px + aside, at, plain(words), anchor=anchor, size=size, halo=True))
    return strokes


def _runs(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if all(math.isfinite(v) for v in point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _heatmap(trace: BaseTraceType, x: Axis, y: Axis, _: str, __: BarPlace) -> list[Stroke]:
    z = matrix(trace.z)
    if not z.size or not np.isfinite(z).any():
        return []
    skip = [max(1, math.ceil(n / MOST_CELLS)) for n in z.shape]
    low, high = colour_ends(trace, z)
    tops, lefts = (
        axis.place(borders(numbers_of(trace[side], categories_of([trace], side)), n)).tolist()
        for side, n, axis in zip("yx", z.shape, (y, x))
    )
    strokes: list[Stroke] = []
    for row in range(0, z.shape[0], skip[0]):
        for column in range(0, z.shape[1], skip[1]):
            block = z[row : row + skip[0], column : column + skip[1]]
            known = block[np.isfinite(block)]
            if not known.size:
                continue  # a gap shows what is behind
            ends = min(column + skip[1], z.shape[1]), min(row + skip[0], z.shape[0])
            left, right = sorted((lefts[column], lefts[ends[0]]))
            top, bottom = sorted((tops[row], tops[ends[1]]))
            # The strongest of a thinned block: a rare firing must stay visible.
            share = (known[[np.abs(known).argmax()]] - low) / ((high - low) or 1.0)
            fill = css_colour(heat_colours(trace, share, low < 0 < high)[0].tolist())
            wide, tall = (
                length - gap if gap and gap < length else length
                for length, gap in ((right - left, trace.xgap), (bottom - top, trace.ygap))
            )
            corner = (left + right - wide) / 2, (top + bottom - tall) / 2
            strokes.append(Rectangle(*corner, wide, tall, fill))
    return strokes


def _image(trace: BaseTraceType, x: Axis, y: Axis, _: str, __: BarPlace) -> list[Stroke]:
    pixels = matrix(trace.z).astype(np.uint8)
    rows, columns = pixels.shape[:2]
    left, right = sorted(x.place([-0.5, columns - 0.5]).tolist())
    top, bottom = sorted(y.place([-0.5, rows - 0.5]).tolist())
    side = min(right - left, bottom - top)  # pixels are square, and the image in the middle
    across, down = side * min(1, columns / rows), side * min(1, rows / columns)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    corner = ((left + right - across) / 2, (top + bottom - down) / 2)
    return [Picture(*corner, across, down, file.getvalue(), smooth=max(rows, columns) > MOST_CELLS)]


DRAWN = {
    "bar": _bars, "scatter": _scatter, "scattergl": _scatter, "heatmap": _heatmap, "image": _image,
}  # fmt: skip
"""The drawing function of each kind of trace."""


def heat_colours(
    trace: BaseTraceType, shares: Float[np.ndarray, " n"], signed: bool
) -> UInt8[np.ndarray, "n 3"]:
    """Return the colours of a heat-map from its lowest value (0) to its highest (1), over white paper."""
    if not trace.colorscale:
        return signed_colours(2 * shares - 1) if signed else cividis(shares)
    table = np.array([parse_colour(colour) for _, colour in trace.colorscale], np.float64)
    opacity = table[:, 3:] / 255
    over_white = table[:, :3] * opacity + 255 * (1 - opacity)
    where, at = [stop for stop, _ in trace.colorscale], np.clip(shares, 0, 1)
    channels = [np.interp(at, where, over_white[:, c]) for c in range(3)]
    return np.floor(np.stack(channels, axis=-1) + 0.5).astype(np.uint8)


def colour_ends(trace: BaseTraceType, z: Float[np.ndarray, "rows columns"]) -> tuple[float, float]:
    """Return the values of a heat-map that have the first and the last colour."""
    low = trace.zmin if trace.zmin is not None else np.nanmin(z)
    high = trace.zmax if trace.zmax is not None else np.nanmax(z)
    return float(low), float(high)

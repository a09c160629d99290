"""A plotly figure as a drawing without a browser: bars, lines, markers, heat-maps, their axes.

For readers without JavaScript and for notebooks shown without a kernel. It covers what our panels
draw and nothing more; a trace of another kind is left out and named under the drawing.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from PIL import Image

from sae_nb.figures._sheets import filled, key
from sae_nb.figures._strokes import (
    INK,
    Dot,
    Drawing,
    Label,
    Picture,
    Polyline,
    Rectangle,
    Stroke,
    moved,
    parse_colour,
    shortened,
    text_width,
)
from sae_nb.figures.theme import (
    AXIS,
    GREY,
    GRID,
    PALETTE,
    cividis,
    css_colour,
    current_theme as theme,
    fade,
    format_count,
    format_number,
    signed_colours,
)

# -------------------------------------------------------------------------------------------------
# Axes of a still image: what range, which ticks, where a value lies on the sheet.


@dataclass(frozen=True)
class Axis:
    """Maps data to pixels along one side."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    title: str
    ticks: tuple[tuple[float, str], ...]
    named: bool = False
    """Whether its ticks are names of rows or columns, not places on a scale."""
    categories: tuple[str, ...] = ()
    """Those names; one of them is a place, too."""

    def place(self, values: Any) -> Float[np.ndarray, " n"]:
        """Return pixel positions of data values; what a log axis cannot show is NaN."""
        if isinstance(values, str):
            values = numbers_of([values], list(self.categories))
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if self.log:
            numbers = np.log10(np.where(numbers > 0, numbers, np.nan))
        span = self.high - self.low or 1.0
        return self.start + (numbers - self.low) / span * (self.end - self.start)


def axis_settings(figure: go.Figure, name: str) -> Any:
    """Return the layout's settings of the axis "x", "y2", …."""
    return figure.layout[f"{name[0]}axis{name[1:]}"]


def read_axis(
    figure: go.Figure, name: str, traces: Sequence[Any], pixels: tuple[float, float]
) -> Axis:
    """Return one axis of a figure as it lies between two pixel positions."""
    settings = axis_settings(figure, name)
    log = settings.type == "log"
    categories = categories_of(traces, name[0])
    values = _values_along(traces, name[0], categories)
    if log:
        values = np.log10(values[values > 0])
    tight = any(trace.type == "heatmap" for trace in traces)
    leader = axis_settings(figure, settings.matches) if settings.matches else settings
    source = settings if settings.range is not None else leader
    low, high = _range(source, values, categories, tight=tight)
    base = figure.layout[f"{name[0]}axis"] if settings.domain is None else settings
    first, last = base.domain or (0.0, 1.0)
    start, end = pixels
    length = end - start
    ticks = _ticks(settings, low, high, log, categories)
    title = plain(settings.title.text or "")
    named = bool(categories) or settings.ticktext is not None
    ends = start + length * first, start + length * last
    return Axis(low, high, *ends, log, title, ticks, named, tuple(categories))


def categories_of(traces: Sequence[Any], side: str) -> list[str]:
    """Return the names along one side ("x" or "y") of traces, in order; none where it is numbers."""
    names: dict[str, None] = {}
    for trace in traces:
        values = _along(trace, side)
        if values is not None and not isinstance(values, dict):
            names |= dict.fromkeys(value for value in values if isinstance(value, str))
    return list(names)


def _along(trace: Any, side: str) -> Any:
    """Return the positions of a trace along one side; an image has no such list: its axes give its extent."""
    return None if trace.type == "image" else trace[side]


def numbers_of(values: Any, categories: list[str]) -> Float[np.ndarray, " n"]:
    """Return values as numbers: categories as their index, gaps as NaN, plotly's JSON decoded."""
    if values is None:
        return np.zeros(0)
    if isinstance(values, dict):
        return _decoded(values)
    if categories:
        return np.array([categories.index(v) if v in categories else np.nan for v in values])
    return np.asarray(
        [np.nan if v is None else v for v in np.asarray(values, dtype=object).tolist()],
        dtype=np.float64,
    )


def _decoded(array: dict[str, Any]) -> Float[np.ndarray, " n"]:
    """An array as plotly writes it to JSON."""
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"]).astype(np.float64)


def _values_along(traces: Sequence[Any], side: str, categories: list[str]) -> Any:
    parts = [np.zeros(0)]
    for trace in traces:
        values = numbers_of(_along(trace, side), categories)
        if trace.type == "heatmap":
            sizes = _matrix(trace.z).shape
            n = sizes["yx".index(side)] if len(sizes) == 2 else 0
            values = _borders(values, n)[[0, -1]] if n else np.zeros(0)
        parts.append(values)
        long_side = "x" if trace.type == "bar" and trace.orientation == "h" else "y"
        if trace.type == "bar" and side == long_side:
            parts.append(np.zeros(1))
    joined = np.concatenate(parts)
    return joined[np.isfinite(joined)]


def _range(
    settings: Any, values: Any, categories: list[str], *, tight: bool = False
) -> tuple[float, float]:
    if settings.range is not None and None not in settings.range:
        return float(settings.range[0]), float(settings.range[1])
    if categories:
        span = (-0.5, len(categories) - 0.5)
        return span[::-1] if settings.autorange == "reversed" else span
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.0 if tight else 0.05 * (high - low) or 0.5
    low = low if low == 0 else low - pad
    return (high + pad, low) if settings.autorange == "reversed" else (low, high + pad)


def _ticks(
    settings: Any, low: float, high: float, log: bool, categories: list[str]
) -> tuple[tuple[float, str], ...]:
    if settings.showticklabels is False or settings.visible is False:
        return ()
    if settings.tickvals is not None:
        texts = settings.ticktext if settings.ticktext is not None else settings.tickvals
        return tuple((float(v), plain(s)) for v, s in zip(settings.tickvals, texts))
    if categories:
        step = max(1, len(categories) // 12)
        return tuple((float(i), categories[i]) for i in range(0, len(categories), step))
    bottom, top = min(low, high), max(low, high)
    if log:
        powers = range(math.ceil(bottom - 1e-9), math.floor(top + 1e-9) + 1)
        every = max(1, len(powers) // 6)
        words = {p: format_count(10**p) if 0 <= p < 7 else format_number(10.0**p) for p in powers}
        return tuple((10.0**p, words[p]) for p in list(powers)[::every])
    rough = (top - bottom) / 5
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    gap = next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)
    first = math.ceil(bottom / gap - 1e-9) * gap
    count = int((top - first) / gap + 1e-9) + 1
    decimals = max(0, -math.floor(math.log10(gap) + 1e-9))
    values = [first + i * gap for i in range(count)]
    return tuple((v, f"{v:,.{decimals}f}".replace(",", "\u2009")) for v in values)


# -------------------------------------------------------------------------------------------------
# The traces of a still image as strokes: bars, lines and markers, heat-maps.


def plain(text: Any) -> str:
    """Return a label of plotly's as text in one line, without its few tags of HTML."""
    return unescape(
        re.sub(r"</?(?:b|i|sub|sup|span)\b[^>]*>", "", re.sub(r"<br\s*/?>", " ", str(text)))
    )


BESIDE = 7.0
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
class Beside:
    """The arrangement of the bars of a trace with the others of their subplot; `stacked`: heights so
    far by place.
    """

    place: int = 0
    of: int = 1
    stacked: dict[float, float] | None = None


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
    """Return the lower ends of bars: zero, or the top of the bars below them."""
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
            strokes += _area(trace, closed)
        if "lines" in mode:
            dashed = trace.line.dash not in (None, "solid")
            strokes.append(Polyline(run, line_colour, trace.line.width or 2, dashed))
    strokes += _markers(trace, points, line_colour) if "markers" in mode else []
    return strokes + (_texts(trace, points) if "text" in mode else [])


def _area(trace: Any, corners: list[tuple[float, float]]) -> list[Stroke]:
    """Return the area that a line encloses: a tint, or the hatching of a random control's bar."""
    if not trace.fillpattern.shape:
        return [Polyline(corners, "none", 0, fill=trace.fillcolor or fade(GREY, 0.2))]
    (left, right), (top, bottom) = ((min(side), max(side)) for side in zip(*corners))
    colour = trace.fillpattern.fgcolor or GREY
    return [Rectangle(left, top, right - left, bottom - top, colour, hatched=True)]


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
        shape = str(_of(symbol, i, "circle")).removesuffix("-open")
        if shape in CORNERS and faint == 1:
            strokes.append(
                _polygon(shape, px, py, radius, "none" if is_open else ink, outline, edge)
            )
        else:
            strokes.append(Dot(px, py, radius, "none" if is_open else ink, outline, edge, faint))
    return strokes


def _polygon(
    shape: str, x: float, y: float, radius: float, fill: str, outline: str, edge: float
) -> Stroke:
    """A marker with corners."""
    corners = [(x + radius * dx, y + radius * dy) for dx, dy in CORNERS[shape]]
    return Polyline([*corners, corners[0]], outline or "none", edge, fill=fill)


def _of(given: Any, index: int, otherwise: Any) -> Any:
    """One of a list, or the one for all."""
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
        aside = {"end": -BESIDE, "start": BESIDE}.get(anchor, 0.0)
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


def _heatmap(trace: Any, x: Axis, y: Axis, _: str, __: Beside) -> list[Stroke]:
    z = _matrix(trace.z)
    if not z.size or not np.isfinite(z).any():
        return []
    skip = [max(1, math.ceil(n / MOST_CELLS)) for n in z.shape]
    low, high = _ends(trace, z)
    tops, lefts = (
        axis.place(_borders(numbers_of(trace[side], categories_of([trace], side)), n)).tolist()
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
            fill = css_colour(_heat_colours(trace, share, low < 0 < high)[0].tolist())
            wide, tall = (
                _without_gap(right - left, trace.xgap),
                _without_gap(bottom - top, trace.ygap),
            )
            corner = (left + right - wide) / 2, (top + bottom - tall) / 2
            strokes.append(Rectangle(*corner, wide, tall, fill))
    return strokes


def _without_gap(length: float, gap: float | None) -> float:
    """Return what a gap between cells leaves of a cell; one that is narrower has none."""
    return length - gap if gap and gap < length else length


def _matrix(given: Any) -> Float[np.ndarray, "rows columns *channels"]:
    """The heights of a heat-map or the pixels of an image, also as plotly writes them to JSON."""
    if isinstance(given, dict):
        return _decoded(given).reshape([int(n) for n in str(given["shape"]).split(",")])
    return np.asarray([] if given is None else given, dtype=np.float64)


def _borders(centres: Float[np.ndarray, " m"], n: int) -> Float[np.ndarray, " n_plus_1"]:
    """Borders between n cells: half-way between centres, and as far beyond the outer ones."""
    if len(centres) != n:
        return np.arange(n + 1) - 0.5
    if n == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middles = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
    return np.concatenate(([first], middles, [last]))


def _image(trace: Any, x: Axis, y: Axis, _: str, __: Beside) -> list[Stroke]:
    pixels = _matrix(trace.z).astype(np.uint8)
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


# -------------------------------------------------------------------------------------------------
# A plotly figure as a drawing without a browser: bars, lines, markers, heat-maps, their axes.


WIDTH = 700
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 26, 46
WIDEST_NAMES = 0.4
"""Of the sheet, for the names along an upright axis; longer ones end in "…"."""

STACKED = ("stack", "relative")


def to_svg(figure: go.Figure, width: int = WIDTH) -> str:
    """Return `figure` as an SVG element.

    Examples
    --------
    >>> to_svg(go.Figure(go.Bar(x=[1, 2], y=[3, 4])))[:4]
    '<svg'
    """
    return draw_figure(figure, width).to_svg()


def to_png(figure: go.Figure, width: int = WIDTH) -> bytes:
    """Return `figure` as PNG on white."""
    return draw_figure(figure, width).to_png()


def to_png_tag(figure: go.Figure, width: int = WIDTH) -> str:
    """Return `figure` as an HTML image that carries its own PNG."""
    data = base64.b64encode(to_png(figure, width)).decode()
    return f'<img width="{width}" alt="the figure" src="data:image/png;base64,{data}"/>'


def draw_figure(figure: go.Figure, width: int = WIDTH) -> Drawing:
    """Return the strokes of `figure` on a sheet `width` pixels wide."""
    legend = _legend(figure, width)
    top = max(TOP, int(figure.layout.margin.t or 0), int(legend.height) + 10)
    below = max(BOTTOM, int(2.9 * theme().font_px))
    height = int(figure.layout.height or theme().figure_height_px)
    pairs: dict[tuple[str, str], list[tuple[int, Any]]] = {}
    unknown = []
    for index, trace in enumerate(figure.data):
        if trace.visible in (False, "legendonly"):
            continue
        if trace.type not in DRAWN:
            unknown.append(trace.type)
            continue
        pairs.setdefault((trace.xaxis or "x", trace.yaxis or "y"), []).append((index, trace))
    strokes: list[Stroke] = []
    sheet = (_room_for_names(figure, pairs, width), width - RIGHT), (height - below, top)
    for names, traces in pairs.items():
        strokes += _draw_subplot(figure, names, traces, sheet)
    # Words over marks, whichever came first.
    strokes = [_inside(s, width) for s in sorted(strokes, key=lambda s: isinstance(s, Label))]
    strokes += [moved(stroke, RIGHT, 4) for stroke in legend.strokes]
    if unknown:
        text = f"not drawn here: {', '.join(sorted(set(unknown)))}"
        strokes.append(Label(width - RIGHT, height - 2, text, anchor="end", size=11))
    return Drawing(width, height, tuple(strokes))


def _room_for_names(figure: go.Figure, pairs: Any, width: int) -> float:
    """Return the position of the leftmost axis such that the names and the title next to it are on the
    sheet.
    """
    size, room = theme().font_px, float(LEFT)
    for _, name in pairs:
        settings = axis_settings(figure, name)
        base = axis_settings(figure, f"x{name[1:]}")
        if settings.visible is False or (base.domain or (0.0,))[0] > 0:
            continue
        axis = read_axis(figure, name, _drawn_against(figure, name), (0.0, 1.0))
        widest = max((text_width(text, size - 1) for _, text in axis.ticks), default=0.0)
        title = 1.6 * size if axis.title else 0.0
        room = max(room, min(widest, WIDEST_NAMES * width) + title + 10)
    return room


def _inside(stroke: Stroke, width: float) -> Stroke:
    """A label that would leave the sheet, moved back on it."""
    if not isinstance(stroke, Label) or stroke.angle:
        return stroke
    wide = text_width(stroke.text, stroke.size)
    left = stroke.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[stroke.anchor] * wide
    return moved(stroke, max(2 - left, 0.0) - max(left + wide - width + 2, 0.0), 0)


def _draw_subplot(
    figure: go.Figure,
    names: tuple[str, str],
    traces: list[tuple[int, Any]],
    sheet: tuple[tuple[float, float], tuple[float, float]],
) -> list[Stroke]:
    x, y = (
        read_axis(figure, name, _drawn_against(figure, name), pixels)
        for name, pixels in zip(names, sheet)
    )
    x, y = _around_image(figure, names, traces, x, y)
    hidden = any(axis_settings(figure, name).visible is False for name in names)
    ruled = [axis_settings(figure, name).showgrid is not False for name in names]
    strokes = [] if hidden else _frame(x, y, ruled)
    if hidden and x.title and axis_settings(figure, names[0]).visible is not False:
        at = (x.start + x.end) / 2, y.start + 1.6 * theme().font_px
        strokes.append(Label(*at, x.title, size=theme().font_px))
    strokes += _placed_images(figure, x, y, names, below=True)
    bars = [index for index, trace in traces if trace.type == "bar"]
    mode, stacked = figure.layout.barmode, dict[float, float]()
    for index, trace in traces:
        beside = Beside(stacked=stacked) if mode in STACKED else Beside()
        if trace.type == "bar" and mode in (None, "group"):
            beside = Beside(bars.index(index), len(bars))
        strokes += DRAWN[trace.type](trace, x, y, PALETTE[index % 6], beside)
    return strokes + _placed_images(figure, x, y, names) + _shapes(figure, x, y, names)


def _around_image(
    figure: go.Figure, names: tuple[str, str], traces: list[tuple[int, Any]], x: Axis, y: Axis
) -> tuple[Axis, Axis]:
    """Return axes as an image makes them: its pixels are square, the first row is on top.

    Other traces keep their places over the image. Axes with a range of their own stay as they are.
    """
    shapes = [_matrix(trace.z).shape for _, trace in traces if trace.type == "image"]
    settings = [axis_settings(figure, name) for name in names]
    if not shapes or any(one.range is not None for one in settings):
        return x, y
    rows, columns = shapes[0][:2]
    pixel = min(abs(x.end - x.start) / columns, abs(y.start - y.end) / rows)
    share = {"left": 0.0, "right": 1.0}.get(settings[0].constraintoward, 0.5)
    left = x.start + share * (x.end - x.start - pixel * columns)
    middle, half = (y.start + y.end) / 2, pixel * rows / 2
    return (
        replace(x, low=-0.5, high=columns - 0.5, start=left, end=left + pixel * columns),
        replace(y, low=rows - 0.5, high=-0.5, start=middle + half, end=middle - half),
    )


def _drawn_against(figure: go.Figure, name: str) -> list[Any]:
    """Traces that say how long an axis is: its own, and those of axes that match it."""
    side = f"{name[0]}axis"
    leader = axis_settings(figure, name).matches or name
    return [
        trace
        for trace in figure.data
        if trace.type in DRAWN
        and trace.visible not in (False, "legendonly")
        and leader
        in (trace[side] or name[0], axis_settings(figure, trace[side] or name[0]).matches)
    ]


def _frame(x: Axis, y: Axis, ruled: Sequence[bool]) -> list[Stroke]:
    """Ticks, names, titles and grid lines; where rows or columns have names, no line strikes through."""
    size = theme().font_px
    strokes: list[Stroke] = []
    title_room = 1.6 * size if y.title else 0.0
    for value, text in y.ticks:
        at = float(y.place(value)[0])
        if ruled[1] and not y.named:
            strokes.append(Polyline([(x.start, at), (x.end, at)], GRID, 1))
        short = shortened(text, size - 1, max(x.start - title_room - 8, 40))
        strokes.append(Label(x.start - 6, at + size * 0.35, short, anchor="end", size=size - 1))
    free = -1e9  # where the last name ended: names that would overlap are left out
    for value, text in x.ticks:
        at = float(x.place(value)[0])
        if ruled[0] and not x.named:
            strokes.append(Polyline([(at, y.start), (at, y.end)], GRID, 1))
        strokes.append(Polyline([(at, y.start), (at, y.start + 4)], AXIS, 1))
        half = text_width(text, size - 1) / 2
        if at - half > free:
            strokes.append(Label(at, y.start + size + 5, text, size=size - 1))
            free = at + half + 4
    strokes.append(Polyline([(x.start, y.start), (x.end, y.start)], AXIS, 1))
    if x.title:
        title = shortened(x.title, size, max(x.end - x.start, 120))
        strokes.append(Label((x.start + x.end) / 2, y.start + 2.6 * size, title, size=size))
    if y.title:
        widest = max((text_width(text, size - 1) for _, text in y.ticks), default=0.0)
        left = max(x.start - 14 - widest, 0.7 * size)
        strokes.append(Label(left, (y.start + y.end) / 2, y.title, size=size, angle=-90))
    return strokes


def _position(axis: Axis, value: Any, reference: str | None, along: tuple[float, float]) -> float:
    if reference == "paper" or str(reference or "").endswith("domain"):
        return along[0] + float(value) * (along[1] - along[0])
    return float(axis.place(value)[0])


def _placed_images(
    figure: go.Figure, x: Axis, y: Axis, names: tuple[str, str], *, below: bool = False
) -> list[Stroke]:
    """Images that the axes place by their centres, as large as they fit into their boxes.

    Over the traces, or those that belong `below` them.
    """
    strokes: list[Stroke] = []
    for image in figure.layout.images:
        if (image.xref, image.yref) != names or (image.layer == "below") != below:
            continue
        file = base64.b64decode(image.source.partition(",")[2])
        with Image.open(io.BytesIO(file)) as opened:
            wide, high = opened.size
        (left, right), (up, down) = (
            axis.place([at - size / 2, at + size / 2])
            for axis, at, size in ((x, image.x, image.sizex), (y, image.y, image.sizey))
        )
        across, along = abs(right - left) / wide, abs(down - up) / high
        if image.sizing != "stretch":
            across = along = min(across, along)
        wide, high = across * wide, along * high
        corner = float((left + right - wide) / 2), float((up + down - high) / 2)
        strokes.append(Picture(*corner, float(wide), float(high), file, smooth=below))
    return strokes


def _shapes(figure: go.Figure, x: Axis, y: Axis, names: tuple[str, str]) -> list[Stroke]:
    strokes: list[Stroke] = []
    ours = {*names, *(f"{name} domain" for name in names), "paper", None}
    for shape in figure.layout.shapes:
        if shape.xref not in ours or shape.yref not in ours:
            continue
        if shape.xsizemode == "pixel":  # a ring, or an outline, around a point
            at, up = float(x.place(shape.xanchor)[0]), float(y.place(shape.yanchor)[0])
            if shape.type == "path":
                strokes.append(_outline(shape, at, up))
                continue
            edge = {"outline": shape.line.color, "edge": shape.line.width}
            strokes.append(Dot(at, up, abs(shape.x1 - shape.x0) / 2, "none", **edge))
            continue
        x0, x1 = (_position(x, v, shape.xref, (x.start, x.end)) for v in (shape.x0, shape.x1))
        y0, y1 = (_position(y, v, shape.yref, (y.start, y.end)) for v in (shape.y0, shape.y1))
        if shape.type == "line":
            dashed = shape.line.dash not in (None, "solid")
            colour = shape.line.color or fade(GREY, 0.8)
            strokes.append(Polyline([(x0, y0), (x1, y1)], colour, shape.line.width or 2, dashed))
        elif shape.fillcolor:
            box = (min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))
            strokes.append(Rectangle(*box, shape.fillcolor))
    for note in figure.layout.annotations:
        if note.xref in ours and note.yref in ours and note.text and note.x is not None:
            at = _position(x, note.x, note.xref, (x.start, x.end))
            up = _position(y, note.y, note.yref, (y.start, y.end))
            text = plain(note.text)
            anchor = {"left": "start", "right": "end"}.get(note.xanchor, "middle")
            # Text that hangs below its point or is centred on it, as plotly's yanchor says.
            drop = {"top": 1.0, "middle": 0.35}.get(note.yanchor, -0.25) * theme().font_px
            colour = note.font.color or INK
            size = theme().font_px - 1
            at, up = at + (note.xshift or 0), up - (note.yshift or 0)
            strokes.append(Label(at, up + drop, text, anchor, size, colour=colour, halo=True))
    return strokes


def _outline(shape: Any, at: float, up: float) -> Polyline:
    """An outline around a point, through all points that its path names, by their pixels."""
    numbers = [float(one) for one in re.findall(r"-?\d+\.?\d*", shape.path)]
    points = [(at + a, up - b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    return Polyline([*points, points[0]], shape.line.color, shape.line.width)


def _legend(figure: go.Figure, width: int) -> Drawing:
    """Every named trace with the mark it is drawn with; plotly's own rule of which traces count."""
    seen = [(i, t) for i, t in enumerate(figure.data) if t.type in DRAWN and t.visible is not False]
    drawn = [(index, trace) for index, trace in seen if trace.type != "heatmap"]
    several = len(drawn) > 1 or figure.layout.showlegend is True
    entries = [
        (_swatch(trace, PALETTE[index % 6]), plain(trace.name))
        for index, trace in drawn
        if trace.name and (trace.showlegend or (trace.showlegend is None and several))
    ]
    entries = entries if figure.layout.showlegend is not False else []
    bars = [_colour_bar(t) for _, t in seen if t.type == "heatmap" and t.showscale is not False]
    return key([*entries, *bars], width - 2 * RIGHT)


def _colour_bar(trace: Any) -> tuple[list[Stroke], str]:
    """The colours of a heat-map from its lowest to its highest value, and what they measure."""
    z = _matrix(trace.z)
    low, high = _ends(trace, z) if np.isfinite(z).any() else (0.0, 1.0)
    rgb = _heat_colours(trace, np.linspace(0, 1, SHADES), low < 0 < high)
    strokes: list[Stroke] = [
        Rectangle(i * 16 / SHADES, 0, 16 / SHADES, 12, css_colour(colour))
        for i, colour in enumerate(rgb.tolist())
    ]
    title = plain(trace.colorbar.title.text or trace.name or "")
    return strokes, f"{title} {format_number(low)} … {format_number(high)}".strip()


def _heat_colours(
    trace: Any, shares: Float[np.ndarray, " n"], signed: bool
) -> UInt8[np.ndarray, "n 3"]:
    """Colours of a heat-map from its lowest value (0) to its highest (1), over white paper."""
    if not trace.colorscale:
        return signed_colours(2 * shares - 1) if signed else cividis(shares)
    table = np.array([parse_colour(colour) for _, colour in trace.colorscale], np.float64)
    opacity = table[:, 3:] / 255
    over_white = table[:, :3] * opacity + 255 * (1 - opacity)
    where, at = [stop for stop, _ in trace.colorscale], np.clip(shares, 0, 1)
    channels = [np.interp(at, where, over_white[:, c]) for c in range(3)]
    return np.floor(np.stack(channels, axis=-1) + 0.5).astype(np.uint8)


def _ends(trace: Any, z: Float[np.ndarray, "rows columns"]) -> tuple[float, float]:
    """The values of a heat-map that have the first and the last colour."""
    low = trace.zmin if trace.zmin is not None else np.nanmin(z)
    high = trace.zmax if trace.zmax is not None else np.nanmax(z)
    return float(low), float(high)


def _swatch(trace: Any, colour: str) -> Stroke:
    """The mark of a trace in a legend."""
    if trace.type == "bar":
        return filled(colour_at(trace.marker.color, 0, colour))
    if trace.type == "scatter" and trace.fillpattern.shape:
        return Rectangle(1, 0, 14, 12, trace.fillpattern.fgcolor or colour, hatched=True)
    ink = trace.line.color if isinstance(trace.line.color, str) else colour
    if "markers" in (trace.mode or "lines"):
        strokes = _markers(trace, [(8.0, 6.0)], ink)
        return strokes[0] if strokes else filled(ink)
    dashed = trace.line.dash not in (None, "solid")
    return Polyline([(0, 6), (16, 6)], ink, trace.line.width or 2, dashed)

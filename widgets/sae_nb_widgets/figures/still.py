"""A plotly figure as a drawing without a browser: bars, lines, markers, heat-maps, their axes.

For readers without JavaScript and for notebooks shown without a kernel. It covers what our panels
draw and nothing more; a trace of another kind is left out and named under the drawing.
"""

from __future__ import annotations

import base64
import math
from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb_widgets.figures.axes import Axis, categories_of, numbers_of, read_axis
from sae_nb_widgets.figures.canvas import (
    Dot,
    Drawing,
    Label,
    Polyline,
    Rectangle,
    Stroke,
)
from sae_nb_widgets.theming import OKABE_ITO, format_number, signed_colours, theme
from sae_nb_widgets.theming import cividis as cividis_colours

WIDTH = 700
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 26, 46
GRID = "rgba(128,128,128,0.25)"
MOST_CELLS = 64


def to_svg(figure: go.Figure, width: int = WIDTH) -> str:
    """Return `figure` as an SVG element.

    Examples
    --------
    >>> to_svg(go.Figure(go.Bar(x=[1, 2], y=[3, 4])))[:4]
    '<svg'
    """
    return draw_figure(figure, width).to_svg()


def to_png(figure: go.Figure, width: int = WIDTH) -> bytes:
    """Return `figure` as PNG with a transparent background."""
    return draw_figure(figure, width).to_png()


def to_png_tag(figure: go.Figure, width: int = WIDTH) -> str:
    """Return `figure` as an HTML image that carries its own PNG."""
    data = base64.b64encode(to_png(figure, width)).decode()
    return f'<img width="{width}" alt="the figure" src="data:image/png;base64,{data}"/>'


def draw_figure(figure: go.Figure, width: int = WIDTH) -> Drawing:
    """Return the strokes of `figure` on a sheet `width` pixels wide."""
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
    for (x_name, y_name), traces in pairs.items():
        strokes += _draw_subplot(figure, x_name, y_name, traces, width, height)
    strokes += _legend(figure, width)
    if unknown:
        text = f"not drawn here: {', '.join(sorted(set(unknown)))}"
        strokes.append(Label(width - RIGHT, height - 2, text, anchor="end", size=11))
    return Drawing(width, height, tuple(strokes))


def _draw_subplot(
    figure: go.Figure,
    x_name: str,
    y_name: str,
    traces: list[tuple[int, Any]],
    width: int,
    height: int,
) -> list[Stroke]:
    only = [trace for _, trace in traces]
    x = read_axis(figure, x_name, only, (LEFT, width - RIGHT))
    y = read_axis(figure, y_name, only, (height - BOTTOM, TOP))
    strokes = _frame(x, y)
    bars = [trace for _, trace in traces if trace.type == "bar"]
    for index, trace in traces:
        share = (bars.index(trace), len(bars)) if trace.type == "bar" else (0, 1)
        if figure.layout.barmode in ("overlay", "stack", "relative"):
            share = (0, 1)
        strokes += DRAWN[trace.type](trace, x, y, OKABE_ITO[index % 6], share)
    return strokes + _shapes(figure, x, y, x_name, y_name)


# --- frame ----------------------------------------------------------------------------------------


def _frame(x: Axis, y: Axis) -> list[Stroke]:
    size = theme().font_px
    strokes: list[Stroke] = []
    for value, text in y.ticks:
        at = float(y.place(value)[0])
        strokes.append(Polyline([(x.start, at), (x.end, at)], GRID, 1))
        strokes.append(Label(x.start - 6, at + size * 0.35, text, anchor="end", size=size - 1))
    for value, text in x.ticks:
        at = float(x.place(value)[0])
        strokes.append(Polyline([(at, y.start), (at, y.start + 4)], GRID, 1))
        strokes.append(Label(at, y.start + size + 5, text, size=size - 1))
    strokes.append(Polyline([(x.start, y.start), (x.end, y.start)], "rgba(128,128,128,0.6)", 1))
    if x.title:
        strokes.append(Label((x.start + x.end) / 2, y.start + 2.6 * size, x.title, size=size))
    if y.title:
        middle = (y.start + y.end) / 2
        strokes.append(Label(x.start - 48, middle, y.title, size=size, angle=-90))
    return strokes


# --- traces ---------------------------------------------------------------------------------------


def _colour_at(colour: Any, index: int, otherwise: str) -> str:
    if isinstance(colour, str):
        return colour
    if colour is None:
        return otherwise
    value = colour[index]
    if isinstance(value, str):
        return value
    known = np.asarray(colour, dtype=np.float64)
    low, high = np.nanmin(known), np.nanmax(known)
    r, g, b = cividis_colours(np.array([(value - low) / ((high - low) or 1.0)]))[0].tolist()
    return f"rgb({r},{g},{b})"


def _bars(trace: Any, x: Axis, y: Axis, colour: str, share: tuple[int, int]) -> list[Stroke]:
    lying = trace.orientation == "h"
    along, across = (x, y) if lying else (y, x)
    ends = numbers_of(trace.x if lying else trace.y, [])
    names = categories_of([trace], "y" if lying else "x")
    given = trace.y if lying else trace.x
    at = numbers_of(given, names) if given is not None else np.arange(len(ends), dtype=float)
    step = float(np.min(np.diff(np.sort(at)))) if len(at) > 1 else 1.0
    widths = np.broadcast_to(0.9 * step if trace.width is None else trace.width, at.shape)
    foot = float(along.start) if along.log else float(along.place(0.0)[0])
    strokes: list[Stroke] = []
    for i, (middle, end, width) in enumerate(zip(at, along.place(ends), widths)):
        if not np.isfinite(end):
            continue
        part = float(width) / share[1]
        first = middle - width / 2 + part * share[0]
        a, b = sorted(across.place([first, first + part]).tolist())
        fill = _colour_at(trace.marker.color, i, colour)
        low, high = sorted((foot, float(end)))
        box = (low, a, high - low, b - a) if lying else (a, low, b - a, high - low)
        title = f"{middle:g}: {format_number(float(ends[i]))}"
        strokes.append(Rectangle(box[0], box[1], box[2], box[3], fill, title))
    return strokes


def _scatter(trace: Any, x: Axis, y: Axis, colour: str, _: tuple[int, int]) -> list[Stroke]:
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
            fill = trace.fillcolor or "rgba(128,128,128,0.2)"
            strokes.append(Polyline(closed, "none", 0, fill=fill))
        if "lines" in mode:
            dashed = trace.line.dash not in (None, "solid")
            strokes.append(Polyline(run, line_colour, trace.line.width or 2, dashed))
    for i, (px, py) in enumerate(points if "markers" in mode else []):
        if math.isfinite(px) and math.isfinite(py):
            size = trace.marker.size
            radius = float(size[i] if isinstance(size, list | tuple | np.ndarray) else size or 6)
            strokes.append(Dot(px, py, radius / 2, _colour_at(trace.marker.color, i, colour)))
    return strokes + (_texts(trace, points) if "text" in mode else [])


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


def _heatmap(trace: Any, x: Axis, y: Axis, _: str, __: tuple[int, int]) -> list[Stroke]:
    z = np.asarray(trace.z, dtype=np.float64)
    skip = (max(1, z.shape[0] // MOST_CELLS), max(1, z.shape[1] // MOST_CELLS))
    low = trace.zmin if trace.zmin is not None else np.nanmin(z)
    high = trace.zmax if trace.zmax is not None else np.nanmax(z)
    paint = signed_colours if low < 0 < high else cividis_colours
    scaled = (z - low) / ((high - low) or 1.0)
    scaled = 2 * scaled - 1 if paint is signed_colours else scaled
    strokes: list[Stroke] = []
    for row in range(0, z.shape[0], skip[0]):
        for column in range(0, z.shape[1], skip[1]):
            left, right = sorted(x.place([column - 0.5, column + skip[1] - 0.5]).tolist())
            top, bottom = sorted(y.place([row - 0.5, row + skip[0] - 0.5]).tolist())
            r, g, b = paint(np.array([scaled[row, column]]))[0].tolist()
            strokes.append(Rectangle(left, top, right - left, bottom - top, f"rgb({r},{g},{b})"))
    return strokes


DRAWN = {"bar": _bars, "scatter": _scatter, "scattergl": _scatter, "heatmap": _heatmap}


# --- shapes, notes, legend ------------------------------------------------------------------------


def _position(axis: Axis, value: Any, reference: str | None, along: tuple[float, float]) -> float:
    if reference == "paper" or str(reference or "").endswith("domain"):
        return along[0] + float(value) * (along[1] - along[0])
    return float(axis.place(value)[0])


def _shapes(figure: go.Figure, x: Axis, y: Axis, x_name: str, y_name: str) -> list[Stroke]:
    strokes: list[Stroke] = []
    ours = {x_name, f"{x_name} domain", y_name, f"{y_name} domain", "paper", None}
    for shape in figure.layout.shapes:
        if shape.xref not in ours or shape.yref not in ours:
            continue
        x0, x1 = (_position(x, v, shape.xref, (x.start, x.end)) for v in (shape.x0, shape.x1))
        y0, y1 = (_position(y, v, shape.yref, (y.start, y.end)) for v in (shape.y0, shape.y1))
        if shape.type == "line":
            dashed = shape.line.dash not in (None, "solid")
            colour = shape.line.color or "rgba(128,128,128,0.8)"
            strokes.append(Polyline([(x0, y0), (x1, y1)], colour, shape.line.width or 2, dashed))
        elif shape.fillcolor:
            box = (min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))
            strokes.append(Rectangle(*box, shape.fillcolor))
    for note in figure.layout.annotations:
        if note.xref in ours and note.yref in ours and note.text and note.x is not None:
            at = _position(x, note.x, note.xref, (x.start, x.end))
            up = _position(y, note.y, note.yref, (y.start, y.end))
            text = unescape(str(note.text)).replace("<br>", " ")
            strokes.append(Label(at, up, text, size=theme().font_px - 1))
    return strokes


def _legend(figure: go.Figure, width: int) -> list[Stroke]:
    named = [
        (trace.name, _colour_at(trace.marker.color, 0, OKABE_ITO[i % 6]))
        if trace.type == "bar"
        else (trace.name, getattr(trace.line, "color", None) or OKABE_ITO[i % 6])
        for i, trace in enumerate(figure.data)
        if trace.type in DRAWN and trace.type != "heatmap" and trace.name and trace.showlegend
    ]
    if figure.layout.showlegend is False:
        return []
    strokes: list[Stroke] = []
    at = float(LEFT)
    for name, colour in named:
        strokes += [
            Rectangle(at, 4, 12, 12, str(colour)),
            Label(at + 16, 15, unescape(str(name)), anchor="start", size=theme().font_px),
        ]
        at += 34 + 0.56 * theme().font_px * len(str(name))
        if at > width - RIGHT:
            break
    return strokes

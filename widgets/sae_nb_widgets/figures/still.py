"""A plotly figure as a drawing without a browser: bars, lines, markers, heat-maps, their axes.

For readers without JavaScript and for notebooks shown without a kernel. It covers what our panels
draw and nothing more; a trace of another kind is left out and named under the drawing.
"""

from __future__ import annotations

import base64
from html import unescape
from typing import Any

import plotly.graph_objects as go

from sae_nb_widgets.figures.axes import Axis, axis_settings, read_axis
from sae_nb_widgets.figures.canvas import Dot, Drawing, Label, Polyline, Rectangle, Stroke
from sae_nb_widgets.figures.still_traces import DRAWN, Beside, colour_at
from sae_nb_widgets.figures.theme import AXIS, GREY, GRID, PALETTE, fade, theme

WIDTH = 700
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 26, 46
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
    x = read_axis(figure, x_name, _drawn_against(figure, x_name), (LEFT, width - RIGHT))
    y = read_axis(figure, y_name, _drawn_against(figure, y_name), (height - BOTTOM, TOP))
    hidden = any(axis_settings(figure, name).visible is False for name in (x_name, y_name))
    strokes = [] if hidden else _frame(x, y)
    bars = [index for index, trace in traces if trace.type == "bar"]
    mode, stacked = figure.layout.barmode, dict[float, float]()
    for index, trace in traces:
        beside = Beside(stacked=stacked) if mode in STACKED else Beside()
        if trace.type == "bar" and mode in (None, "group"):
            beside = Beside(bars.index(index), len(bars))
        strokes += DRAWN[trace.type](trace, x, y, PALETTE[index % 6], beside)
    return strokes + _shapes(figure, x, y, x_name, y_name)


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


# --- frame ----------------------------------------------------------------------------------------


def _frame(x: Axis, y: Axis) -> list[Stroke]:
    size = theme().font_px
    strokes: list[Stroke] = []
    for value, text in y.ticks:
        at = float(y.place(value)[0])
        strokes.append(Polyline([(x.start, at), (x.end, at)], GRID, 1))
        strokes.append(Label(x.start - 6, at + size * 0.35, text, anchor="end", size=size - 1))
    free = -1e9  # where the last name ended: names that would overlap are left out
    for value, text in x.ticks:
        at = float(x.place(value)[0])
        strokes.append(Polyline([(at, y.start), (at, y.start + 4)], GRID, 1))
        half = 0.3 * (size - 1) * len(text)
        if at - half > free:
            strokes.append(Label(at, y.start + size + 5, text, size=size - 1))
            free = at + half + 2
    strokes.append(Polyline([(x.start, y.start), (x.end, y.start)], AXIS, 1))
    if x.title:
        strokes.append(Label((x.start + x.end) / 2, y.start + 2.6 * size, x.title, size=size))
    if y.title:
        middle = (y.start + y.end) / 2
        strokes.append(Label(x.start - 48, middle, y.title, size=size, angle=-90))
    return strokes


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
        if shape.xsizemode == "pixel":  # a ring around a point
            at, up = float(x.place(shape.xanchor)[0]), float(y.place(shape.yanchor)[0])
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
            text = unescape(str(note.text)).replace("<br>", " ")
            anchor = {"left": "start", "right": "end"}.get(note.xanchor, "middle")
            # Text that hangs below its point or is centred on it, as plotly's yanchor says.
            drop = {"top": 1.0, "middle": 0.35}.get(note.yanchor, -0.25) * theme().font_px
            strokes.append(Label(at, up + drop, text, anchor, theme().font_px - 1))
    return strokes


def _legend(figure: go.Figure, width: int) -> list[Stroke]:
    if figure.layout.showlegend is False:
        return []
    named = [
        (trace.name, colour_at(trace.marker.color, 0, PALETTE[i % 6]))
        if trace.type == "bar"
        else (trace.name, getattr(trace.line, "color", None) or PALETTE[i % 6])
        for i, trace in enumerate(figure.data)
        if trace.type in DRAWN and trace.type != "heatmap" and trace.name and trace.showlegend
    ]
    strokes: list[Stroke] = []
    widths = [34 + 0.56 * theme().font_px * len(str(name)) for name, _ in named]
    to_the_right = figure.layout.legend.xanchor == "right"
    at = max(float(LEFT), width - RIGHT - sum(widths)) if to_the_right else float(LEFT)
    for (name, colour), length in zip(named, widths):
        strokes += [
            Rectangle(at, 4, 12, 12, str(colour)),
            Label(at + 16, 15, unescape(str(name)), anchor="start", size=theme().font_px),
        ]
        at += length
        if at > width - RIGHT:
            break
    return strokes

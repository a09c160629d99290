"""A plotly figure as a drawing without a browser: bars, lines, markers, heat-maps, their axes.

For readers without JavaScript and for notebooks shown without a kernel. It covers what our panels
draw and nothing more; a trace of another kind is left out and named under the drawing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.basedatatypes import BaseTraceType

from sae_nb.figures._axes import Axis, axis_settings, matrix, plain, read_axis
from sae_nb.figures._traces import (
    DRAWN,
    SHADES,
    BarPlace,
    colour_at,
    colour_ends,
    heat_colours,
    markers,
)
from sae_nb.figures.shapes import (
    INK,
    Drawing,
    Label,
    Picture,
    Polyline,
    Rectangle,
    Stroke,
    legend,
    moved,
    shortened,
    text_width,
)
from sae_nb.figures.theme import (
    AXIS,
    GREY,
    GRID,
    PALETTE,
    css_colour,
    current_theme as theme,
    fade,
    format_number,
)

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


def draw_figure(figure: go.Figure, width: int = WIDTH) -> Drawing:
    """Return `figure` as strokes on a sheet `width` CSS pixels wide, to be put next to other drawings."""
    names = _legend(figure, width)
    top = max(TOP, int(figure.layout.margin.t or 0), int(names.height) + 10)
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
    for axes, traces in pairs.items():
        strokes += _draw_subplot(figure, axes, traces, sheet)
    # Words over marks, whichever came first.
    strokes = [_inside(s, width) for s in sorted(strokes, key=lambda s: isinstance(s, Label))]
    strokes += [moved(stroke, RIGHT, 4) for stroke in names.strokes]
    if unknown:
        text = f"not drawn here: {', '.join(sorted(set(unknown)))}"
        strokes.append(Label(width - RIGHT, height - 2, text, anchor="end", size=11))
    return Drawing(width, height, tuple(strokes))


def _room_for_names(figure: go.Figure, pairs: Iterable[tuple[str, str]], width: int) -> float:
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
        among = BarPlace(stacked=stacked) if mode in STACKED else BarPlace()
        if trace.type == "bar" and mode in (None, "group"):
            among = BarPlace(bars.index(index), len(bars))
        strokes += DRAWN[trace.type](trace, x, y, PALETTE[index % 6], among)
    return strokes + _placed_images(figure, x, y, names) + _shapes(figure, x, y, names)


def _around_image(
    figure: go.Figure, names: tuple[str, str], traces: list[tuple[int, Any]], x: Axis, y: Axis
) -> tuple[Axis, Axis]:
    """Return axes as an image makes them: its pixels are square, the first row is on top.

    Other traces keep their places over the image. Axes with a range of their own stay as they are.
    """
    shapes = [matrix(trace.z).shape for _, trace in traces if trace.type == "image"]
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


def _position(
    axis: Axis, value: float | str, reference: str | None, along: tuple[float, float]
) -> float:
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
    return legend([*entries, *bars], width - 2 * RIGHT)


def _colour_bar(trace: BaseTraceType) -> tuple[list[Stroke], str]:
    """The colours of a heat-map from its lowest to its highest value, and what they measure."""
    z = matrix(trace.z)
    low, high = colour_ends(trace, z) if np.isfinite(z).any() else (0.0, 1.0)
    rgb = heat_colours(trace, np.linspace(0, 1, SHADES), low < 0 < high)
    strokes: list[Stroke] = [
        Rectangle(i * 16 / SHADES, 0, 16 / SHADES, 12, css_colour(colour))
        for i, colour in enumerate(rgb.tolist())
    ]
    title = plain(trace.colorbar.title.text or trace.name or "")
    return strokes, f"{title} {format_number(low)} … {format_number(high)}".strip()


def _swatch(trace: BaseTraceType, colour: str) -> Stroke:
    """The mark of a trace in a legend."""
    if trace.type == "bar":
        return Rectangle(2, 0, 12, 12, colour_at(trace.marker.color, 0, colour))
    ink = trace.line.color if isinstance(trace.line.color, str) else colour
    if "markers" in (trace.mode or "lines"):
        strokes = markers(trace, [(8.0, 6.0)], ink)
        return strokes[0] if strokes else Rectangle(2, 0, 12, 12, ink)
    dashed = trace.line.dash not in (None, "solid")
    return Polyline([(0, 6), (16, 6)], ink, trace.line.width or 2, dashed)

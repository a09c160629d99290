"""The concept map's record → one figure: points, their colours, names, selection, edges, a second map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int, UInt8

from sae_nb.figures import (
    cividis,
    colour_scale,
    css_colour,
    current_theme,
    fade,
    format_number,
    plot_text,
    template,
    theme,
)
from sae_nb.summaries import Column, ConceptMapSummary

JOINS, OTHER, NUMBERS, GROUPS, UNMATCHED, SELECTED, EDGES, NAMES = range(8)
SYMBOLS = {"circle": 0, "square": 1, "diamond": 2, "triangle-up": 5, "cross": 3, "x": 4}
SYMBOLS |= {"star": 17, "triangle-down": 6}
MOST_STYLED = len(theme.PALETTE) * len(theme.MARKERS)
HOLLOW = 100
PART = 512
# Above this, the category of each point is not sent with its hover text.
MOST_SPELLED = 4000


def map_height() -> int:
    """Height in CSS pixels at the current scale."""
    return int(500 * current_theme().font_px / 13)


def concept_map_figure(record: ConceptMapSummary | None = None, *, webgl: bool = True) -> go.Figure:
    """Return a map; empty axes for None. WebGL draws points fast, in browsers that have it."""
    points = go.Scattergl if webgl else go.Scatter
    faint = {"size": 5, "symbol": "square", "color": theme.NEUTRAL}
    traces = {
        JOINS: points(mode="lines", line={"color": theme.NEUTRAL, "width": 1.2}, opacity=0.7),
        OTHER: points(mode="markers", marker=faint, opacity=0.35),
        NUMBERS: points(mode="markers", marker=_numbers_marker(), opacity=0.9),
        GROUPS: points(mode="markers", marker={"line": {"width": 0}}, opacity=0.9),
        UNMATCHED: points(mode="markers", marker=_ring(theme.NOVEL, 1)),
        SELECTED: points(mode="markers", marker=_ring(theme.RINGS[0], 1.6)),
        EDGES: go.Scatter(mode="lines", line={"color": theme.NEUTRAL, "width": 1.2}, opacity=0.7),
        NAMES: go.Scatter(mode="text", textfont={"size": current_theme().font_px}),
    }
    names = ("joins", "other", "numbers", "groups", "unmatched", "selected", "edges", "names")
    for place, trace in traces.items():
        trace.update(name=names[place], showlegend=False, x=[], y=[])
        if place not in (NUMBERS, GROUPS, OTHER):
            trace.hoverinfo = "skip"
    figure = go.Figure([traces[place] for place in sorted(traces)])
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    figure.update_layout(
        template=template(),
        height=map_height(),
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        hovermode="closest",
        dragmode="lasso",
        xaxis=hidden,
        yaxis={**hidden, "scaleanchor": "x"},
        showlegend=False,
    )
    # A selection is an outline: what is not selected keeps its colour and its opacity.
    for place in (OTHER, NUMBERS, GROUPS, UNMATCHED, SELECTED):
        figure.data[place].selected.marker.opacity = 1
        figure.data[place].unselected.marker.opacity = 1
    figure.data[NAMES].selected.textfont.color = theme.MID_GREY
    figure.data[NAMES].unselected.textfont.color = theme.MID_GREY
    if record is not None:
        draw_points(figure, record, point_texts(record))
    return figure


def _numbers_marker() -> dict[str, Any]:
    bar = {
        "orientation": "h",
        "thickness": 9,
        "len": 0.55,
        "outlinewidth": 0,
        "x": 0.5,
        "y": 0,
        "yanchor": "top",
        "ypad": 6,
        "title": {"side": "top"},
    }
    return {"colorscale": colour_scale(), "line": {"width": 0}, "colorbar": bar}


def _ring(colour: str, width: float) -> dict[str, Any]:
    return {
        "symbol": "circle-open",
        "color": colour,
        "size": 12,
        "line": {"width": width, "color": colour},
    }


# --- points ---------------------------------------------------------------------------------------


def draw_points(figure: go.Figure, record: ConceptMapSummary, texts: Sequence[str]) -> None:
    """Put every point where it lies, the second dictionary's too."""
    x, y = _columns(record.xy)
    with figure.batch_update():
        for place in (NUMBERS, GROUPS):
            trace = figure.data[place]
            trace.x, trace.y, trace.text = x, y, list(texts)
            trace.selectedpoints = None
        other = figure.data[OTHER]
        other.x, other.y = _columns(record.other_xy)
        joins = figure.data[JOINS]
        joins.x, joins.y = _columns(_joins(record))


def _columns(xy: Any) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    array = np.zeros((0, 2), np.float32) if xy is None else np.asarray(xy, np.float32)
    return np.ascontiguousarray(array[:, 0]), np.ascontiguousarray(array[:, 1])


def _joins(record: ConceptMapSummary) -> Float[np.ndarray, "m 2"] | None:
    match, other = record.match, record.other_xy
    if match is None or other is None:
        return None
    same = match.same
    return _segments(record.xy[match.atoms[same]], other[match.others[same]])


def _segments(
    begin: Float[np.ndarray, "m 2"], end: Float[np.ndarray, "m 2"]
) -> Float[np.ndarray, "k 2"]:
    lines = np.full((len(begin), 3, 2), np.nan, np.float32)
    lines[:, 0], lines[:, 1] = begin, end
    return lines.reshape(-1, 2)


def point_texts(
    record: ConceptMapSummary, names: Sequence[str] | None = None, column: Column | None = None
) -> list[str]:
    """Return what hovering says of each point, escaped."""
    word = record.show.removesuffix("s")
    if names is None:
        names = [f"{word} {i}" for i in record.ids.tolist()]
    shown = [plot_text(name) for name in names]
    if column is None or not column.is_category or len(shown) > MOST_SPELLED:
        return shown
    spelled = [column.text(i) for i in range(len(shown))]
    return [f"{a}<br>{plot_text(b)}" if b else a for a, b in zip(shown, spelled)]


# --- colours and sizes ----------------------------------------------------------------------------


def draw_colours(figure: go.Figure, column: Column | None, texts: Sequence[str]) -> None:
    """Colour the points by a column; None colours nothing."""
    grouped = column is None or column.is_category
    if column is None or column.names is not None:
        _draw_groups(figure.data[GROUPS], column, texts)
    else:
        _draw_numbers(figure.data[NUMBERS], column)
    with figure.batch_update():
        figure.data[GROUPS].visible = grouped
        figure.data[NUMBERS].visible = not grouped


def _draw_numbers(trace: Any, column: Column) -> None:
    values = column.values.astype(np.float64)
    shown = np.log10(values) if column.log else values
    known = np.isfinite(shown)
    low, high = _span(shown[known])
    # One property at a time, outside a batch: a batch drops the colours of the other traces.
    trace.marker.color = np.where(known, shown, low).astype(np.float32)
    trace.marker.symbol = 0 if known.all() else np.where(known, 0, HOLLOW).astype(np.uint8)
    trace.marker.cmin, trace.marker.cmax = low, high
    trace.customdata = np.where(known, values, 0 if column.log else np.nan).astype(np.float32)
    trace.hovertemplate = (
        f"%{{text}}<br>{plot_text(column.name)} %{{customdata:.3~g}}<extra></extra>"
    )
    bar = trace.marker.colorbar
    ticks = _powers(low, high) if column.log else None
    bar.tickvals = ticks
    bar.ticktext = None if ticks is None else [format_number(10**t, digits=1) for t in ticks]
    bar.title.text = plot_text(column.name)
    bar.tickfont.size = bar.title.font.size = current_theme().font_px


def _span(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _powers(low: float, high: float) -> list[float]:
    """Whole powers of ten on an axis of logarithms; three values where there are too few."""
    powers = np.arange(np.ceil(low), np.floor(high) + 1)
    if len(powers) < 2:
        return [low, (low + high) / 2, high]
    return [float(power) for power in powers[:: max(1, len(powers) // 6)]]


def _draw_groups(trace: Any, column: Column | None, texts: Sequence[str]) -> None:
    n = 0 if trace.x is None else len(trace.x)
    style = np.zeros(n, np.int64) if column is None else styles(column)
    colour = np.where(style > 0, (style - 1) % len(theme.PALETTE) + 1, 0)
    shapes = np.array([SYMBOLS[name] for name in theme.MARKERS], np.uint8)
    symbol = np.where(style > 0, shapes[np.maximum(style - 1, 0) // len(theme.PALETTE)], 0)
    trace.marker.colorscale = _group_scale()
    trace.marker.cmin, trace.marker.cmax = -0.5, len(theme.PALETTE) + 0.5
    trace.marker.color = colour.astype(np.uint8)
    # Shapes of four pixels look alike, and plotly takes a second to check 16 384 of them.
    trace.marker.symbol = symbol.astype(np.uint8) if n <= MOST_SPELLED else 0
    # Sent only where it changes: the names of 16 384 points are 250 kB.
    if list(texts) != list(() if trace.text is None else trace.text):
        trace.text = list(texts)
    trace.hovertemplate = "%{text}<extra></extra>"


def styles(column: Column) -> Int[np.ndarray, " n"]:
    """Return the style of each point: 0 for none or a small category, else 1 + the category."""
    return np.where(column.values < MOST_STYLED, column.values + 1, 0).astype(np.int64)


def _group_scale() -> list[list[Any]]:
    colours = [fade(theme.GREY, 0.45), *theme.PALETTE]
    n = len(colours)
    return [[edge / n, colour] for i, colour in enumerate(colours) for edge in (i, i + 1)]


def draw_sizes(figure: go.Figure, values: Float[np.ndarray, " n"] | None, n_points: int) -> None:
    """Make the area of each point go with a number, unknown being small; None makes all alike."""
    size = point_sizes(values, n_points)
    for place in (NUMBERS, GROUPS):
        figure.data[place].marker.size = size
    ring = float(base_size(n_points)) + 6
    with figure.batch_update():
        figure.data[SELECTED].marker.size = ring
        figure.data[UNMATCHED].marker.size = ring - 3
        figure.data[OTHER].marker.size = 0.8 * float(base_size(n_points))


def base_size(n_points: int) -> float:
    """Return the diameter in pixels of a point among so many."""
    return float(np.clip(160 / np.sqrt(max(n_points, 1)), 3.5, 8) * current_theme().font_px / 13)


def point_sizes(
    values: Float[np.ndarray, " n"] | None, n_points: int
) -> UInt8[np.ndarray, " n"] | float:
    """Return diameters in whole pixels: area goes with the value, up to its 95th percentile."""
    base = base_size(n_points)
    if values is None:
        return base
    known = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    known = np.maximum(known, 0)
    top = float(np.quantile(known, 0.95)) if len(known) else 0.0
    share = np.sqrt(np.minimum(known / (top or 1.0), 2.0))
    return np.round(base * (0.6 + 0.9 * share)).astype(np.uint8)


# --- what is chosen -------------------------------------------------------------------------------


def draw_selection(
    figure: go.Figure,
    record: ConceptMapSummary,
    points: Int[np.ndarray, " m"],
    current: Int[np.ndarray, " one"],
    edges: Int[np.ndarray, "k 2"],
    *,
    dark: bool = False,
) -> None:
    """Outline the points selected and the current one, in white on a dark page; join them by edges."""
    ink = theme.RINGS[dark]
    with figure.batch_update():
        outlined = figure.data[SELECTED]
        outlined.x, outlined.y = _columns(record.xy[points])
        outlined.marker.color = ink
        outlined.marker.line.color = ink
        figure.layout.shapes = [
            _circle(at, base_size(len(record.ids)) + 4, ink) for at in record.xy[current].tolist()
        ]
        lines = _segments(record.xy[edges[:, 0]], record.xy[edges[:, 1]]) if len(edges) else None
        figure.data[EDGES].x, figure.data[EDGES].y = _columns(lines)


def _circle(at: Sequence[float], radius: float, colour: str) -> dict[str, Any]:
    """A ring of so many pixels: a shape, because plotly computes every trace anew when one moves."""
    return {
        "type": "circle",
        "xref": "x",
        "yref": "y",
        "xsizemode": "pixel",
        "ysizemode": "pixel",
        "xanchor": at[0],
        "yanchor": at[1],
        "x0": -radius,
        "x1": radius,
        "y0": -radius,
        "y1": radius,
        "line": {"color": colour, "width": 2.6},
    }


def draw_comparison(figure: go.Figure, record: ConceptMapSummary, shown: bool) -> None:
    """Show the second dictionary, lines between partners and rings around the rest, if there is one."""
    shown = shown and record.match is not None
    alone = np.zeros(0, np.int64) if record.match is None else record.match.unmatched
    others = [] if record.match is None else _other_texts(record)
    with figure.batch_update():
        figure.data[UNMATCHED].x, figure.data[UNMATCHED].y = _columns(record.xy[alone])
        figure.data[OTHER].text = others
        figure.data[OTHER].hovertemplate = "%{text}<extra></extra>"
        for place in (OTHER, JOINS, UNMATCHED):
            figure.data[place].visible = shown


def _other_texts(record: ConceptMapSummary) -> list[str]:
    match = record.match
    if match is None:
        return []
    texts = [f"other dictionary, atom {i}<br>unmatched" for i in range(match.n_others)]
    for atom, other, cosine in zip(
        match.atoms.tolist(), match.others.tolist(), match.cosines.tolist()
    ):
        texts[other] = f"other dictionary, atom {other}<br>matches {atom}, cosine {cosine:.2f}"
    return texts


# --- without plotly ---------------------------------------------------------------------------------


def spell_colours(figure: go.Figure) -> None:
    """Replace the number behind each point's colour by the colour: pictures without plotly need it."""
    numbers, groups = figure.data[NUMBERS], figure.data[GROUPS]
    for trace in (numbers, groups):
        if trace.visible is False or trace.marker.color is None or not len(trace.marker.color):
            trace.visible = False
    if numbers.visible is not False:
        value = np.asarray(numbers.marker.color, np.float64)
        low, high = numbers.marker.cmin, numbers.marker.cmax
        rgb = cividis((value - low) / (high - low))
        numbers.marker.color = [css_colour(one) for one in rgb.tolist()]
    if groups.visible is not False:
        colours = np.array([theme.UNKNOWN_DOT, *theme.PALETTE])
        groups.marker.color = colours[np.asarray(groups.marker.color, np.int64)].tolist()


def split_large(figure: go.Figure, most: int | None = None) -> go.Figure:
    """Return a figure whose traces have at most 512 points each, for pictures drawn without plotly.

    Reading one property of a trace copies it whole: point by point, 16 384 points take half a minute.
    Of each trace at most so many points are kept, evenly spread; None keeps all.
    """
    parts: list[Any] = []
    for trace in figure.data:
        n = 0 if trace.x is None else len(trace.x)
        if n <= PART or trace.visible is False or "markers" not in trace.mode:
            parts.append(trace)
            continue
        content = trace.to_plotly_json()
        marker = content["marker"]
        kept = np.arange(n) if most is None else np.unique(np.linspace(0, n - 1, most).astype(int))
        for start in range(0, len(kept), PART):
            some = kept[start : start + PART]
            cut = {**marker, **_cut(marker, some, n)}
            cut["showscale"] = start == 0 and "colorbar" in marker
            parts.append(type(trace)({**content, **_cut(content, some, n), "marker": cut}))
    return go.Figure(parts, figure.layout)


def _cut(content: dict[str, Any], some: Int[np.ndarray, " m"], n: int) -> dict[str, Any]:
    """The entries that have one value per point, for some points."""
    lists = (list, tuple, np.ndarray)
    per_point = ("x", "y", "text", "customdata", "color", "size", "symbol")
    return {
        name: [content[name][i] for i in some.tolist()]
        for name in per_point
        if isinstance(content.get(name), lists) and len(content[name]) == n
    }

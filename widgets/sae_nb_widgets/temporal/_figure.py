"""A sequence's record → one figure: bands over time, raster of codes, similarity matrices or maps.

The upper plots share their axis, which is time. Under them stand either three similarity matrices or
two maps of the codes; both are there from the start and one is hidden, so that nothing is rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from sae_nb.figures import (
    category_style,
    colour_scale,
    current_theme,
    fade,
    format_number,
    named,
    number_of,
    on_axes,
    plot_text,
    plot_title,
    scaled,
    template,
    theme,
    visible_token,
)
from sae_nb.summaries import Raster, TemporalSummary

# -------------------------------------------------------------------------------------------------
# The empty frame of a sequence's figure: its traces, its axes, and how rows share the height.


NAMES_PX = 88
"""Between raster and what is under it: slanted names of times, and a title."""
ONE = (170, 29, 200, NAMES_PX, 214)
TWO = (120, 29, 80, 29, 141, NAMES_PX, 214)
"""Rows and the gaps between them for one and for two sequences. The sum is the same: a shown figure
whose height changes no longer refits its column."""
TOP_PX, BOTTOM_PX = 26, 44
ARC_FOOT, ARC_TOP = 1.04, 1.5
"""Arcs start just above the bands, whose top is 1, and rise with their span."""
MOST_ARCS = 6
PARTS = ("predicted", "novel", "raw")
COLOURS = {"predicted": theme.PREDICTED, "novel": theme.NOVEL}
CURSOR = fade(theme.GREY, 0.45)
THIRDS = ((0.0, 0.28), (0.36, 0.64), (0.72, 1.0))
HALVES = ((0.0, 0.44), (0.56, 1.0))


def empty_figure() -> go.Figure:
    """Every trace and every axis, nothing in them yet."""
    figure = go.Figure(_traces())
    figure.update_layout(
        template=template(),
        margin={"l": 58, "r": 12, "t": TOP_PX, "b": BOTTOM_PX},
        barmode="stack",
        bargap=0.08,
        hovermode="closest",
        showlegend=True,
        legend={"x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom", "itemclick": False},
        annotations=[
            plot_title(place, "", size=current_theme().font_px, x=0.0, anchor="left")
            for place in range(8)
        ],
        height=figure_height(),
        **_axes(),
    )
    place_rows(figure, False)
    return figure


def figure_height() -> int:
    """Height in CSS pixels at the current scale."""
    return scaled(sum(ONE)) + TOP_PX + BOTTOM_PX


def place_rows(figure: go.Figure, two: bool) -> None:
    """Give every row its part of the height; the second bands have none where there is one sequence."""
    rows = TWO if two else ONE
    edges = 1 - np.cumsum([0, *rows]) / sum(rows)
    spans = [(float(edges[i + 1]), float(edges[i])) for i in range(0, len(rows), 2)]
    first, rest = spans[0], spans[1:]
    second = rest.pop(0) if two else (first[0], first[0] + 1e-3)
    for axis, span in (("", first), ("2", second), ("3", rest[0])):
        figure.layout[f"yaxis{axis}"].domain = span
    for number in range(4, 9):
        figure.layout[f"yaxis{number}"].domain = rest[1]
    for side in "xy":
        figure.layout[f"{side}axis2"].visible = two
    for trace in figure.data:
        if trace.xaxis == "x2":
            trace.visible = two


def _traces() -> list[Any]:
    return [
        _band("predicted", 0, theme.PREDICTED, legend=True),
        _band("novel", 0, theme.NOVEL, legend=True),
        _control("in other orders", 0, legend=True),
        _line("boundaries", 0, {"color": theme.NEUTRAL, "width": 1.5, "dash": "dot"}),
        *(_line(f"arc {i}", 0, {"color": theme.PREDICTED, "width": 2}) for i in range(MOST_ARCS)),
        _line("cursor", 0, {"color": CURSOR, "width": 5}),
        _band("second predicted", 1, theme.PREDICTED),
        _band("second novel", 1, theme.NOVEL),
        _control("second in other orders", 1),
        _line("second boundaries", 1, {"color": theme.NEUTRAL, "width": 1.5, "dash": "dot"}),
        _line("second cursor", 1, {"color": CURSOR, "width": 5}),
        _heat("raster", 2, "atom %{customdata} at %{x}: %{z:.3g}<extra></extra>"),
        _line("raster cursor", 2, {"color": CURSOR, "width": 5}),
        *(
            _heat(f"{part} similarity", place, "%{x} and %{y}: cosine %{z:.2f}<extra></extra>")
            for place, part in enumerate(PARTS, start=3)
        ),
        *_map("predicted", 6),
        *_map("novel", 7),
    ]


def _band(name: str, place: int, colour: str, *, legend: bool = False) -> go.Bar:
    return go.Bar(
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        hoverinfo="text",
        showlegend=legend,
        **on_axes(place),
    )


def _control(name: str, place: int, *, legend: bool = False) -> go.Scatter:
    trace = _line(name, place, {"color": theme.CONTROL, "width": 2, "dash": theme.CONTROL_DASH})
    trace.showlegend = legend
    trace.line.shape = "hvh"
    return trace


def _line(name: str, place: int, line: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        name=name,
        mode="lines",
        line=line,
        hoverinfo="skip",
        showlegend=False,
        **on_axes(place),
    )


def _heat(name: str, place: int, hover: str) -> go.Heatmap:
    return go.Heatmap(
        name=name,
        showscale=False,
        colorscale=colour_scale(),
        hovertemplate=hover,
        hoverongaps=False,
        **on_axes(place),
    )


def _map(part: str, place: int) -> list[go.Scatter]:
    axes: dict[str, Any] = on_axes(place) | {"showlegend": False}
    path = go.Scatter(
        name=f"{part} map",
        mode="lines+markers",
        line={"color": fade(theme.GREY, 0.35), "width": 1},
        marker={"size": 7, "colorscale": colour_scale()},
        hoverinfo="text",
        **axes,
    )
    ring = go.Scatter(
        name=f"{part} chosen",
        mode="markers",
        marker={"symbol": "circle-open", "size": 15, "color": theme.MID_GREY, "line": {"width": 3}},
        hoverinfo="skip",
        **axes,
    )
    return [path, ring]


def _axes() -> dict[str, Any]:
    quiet = {"showgrid": False, "fixedrange": True}
    axes: dict[str, Any] = {
        "xaxis": {"showticklabels": False, "ticks": "", "showgrid": False},
        "xaxis2": {"showticklabels": False, "ticks": "", "showgrid": False, "matches": "x"},
        "xaxis3": {"matches": "x", "showgrid": False},
        "yaxis": {"fixedrange": True, "title": {"text": "share"}},
        "yaxis2": {"fixedrange": True, "title": {"text": "share"}},
        "yaxis3": {**quiet, "title": {"text": "atoms"}, "showticklabels": False, "ticks": ""},
    }
    for number in (4, 5, 6):
        axes[f"xaxis{number}"] = {**quiet, "constrain": "domain", "nticks": 4}
        axes[f"yaxis{number}"] = {
            **quiet,
            "autorange": "reversed",
            "scaleanchor": f"x{number}",
            "constrain": "domain",
            "nticks": 4,
        }
    for name in ("xaxis7", "yaxis7", "xaxis8", "yaxis8"):
        axes[name] = {**quiet, "showticklabels": False, "ticks": ""}
    for place, domain in enumerate(((0.0, 1.0),) * 3 + THIRDS + HALVES):
        suffix = number_of(place)
        axes[f"xaxis{suffix}"] |= {"domain": domain, "anchor": f"y{suffix}"}
        axes[f"yaxis{suffix}"] |= {"anchor": f"x{suffix}"}
    return axes


# -------------------------------------------------------------------------------------------------
# A sequence's record → one figure: bands over time, raster of codes, similarity matrices or maps.


Lower = Literal["similarity", "PCA", "UMAP"]
Bands = Literal["share", "energy"]

MOST_NAMED = 40
"""Times that are named on the axis; more would overlap."""
MOST_JOINED = 80
"""Times whose points on the maps are joined; more lines would hide the points."""
CLICKABLE = ("predicted", "novel", "raster", "predicted map", "novel map")
"""Traces whose points are times."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What of the records is shown."""

    time: int = -1
    """The time under the cursor; −1 for none."""

    part: str = "novel"
    """Whose codes are in the raster."""

    lower: Lower = "similarity"
    """What stands under the raster."""

    bands: Bands = "share"
    """Shares of the energy, or the energy itself."""

    color_by: str = "time"
    """What colours the points of the maps: "time" or "document"."""


def temporal_figure(
    record: TemporalSummary, second: TemporalSummary | None = None, view: View | None = None
) -> go.Figure:
    """The plots of one sequence, or of two in lock-step."""
    figure = empty_figure()
    draw_sequences(figure, record, second, view or View())
    return figure


def draw_sequences(
    figure: go.Figure, record: TemporalSummary, second: TemporalSummary | None, view: View
) -> None:
    """Show other sequences in the same figure, from scratch but in place."""
    with figure.batch_update():
        place_rows(figure, second is not None)
        _draw_bands(figure, "", record, view.bands)
        _draw_bands(figure, "second ", second, view.bands)
        _draw_matrices(figure, record)
        _name_times(figure, record, second)
    draw_maps(figure, record, view)
    draw_part(figure, record, view)
    draw_lower(figure, view)
    draw_cursor(figure, record, second, view)


def draw_part(figure: go.Figure, record: TemporalSummary, view: View) -> None:
    """Put the predicted or the novel codes in the raster."""
    raster = record.rasters[view.part]
    shown = named(figure, "raster")
    signed = bool(np.nanmin(raster.strengths, initial=0.0) < 0)
    most = float(np.nanmax(np.abs(raster.strengths), initial=0.0)) or 1.0
    with figure.batch_update():
        shown.z = raster.strengths
        shown.customdata = np.repeat(raster.atoms[:, None], record.n_times, axis=1)
        shown.colorscale = colour_scale(signed=signed)
        shown.zmin, shown.zmax = (-most if signed else 0.0), most
        figure.layout.yaxis3.range = [max(len(raster.atoms), 1) - 0.5, -0.5]
        figure.layout.annotations[2].text = _raster_title(raster, view.part)


def draw_lower(figure: go.Figure, view: View) -> None:
    """Show the matrices, or the maps."""
    with figure.batch_update():
        for number in range(4, 9):
            shown = (number < 7) == (view.lower == "similarity")
            for side in "xy":
                figure.layout[f"{side}axis{number}"].visible = shown
            figure.layout.annotations[number - 1].visible = shown
        for trace in figure.data:
            if trace.xaxis in {f"x{number}" for number in range(4, 9)}:
                trace.visible = (int(trace.xaxis[1:]) < 7) == (view.lower == "similarity")


def draw_cursor(
    figure: go.Figure, record: TemporalSummary, second: TemporalSummary | None, view: View
) -> None:
    """Move the shared cursor, the arcs to where a prediction comes from, and the rings on the maps."""
    inside = 0 <= view.time < record.n_times
    sources = record.read_from(view.time, MOST_ARCS) if inside else []
    with figure.batch_update():
        for name, there in (
            ("cursor", inside),
            ("second cursor", second is not None and 0 <= view.time < second.n_times),
            ("raster cursor", inside),
        ):
            line = named(figure, name)
            line.x = [view.time, view.time] if there else []
            line.y = _cursor_ends(name, record, view.part) if there else []
        for i in range(MOST_ARCS):
            _draw_arc(named(figure, f"arc {i}"), view.time, sources[i : i + 1], record)
        for part in COLOURS:
            ring = named(figure, f"{part} chosen")
            ring.x, ring.y = record.xy[part][[view.time]].T if inside else ([], [])


# --- drawing --------------------------------------------------------------------------------------


def _draw_bands(
    figure: go.Figure, which: str, record: TemporalSummary | None, bands: Bands
) -> None:
    if record is None:
        return
    axis = figure.layout["yaxis2" if which else "yaxis"]
    heights = record.shares if bands == "share" else record.energy
    top = 1.0 if bands == "share" else float(heights.sum(axis=1).max()) or 1.0
    times = np.arange(record.n_times)
    for column, part in enumerate(COLOURS):
        band = named(figure, f"{which}{part}")
        band.x, band.y = times, (heights[:, column] / top).astype(np.float32)
        band.hovertext = [_hover(record, time, part, column) for time in range(record.n_times)]
    control = named(figure, f"{which}in other orders")
    shown = bands == "share"
    control.x, control.y = (times, record.shuffled) if shown else ([], [])
    ends = np.array([[b - 0.5, b - 0.5, np.nan] for b in record.boundaries]).reshape(-1)
    line = named(figure, f"{which}boundaries")
    line.x, line.y = ends, np.tile([0.0, 1.0, np.nan], len(record.boundaries))
    axis.range = [0.0, 1.02 if which else ARC_TOP]
    axis.tickvals, axis.ticktext = [0, 0.5, 1], [format_number(top * v) for v in (0, 0.5, 1)]
    axis.title.text = "share of energy" if shown else "energy"
    figure.layout.xaxis.range = [-0.5, record.n_times - 0.5]


def _hover(record: TemporalSummary, time: int, part: str, column: int) -> str:
    energy, share = record.energy[time, column], record.shares[time, column]
    return (
        f"{_place(record, time)}<br>{part}: {format_number(100 * float(share))} % of the energy "
        f"({format_number(float(energy))})<br>predicted in another order: "
        f"{format_number(100 * float(record.shuffled[time]))} %"
    )


def _place(record: TemporalSummary, time: int) -> str:
    name = plot_text(visible_token(record.names[time]))
    word = {"text": "token", "layers": "layer", "signal": "time"}[record.kind]
    return f"{word} {time + record.first_position} “{name}”"


def _draw_matrices(figure: go.Figure, record: TemporalSummary) -> None:
    for number, part in enumerate(PARTS, start=4):
        cosines = record.similarity[part]
        matrix = named(figure, f"{part} similarity")
        places = np.arange(len(cosines)) * record.stride
        matrix.z, matrix.x, matrix.y = cosines.astype(np.float32), places, places
        away = cosines[~np.eye(len(cosines), dtype=bool)]
        most = float(np.abs(away).max(initial=0.0)) or 1.0
        matrix.colorscale = colour_scale(signed=True)
        matrix.zmin, matrix.zmax = -most, most
        alike = "times alike: " if part == PARTS[0] else ""
        figure.layout.annotations[number - 1].text = f"{alike}{part}"


def draw_maps(figure: go.Figure, record: TemporalSummary, view: View) -> None:
    """Place and colour the points of both maps."""
    by_time = view.color_by == "time" or not record.boundaries
    said = "dark = early" if by_time else "colour = document"
    with figure.batch_update():
        for number, part in ((7, "predicted"), (8, "novel")):
            path = named(figure, f"{part} map")
            path.x, path.y = record.xy[part].T
            path.mode = "lines+markers" if record.n_times <= MOST_JOINED else "markers"
            path.hovertext = [_place(record, time) for time in range(record.n_times)]
            figure.layout.annotations[number - 1].text = f"{part} codes, {said}"
    colours = np.arange(record.n_times)
    if not by_time:
        colours = np.array([category_style(int(d))[0] for d in record.documents])
    for part in COLOURS:
        # Not in the batch: a colour array there makes the browser drop the other traces' colours.
        named(figure, f"{part} map").marker.color = colours


def _name_times(figure: go.Figure, record: TemporalSummary, second: TemporalSummary | None) -> None:
    axis = figure.layout.xaxis3
    if record.n_times <= MOST_NAMED:
        axis.tickvals = list(range(record.n_times))
        axis.ticktext = [plot_text(visible_token(name)) for name in record.names]
        axis.tickangle = -50
    else:
        axis.tickvals = axis.ticktext = None
        axis.tickangle = 0
    figure.layout.annotations[1].text = "the second, in step" if second is not None else ""


def _raster_title(raster: Raster, part: str) -> str:
    more = f"; {raster.left_out} weaker left out" if raster.left_out else ""
    return f"{part} codes, first to fire on top{more}"


def _cursor_ends(name: str, record: TemporalSummary, part: str) -> list[float]:
    if name == "raster cursor":
        return [-0.5, max(len(record.rasters[part].atoms), 1) - 0.5]
    return [0.0, 1.0]


def _draw_arc(
    arc: Any, time: int, source: list[tuple[int, float]], record: TemporalSummary
) -> None:
    """Half an ellipse from a source to the present, as thick as its share of attention."""
    if not source:
        arc.x, arc.y = [], []
        return
    place, share = source[0]
    turn = np.linspace(0, np.pi, 25)
    middle, reach = (place + time) / 2, (time - place) / 2
    rise = (ARC_TOP - ARC_FOOT - 0.03) * np.sqrt(2 * reach / record.n_times)
    arc.x = (middle - reach * np.cos(turn)).astype(np.float32)
    arc.y = (ARC_FOOT + rise * np.sin(turn)).astype(np.float32)
    arc.line.width = 1 + 7 * share


def place_clicked(trace: Any, points: Any) -> tuple[int, int | None]:
    """The time under a click, and in the raster also the row."""
    if trace.name == "raster":
        return round(float(points.xs[0])), round(float(points.ys[0]))
    if trace.name.endswith(" map"):
        return int(points.point_inds[0]), None
    return round(float(points.xs[0])), None


def restyle(figure: go.Figure) -> None:
    """Take the current theme's sizes."""
    with figure.batch_update():
        figure.layout.height = figure_height()
        for note in figure.layout.annotations:
            note.font.size = current_theme().font_px

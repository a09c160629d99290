"""A sequence's record → one figure: bands over time, raster of codes, similarity matrices or maps.

The upper plots share their axis, which is time. Under them stand either three similarity matrices or
two maps of the codes; both are there from the start and one is hidden, so that nothing is rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from sae_nb.summaries.temporal import Raster, TemporalSummary
from sae_nb_widgets.figures.frames import named
from sae_nb_widgets.figures.temporal_frame import (
    ARC_FOOT,
    ARC_TOP,
    COLOURS,
    MOST_ARCS,
    PARTS,
    empty_figure,
    figure_height,
    place_rows,
)
from sae_nb_widgets.figures.theme import (
    category_style,
    colour_scale,
    format_number,
    plot_text,
    theme,
    visible_token,
)

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
            note.font.size = theme().font_px

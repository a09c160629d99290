"""A sequence's record → one figure: how alike two of its times are, by how far they are apart.

On request how much of each time was predicted stands there instead, with arcs to where it was read; atoms;
three similarity matrices or two maps of the codes. All of these are there from the start and most are hidden,
so that nothing is rebuilt.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from sae_nb.atoms import AtomNames
from sae_nb.figures import (
    category_style,
    colour_scale,
    current_theme,
    fade,
    heatmap_cells,
    named,
    number_of,
    on_axes,
    plot_text,
    plot_title,
    quoted_token,
    template,
    theme,
    visible_token,
)
from sae_nb.figures.theme import format_number, scaled
from sae_nb.temporal import Raster, TemporalSummary
from sae_nb_widgets.components._concordance import joins_of, word_at

if TYPE_CHECKING:
    from plotly.callbacks import Points

# -------------------------------------------------------------------------------------------------
# The empty frame of a sequence's figure: its traces, its axes, and how rows share the height.


ARCS_PX, BANDS_PX, TALL_PX, SECOND_PX, GAP_PX, LOWER_PX = 46, 110, 190, 80, 29, 214
DISTANCE_PX = 250
ROW_PX, MOST_NAMED_ROWS = 18, 24
"""Height of an atom that has its name next to it, and the maximum number with names."""
NAMES_PX = 88
"""Under the atoms: slanted names of times, and a title."""
SIDE_PX, SHARES_PX, DISTANCE_SIDE_PX = 178, 64, 40
"""Left of the atoms: their names; of bars alone and of curves: their scale."""
LONGEST_NAME = 24
TOP_PX, BOTTOM_PX = 44, 72
"""Above the figure a line for the legend and one for the title."""
ARC_FOOT, ARC_TOP = 1.04, 1.5
"""Arcs start just above the bands, whose top is 1, and rise with their span."""
MOST_ARCS = 6
PARTS = ("predicted", "novel", "raw")
COLOURS = {"predicted": theme.PREDICTED, "novel": theme.NOVEL}
SAID = {"predicted": "predicted", "novel": "new"}
WORDS = {"text": "token", "layers": "layer", "signal": "moment"}
"""What a time is called."""
FAINTEST = 0.2
"""Opacity of an atom that hardly fires: it must still be seen."""
TEXT = {"predicted": "blue", "novel": "warm"}
"""Their colours as text."""
SIMILAR = {"predicted": "Predicted from the past", "novel": "New"}
"""Titles of the two squares."""
CURSOR = fade(theme.GREY, 0.45)
THIRDS = ((0.0, 0.28), (0.36, 0.64), (0.72, 1.0))
HALVES = ((0.0, 0.44), (0.56, 1.0))


def empty_figure() -> go.Figure:
    """Return every trace and every axis, nothing in them yet."""
    figure = go.Figure(
        _traces(),
        dict(
            template=template(),
            margin={"l": scaled(SIDE_PX), "r": 12, "t": scaled(TOP_PX), "b": BOTTOM_PX},
            barmode="stack",
            bargap=0.08,
            hovermode="closest",
            showlegend=True,
            legend={
                "x": 0,
                "xref": "container",
                "xanchor": "left",
                "y": 1.0,
                "yref": "container",
                "yanchor": "top",
                "itemclick": False,
            },
            annotations=[
                plot_title(place, "", size=current_theme().font_px, x=0.0, anchor="left")
                for place in range(9)
            ],
            **_axes(),
        ),
    )
    place_rows(figure, False, View(), 0)
    return figure


def place_rows(figure: go.Figure, two: bool, view: View, n_atoms: int) -> None:
    """Give every row that is shown its part of the height, and the figure the height of all."""
    bands, lower, raster = view.bands != "none", view.lower != "none", view.part != "none"
    atoms = ROW_PX * (min(max(n_atoms, 3), MOST_NAMED_ROWS))
    # Names of times stand under the atoms, or under the bars where there are none.
    under_bars = GAP_PX * bands if raster else 0 if view.by_distance else NAMES_PX
    # Where nothing is predicted no arc is drawn; a pixel stays, on which the title of the atoms stands.
    rows = [
        (
            "1",
            (1 if view.alone else ARCS_PX * (not view.by_distance))
            + (BANDS_PX if raster else TALL_PX) * bands,
            under_bars,
        ),
        ("2", SECOND_PX * (two and bands), GAP_PX * (two and bands)),
        ("3", atoms * raster, NAMES_PX * raster),
        ("4", LOWER_PX * lower, 0),
        ("9", DISTANCE_PX * view.by_distance, 0),
    ]
    whole, above = sum(px + gap for _, px, gap in rows), 0
    for name, px, gap in rows:
        span = (1 - (above + px) / whole, 1 - above / whole)
        above += px + gap
        span = span if px else (0.0, 1e-3)
        for number in (4, 5, 6, 7, 8) if name == "4" else (int(name),):
            figure.layout[f"yaxis{number_of(number - 1)}"].domain = span
    bottom = BOTTOM_PX * (lower or view.by_distance)
    figure.layout.margin.b, figure.layout.height = bottom, scaled(whole + TOP_PX) + bottom
    figure.layout.margin.l = scaled(
        SIDE_PX if raster else DISTANCE_SIDE_PX if view.by_distance else SHARES_PX
    )
    _show_rows(figure, two, view)


def _show_rows(figure: go.Figure, two: bool, view: View) -> None:
    """Hide the axes, traces and titles of rows that have no part of the height."""
    bands, matrices = view.bands != "none", view.lower == "similarity"
    figure.layout.showlegend = not view.alone and bands
    raster = view.part != "none"
    shown = {"1": bands, "2": bands and two, "3": raster}
    shown |= {str(n): matrices for n in (4, 5, 6)}
    shown |= {str(n): view.lower in ("PCA", "UMAP") for n in (7, 8)}
    shown["9"] = view.by_distance
    for number, there in shown.items():
        suffix = number_of(int(number) - 1)
        for side in "xy":
            figure.layout[f"{side}axis{suffix}"].visible = there
        figure.layout.annotations[int(number) - 1].visible = there
        for trace in figure.data:
            if trace.name.startswith("arc"):
                trace.visible = not view.by_distance
            elif trace.yaxis == f"y{suffix}":
                # Shares alone: what is not predicted is new, and need not be drawn.
                spared = trace.name.endswith("novel") and view.bands == "share"
                trace.visible = there and not (spared and number in "12")
    figure.layout.xaxis.showticklabels = bands and not raster
    # The title of the atoms stands above the arcs, which touch them.
    place = "3" if bands else ""
    title = figure.layout.annotations[2]
    title.xref, title.yref = f"x{place} domain", f"y{place} domain"
    # From the left edge, so that it has the whole width; under bars their own title is in the way.
    title.xshift = 0 if bands or not raster else -scaled(SIDE_PX) + 4


def _traces() -> list[Any]:
    return [
        _band("predicted", 0, theme.PREDICTED, legend=True),
        _band("novel", 0, theme.NOVEL, legend=True),
        _control("shuffled order", 0, legend=True),
        _arc_key(),
        _line("boundaries", 0, {"color": theme.NEUTRAL, "width": 1.5, "dash": "dot"}),
        *(_line(f"arc {i}", 0, {"color": theme.PREDICTED, "width": 2}) for i in range(MOST_ARCS)),
        _line("cursor", 0, {"color": CURSOR, "width": 5}),
        _band("second predicted", 1, theme.PREDICTED),
        _band("second novel", 1, theme.NOVEL),
        _control("second shuffled order", 1),
        _line("second boundaries", 1, {"color": theme.NEUTRAL, "width": 1.5, "dash": "dot"}),
        _line("second cursor", 1, {"color": CURSOR, "width": 5}),
        _heat("raster", 2, "%{customdata}<br>at %{x}: %{z:.3g}<extra></extra>"),
        _line("raster cursor", 2, {"color": CURSOR, "width": 5}),
        *(
            _heat(f"{part} similarity", place, "%{x} and %{y}: cosine %{z:.2f}<extra></extra>")
            for place, part in enumerate(PARTS, start=3)
        ),
        *_map("predicted", 6),
        *_map("novel", 7),
        *(_curve(part) for part in COLOURS),
        *(_chance(part) for part in COLOURS),
    ]


def _curve(part: str) -> go.Scatter:
    return go.Scatter(
        name=f"{part} by distance",
        mode="lines+markers+text",
        line={"color": COLOURS[part], "width": 3},
        marker={"color": COLOURS[part]},
        textposition="top right",
        textfont={"color": COLOURS[part]},
        cliponaxis=False,
        hovertemplate=f"{SAID[part]}, %{{x}} later: %{{y:.2f}}<extra></extra>",
        showlegend=False,
        **on_axes(8),
    )


def _chance(part: str) -> go.Scatter:
    line = {"color": theme.CONTROL, "width": 2, "dash": theme.CONTROL_DASH}
    return _line(f"{part} in random order", 8, line)


def _arc_key() -> go.Scatter:
    """Return the legend of the arcs: one entry for all of them."""
    key = _line("arcs: predicted from there", 0, {"color": theme.PREDICTED, "width": 2})
    key.x, key.y, key.showlegend = [None], [None], True
    return key


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
        "yaxis3": {**quiet, "ticks": ""},
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
    axes["xaxis9"] = {**quiet, "type": "log", "zeroline": False}
    axes["yaxis9"] = {"fixedrange": True, "nticks": 5, "zeroline": False}
    for place, domain in enumerate(((0.0, 1.0),) * 3 + THIRDS + HALVES + ((0.0, 1.0),)):
        suffix = number_of(place)
        axes[f"xaxis{suffix}"] |= {"domain": domain, "anchor": f"y{suffix}"}
        axes[f"yaxis{suffix}"] |= {"anchor": f"x{suffix}"}
    return axes


# -------------------------------------------------------------------------------------------------
# A sequence's record → one figure: bands over time, raster of codes, similarity matrices or maps.


Lower = Literal["none", "similarity", "PCA", "UMAP"]
Bands = Literal["none", "share", "energy"]
USUAL_ROWS = 16

ENDS = [0, 0.5, 1]
MOST_NAMED = 16
"""Times that are named on the axis in the normal scale; more would overlap on a phone."""
MOST_JOINED = 80
"""Times whose points on the maps are joined; more lines would hide the points."""
CLICKABLE = ("predicted", "novel", "raster", "predicted map", "novel map")
"""Traces whose points are times."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The visible part of the records."""

    time: int = -1
    """The time under the cursor; −1 for none."""

    part: str = "novel"
    """Whose codes are in the raster; "none" for no raster."""

    lower: Lower = "none"
    """View under the raster."""

    bands: Bands = "none"
    """Shares of the energy above the raster, or the energy itself."""

    rows: int = USUAL_ROWS
    """Number of atoms in the raster, the strongest."""

    alone: bool = False
    """Whether the SAE predicts nothing: no arcs, and no word of what is novel."""

    names: AtomNames = field(default_factory=AtomNames)
    """Names of the atoms."""

    color_by: str = "time"
    """Colour of the points of the maps: "time" or "document"."""

    @property
    def by_distance(self) -> bool:
        """Whether the curves over distance stand there: they do where nothing else was asked for."""
        return self.bands == self.part == self.lower == "none" and not self.alone

    @property
    def raster(self) -> str:
        """Whose codes the raster has, also while it is hidden."""
        return "novel" if self.part == "none" else self.part


def temporal_figure(
    record: TemporalSummary, second: TemporalSummary | None = None, view: View | None = None
) -> go.Figure:
    """Draw the plots of one sequence, or of two in lock-step."""
    figure = empty_figure()
    draw_sequences(figure, record, second, view or View())
    return figure


def draw_sequences(
    figure: go.Figure, record: TemporalSummary, second: TemporalSummary | None, view: View
) -> None:
    """Show other sequences in the same figure, from scratch but in place."""
    with figure.batch_update():
        place_rows(figure, second is not None, view, _rows(record, view))
        _draw_bands(figure, "", record, view.bands)
        _draw_bands(figure, "second ", second, view.bands)
        longest = max(record.n_times, 0 if second is None else second.n_times)
        figure.layout.xaxis.range = [-0.5, longest - 0.5]
        _draw_matrices(figure, record)
        _draw_distances(figure, record)
        _name_times(figure, record, second)
    draw_maps(figure, record, view)
    draw_part(figure, record, view)
    draw_cursor(figure, record, second, view)


def likeness_html(record: TemporalSummary) -> str:
    """Return two squares, of predicted codes and of new ones: row by column the cosine of two times."""
    word = WORDS[record.kind]
    last = f"{word} {record.n_times - 1 + record.first_position}"
    parts = []
    for part, said in SIMILAR.items():
        colour = COLOURS[part]
        file = _picture(record.similarity[part], colour)
        parts.append(
            f'<figure><figcaption><b style="color:var(--sae-nb-{TEXT[part]}-text)">{said}</b></figcaption>'
            f'<img alt="{said}: cosine of every two {word}s" width="240" src="data:image/png;base64,{file}"/>'
            f"<div><span>first {word}</span><span>{last}</span></div></figure>"
        )
    return f'<div class="sae-nb-likeness sae-nb-beside">{"".join(parts)}</div>'


def _picture(cosines: np.ndarray, colour: str) -> str:
    """A PNG in base64: the stronger the colour, the more alike; what is unlike lets the paper through."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    pixels = np.empty((*cosines.shape, 4), np.uint8)
    pixels[..., :3] = rgb
    pixels[..., 3] = np.rint(255 * np.clip(np.nan_to_num(cosines), 0, 1))
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def clear(figure: go.Figure) -> None:
    """Show nothing: the sequence is gone."""
    with figure.batch_update():
        for trace in figure.data:
            if trace.type == "heatmap":
                trace.z = []
            else:
                trace.x = trace.y = []
        figure.layout.xaxis3.ticktext = figure.layout.yaxis3.ticktext = []


def draw_part(figure: go.Figure, record: TemporalSummary, view: View) -> None:
    """Put the predicted or the novel codes in the raster, in the colour of that part."""
    raster = record.rasters[view.raster].strongest(view.rows)
    shown, n = named(figure, "raster"), len(raster.atoms)
    most = float(np.nanmax(np.abs(raster.strengths), initial=0.0)) or 1.0
    names = [row_name(view.names, int(atom), record, view.raster) for atom in raster.atoms]
    weak, strong = fade(COLOURS[view.raster], FAINTEST), COLOURS[view.raster]
    with figure.batch_update():
        shown.z = heatmap_cells(raster.strengths)
        said = np.array([[plot_text(name)] for name in names], object).reshape(n, 1)
        shown.customdata = np.repeat(said, record.n_times, axis=1)
        shown.meta = {"atoms": raster.atoms.tolist()}
        # By size: a predicted code may be negative, and hovering says so.
        shown.colorscale = [[0, strong], [0.5, weak], [1, strong]]
        shown.zmin, shown.zmax = -most, most
        axis = figure.layout.yaxis3
        axis.range = [max(n, 1) - 0.5, -0.5]
        axis.tickvals = list(range(n)) if n <= MOST_NAMED_ROWS else []
        axis.ticktext = [plot_text(_short(name)) for name in names]
        figure.layout.annotations[2].text = _raster_title(raster, view)


def row_name(names: AtomNames, atom: int, record: TemporalSummary, part: str) -> str:
    """Return the name of an atom; without a name by where it is strongest in this sequence."""
    if names.words(atom):
        return names.name(atom)
    time = int(record.codes[part][:, atom].abs().argmax())
    return f"{atom} · at {quoted_token(record.names[time])}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _rows(record: TemporalSummary, view: View) -> int:
    return min(len(record.rasters[view.raster].atoms), view.rows)


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
            line.y = _cursor_ends(name, record, view) if there else []
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
    shown = bands != "energy"
    heights = record.shares if shown else record.energy
    most = max(float(heights[:, 0].max()), float(record.shuffled.max()))
    top = math.ceil(20 * most) / 20 if shown else float(heights.sum(axis=1).max())
    top = top or 1.0
    times = np.arange(record.n_times)
    for column, part in enumerate(COLOURS):
        band = named(figure, f"{which}{part}")
        band.x, band.y = times, (heights[:, column] / top).astype(np.float32)
        band.hovertext = [_hover(record, time, part, column) for time in range(record.n_times)]
    control = named(figure, f"{which}shuffled order")
    control.x, control.y = (times, record.shuffled / top) if shown else ([], [])
    ends = np.array([[b - 0.5, b - 0.5, np.nan] for b in record.boundaries]).reshape(-1)
    line = named(figure, f"{which}boundaries")
    line.x, line.y = ends, np.tile([0.0, 1.0, np.nan], len(record.boundaries))
    axis.range = [ARC_FOOT if bands == "none" else 0.0, 1.02 if which else ARC_TOP]
    axis.tickvals = ENDS
    axis.ticktext = [f"{100 * v * top:.3g}" if shown else format_number(top * v) for v in ENDS]
    axis.title.text = "% of the energy" if shown else "energy"


def _hover(record: TemporalSummary, time: int, part: str, column: int) -> str:
    energy, share = record.energy[time, column], record.shares[time, column]
    return (
        f"{plot_text(place_name(record, time))}<br>{part}: "
        f"{format_number(100 * float(share), '%')} of the energy "
        f"({format_number(float(energy))})<br>predicted in shuffled order: "
        f"{format_number(100 * float(record.shuffled[time]), '%')}"
    )


def place_name(record: TemporalSummary, time: int) -> str:
    """Return the name of a time: its token or its layer, and its number."""
    name = (
        visible_token(record.names[time], bare=True)
        if record.kind == "text"
        else record.names[time]
    )
    if record.kind == "layers":
        return name
    word = WORDS[record.kind]
    number = str(time + record.first_position)
    return f"{word} {number}" if name == number else f"“{name}” ({word} {number})"


def _draw_matrices(figure: go.Figure, record: TemporalSummary) -> None:
    for number, part in enumerate(PARTS, start=4):
        cosines = record.similarity[part]
        matrix = named(figure, f"{part} similarity")
        places = np.arange(len(cosines)) * record.stride
        matrix.z, matrix.x, matrix.y = heatmap_cells(cosines.astype(np.float32)), places, places
        away = cosines[~np.eye(len(cosines), dtype=bool)]
        most = float(np.abs(away).max(initial=0.0)) or 1.0
        # Not blue to orange: these colours mean predicted and novel here.
        matrix.zmin, matrix.zmax = -most, most
        figure.layout.annotations[number - 1].text = part
    key = "similarity of positions<br>(bright: alike, dark: unlike)"
    figure.layout.xaxis5.title.text = key


def _draw_distances(figure: go.Figure, record: TemporalSummary) -> None:
    """Draw the mean cosine of two times against their distance, and what it is in random order."""
    last = len(record.by_distance["predicted"])
    for part in COLOURS:
        cosines, chance = record.by_distance[part], record.order_lost[part]
        curve, line = named(figure, f"{part} by distance"), named(figure, f"{part} in random order")
        curve.x, curve.y = np.arange(1, last + 1), cosines.astype(np.float32)
        curve.marker.size = [9] + [0] * (last - 1)
        curve.text = [f"<b>{SAID[part]} {format_number(float(cosines[0]), digits=2)}</b>"] + [
            ""
        ] * (last - 1)
        line.x, line.y = [1, last], [chance, chance]
    ends = [2**i for i in range(6) if 2**i <= last]
    axis = figure.layout.xaxis9
    axis.tickvals, axis.ticktext = ends, list(map(str, ends))
    axis.range = [-0.06, math.log10(max(last, 2)) + 0.02]
    drawn = np.concatenate([record.by_distance[part] for part in COLOURS])
    drawn = np.append(drawn, [record.order_lost[part] for part in COLOURS])
    if np.isfinite(drawn).all():  # with room for the words at the highest point
        room = float(np.ptp(drawn)) or 1.0
        figure.layout.yaxis9.range = [drawn.min() - 0.05 * room, drawn.max() + 0.15 * room]
    word = WORDS[record.kind]
    axis.title.text = f"{word}s later<br>(dashed grey: in random order)"
    figure.layout.annotations[8].text = f"<b>Cosine with a later {word}</b>"


def draw_maps(figure: go.Figure, record: TemporalSummary, view: View) -> None:
    """Place and colour the points of both maps."""
    by_time = view.color_by == "time" or not record.boundaries
    said = "dark: early,<br>bright: late" if by_time else "colour: document"
    with figure.batch_update():
        for number, part in ((7, "predicted"), (8, "novel")):
            path = named(figure, f"{part} map")
            path.x, path.y = record.xy[part].T
            path.mode = "lines+markers" if record.n_times <= MOST_JOINED else "markers"
            path.hovertext = [plot_text(place_name(record, i)) for i in range(record.n_times)]
            figure.layout.annotations[number - 1].text = part
        figure.layout.xaxis7.title.text = "similar positions<br>lie close"
        figure.layout.xaxis8.title.text = said
    colours = np.arange(record.n_times)
    if not by_time:
        colours = np.array([category_style(int(d))[0] for d in record.documents])
    for part in COLOURS:
        # Not in the batch: a colour array there makes the browser drop the other traces' colours.
        named(figure, f"{part} map").marker.color = colours


def _name_times(figure: go.Figure, record: TemporalSummary, second: TemporalSummary | None) -> None:
    of_text = record.kind == "text"
    name = word_at if of_text else lambda names, time: visible_token(names[time])
    starts = _word_starts(record) if of_text else range(record.n_times)
    shown = starts[:: math.ceil(len(starts) / (13 * MOST_NAMED / current_theme().font_px))]
    for axis in (figure.layout.xaxis, figure.layout.xaxis3):
        axis.tickvals = list(shown)
        axis.ticktext = [plot_text(name(record.names, time)) for time in shown]
        axis.tickangle = -50
    figure.layout.annotations[1].text = "second text, aligned" if second is not None else ""


def _word_starts(record: TemporalSummary) -> list[int]:
    joins = joins_of(record.names)
    times = range(record.n_times)
    return [time for time in times if (time == 0 or joins[time]) and record.names[time].strip()]


def _raster_title(raster: Raster, view: View) -> str:
    hidden = f" ({raster.left_out} weak ones hidden)" if raster.left_out else ""
    return f"{'' if view.alone else f'{view.raster} '}atoms by first use{hidden}"


def _cursor_ends(name: str, record: TemporalSummary, view: View) -> list[float]:
    if name == "raster cursor":
        return [-0.5, max(_rows(record, view), 1) - 0.5]
    return [0.0, 1.0]


def _draw_arc(
    arc: go.Scatter, time: int, source: list[tuple[int, float]], record: TemporalSummary
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


def place_clicked(trace: go.Scatter, points: Points) -> tuple[int, int | None]:
    """Return the time under a click, and in the raster also the row."""
    if trace.name == "raster":
        return round(float(points.xs[0])), round(float(points.ys[0]))
    if trace.name.endswith(" map"):
        return int(points.point_inds[0]), None
    return round(float(points.xs[0])), None


def restyle(figure: go.Figure) -> None:
    """Take the current theme's sizes."""
    with figure.batch_update():
        figure.layout.margin.t = scaled(TOP_PX)
        for note in figure.layout.annotations:
            note.font.size = current_theme().font_px

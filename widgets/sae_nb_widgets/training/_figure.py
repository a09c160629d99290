"""Training summaries → one plotly figure of small plots, built once and then changed in place.

Building takes 100 ms and an update 2 ms, and the training thread shares the interpreter with both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float

from sae_nb.figures import (
    TRAINING_CURVES as CURVES,
    TrainingCurve,
    category_style,
    colour_scale,
    current_theme,
    number_of,
    on_axes,
    plot_text,
    plot_title,
    template,
    theme,
)
from sae_nb.figures.theme import format_count, format_number, format_percent, scaled
from sae_nb.training import AtomMotion, TrainingSummary

# -------------------------------------------------------------------------------------------------
# The atoms of a training in small plots: a map of all of them, their motion, R² against L0 by run.


MapBy = Literal["frequency", "motion"]
Axis = Literal["linear", "log"]
N_SHARED = 3
MAP, MEDIAN, P90 = range(N_SHARED)
"""Traces that belong to no single run come first, so that runs can be added behind them."""

MOST_TEXTS = 4096
"""Atoms of a map that say their number in words when they are pointed at; 100 kB."""

WIDE = 3.2  # columns of the map for each of its rows
MAP_TITLES = {
    "frequency": ("each atom: how often it fires", "gaps: dead atoms"),
    "motion": ("each atom: how fast it turns", "° in 100 steps"),
}
"""Subject of the map, and the note on its colours."""

MOTION_TITLE = ("turning", "°/100 steps", "dots: 90 %")
LONGEST_NAME = 24
"""Letters of a run's name in a title: it has to fit above the map in a panel of 620 px."""


def shared_traces(map_axes: dict[str, str], motion_axes: dict[str, str]) -> list[Any]:
    """Return the empty map and the two empty curves of motion."""
    bar = {
        "thickness": 9,
        "len": 0.2,
        "outlinewidth": 0,
        "tickfont": {"size": current_theme().font_px},
    }
    hover = "%{text}<extra></extra>"
    line = {"mode": "lines", "showlegend": False, **motion_axes}
    return [
        go.Heatmap(colorscale=colour_scale(), xgap=1, ygap=1, colorbar=bar, hovertemplate=hover,
                   hoverongaps=False, **map_axes),
        go.Scatter(name="median", line={"color": theme.NEUTRAL, "width": 2},
                   hovertemplate="step %{x:,}<br>half of the atoms turn by at most %{y:.3g}°"
                   "<extra></extra>", **line),
        go.Scatter(name="90 %", line={"color": theme.NEUTRAL, "width": 1.2, "dash": "dot"},
                   hovertemplate="step %{x:,}<br>nine in ten atoms turn by at most %{y:.3g}°"
                   "<extra></extra>", **line),
    ]  # fmt: skip


def map_title(by: MapBy, run: str = "") -> str:
    """Return the title over the map; `run` names which of several it is of."""
    of = plot_text(f"run {shortened(run)}")
    return "<br>".join([*MAP_TITLES[by], *([of] if run else [])])


def shortened(run: str) -> str:
    """Return a run's name as long as a title has room for."""
    return run if len(run) <= LONGEST_NAME else f"{run[: LONGEST_NAME - 1]}…"


def update_shared(figure: go.Figure, summary: TrainingSummary | None, by: MapBy) -> None:
    """Draw the map and the motion of one run."""
    motion = None if summary is None else summary.motion
    median, p90 = figure.data[MEDIAN], figure.data[P90]
    if motion is not None:
        median.x, median.y = motion.step, motion.median
        p90.x, p90.y = motion.step, motion.p90
    frequency = None if summary is None else summary.frequency
    values = frequency if by == "frequency" else None if motion is None else motion.per_atom
    if values is None:
        return
    z, words, ticks = _frequencies(values) if by == "frequency" else _angles(values)
    trace = figure.data[MAP]
    trace.z = _as_map(z)
    trace.zmin, trace.zmax = ticks[0][0], ticks[0][-1]
    trace.colorbar.tickvals, trace.colorbar.ticktext = ticks
    trace.text = _as_map(words) if len(words) <= MOST_TEXTS else None
    trace.hovertemplate = "%{text}<extra></extra>" if len(words) <= MOST_TEXTS else "%{z:.3g}"


def _frequencies(values: Float[np.ndarray, " n_atoms"]) -> tuple[Any, Any, Any]:
    """Log-shares for the colours, words for pointing, and ticks in percent."""
    with np.errstate(divide="ignore"):
        z = np.where(values > 0, np.log10(values), np.nan).astype(np.float32)
    words = np.array(
        [
            f"atom {atom}<br>"
            + (f"fires on {format_percent(float(v), of='rows')}" if v else "dead")
            for atom, v in enumerate(values[:MOST_TEXTS])
        ]
    )
    alive = z[np.isfinite(z)]
    low = math.floor(float(alive.min())) if len(alive) else -3
    powers = list(range(min(low, -1), 1))
    return z, _padded(words, len(values)), (powers, [f"{100 * 10.0**p:g} %" for p in powers])


def _angles(values: Float[np.ndarray, " n_atoms"]) -> tuple[Any, Any, Any]:
    words = np.array(
        [
            f"atom {atom}<br>turns by {format_number(float(v))}° in 100 steps"
            for atom, v in enumerate(values[:MOST_TEXTS])
        ]
    )
    top = float(np.nanmax(values, initial=0.0)) or 1.0
    ticks = [0.0, top / 2, top]
    return values, _padded(words, len(values)), (ticks, [f"{format_number(v)}°" for v in ticks])


def _padded(words: np.ndarray, n: int) -> np.ndarray:
    return words if len(words) == n else np.full(n, "", dtype=object)


def _as_map(values: np.ndarray) -> np.ndarray | list[list[float | None]]:
    """Fill rows of a wide rectangle, atom 0 at the top left; the rest of the last row is empty."""
    columns = map_columns(len(values))
    rows = -(-len(values) // columns)
    filler = np.nan if values.dtype.kind == "f" else ""
    whole = np.full(rows * columns, filler, dtype=values.dtype)
    whole[: len(values)] = values
    grid = whole.reshape(rows, columns)
    if values.dtype.kind != "f":
        return grid
    # JSON knows no NaN, and arrays with two axes go as JSON: rounded, 16 k atoms are 120 kB.
    return [[None if math.isnan(v) else round(float(v), 3) for v in row] for row in grid]


def map_columns(n_atoms: int) -> int:
    """Return columns of the map of so many atoms."""
    return max(math.ceil(math.sqrt(WIDE * n_atoms)), 1)


def has_motion(motion: AtomMotion | None) -> bool:
    """Return whether there is anything to draw of a run's motion."""
    return motion is not None and len(motion.step) > 0


# --- runs against one another ---------------------------------------------------------------------


def run_traces(colour: str, label: str, group: str, axes: dict[str, str]) -> list[Any]:
    """Return the way of one run through L0 and R², and the point where it is now."""
    shared = {"name": label, "legendgroup": group, "showlegend": False, **axes}
    hover = f"{label}<br>L0 %{{x:.3g}}<br>R² %{{y:.3f}}<extra></extra>"
    return [
        go.Scatter(
            mode="lines",
            line={"color": colour, "width": 1},
            opacity=0.5,
            hoverinfo="skip",
            **shared,
        ),
        go.Scatter(
            mode="markers",
            marker={"color": colour, "size": 11, "line": {"width": 0, "color": theme.GREY}},
            hovertemplate=hover,
            **shared,
        ),
    ]


def pareto_points(summaries: Sequence[TrainingSummary]) -> list[tuple[Any, Any, bool]]:
    """Return where every run is, L0 and R², and whether no other run beats it there."""
    newest = [
        (float(s.l0[-1]), float(s.r2[-1])) if len(s.step) else (math.nan, math.nan)
        for s in summaries
    ]
    l0, r2 = np.array(newest).T
    known = np.isfinite(l0) & np.isfinite(r2)
    best = np.zeros(len(newest), dtype=bool)
    best[known] = _unbeaten(l0[known], r2[known])
    return [(x, y, bool(b)) for (x, y), b in zip(newest, best, strict=True)]


def _unbeaten(
    l0: Float[np.ndarray, " runs"], r2: Float[np.ndarray, " runs"]
) -> Bool[np.ndarray, " runs"]:
    """Return which runs no other one beats: higher R² at no more atoms per row."""
    no_worse = (l0[:, None] <= l0) & (r2[:, None] >= r2)
    better = no_worse & ((l0[:, None] < l0) | (r2[:, None] > r2))
    return np.asarray(~better.any(axis=0))


# -------------------------------------------------------------------------------------------------
# Where the small plots of a training stand: rows that come and go in place, sizes in pixels.


N_CURVES, COLUMNS = 6, 3
PER_RUN = N_CURVES + 7
"""Traces of a run: curves, best step, rows that stay the same, words at the ends of both, living and dead
atoms, its way to L0 and R²."""

STAR, LOOKS, ENDS = range(N_CURVES, N_CURVES + 3)
"""Of the traces of a run: the best step, R² of rows that stay the same, and what both curves are."""

PLOT_PX, MAP_PX, TITLE_PX, TICKS_PX, LEGEND_PX = 112, 120, 27, 46, 26
ALONE_PX = 300
"""Height of the one plot that is drawn where not every plot is asked for."""

BEGINNING, FEWEST_LATE = 0.04, 20
"""Share of a run that the axis of R² leaves out where it is alone, once so many points come after it."""
ATOMS_TITLE_PX = 66
"""Titles of the map and of the motion: three lines."""

R2 = [curve.field for curve in CURVES].index("r2")
STRIP_TITLE = "how often each atom fires"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of small plots under the curves."""

    curves: int = 1
    """Rows of curves: the first curve alone, or all."""

    strip: bool = False
    """Atoms sorted by frequency."""

    several: bool = False
    """More than one run: each has a colour."""

    looked: bool = False
    """Rows that stay the same are drawn beside the batches."""

    compared: bool = False
    """R² against L0 of several runs, next to the strip."""

    atoms: bool = False
    """The map of all atoms, and how fast they turn."""

    @property
    def alone(self) -> bool:
        """Whether R² is the only plot."""
        return self.curves == 1

    @property
    def legend(self) -> bool:
        """Whether the curves of one plot have names above it: at their ends is room where it is alone."""
        return self.several or (self.looked and not self.alone)

    @property
    def heights(self) -> list[tuple[float, float]]:
        """Heights of the title and of the plots of each row, in pixels at the normal scale."""
        if self.alone:
            return [(TITLE_PX, ALONE_PX)]
        rows = [(TITLE_PX, PLOT_PX)] * (self.curves + (self.strip or self.compared))
        return [*rows, *([(ATOMS_TITLE_PX, MAP_PX)] * self.atoms)]


def rows_of(summaries: Sequence[TrainingSummary], everything: bool) -> Rows:
    """Return which rows these runs need: one of curves, or `everything` that is known of them."""
    several, looked = len(summaries) > 1, any(len(summary.looks) > 1 for summary in summaries)
    if not everything:
        return Rows(several=several, looked=looked)
    return Rows(
        curves=N_CURVES // COLUMNS,
        looked=looked,
        strip=any(summary.frequency is not None for summary in summaries),
        several=several,
        compared=several,
        atoms=any(has_motion(summary.motion) for summary in summaries),
    )


def arrange_rows(figure: go.Figure, rows: Rows) -> None:
    """Give every small plot its place, and hide those that are not needed; nothing is rebuilt."""
    layout, domains = figure.layout, _row_domains(rows)
    layout.height = figure_height(rows)
    size = current_theme().font_px + 1
    for place in range(N_CURVES + 4):
        layout.annotations[place].font.size = size
    for i in range(N_CURVES):
        row, x, y = i // COLUMNS, layout[f"xaxis{number_of(i)}"], layout[f"yaxis{number_of(i)}"]
        x.visible = y.visible = i == R2 if rows.alone else row < rows.curves
        x.domain = [0.0, 1.0] if rows.alone and i == R2 else _COLUMN_DOMAINS[i % COLUMNS]
        x.nticks, y.domain = 8 if rows.alone else 3, domains[min(row, rows.curves - 1)]
        x.showticklabels, x.title.text = row == rows.curves - 1, "step" * (row == rows.curves - 1)
    below = domains[rows.curves] if len(domains) > rows.curves else [0, 0.1]
    _arrange_third(layout, rows, below)
    last = domains[-1]
    for place, domain in ((8, [0.0, 0.4]), (9, [0.74, 1.0])):
        x, y = layout[f"xaxis{number_of(place)}"], layout[f"yaxis{number_of(place)}"]
        y.visible = x.visible = rows.atoms and place == 9
        x.domain, y.domain = domain, last if rows.atoms else [0, 0.1]
    layout.annotations[N_CURVES + 3].text = "<br>".join(MOTION_TITLE) if rows.atoms else ""
    bar = figure.data[MAP].colorbar
    bar.x, bar.xanchor, bar.tickfont.size = 0.41, "left", current_theme().font_px
    bar.y, bar.len = sum(last) / 2, last[1] - last[0]


def show_traces(figure: go.Figure, rows: Rows, n_runs: int) -> None:
    """Show the traces that the rows need, each by a message of its own.

    One message for some traces would take the same property from all others in the browser.
    """
    for trace in figure.data[:N_SHARED]:
        _set(trace, "visible", rows.atoms)
    for run in range(n_runs):
        traces = figure.data[N_SHARED + run * PER_RUN : N_SHARED + (run + 1) * PER_RUN]
        _set(traces[R2], "showlegend", rows.legend)
        _set(traces[LOOKS], "showlegend", rows.legend and not rows.several)
        _set(traces[ENDS], "visible", rows.looked and not rows.legend)
        for trace in traces[R2 + 1 : N_CURVES]:
            _set(trace, "visible", not rows.alone)
        for trace in traces[-4:-2]:
            _set(trace, "visible", rows.strip)
        for trace in traces[-2:]:
            _set(trace, "visible", rows.compared)


def _set(trace: go.Scatter, name: str, value: bool) -> None:
    if trace[name] is not value:
        trace[name] = value


def _arrange_third(layout: go.Layout, rows: Rows, domain: list[float]) -> None:
    """Put the strip and R² against L0 next to each other, or one of them over the whole width."""
    titles = ((6, rows.strip, STRIP_TITLE), (7, rows.compared, "R² by L0"))
    for place, shown, title in titles:
        x, y = layout[f"xaxis{number_of(place)}"], layout[f"yaxis{number_of(place)}"]
        x.visible = y.visible = shown
        y.domain = domain
        layout.annotations[place].text = title if shown else ""
    layout.xaxis7.domain = [0.0, 0.6 if rows.compared else 1.0]
    layout.xaxis8.domain = [0.715 if rows.strip else 0.0, 1.0]


def _row_domains(rows: Rows) -> list[list[float]]:
    """Bottom and top of each row of plots, as fractions of the height, from the top down."""
    size = current_theme().font_px / 13
    height = figure_height(rows)
    top = height - LEGEND_PX * size * rows.legend
    domains = []
    for row, (title, pixels) in enumerate(rows.heights):
        bottom = top - title * size - pixels * size
        domains.append([max(bottom / height, 0.0), (bottom + pixels * size) / height])
        top = bottom - (TICKS_PX * size if row >= rows.curves - 1 else 8.0)
    return domains


def figure_height(rows: Rows) -> int:
    """Return the height in CSS pixels at the current scale."""
    heights = rows.heights
    within = rows.curves - 1  # gaps between rows of curves, which share their ticks
    pixels = sum(map(sum, heights)) + 8 * within + (len(heights) - within) * TICKS_PX
    return scaled(pixels + LEGEND_PX * rows.legend)


# -------------------------------------------------------------------------------------------------
# Training summaries → one plotly figure of small plots, built once and then changed in place.


STRIP_POINTS = 600  # atoms drawn of a long strip: two per pixel at most


def training_figure(
    summaries: Sequence[TrainingSummary],
    *,
    axis: Axis = "linear",
    map_by: MapBy = "frequency",
    everything: bool = False,
) -> go.Figure:
    """Draw R² over the steps: of batches, and of rows that stay the same; of several runs one colour each.

    `everything` adds loss, dead atoms, L0, throughput and learning rate, and, where the runs know their atoms:
    atoms sorted by frequency, R² against L0 of several runs, a map of every atom, and how fast the
    atoms turn.
    """
    figure = go.Figure(
        shared_traces(on_axes(8), on_axes(9)),
        dict(
            annotations=[
                plot_title(place, "", size=current_theme().font_px + 1)
                for place in range(len(CURVES) + 4)
            ],
            template=template(),
            margin={"l": 52, "r": 12, "t": 0, "b": 0},
            legend={
                "y": 1.0,
                "yref": "container",
                "yanchor": "top",
                "itemsizing": "constant",
                "traceorder": "normal",
            },
            hovermode="closest",
            uirevision="training",  # a redraw keeps the reader's zoom
            **_axes(),
        ),
    )
    update_training_figure(figure, summaries, axis=axis, map_by=map_by, everything=everything)
    return figure


def update_training_figure(
    figure: go.Figure,
    summaries: Sequence[TrainingSummary],
    *,
    axis: Axis = "linear",
    map_by: MapBy = "frequency",
    shown: int = 0,
    everything: bool = False,
) -> None:
    """Give a figure made by `training_figure` the newest numbers, in one message to its browser.

    Runs come in the same order, new ones behind them; the map and the motion are of run `shown`.
    """
    rows = rows_of(summaries, everything)
    n_drawn = (len(figure.data) - N_SHARED) // PER_RUN
    new = [t for i in range(n_drawn, len(summaries)) for t in _run_traces(i, summaries[i].name)]
    if new:
        figure.add_traces(new)
    show_traces(figure, rows, len(summaries))
    points = pareto_points(summaries) if summaries else []
    _ring(figure, points)
    # The colour of a run where there are several; by messages of their own, as in `show_traces`.
    colour = category_style(shown)[0] if rows.several else theme.NEUTRAL
    for trace in (figure.data[MEDIAN], figure.data[P90]):
        if trace.line.color != colour:
            trace.line.color = colour
    for run, summary in enumerate(summaries):
        traces = figure.data[N_SHARED + run * PER_RUN :][:PER_RUN]
        _name_star(traces[STAR], summary, alone=not rows.several)
        _name_curves(traces, run, summary, rows)
    with figure.batch_update():
        arrange_rows(figure, rows)
        for run, (summary, point) in enumerate(zip(summaries, points, strict=True)):
            first = N_SHARED + run * PER_RUN
            _set_run(figure.data[first : first + PER_RUN], summary, point)
        chosen = summaries[shown] if 0 <= shown < len(summaries) else None
        update_shared(figure, chosen, map_by)
        _set_axes(figure, summaries, axis, rows)
        whose = chosen.name if chosen is not None and rows.several else ""
        title = map_title(map_by, whose) if rows.atoms else ""
        figure.layout.annotations[len(CURVES) + 2].text = title


def _axes() -> dict[str, Any]:
    """Axes of every small plot; `arrange_rows` places them."""
    axes: dict[str, Any] = {}
    for i in range(len(CURVES)):
        axes[f"xaxis{number_of(i)}"] = {
            "domain": _COLUMN_DOMAINS[i % COLUMNS],
            "anchor": f"y{number_of(i)}",
            "nticks": 3,  # a third of a narrow panel has room for three numbers of four digits
            "tickangle": 0,
        } | ({"matches": "x"} if i else {})
        axes[f"yaxis{number_of(i)}"] = {
            "anchor": f"x{number_of(i)}",
            "nticks": 5,
            "rangemode": "tozero" if CURVES[i].from_zero else "normal",
        }
    for place, x, y in (
        (6, "atoms, most used first", "% of rows"),
        (7, "L0, atoms per row", ""),
        (8, "", ""),
        (9, "step", ""),
    ):
        number = number_of(place)
        axes[f"xaxis{number}"] = {"anchor": f"y{number}", "title": {"text": x}, "nticks": 4}
        axes[f"yaxis{number}"] = {"anchor": f"x{number}", "title": {"text": y}, "nticks": 4}
    axes["yaxis9"]["autorange"] = "reversed"
    axes["yaxis10"].update(rangemode="tozero", ticksuffix="°")
    axes["xaxis7"]["nticks"] = 6
    return axes


_COLUMN_DOMAINS = ([0.0, 0.285], [0.357, 0.642], [0.715, 1.0])


_STRIP_KINDS = (
    ("circle", "atom %{customdata}<br>fires on %{y:.3g} % of rows<extra></extra>"),
    ("circle-open", "atom %{customdata}<br>has not fired lately<extra></extra>"),
)


def _run_traces(run: int, name: str) -> list[Any]:
    """Empty traces of one run, in the order of `_points`."""
    colour, _ = category_style(run)
    label = plot_text(name)
    shared = {"name": label, "legendgroup": str(run), "showlegend": False}
    traces = [
        go.Scatter(
            **shared,
            mode="lines",
            line={"color": colour, "width": 1.6},
            hovertemplate=f"{label}<br>step %{{x:,}}<br>{curve.title} %{{y:.3g}}<extra></extra>",
            **on_axes(i),
        )
        for i, curve in enumerate(CURVES)
    ]
    star = {
        "symbol": "star",
        "size": 12,
        "color": colour,
        "line": {"width": 1, "color": theme.GREY},
    }
    hover = f"{label}<br>best: %{{y:.3g}} %<br>step %{{x:,}}<extra></extra>"
    traces.append(
        go.Scatter(
            **shared,
            mode="markers",
            marker=star,
            textposition="bottom center",
            hovertemplate=hover,
            **on_axes(R2),
        )
    )
    hover = f"{label}<br>step %{{x:,}}<br>%{{y:.3g}} % of rows that stay the same<extra></extra>"
    traces.append(
        go.Scatter(
            **{**shared, "name": LOOKED[True]},
            mode="lines",
            line={"color": colour, "width": 3},
            hovertemplate=hover,
            **on_axes(R2),
        )
    )
    ends = {"size": 7, "color": [theme.CONTROL, theme.WARM]}
    traces.append(
        go.Scatter(**shared, mode="markers+text", marker=ends, hoverinfo="skip", **on_axes(R2))
    )
    for symbol, hover in _STRIP_KINDS:
        marker = {"color": colour, "size": 5, "symbol": symbol}
        traces.append(
            go.Scatter(**shared, mode="markers", marker=marker, hovertemplate=hover, **on_axes(6))
        )
    return traces + run_traces(colour, label, str(run), on_axes(7))


def _set_run(traces: Sequence[Any], summary: TrainingSummary, point: tuple[Any, Any, bool]) -> None:
    for trace, (x, y, custom) in zip(traces, _points(summary), strict=False):
        trace.x, trace.y = x, y
        if custom is not None:
            trace.customdata = custom
    way, now = traces[-2:]
    way.x, way.y = summary.l0, summary.r2
    known = np.array(point[:2], dtype=np.float32)[:, None]
    now.x, now.y = known if np.isfinite(known).all() else known[:, :0]


LOOKED = {True: "rows not trained on", False: "the same rows at every look"}
BATCHES = "training batches"


def _name_star(star: go.Scatter, summary: TrainingSummary, *, alone: bool) -> None:
    """Say at the star of a single run which step was best."""
    best = summary.best_step if summary.best_look is None else summary.best_look[0]
    mode = "markers+text" if alone and best is not None else "markers"
    text = f"best: step {format_count(best)}" if alone and best is not None else None
    # On the side that has room: one is taken by the name at the end of the curve.
    share = (best or 0) / max(summary.last_step, 1)
    side = "left" if share > 0.8 else "right" if share < 0.2 else "center"
    named = alone and len(summary.looks) > 1
    place = f"{'top' if named and not _above(summary) else 'bottom'} {side}"
    if (star.mode, star.text, star.textposition) != (mode, text, place):
        star.mode, star.text, star.textposition = mode, text, place


def _above(summary: TrainingSummary) -> bool:
    """Return whether the curve of the rows that stay the same ends above that of the batches."""
    return summary.looks[-1][1] > summary.r2[-1]


def _name_ends(ends: go.Scatter, summary: TrainingSummary) -> None:
    """Write at the end of both curves of a single run what they are, and what each explains now."""
    now = ((BATCHES, summary.batch_r2), (LOOKED[summary.held_out], summary.r2_now))
    text = [f"{name}: {_newest(CURVES[R2], r2)}" for name, r2 in now]
    places = ["bottom left", "top left"] if _above(summary) else ["top left", "bottom left"]
    if list(ends.text or ()) != text:
        ends.text, ends.textposition = text, places


def _name_curves(traces: Sequence[Any], run: int, summary: TrainingSummary, rows: Rows) -> None:
    """Have the batches of a run stand back where rows that stay the same are drawn, and name both.

    Each property by a message of its own, and only where it changes: see `show_traces`.
    """
    batches, looks = traces[R2], traces[LOOKS]
    looked, one = len(summary.looks) > 1, not rows.several
    if looked and not rows.legend:
        _name_ends(traces[ENDS], summary)
    own, _ = category_style(run)
    wanted = (
        (batches.line, "color", theme.CONTROL if looked and one else own),
        (batches.line, "dash", "dot" if looked and rows.several else "solid"),
        (batches, "name", BATCHES if looked and one else plot_text(summary.name)),
        (looks, "name", LOOKED[summary.held_out] if one else plot_text(summary.name)),
        (looks.line, "color", theme.WARM if one else own),
        (traces[STAR].marker, "color", theme.WARM if looked and one else own),
    )
    for part, name, value in wanted:
        if part[name] != value:
            part[name] = value


def _ring(figure: go.Figure, points: Sequence[tuple[float, float, bool]]) -> None:
    """Ring the runs that no other one beats, each by a message of its own: see `show_traces`."""
    for run, (_, _, best) in enumerate(points):
        line = figure.data[N_SHARED + (run + 1) * PER_RUN - 1].marker.line
        if line.width != 3 * best:
            line.width = 3 * best


Points = tuple[Any, Any, Any]


def _points(summary: TrainingSummary) -> list[Points]:
    """Arrays of the curves, the best step and the strip of a run, in the order of `_run_traces`."""
    curves: list[Points] = [
        (summary.step, getattr(summary, curve.field) * np.float32(curve.factor), None)
        for curve in CURVES
    ]
    step, r2 = zip(*summary.looks) if len(summary.looks) > 1 else ((), ())
    held = np.array(r2, np.float32) * np.float32(CURVES[R2].factor)
    looks: Points = (np.array(step), held, None)
    n = -1 if len(step) else len(summary.step)
    ends = [np.append(curves[R2][i][n:], looks[i][-1:]) for i in (0, 1)]
    return [*curves, _best(summary), looks, (*ends, None), *_strip(summary.frequency)]


def _best(summary: TrainingSummary) -> Points:
    """Where the star stands: at the best look, of batches alone at their best."""
    if summary.best_look is not None:
        step, r2 = summary.best_look
        return [step], [r2 * CURVES[R2].factor], None
    if summary.best_step is None:
        return [], [], None
    nearest = int(np.abs(summary.step - summary.best_step).argmin())
    best = summary.r2[nearest : nearest + 1] * np.float32(CURVES[R2].factor)
    return summary.step[nearest : nearest + 1], best, None


def _strip(frequency: Float[np.ndarray, " n_atoms"] | None) -> tuple[Points, Points]:
    """Ranks and frequencies of living atoms, and of dead ones a step below the rarest of them."""
    if frequency is None:
        return ([], [], []), ([], [], [])
    order = np.argsort(-frequency, kind="stable")
    n_alive = int((frequency > 0).sum())
    rank = np.unique(np.linspace(0, len(order) - 1, min(STRIP_POINTS, len(order))).astype(int))
    alive, dead = rank[rank < n_alive], rank[rank >= n_alive]
    percent = (100 * frequency).astype(np.float32)
    floor = percent[order[n_alive - 1]] / 3 if n_alive else 1.0
    return (
        (alive + 1, percent[order[alive]], order[alive]),
        (dead + 1, np.full(len(dead), floor, dtype=np.float32), order[dead]),
    )


def _set_axes(
    figure: go.Figure, summaries: Sequence[TrainingSummary], axis: Axis, rows: Rows
) -> None:
    layout, annotations = figure.layout, figure.layout.annotations
    switched = layout.xaxis.type
    for i, curve in enumerate(CURVES):
        if axis != switched:
            # Between powers of ten plotly writes 2 and 5, which crowds a plot this small.
            layout[f"xaxis{number_of(i)}"].update(type=axis, dtick=1 if axis == "log" else None)
        if curve.positive:
            values = [getattr(summary, curve.field) for summary in summaries]
            _set_log_axis(layout[f"yaxis{number_of(i)}"], values)
        shown = i == R2 if rows.alone else True
        annotations[i].text = _title(curve, summaries, rows.alone) if shown else ""
    wanted = _telling_range(summaries) if rows.alone and axis == "linear" else None
    if list(layout.yaxis.range or ()) != list(wanted or ()):
        layout.yaxis.range, layout.yaxis.autorange = wanted, wanted is None
    if layout.yaxis7.visible:
        _set_strip_axes(layout, [s.frequency for s in summaries if s.frequency is not None])


def _telling_range(summaries: Sequence[TrainingSummary]) -> list[float] | None:
    """Return ends of the axis of R², in percent, that leave out the climb of the first steps; None for all.

    On an axis that begins at it, what later steps gain or lose is a level line.
    """
    late = [
        np.asarray(r2)[np.asarray(step) > BEGINNING * summary.last_step]
        for summary in summaries
        for step, r2 in (
            (summary.step, summary.r2),
            tuple(zip(*summary.looks)) if summary.looks else ((), ()),
        )
    ]
    values = np.concatenate(
        [part[np.isfinite(part)] for part in late if len(part) >= FEWEST_LATE] or [[]]
    )
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    room = max(0.1 * (high - low), 0.005)
    return [round(100 * (low - room), 1), round(100 * (high + room), 1)]


def _set_strip_axes(
    layout: go.Layout, frequencies: Sequence[Float[np.ndarray, " n_atoms"]]
) -> None:
    if not frequencies:
        return
    # The hollow markers of dead atoms stand a step below the rarest living one: no tick there.
    _set_log_axis(layout.yaxis7, [100 * frequency[frequency > 0] for frequency in frequencies])
    if layout.xaxis7.range is None:
        layout.xaxis7.range = [0, max(len(frequency) for frequency in frequencies) + 1]


def _set_log_axis(y: go.layout.YAxis, values: Sequence[Float[np.ndarray, " points"]]) -> None:
    """Make an axis logarithmic where it can be, with few round ticks."""
    if not _all_positive(values):
        y.type, y.tickvals, y.ticktext = "linear", None, None
        return
    shown = np.concatenate([value[np.isfinite(value)] for value in values])
    ticks = log_ticks(float(shown.min()), float(shown.max()))
    if y.type != "log" or list(y.tickvals or ()) != ticks:
        y.type, y.tickvals, y.ticktext = "log", ticks, [_short(tick) for tick in ticks]


def log_ticks(low: float, high: float) -> list[float]:
    """Return three to five round numbers for a logarithmic axis, fewer if there are none."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [tick for tick in ticks if 0.9 * low <= tick <= 1.1 * high]
        if len(ticks) >= 3:
            break
    return ticks[:: max(math.ceil(len(ticks) / 5), 1)]


def _short(value: float) -> str:
    return f"{value:g}".replace("e-0", "e−").replace("e-", "e−")


def _all_positive(values: Sequence[Float[np.ndarray, " points"]]) -> bool:
    finite = [value[np.isfinite(value)] for value in values]
    return any(len(value) for value in finite) and all((value > 0).all() for value in finite)


def _title(curve: TrainingCurve, summaries: Sequence[TrainingSummary], alone: bool) -> str:
    """Name of the curve, with its newest value where there is one run; of several, what their stars are.

    Of rows that stay the same the value has the colour of their curve; where R² is `alone`, it stands there.
    """
    name = curve.title
    title = (f"{name} (★ best)" if curve.field == "r2" else name) + (
        f",{curve.unit}" if curve.unit else ""
    )
    if len(summaries) != 1 or not len(summaries[0].step) or not curve.says_newest:
        return title
    one = summaries[0]
    # What is said of a training is of rows that stay the same, as its thick curve is.
    newest = one.r2_now if curve.field == "r2" else float(getattr(one, curve.field)[-1])
    if math.isnan(newest):
        return title
    if curve.field != "r2" or len(one.looks) < 2:
        return f"{name}: <b>{_newest(curve, newest)}</b>"
    return (
        curve.words
        if alone
        else f'{name}: <b style="color:{theme.WARM}">{_newest(curve, newest)}</b>'
    )


def _newest(curve: TrainingCurve, value: float) -> str:
    shown, digits = value * curve.factor, 3 if curve.field == "r2" else 2
    many = abs(shown) >= 1000
    return (
        f"{format_count(round(shown)) if many else format_number(shown, digits=digits)}{curve.unit}"
    )

"""Training summaries → one plotly figure of small plots, built once and then changed in place.

Building takes 100 ms and an update 2 ms, and the training thread shares the interpreter with both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.summaries.training import Axis, TrainingSummary
from sae_nb_widgets.figures.frames import number_of, on_axes, plot_title
from sae_nb_widgets.figures.theme import (
    GREY,
    THIN_SPACE,
    category_style,
    format_count,
    format_number,
    plot_text,
    template,
    theme,
)
from sae_nb_widgets.figures.training_atoms import (
    MAP_TITLES,
    N_SHARED,
    MapBy,
    pareto_points,
    run_traces,
    shared_traces,
    update_shared,
)
from sae_nb_widgets.figures.training_rows import (
    COLUMNS,
    PER_RUN,
    Rows,
    arrange_rows,
    rows_of,
    show_traces,
)

STRIP_POINTS = 600  # atoms drawn of a long strip: two per pixel at most


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One small plot."""

    field: str
    """Name in the summary."""

    title: str
    """What stands above it, short enough for a third of a narrow panel."""

    words: str
    """What a pointed-at value is called."""

    factor: float = 1.0
    """From the summary's unit to the unit of the axis."""

    unit: str = ""
    """Unit of the axis."""

    says_newest: bool = True
    """Whether the newest value stands in the title."""

    positive: bool = False
    """Whether its axis is logarithmic when every value is above zero."""

    from_zero: bool = False
    """Whether its axis begins at zero."""


CURVES = (
    Curve(field="loss", title="loss", words="loss", positive=True),
    Curve(field="r2", title="R²", words="R², variance explained"),
    Curve(field="l0", title="L0", words="L0, atoms per row", from_zero=True),
    Curve(
        field="dead_fraction",
        title="dead",
        words="dead atoms, %",
        factor=100.0,
        unit=f"{THIN_SPACE}%",
        from_zero=True,
    ),
    Curve(field="tokens_per_second", title="rows/s", words="rows per second", from_zero=True),
    Curve(
        field="learning_rate",
        title="learning rate",
        words="learning rate",
        says_newest=False,
        positive=True,
    ),
)


def training_figure(
    summaries: Sequence[TrainingSummary],
    *,
    axis: Axis = "linear",
    strip: bool | None = None,
    map_by: MapBy = "frequency",
) -> go.Figure:
    """Loss, R², L0, dead atoms, throughput and learning rate over the steps, one colour per run.

    Below them, where the runs know their atoms: atoms sorted by frequency, R² against L0 of several
    runs, a map of every atom, and how fast the atoms turn. `strip` says whether atoms are sorted by
    frequency; None: when a run knows them.
    """
    rows = rows_of(summaries)
    rows = rows if strip is None else replace(rows, strip=strip)
    figure = go.Figure(shared_traces(on_axes(8), on_axes(9)))
    figure.update_layout(
        annotations=[
            plot_title(place, "", size=theme().font_px + 1) for place in range(len(CURVES) + 4)
        ],
        template=template(),
        margin={"l": 52, "r": 12, "t": 0, "b": 0},
        legend={"y": 1.0, "yref": "container", "yanchor": "top", "itemsizing": "constant"},
        hovermode="closest",
        uirevision="training",  # a redraw keeps the reader's zoom
        **_axes(),
    )
    update_training_figure(figure, summaries, axis=axis, map_by=map_by, rows=rows)
    return figure


def update_training_figure(
    figure: go.Figure,
    summaries: Sequence[TrainingSummary],
    *,
    axis: Axis = "linear",
    map_by: MapBy = "frequency",
    shown: int = 0,
    rows: Rows | None = None,
) -> None:
    """Give a figure made by `training_figure` the newest numbers, in one message to its browser.

    Runs come in the same order, new ones behind them; the map and the motion are of run `shown`.
    """
    rows = rows or rows_of(summaries)
    n_drawn = (len(figure.data) - N_SHARED) // PER_RUN
    new = [t for i in range(n_drawn, len(summaries)) for t in _run_traces(i, summaries[i].name)]
    if new:
        figure.add_traces(new)
    show_traces(figure, rows, len(summaries))
    points = pareto_points(summaries) if summaries else []
    _ring(figure, points)
    with figure.batch_update():
        arrange_rows(figure, rows)
        for run, (summary, point) in enumerate(zip(summaries, points, strict=True)):
            first = N_SHARED + run * PER_RUN
            _set_run(figure.data[first : first + PER_RUN], summary, point)
        chosen = summaries[shown] if 0 <= shown < len(summaries) else None
        update_shared(figure, chosen, map_by)
        _set_axes(figure, summaries, axis)
        figure.layout.annotations[len(CURVES) + 2].text = MAP_TITLES[map_by] if rows.atoms else ""


def _axes() -> dict[str, Any]:
    """Axes of every small plot; `arrange_rows` places them."""
    axes: dict[str, Any] = {}
    for i in range(len(CURVES)):
        row, column = divmod(i, COLUMNS)
        below = row == len(CURVES) // COLUMNS - 1
        axes[f"xaxis{number_of(i)}"] = {
            "domain": _COLUMN_DOMAINS[column],
            "anchor": f"y{number_of(i)}",
            "showticklabels": below,
            "title": {"text": "step" if below else ""},
            "nticks": 4,
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
    axes["yaxis10"]["rangemode"] = "tozero"
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
    star = {"symbol": "star", "size": 10, "color": colour, "line": {"width": 1, "color": GREY}}
    hover = f"{label}<br>best R² %{{y:.3f}}<br>step %{{x:,}}<extra></extra>"
    traces.append(
        go.Scatter(**shared, mode="markers", marker=star, hovertemplate=hover, **on_axes(1))
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
    return [*curves, _best(summary), *_strip(summary.frequency)]


def _best(summary: TrainingSummary) -> Points:
    if summary.best_step is None:
        return [], [], None
    nearest = int(np.abs(summary.step - summary.best_step).argmin())
    return summary.step[nearest : nearest + 1], summary.r2[nearest : nearest + 1], None


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


def _set_axes(figure: go.Figure, summaries: Sequence[TrainingSummary], axis: Axis) -> None:
    layout, annotations = figure.layout, figure.layout.annotations
    switched = layout.xaxis.type
    for i, curve in enumerate(CURVES):
        if axis != switched:
            # Between powers of ten plotly writes 2 and 5, which crowds a plot this small.
            layout[f"xaxis{number_of(i)}"].update(type=axis, dtick=1 if axis == "log" else None)
        if curve.positive:
            values = [getattr(summary, curve.field) for summary in summaries]
            _set_log_axis(layout[f"yaxis{number_of(i)}"], values)
        annotations[i].text = _title(curve, summaries)
    if layout.yaxis7.visible:
        _set_strip_axes(layout, [s.frequency for s in summaries if s.frequency is not None])


def _set_strip_axes(layout: Any, frequencies: Sequence[Float[np.ndarray, " n_atoms"]]) -> None:
    if not frequencies:
        return
    # The hollow markers of dead atoms stand a step below the rarest living one: no tick there.
    _set_log_axis(layout.yaxis7, [100 * frequency[frequency > 0] for frequency in frequencies])
    if layout.xaxis7.range is None:
        layout.xaxis7.range = [0, max(len(frequency) for frequency in frequencies) + 1]


def _set_log_axis(y: Any, values: Sequence[Float[np.ndarray, " points"]]) -> None:
    """Make an axis logarithmic where it can be, with few round ticks."""
    if not _all_positive(values):
        y.type, y.tickvals, y.ticktext = "linear", None, None
        return
    shown = np.concatenate([value[np.isfinite(value)] for value in values])
    ticks = log_ticks(float(shown.min()), float(shown.max()))
    if y.type != "log" or list(y.tickvals or ()) != ticks:
        y.type, y.tickvals, y.ticktext = "log", ticks, [_short(tick) for tick in ticks]


def log_ticks(low: float, high: float) -> list[float]:
    """Return three to five round numbers for a logarithmic axis, fewer if there are none.

    Examples
    --------
    >>> log_ticks(0.11, 0.52), log_ticks(1e-5, 1e-3)
    ([0.1, 0.2, 0.5], [1e-05, 0.0001, 0.001])
    """
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


def _title(curve: Curve, summaries: Sequence[TrainingSummary]) -> str:
    """Name of the curve, with its newest value where there is one run."""
    title = curve.title + (f",{curve.unit}" if curve.unit else "")
    if len(summaries) != 1 or not len(summaries[0].step) or not curve.says_newest:
        return title
    newest = float(getattr(summaries[0], curve.field)[-1]) * curve.factor
    if math.isnan(newest):
        return title
    value = format_count(round(newest)) if abs(newest) >= 1000 else format_number(newest)
    return f"{curve.title}: <b>{value}{curve.unit}</b>"

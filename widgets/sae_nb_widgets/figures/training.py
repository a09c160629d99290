"""Training summaries → one plotly figure of small curves, built once and then updated in place.

Building takes 100 ms and an update 2 ms, and the training thread shares the interpreter with both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.summaries.training import Axis, TrainingSummary
from sae_nb_widgets.theming import (
    THIN_SPACE,
    category_style,
    format_count,
    format_number,
    plot_text,
    template,
    theme,
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
COLUMNS = 3


def training_figure(
    summaries: Sequence[TrainingSummary], *, axis: Axis = "linear", strip: bool | None = None
) -> go.Figure:
    """Loss, R², L0, dead atoms, throughput and learning rate over the steps, one colour per run.

    Parameters
    ----------
    summaries
        One per run, drawn over one another.
    axis
        Of the steps.
    strip
        Whether there is a strip of atoms sorted by frequency; None: when a run knows them.

    Returns
    -------
    plotly.graph_objects.Figure
        Which `update_training_figure` can bring up to date as often as wished.
    """
    if strip is None:
        strip = any(summary.frequency is not None for summary in summaries)
    figure = _skeleton([summary.name for summary in summaries], strip=strip)
    update_training_figure(figure, summaries, axis=axis)
    return figure


def update_training_figure(
    figure: go.Figure, summaries: Sequence[TrainingSummary], *, axis: Axis = "linear"
) -> None:
    """Give a figure made by `training_figure` for these runs the newest numbers.

    Parameters
    ----------
    figure
        Figure or FigureWidget; a widget sends its browser one message.
    summaries
        The runs it was made for, in the same order.
    axis
        Of the steps.
    """
    per_run = len(figure.data) // len(summaries) if summaries else 0
    with figure.batch_update():
        for run, summary in enumerate(summaries):
            traces = figure.data[run * per_run : (run + 1) * per_run]
            for trace, (x, y, custom) in zip(traces, _points(summary), strict=False):
                trace.x, trace.y = x, y
                if custom is not None:
                    trace.customdata = custom
        _set_axes(figure, summaries, axis)


def _skeleton(names: Sequence[str], *, strip: bool) -> go.Figure:
    several = len(names) > 1
    figure = go.Figure(
        [
            trace
            for run, name in enumerate(names)
            for trace in _run_traces(run, plot_text(name), several=several, strip=strip)
        ]
    )
    titles = [curve.title for curve in CURVES] + [_STRIP_TITLE] * strip
    figure.update_layout(
        annotations=[_title_note(place, title) for place, title in enumerate(titles)],
        template=template(),
        height=figure_height(strip=strip, several=several),
        margin={"l": 52, "r": 12, "t": 0, "b": 0},
        legend={"y": 1.0, "yref": "container", "yanchor": "top", "itemsizing": "constant"},
        hovermode="closest",
        uirevision="training",  # a redraw keeps the reader's zoom
        **_axes(strip=strip, several=several),
    )
    return figure


def _axes(*, strip: bool, several: bool) -> dict[str, Any]:
    """Axes of every small plot, placed by pixels: titles and tick labels do not grow with height."""
    rows = _row_domains(strip=strip, several=several)
    axes: dict[str, Any] = {}
    for i in range(len(CURVES)):
        row, column = divmod(i, COLUMNS)
        below = row == len(CURVES) // COLUMNS - 1
        axes[f"xaxis{_number(i)}"] = {
            "domain": _COLUMN_DOMAINS[column],
            "anchor": f"y{_number(i)}",
            "showticklabels": below,
            "title": {"text": "step" if below else ""},
            "nticks": 4,
            "tickangle": 0,
        } | ({"matches": "x"} if i else {})
        axes[f"yaxis{_number(i)}"] = {
            "domain": rows[row],
            "anchor": f"x{_number(i)}",
            "nticks": 5,
            "rangemode": "tozero" if CURVES[i].from_zero else "normal",
        }
    if strip:
        title = {"text": "atoms, most used first"}
        axes["xaxis7"] = {"domain": [0, 1], "anchor": "y7", "title": title}
        axes["yaxis7"] = {"domain": rows[2], "anchor": "x7"}
        axes["yaxis7"]["title"] = {"text": "% of rows"}
    return axes


_COLUMN_DOMAINS = ([0.0, 0.285], [0.357, 0.642], [0.715, 1.0])
PLOT_PX, TITLE_PX, TICKS_PX, LEGEND_PX = 112, 27, 46, 26


def _row_domains(*, strip: bool, several: bool) -> list[list[float]]:
    """Bottom and top of each row of plots, as fractions of the height, from the top down."""
    size = theme().font_px / 13
    height = figure_height(strip=strip, several=several)
    top = height - LEGEND_PX * size * several
    rows = []
    for below in (8.0, TICKS_PX * size, TICKS_PX * size)[: 2 + strip]:
        bottom = top - TITLE_PX * size - PLOT_PX * size
        rows.append([bottom / height, (bottom + PLOT_PX * size) / height])
        top = bottom - below
    return rows


def _number(place: int) -> str:
    return "" if place == 0 else str(place + 1)


def _title_note(place: int, text: str) -> dict[str, Any]:
    """Title of one small plot, tied to its axes so that it stays above them in every drawing."""
    number = _number(place)
    return {
        "text": text,
        "x": 0.5,
        "y": 1.0,
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "xanchor": "center",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": theme().font_px + 1},
    }


def figure_height(*, strip: bool, several: bool) -> int:
    """Height in CSS pixels at the current scale."""
    rows = 2 + strip
    pixels = rows * (TITLE_PX + PLOT_PX) + 8 + (rows - 1) * TICKS_PX + LEGEND_PX * several
    return int(pixels * theme().font_px / 13)


_STRIP_TITLE = "how often each atom fires (dead: hollow)"
_STRIP_KINDS = (
    ("circle", "atom %{customdata}<br>fires on %{y:.3g} % of rows<extra></extra>"),
    ("circle-open", "atom %{customdata}<br>has not fired lately<extra></extra>"),
)


def _run_traces(run: int, label: str, *, several: bool, strip: bool) -> list[Any]:
    """Empty traces of one run, in the order of `_points`."""
    colour, _ = category_style(run)
    shared = {"name": label, "legendgroup": str(run), "showlegend": False}
    traces = [
        go.Scatter(
            **(shared | {"showlegend": several and i == 0}),
            mode="lines",
            line={"color": colour, "width": 1.6},
            hovertemplate=f"{label}<br>step %{{x:,}}<br>{curve.title} %{{y:.3g}}<extra></extra>",
            **_place(i),
        )
        for i, curve in enumerate(CURVES)
    ]
    star = {"symbol": "star", "size": 10, "color": colour, "line": {"width": 1, "color": "#808080"}}
    hover = f"{label}<br>best R² %{{y:.3f}}<br>step %{{x:,}}<extra></extra>"
    traces.append(
        go.Scatter(**shared, mode="markers", marker=star, hovertemplate=hover, **_place(1))
    )
    for symbol, hover in _STRIP_KINDS if strip else ():
        marker = {"color": colour, "size": 5, "symbol": symbol}
        traces.append(
            go.Scatter(**shared, mode="markers", marker=marker, hovertemplate=hover, **_place(6))
        )
    return traces


def _place(plot: int) -> dict[str, str]:
    return {"xaxis": f"x{_number(plot)}", "yaxis": f"y{_number(plot)}"}


Points = tuple[Any, Any, Any]


def _points(summary: TrainingSummary) -> list[Points]:
    """Arrays of every trace of a run, in the order of `_add_run`."""
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
            layout[f"xaxis{_number(i)}"].update(type=axis, dtick=1 if axis == "log" else None)
        if curve.positive:
            values = [getattr(summary, curve.field) for summary in summaries]
            _set_log_axis(layout[f"yaxis{_number(i)}"], values)
        annotations[i].text = _title(curve, summaries)
    if len(annotations) > len(CURVES):
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

"""A report card → one figure: a strip per cell with value, interval, floor and control."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from sae_nb.figures import current_theme, fade, format_number, plot_text, template, theme
from sae_nb.summaries import ReportCardSummary, ReportCell

ROW_PX, BOTTOM_PX = 33, 8
HEAD = 2.1
"""Room above the first row, in rows: names of columns, what the arrows mean, which end is better."""
FOOT = 0.2
"""Reduction of the last row's height: half of it, and room for numbers under its strip."""
HEIGHT_OF_NAMES, HEIGHT_OF_ENDS = -1.5, -0.75
"""Of these, in rows."""

START, WORDS = 0.04, 0.95
"""Within a column of width 1: where the strip begins, and where the number ends."""

NAMES = 0.58
"""Room of the rows' names, as a share of that of all columns."""

NUMBER_PX, COLUMNS_PX = 84, 385
"""Room of a number, and of all columns in a panel of 960 px: the strip has what is left."""

MOST_WITH_ENDS, BELOW = 2, 0.46
"""Up to how many columns a strip has room for numbers and words at both ends; how far below the numbers
are, in rows."""

FLOOR, CONTROL = "floor (trivial answer)", "control (random dictionary)"
TICK = 0.22
"""Half the height of a floor's tick, in rows."""

NOT_CLEAR = "✕"
SIGNS = {"higher": " ↑", "lower": " ↓", "one": " → 1", "none": ""}
"""After the name of a row: which values are better."""

KEY_OF_SIGNS = "better: ↑ higher,<br>↓ lower, → 1 near 1"
PLAIN = {
    "r2": "variance explained R²",
    "cosine_centred": "direction, cosine",
    "shrinkage_gamma": "shrinkage, γ",
    "l0": "atoms per row, L0",
    "dead_fraction": "dead atoms",
    "max_cosine": "nearest atom, cosine",
    "effective_rank": "effective rank",
    "ood": "distance from data",
    "ce_recovered_mean": "loss recovered, CE",
    "delta_ce": "rise of the loss, CE",
    "kl": "change of predictions, KL",
}
WORDS_OF = {
    "r2": "R²",
    "fvu": "FVU",
    "mse": "MSE",
    "l0": "L0",
    "l1": "L1",
    "ce": "CE",
    "kl": "KL",
    "ood": "OOD",
    "npmi": "NPMI",
    "gamma": "γ",
    "delta": "Δ",
}


def metric_words(metric: str) -> str:
    """Return the name of a metric, in plain words if there are some."""
    words = " ".join(WORDS_OF.get(word, word) for word in metric.split("_"))
    return PLAIN.get(metric, words)


def report_card_figure(summary: ReportCardSummary, chosen: str = "") -> go.Figure:
    """Draw metrics as rows and SAEs as columns; every row has one scale, on which right is better.

    Value (dot, red with ✕ where it is not clear), interval (whisker), floor (tick), control (dashed
    tick), and the value in words; after a row's name, which values are better.
    """
    figure = go.Figure([*_strips(summary), *_marks(summary), *_names(summary)])
    rows, columns = max(len(summary.metrics), 1), len(summary.saes)
    nothing = {"showticklabels": False, "showgrid": False, "ticks": "", "fixedrange": True}
    figure.update_layout(
        template=template(),
        height=figure_height(summary),
        margin={"l": 8, "r": 8, "t": _legend_px(), "b": BOTTOM_PX},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1.03, "yanchor": "bottom", "yref": "paper"},
        shapes=_outline(summary, chosen),
        xaxis={"range": [-NAMES * columns, columns], "linecolor": theme.CLEAR} | nothing,
        yaxis={"range": [rows - FOOT, -0.5 - HEAD], "linecolor": theme.CLEAR} | nothing,
    )
    return figure


def draw_report_card(figure: go.Figure, summary: ReportCardSummary, chosen: str = "") -> None:
    """Show another selection of rows in a figure that is there."""
    built = report_card_figure(summary, chosen)
    with figure.batch_update():
        for old, new in zip(figure.data, built.data, strict=True):
            for part in ("x", "y", "text", "customdata"):
                if new[part] is not None:
                    old[part] = new[part]
            if old.mode == "text":
                old.textfont.size = current_theme().font_px
        for part in ("height", "margin", "shapes", "yaxis", "xaxis", "legend"):
            figure.layout[part] = built.layout[part]


def figure_height(summary: ReportCardSummary) -> int:
    """Return height in CSS pixels at the current scale."""
    rows = max(len(summary.metrics), 1) + HEAD + 0.5 - FOOT
    return int(_legend_px() + ROW_PX * rows * current_theme().font_px / 13) + BOTTOM_PX


def _legend_px() -> int:
    """Height of the legend in a panel of 850 px: two columns, in the lecture scale only one."""
    size = current_theme().font_px
    return int(1.5 * size * (3 if size <= 13 else 6)) + 12


def row_clicked(y: float, summary: ReportCardSummary) -> str:
    """Return the metric at a height of the figure."""
    place = min(max(round(y), 0), len(summary.metrics) - 1)
    return summary.metrics[place]


# --- parts ----------------------------------------------------------------------------------------


def _cells(summary: ReportCardSummary) -> list[tuple[int, int, ReportCell]]:
    """Row, column and cell of everything there is."""
    return [
        (row, column, cell)
        for row, metric in enumerate(summary.metrics)
        for column, sae in enumerate(summary.saes)
        if (cell := summary.cell(metric, sae)) is not None
    ]


def _x(column: int, place: float, columns: int) -> float:
    number_px = NUMBER_PX * current_theme().font_px / 13
    end = max(0.3, 1 - number_px * columns / COLUMNS_PX)
    return column + START + place * (end - START)


def _segments(
    summary: ReportCardSummary,
    ends: Callable[[ReportCell], tuple[float, float, float]],
) -> tuple[list[float | None], list[float | None]]:
    """Lines with gaps: from one place to another, so many rows up and down."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    n = len(summary.saes)
    for row, column, cell in _cells(summary):
        a, b, half = ends(cell)
        if not math.isnan(a + b):
            xs += [_x(column, a, n), _x(column, b, n), None]
            ys += [row - half, row + half, None]
    return xs, ys


def _strips(summary: ReportCardSummary) -> list[go.Scatter]:
    kinds: Sequence[tuple[str, dict[str, object], Callable[..., tuple[float, float, float]], bool]]
    kinds = (
        ("scale", {"color": fade(theme.GREY, 0.3), "width": 1}, lambda _: (0.0, 1.0, 0.0), False),
        (FLOOR, {"color": theme.NEUTRAL, "width": 2.5}, lambda c: (c.floor, c.floor, TICK), True),
        (
            CONTROL,
            {"color": theme.CONTROL, "width": 2.5, "dash": theme.CONTROL_DASH},
            lambda c: (c.control, c.control, TICK),
            True,
        ),
        (
            "95 % interval",
            {"color": theme.PREDICTED, "width": 3},
            lambda c: (c.low, c.high, 0.0),
            True,
        ),
    )
    traces = []
    for name, line, ends, shown in kinds:
        xs, ys = _segments(summary, ends)
        line = line | ({"dash": "4px,3px"} if "dash" in line else {})
        traces.append(
            go.Scatter(
                name=name, x=xs, y=ys, mode="lines", line=line, showlegend=shown, hoverinfo="skip"
            )
        )
    return traces


def _marks(summary: ReportCardSummary) -> list[go.Scatter]:
    cells = _cells(summary)

    def those(*verdicts: str) -> list[tuple[int, int, ReportCell]]:
        return [item for item in cells if item[2].verdict in verdicts]

    n = len(summary.saes)
    return [
        _dots("better than both", those("clear"), theme.PREDICTED, "circle", n),
        _dots(
            f"{NOT_CLEAR} no better than floor or control", those("not clear"), theme.ALARM, "x", n
        ),
        _dots(
            "no good or bad direction",
            those("description", "undefined"),
            theme.NEUTRAL,
            "circle-open",
            n,
        ),
        _text(
            "numbers",
            [column + WORDS for _, column, _ in cells],
            [row for row, _, _ in cells],
            [_number(cell, n) for _, _, cell in cells],
            "middle left",
        ),
        _ends(cells, n),
    ]


def _ends(cells: Sequence[tuple[int, int, ReportCell]], columns: int) -> go.Scatter:
    """The values at both ends of every strip, under it."""
    ended = [
        (_x(column, place, columns), row + BELOW, _rounded(cell.ends[place]))
        for row, column, cell in cells
        for place in (0, 1)
        if columns <= MOST_WITH_ENDS and not math.isnan(cell.ends[place])
    ]
    xs, ys, texts = zip(*ended, strict=True) if ended else ((), (), ())
    return _text("ends", xs, ys, texts, "middle center")


def _rounded(value: float) -> str:
    """A number as short as it can be: 0.98, −1, 64."""
    text = format_number(snapped(value), digits=2)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _names(summary: ReportCardSummary) -> list[go.Scatter]:
    """Names of rows and columns, inside the plot: so every way of drawing it has room for them.

    Return names; where the two cross, the meaning of the arrows.
    """
    left = -NAMES * len(summary.saes)
    rows = list(range(len(summary.metrics)))
    names = [
        plot_text(metric_words(metric)) + SIGNS[summary.definition(metric).better]
        for metric in summary.metrics
    ]
    saes = [plot_text(_shortened(name, len(summary.saes))) for name in summary.saes]
    places = [column + START for column in range(len(saes))]
    worse = ["worse" if len(saes) <= MOST_WITH_ENDS else ""] * len(saes)
    return [
        _text(
            "rows",
            [left] * (len(rows) + 1),
            [*rows, HEIGHT_OF_NAMES],
            [*names, KEY_OF_SIGNS],
            "middle right",
        ),
        _text("columns", places, [HEIGHT_OF_NAMES] * len(saes), saes, "middle right"),
        _text("worse", places, [HEIGHT_OF_ENDS] * len(saes), worse, "middle center"),
        _text(
            "better",
            [_x(column, 1.0, len(saes)) for column in range(len(saes))],
            [HEIGHT_OF_ENDS] * len(saes),
            ["better"] * len(saes),
            "middle center",
        ),
    ]


def _shortened(name: str, columns: int) -> str:
    """A name that fits in its column."""
    most = max(6, int(COLUMNS_PX / columns / 8))
    return name if len(name) <= most else name[: most - 1] + "…"


def _text(
    name: str,
    x: Sequence[float],
    y: Sequence[float],
    text: Sequence[str],
    position: str,
) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=list(x),
        y=list(y),
        text=list(text),
        mode="text",
        textposition=position,
        textfont={"size": current_theme().font_px},
        hoverinfo="skip",
        showlegend=False,
    )


def _dots(
    name: str, items: Sequence[tuple[int, int, ReportCell]], colour: str, symbol: str, columns: int
) -> go.Scatter:
    placed = [item for item in items if not math.isnan(item[2].at)]
    return go.Scatter(
        name=name,
        x=[_x(column, cell.at, columns) for _, column, cell in placed],
        y=[row for row, _, _ in placed],
        customdata=[_told(cell) for _, _, cell in placed],
        mode="markers",
        marker={"color": colour, "size": 11, "symbol": symbol, "line": {"color": colour}},
        line={"color": colour},  # of the legend where the picture is drawn without a browser
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=True,
    )


def _number(cell: ReportCell, columns: int) -> str:
    value = cell.measurement.value
    # "0.00179" would reach into the next of three columns.
    digits = 2 if columns > MOST_WITH_ENDS and abs(value) < 0.01 else 3
    text = "undefined" if math.isnan(value) else format_number(snapped(value), digits=digits)
    return f"{NOT_CLEAR} {text}" if cell.verdict == "not clear" else text


def snapped(value: float) -> float:
    """Return 0 for what is 0 but for rounding."""
    return 0.0 if abs(value) < 1e-9 else value


def _told(cell: ReportCell) -> str:
    """Return the tooltip."""
    m = cell.measurement
    low, high = m.interval
    lines = [
        f"<b>{plot_text(cell.sae)}</b>: {plot_text(metric_words(cell.metric))} {format_number(m.value)}"
    ]
    if not math.isnan(low):
        lines.append(f"95 %: {format_number(low)} … {format_number(high)}")
    lines += [
        f"{name} {format_number(snapped(value))}"
        for name, value in (("floor", m.floor), ("control", m.control))
        if value is not None
    ]
    return "<br>".join([*lines, plot_text(cell.reason)])


def _outline(summary: ReportCardSummary, chosen: str) -> list[dict[str, object]]:
    """An outline around the chosen row: never a colour change."""
    if chosen not in summary.metrics:
        return []
    row = summary.metrics.index(chosen)
    return [
        {
            "type": "rect",
            "x0": -NAMES * len(summary.saes),
            "x1": len(summary.saes),
            "y0": row - 0.34,
            "y1": row + 0.67,  # the numbers under the strip are in it
            "line": {"color": theme.MID_GREY, "width": 1.5},
            "fillcolor": theme.CLEAR,
            "layer": "below",
        }
    ]

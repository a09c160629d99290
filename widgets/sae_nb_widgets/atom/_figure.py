"""The picture of one atom: how strongly it fires, with its bands marked, and how often, among all."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb.atoms import AtomSummary, Band
from sae_nb.figures import (
    current_theme,
    format_count,
    format_number,
    format_percent,
    template,
    theme,
)

BARS, MARKS, OFTEN, THIS = 0, 1, 2, 3
MARK_NAMES: dict[str, str] = {"50 %": "50 %", "99 %": "99 %", "top": "max"}
STRENGTHS_UP_TO, FREQUENCIES_FROM, FREQUENCIES_UP_TO = 0.6, 0.71, 0.975
"""End of the first of the two images and ends of the second, as shares of the width: half of its last
number lies beyond its end.
"""


def atom_figure(record: AtomSummary | None = None, *, rows: str = "rows") -> go.Figure:
    """Return the histograms of an atom's strengths and of all atoms' frequencies, side by side.

    `rows` names what is counted: positions of images or texts, or rows.
    """
    bars = {"color": theme.NEUTRAL, "line": {"width": 0}}
    mark = {"symbol": "triangle-down", "color": theme.NEUTRAL, "line": {"width": 0}}
    text = {"size": current_theme().font_px}
    second: dict[str, Any] = {"xaxis": "x2", "yaxis": "y2"}
    figure = go.Figure(
        [
            go.Bar(marker=bars),
            go.Scatter(mode="markers+text", marker=mark, textfont=text),
            go.Bar(marker=bars, **second),
            go.Scatter(mode="markers+text", marker={**mark, "size": 12}, textfont=text, **second),
        ]
    )
    figure.update_layout(
        template=template(),
        height=current_theme().figure_height_px,
        showlegend=False,
        hovermode="closest",
        xaxis={
            "title": {"text": "strength z"},
            "domain": [0, STRENGTHS_UP_TO],
            "fixedrange": True,
        },
        yaxis={"title": {"text": f"{rows} (log)"}, "type": "log", "fixedrange": True},
        xaxis2={
            "title": {"text": f"% of {rows}"},
            "domain": [FREQUENCIES_FROM, FREQUENCIES_UP_TO],
            "fixedrange": True,
            "anchor": "y2",
        },
        yaxis2={"title": {"text": "atoms"}, "anchor": "x2", "fixedrange": True},
    )
    if record is not None:
        update_atom_figure(figure, record, rows=rows)
    return figure


def update_atom_figure(
    figure: go.Figure, record: AtomSummary, *, rows: str = "rows", dark: bool = False
) -> None:
    """Draw another atom, or another band, in one message; on a dark page its ring is white."""
    ink = theme.RINGS[dark]
    with figure.batch_update():
        _draw_strengths(figure, record, rows, ink)
        _draw_frequencies(figure, record, rows, ink)


def _draw_strengths(figure: go.Figure, record: AtomSummary, rows: str, ink: str) -> None:
    counts, edges = record.histogram.counts, record.histogram.edges
    seen = counts > 0
    top = float(counts.max(initial=1))
    bars = figure.data[BARS]
    bars.x = ((edges[1:] + edges[:-1]) / 2)[seen].astype(np.float32)
    bars.width = np.diff(edges)[seen].astype(np.float32) * 0.92
    bars.y = counts[seen].astype(np.float32)
    bars.hovertext = _bar_texts(counts[seen], edges[:-1][seen], edges[1:][seen], rows)
    bars.hoverinfo = "text"
    _draw_marks(figure.data[MARKS], record, 2.2 * top, ink)
    figure.layout.xaxis.range = _strength_range(edges)
    # The axis starts below 1, so that a bin of one row has a bar too.
    figure.layout.yaxis.range = [np.log10(0.6), np.log10(8 * top)]
    ticks = _count_ticks(top)
    figure.layout.yaxis.tickvals = ticks
    figure.layout.yaxis.ticktext = [format_count(tick) for tick in ticks]


def _draw_frequencies(figure: go.Figure, record: AtomSummary, rows: str, ink: str) -> None:
    # On a linear axis of logarithms: a bar on plotly's own has no width that one can choose.
    found = record.frequencies
    edges, counts = np.log10(found.edges), found.counts
    top = float(counts.max(initial=1))
    bars = figure.data[OFTEN]
    bars.x = ((edges[1:] + edges[:-1]) / 2).astype(np.float32)
    bars.width = np.diff(edges).astype(np.float32) * 0.92
    bars.y = counts.astype(np.float32)
    bars.hovertext = _frequency_texts(found.counts, found.edges, rows)
    bars.hoverinfo = "text"
    _draw_this(figure.data[THIS], record, rows, 1.1 * top, ink)
    axis = figure.layout.xaxis2
    axis.range = [float(edges[0]) - 0.15, 0.15]
    powers = list(range(0, int(np.floor(edges[0])), -1))[::-1]
    powers = powers if len(powers) <= 4 else powers[::-1][::2][::-1]
    axis.tickvals = powers
    axis.ticktext = [f"{100 * 10.0**power:g}" for power in powers]
    axis.tickangle = 0
    figure.layout.yaxis2.range = [0, 1.3 * top]
    figure.layout.yaxis2.nticks = 4


def _draw_this(trace: Any, record: AtomSummary, rows: str, height: float, ink: str) -> None:
    alive = record.n_fired > 0
    at = float(np.log10(record.frequency)) if alive else 0.0
    trace.x = np.array([at] * alive, np.float32)
    trace.y = np.array([height] * alive, np.float32)
    trace.text = ["this atom"] * alive
    # Written towards the middle of the picture, where there is room for it.
    middle = float(np.log10(record.frequencies.edges[0])) / 2
    trace.textposition = "top left" if at > middle else "top right"
    trace.hovertext = [f"this atom: {format_percent(record.frequency, of=rows)}"] * alive
    trace.hoverinfo = "text"
    trace.cliponaxis = False
    trace.marker.line.color = ink
    trace.marker.line.width = 2


def _draw_marks(trace: Any, record: AtomSummary, height: float, ink: str) -> None:
    marks = record.histogram.marks
    names = [name for name in MARK_NAMES if name in marks]
    span = float(record.histogram.edges[-1] - record.histogram.edges[0])
    chosen = [name == record.band for name in names]
    trace.x = np.array([marks[name] for name in names], np.float32)
    trace.y = np.full(len(names), height, np.float32)
    texts = _mark_texts([marks[name] for name in names], names, 0.17 * span)
    trace.text = texts
    trace.textposition = ["top left" if " · " in text else "top center" for text in texts]
    trace.customdata = names
    trace.hovertext = [
        f"{MARK_NAMES[name]} of the firings: z = {format_number(marks[name])}; click for examples"
        for name in names
    ]
    trace.hoverinfo = "text"
    trace.cliponaxis = False
    # One property at a time: plotly's widget cannot replace a whole marker before its first drawing.
    trace.marker.size = [13 if picked else 10 for picked in chosen]
    trace.marker.line.color = ink
    trace.marker.line.width = [2 if picked else 0 for picked in chosen]


def _mark_texts(places: list[float], names: list[str], room: float) -> list[str]:
    """Names of the marks; where two would overlap, the right one carries both names."""
    texts = [MARK_NAMES[name] for name in names]
    for i in range(len(texts) - 1):
        if places[i + 1] - places[i] < room:
            texts[i], texts[i + 1] = "", f"{texts[i]} · {texts[i + 1]}"
    return texts


def _bar_texts(counts: Any, low: Any, high: Any, rows: str) -> list[str]:
    return [
        f"{format_count(n)} {rows.removesuffix('s') if n == 1 else rows} with strength from {format_number(a)} "
        f"to {format_number(b)}"
        for n, a, b in zip(counts.tolist(), low.tolist(), high.tolist())
    ]


def _frequency_texts(counts: Any, edges: Any, rows: str) -> list[str]:
    return [
        f"{format_count(n)} {'atom fires' if n == 1 else 'atoms fire'} on {format_percent(a)} to "
        f"{format_percent(min(b, 1.0))} of {rows}; click to see one"
        for n, a, b in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist())
    ]


def _strength_range(edges: Any) -> list[float]:
    low, high = float(edges[0]), float(edges[-1])
    pad = 0.04 * (high - low)
    return [low - (pad if low < 0 else 0.0), high + pad]


def _count_ticks(top: float) -> list[int]:
    if top < 30:
        return [n for n in (1, 2, 5, 10, 20) if n <= 2 * top]
    step = 1 if top < 1e5 else 2
    return [10**p for p in range(0, int(np.log10(top)) + 1, step)]


def nearest_band(record: AtomSummary, strength: float) -> Band:
    """Return the band whose mark is nearest to a strength: what a click on a bar chooses."""
    marks = record.histogram.marks
    if not marks:
        return record.band
    name = min(marks, key=lambda mark: abs(marks[mark] - strength))
    return name  # type: ignore[return-value]

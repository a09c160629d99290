"""The picture of one atom: how often it fires how strongly, with its bands marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb.summaries.atom import AtomSummary, Band
from sae_nb_widgets.theming import NEUTRAL, format_count, format_number, template, theme

BARS, MARKS = 0, 1
MARK_NAMES: dict[str, str] = {"50 %": "50 %", "99 %": "99 %", "top": "max"}


def atom_figure(record: AtomSummary | None = None) -> go.Figure:
    """Return the histogram of an atom's strengths; empty axes for None.

    Parameters
    ----------
    record
        From `AtomCatalogue.summary`.
    """
    figure = go.Figure(
        [
            go.Bar(marker={"color": NEUTRAL, "line": {"width": 0}}, showlegend=False),
            go.Scatter(
                mode="markers+text",
                marker={"symbol": "triangle-down", "color": NEUTRAL, "line": {"width": 0}},
                textfont={"size": theme().font_px},
                showlegend=False,
            ),
        ]
    )
    figure.update_layout(
        template=template(),
        height=theme().figure_height_px,
        showlegend=False,
        hovermode="closest",
        xaxis={"title": {"text": "strength z, where the atom fires"}, "fixedrange": True},
        yaxis={"title": {"text": "rows (log)"}, "type": "log", "fixedrange": True},
    )
    if record is not None:
        update_atom_figure(figure, record)
    return figure


def update_atom_figure(figure: go.Figure, record: AtomSummary, *, dark: bool = False) -> None:
    """Draw another atom, or another band, into the figure that is there.

    Parameters
    ----------
    figure
        From `atom_figure`, plain or a FigureWidget; changed in one message.
    record
        What to draw.
    dark
        Whether the page is dark: the chosen band is ringed in white, not black.
    """
    counts, edges = record.histogram.counts, record.histogram.edges
    seen = counts > 0
    top = float(counts.max(initial=1))
    with figure.batch_update():
        bars = figure.data[BARS]
        bars.x = ((edges[1:] + edges[:-1]) / 2)[seen].astype(np.float32)
        bars.width = np.diff(edges)[seen].astype(np.float32) * 0.92
        bars.y = counts[seen].astype(np.float32)
        bars.hovertext = _bar_texts(counts[seen], edges[:-1][seen], edges[1:][seen])
        bars.hoverinfo = "text"
        _draw_marks(figure.data[MARKS], record, 2.2 * top, "white" if dark else "black")
        figure.layout.xaxis.range = _strength_range(edges)
        # The axis starts below 1, so that a bin of one row has a bar too.
        figure.layout.yaxis.range = [np.log10(0.6), np.log10(8 * top)]
        ticks = _count_ticks(top)
        figure.layout.yaxis.tickvals = ticks
        figure.layout.yaxis.ticktext = [format_count(tick) for tick in ticks]


def _draw_marks(trace: Any, record: AtomSummary, height: float, ink: str) -> None:
    marks = record.histogram.marks
    names = [name for name in MARK_NAMES if name in marks]
    span = float(record.histogram.edges[-1] - record.histogram.edges[0])
    chosen = [name == record.band for name in names]
    trace.x = np.array([marks[name] for name in names], np.float32)
    trace.y = np.full(len(names), height, np.float32)
    texts = _mark_texts([marks[name] for name in names], names, 0.1 * span)
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


def _bar_texts(counts: Any, low: Any, high: Any) -> list[str]:
    return [
        f"{format_count(n)} {'row' if n == 1 else 'rows'} with z from {format_number(a)} "
        f"to {format_number(b)}"
        for n, a, b in zip(counts.tolist(), low.tolist(), high.tolist())
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

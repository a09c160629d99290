"""Where the small plots of a training stand: rows that come and go in place, sizes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from sae_nb.summaries.training import TrainingSummary
from sae_nb_widgets.figures.frames import number_of
from sae_nb_widgets.figures.theme import scaled, theme
from sae_nb_widgets.figures.training_atoms import MAP, N_SHARED, has_motion

N_CURVES, COLUMNS = 6, 3
PER_RUN = N_CURVES + 5
"""Traces of one run: its curves, the best step, living and dead atoms, its way to L0 and R²."""

PLOT_PX, MAP_PX, TITLE_PX, TICKS_PX, LEGEND_PX = 112, 120, 27, 46, 26
STRIP_TITLE = "how often each atom fires (dead: hollow)"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows of small plots there are under the curves."""

    strip: bool = False
    """Atoms sorted by frequency."""

    several: bool = False
    """More than one run: a legend, and R² against L0 beside the strip."""

    atoms: bool = False
    """The map of all atoms, and how fast they turn."""

    @property
    def heights(self) -> list[float]:
        """Heights of the rows, in pixels at the normal scale."""
        third = [PLOT_PX] * (self.strip or self.several)
        return [PLOT_PX, PLOT_PX, *third, *([MAP_PX] * self.atoms)]


def rows_of(summaries: Sequence[TrainingSummary]) -> Rows:
    """Return which rows these runs need."""
    return Rows(
        strip=any(summary.frequency is not None for summary in summaries),
        several=len(summaries) > 1,
        atoms=any(has_motion(summary.motion) for summary in summaries),
    )


def arrange_rows(figure: go.Figure, rows: Rows) -> None:
    """Give every small plot its place, and hide those that are not needed; nothing is rebuilt."""
    layout, domains = figure.layout, _row_domains(rows)
    layout.height = figure_height(rows)
    size = theme().font_px + 1
    for place in range(N_CURVES + 4):
        layout.annotations[place].font.size = size
    for i in range(N_CURVES):
        layout[f"yaxis{number_of(i)}"].domain = domains[i // COLUMNS]
    below = domains[2] if len(domains) > 2 else [0, 0.1]
    _arrange_third(layout, rows, below)
    last = domains[-1]
    for place, domain in ((8, [0.0, 0.55]), (9, [0.715, 1.0])):
        x, y = layout[f"xaxis{number_of(place)}"], layout[f"yaxis{number_of(place)}"]
        y.visible = x.visible = rows.atoms and place == 9
        x.domain, y.domain = domain, last if rows.atoms else [0, 0.1]
    layout.annotations[N_CURVES + 3].text = "degrees turned in 100 steps" if rows.atoms else ""
    bar = figure.data[MAP].colorbar
    bar.x, bar.xanchor, bar.tickfont.size = 0.56, "left", theme().font_px
    bar.y, bar.len = sum(last) / 2, last[1] - last[0]


def show_traces(figure: go.Figure, rows: Rows, n_runs: int) -> None:
    """Show the traces that the rows need, each by a message of its own.

    One message for some traces would take the same property from all others in the browser.
    """
    for trace in figure.data[:N_SHARED]:
        _set(trace, "visible", rows.atoms)
    for run in range(n_runs):
        traces = figure.data[N_SHARED + run * PER_RUN : N_SHARED + (run + 1) * PER_RUN]
        _set(traces[0], "showlegend", rows.several)
        for trace in traces[-4:-2]:
            _set(trace, "visible", rows.strip)
        for trace in traces[-2:]:
            _set(trace, "visible", rows.several)


def _set(trace: Any, name: str, value: bool) -> None:
    if trace[name] is not value:
        trace[name] = value


def _arrange_third(layout: Any, rows: Rows, domain: list[float]) -> None:
    """Put the strip and R² against L0 beside each other, or one of them over the whole width."""
    titles = ((6, rows.strip, STRIP_TITLE), (7, rows.several, "R² against L0 (ringed: best)"))
    for place, shown, title in titles:
        x, y = layout[f"xaxis{number_of(place)}"], layout[f"yaxis{number_of(place)}"]
        x.visible = y.visible = shown
        y.domain = domain
        layout.annotations[place].text = title if shown else ""
    layout.xaxis7.domain = [0.0, 0.6 if rows.several else 1.0]
    layout.xaxis8.domain = [0.715 if rows.strip else 0.0, 1.0]


def _row_domains(rows: Rows) -> list[list[float]]:
    """Bottom and top of each row of plots, as fractions of the height, from the top down."""
    size = theme().font_px / 13
    height = figure_height(rows)
    top = height - LEGEND_PX * size * rows.several
    domains = []
    for row, pixels in enumerate(rows.heights):
        bottom = top - TITLE_PX * size - pixels * size
        domains.append([max(bottom / height, 0.0), (bottom + pixels * size) / height])
        top = bottom - (TICKS_PX * size if row else 8.0)
    return domains


def figure_height(rows: Rows) -> int:
    """Height in CSS pixels at the current scale."""
    heights = rows.heights
    pixels = sum(heights) + len(heights) * TITLE_PX + 8 + (len(heights) - 1) * TICKS_PX
    return scaled(pixels + LEGEND_PX * rows.several)

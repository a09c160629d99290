"""The atoms of a training in small plots: a map of all of them, their motion, R² against L0 by run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.summaries.training import TrainingSummary
from sae_nb.summaries.training_atoms import AtomMotion, pareto_front
from sae_nb_widgets.figures.theme import (
    GREY,
    NEUTRAL,
    colour_scale,
    format_number,
    format_percent,
    theme,
)

MapBy = Literal["frequency", "motion"]
N_SHARED = 3
MAP, MEDIAN, P90 = range(N_SHARED)
"""Traces that belong to no single run come first, so that runs can be added behind them."""

MOST_TEXTS = 4096
"""Atoms of a map that say their number in words when they are pointed at; 100 kB."""

WIDE = 3.2  # columns of the map for each of its rows
MAP_TITLES = {
    "frequency": "every atom by how often it fires (gaps: dead)",
    "motion": "every atom by how fast it turns",
}


def shared_traces(map_axes: dict[str, str], motion_axes: dict[str, str]) -> list[Any]:
    """Return the empty map and the two empty curves of motion."""
    bar = {"thickness": 9, "len": 0.2, "outlinewidth": 0, "tickfont": {"size": theme().font_px}}
    hover = "%{text}<extra></extra>"
    line = {"mode": "lines", "showlegend": False, **motion_axes}
    return [
        go.Heatmap(colorscale=colour_scale(), xgap=1, ygap=1, colorbar=bar, hovertemplate=hover,
                   hoverongaps=False, **map_axes),
        go.Scatter(name="median", line={"color": NEUTRAL, "width": 2},
                   hovertemplate="step %{x:,}<br>half of the atoms turn by at most %{y:.3g}°"
                   "<extra></extra>", **line),
        go.Scatter(name="90 %", line={"color": NEUTRAL, "width": 1.2, "dash": "dot"},
                   hovertemplate="step %{x:,}<br>nine in ten atoms turn by at most %{y:.3g}°"
                   "<extra></extra>", **line),
    ]  # fmt: skip


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


def _as_map(values: np.ndarray) -> Any:
    """Fill rows of a wide rectangle, atom 0 at the top left; the rest of the last row is empty."""
    columns = map_columns(len(values))
    rows = -(-len(values) // columns)
    filler: Any = np.nan if values.dtype.kind == "f" else ""
    whole = np.full(rows * columns, filler, dtype=values.dtype)
    whole[: len(values)] = values
    grid = whole.reshape(rows, columns)
    if values.dtype.kind != "f":
        return grid
    # JSON knows no NaN, and arrays with two axes go as JSON: rounded, 16 k atoms are 120 kB.
    return [[None if math.isnan(v) else round(float(v), 3) for v in row] for row in grid]


def map_columns(n_atoms: int) -> int:
    """Columns of the map of so many atoms.

    Examples
    --------
    >>> map_columns(512), map_columns(3)
    (41, 4)
    """
    return max(math.ceil(math.sqrt(WIDE * n_atoms)), 1)


def has_motion(motion: AtomMotion | None) -> bool:
    """Whether there is anything to draw of a run's motion."""
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
            marker={"color": colour, "size": 11, "line": {"width": 0, "color": GREY}},
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
    best[known] = pareto_front(l0[known], r2[known])
    return [(x, y, bool(b)) for (x, y), b in zip(newest, best, strict=True)]

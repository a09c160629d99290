"""Axes of a still picture: what range, which ticks, where a value lies on the sheet."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb_widgets.figures.theme import format_count, format_number


@dataclass(frozen=True)
class Axis:
    """Maps data to pixels along one side."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    title: str
    ticks: tuple[tuple[float, str], ...]

    def place(self, values: Any) -> Float[np.ndarray, " n"]:
        """Pixel positions of data values; what a log axis cannot show is NaN."""
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if self.log:
            numbers = np.log10(np.where(numbers > 0, numbers, np.nan))
        span = self.high - self.low or 1.0
        return self.start + (numbers - self.low) / span * (self.end - self.start)


def axis_settings(figure: go.Figure, name: str) -> Any:
    """What the layout says of the axis "x", "y2", …."""
    return figure.layout[f"{name[0]}axis{name[1:]}"]


def read_axis(
    figure: go.Figure, name: str, traces: Sequence[Any], pixels: tuple[float, float]
) -> Axis:
    """Return one axis of a figure as it lies between two pixel positions."""
    settings = axis_settings(figure, name)
    log = settings.type == "log"
    categories = categories_of(traces, name[0])
    values = _values_along(traces, name[0], categories)
    if log:
        values = np.log10(values[values > 0])
    tight = any(trace.type == "heatmap" for trace in traces)
    leader = axis_settings(figure, settings.matches) if settings.matches else settings
    source = settings if settings.range is not None else leader
    low, high = _range(source, values, categories, tight=tight)
    base = figure.layout[f"{name[0]}axis"] if settings.domain is None else settings
    first, last = base.domain or (0.0, 1.0)
    start, end = pixels
    length = end - start
    ticks = _ticks(settings, low, high, log, categories)
    title = unescape(str(settings.title.text or ""))
    return Axis(low, high, start + length * first, start + length * last, log, title, ticks)


def categories_of(traces: Sequence[Any], side: str) -> list[str]:
    """Return the names along one side ("x" or "y") of traces, in order; none where it is numbers."""
    names: dict[str, None] = {}
    for trace in traces:
        given = trace[side]
        for value in () if given is None or isinstance(given, dict) else given:
            if isinstance(value, str):
                names.setdefault(value)
    return list(names)


def numbers_of(values: Any, categories: list[str]) -> Float[np.ndarray, " n"]:
    """Return values as numbers: categories as their index, gaps as NaN, plotly's JSON decoded."""
    if values is None:
        return np.zeros(0)
    if isinstance(values, dict):
        # An array as plotly writes it to JSON.
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).astype(np.float64)
    if categories:
        return np.array([categories.index(v) if v in categories else np.nan for v in values])
    return np.asarray(
        [np.nan if v is None else v for v in np.asarray(values, dtype=object).tolist()],
        dtype=np.float64,
    )


def _values_along(traces: Sequence[Any], side: str, categories: list[str]) -> Any:
    parts = [np.zeros(0)]
    for trace in traces:
        given = numbers_of(trace[side], categories)
        if trace.type == "heatmap":
            given = _heatmap_ends(trace, side, given)
        parts.append(given)
        long_side = "x" if trace.type == "bar" and trace.orientation == "h" else "y"
        if trace.type == "bar" and side == long_side:
            parts.append(np.zeros(1))
    joined = np.concatenate(parts)
    return joined[np.isfinite(joined)]


def _heatmap_ends(trace: Any, side: str, given: Any) -> Any:
    """The outer borders of a heat-map's cells: half a cell beyond the outer centres."""
    if trace[side] is None or len(given) < 2:
        size = 0 if trace.z is None else np.shape(trace.z)[1 if side == "x" else 0]
        return np.array([-0.5, size - 0.5]) if size else np.zeros(0)
    half = (given[1] - given[0]) / 2, (given[-1] - given[-2]) / 2
    return np.array([given[0] - half[0], given[-1] + half[1]])


def _range(
    settings: Any, values: Any, categories: list[str], *, tight: bool = False
) -> tuple[float, float]:
    if settings.range is not None and None not in settings.range:
        return float(settings.range[0]), float(settings.range[1])
    if categories:
        span = (-0.5, len(categories) - 0.5)
        return span[::-1] if settings.autorange == "reversed" else span
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.0 if tight else 0.05 * (high - low) or 0.5
    low = low if low == 0 else low - pad
    return (high + pad, low) if settings.autorange == "reversed" else (low, high + pad)


def _ticks(
    settings: Any, low: float, high: float, log: bool, categories: list[str]
) -> tuple[tuple[float, str], ...]:
    if settings.showticklabels is False or settings.visible is False:
        return ()
    if settings.tickvals is not None:
        texts = settings.ticktext if settings.ticktext is not None else settings.tickvals
        return tuple((float(v), unescape(str(s))) for v, s in zip(settings.tickvals, texts))
    if categories:
        step = max(1, len(categories) // 12)
        return tuple((float(i), categories[i]) for i in range(0, len(categories), step))
    bottom, top = min(low, high), max(low, high)
    if log:
        powers = range(math.ceil(bottom - 1e-9), math.floor(top + 1e-9) + 1)
        every = max(1, len(powers) // 6)
        words = {p: format_count(10**p) if 0 <= p < 7 else format_number(10.0**p) for p in powers}
        return tuple((10.0**p, words[p]) for p in list(powers)[::every])
    gap = _nice_step((top - bottom) / 5)
    first = math.ceil(bottom / gap - 1e-9) * gap
    count = int((top - first) / gap + 1e-9) + 1
    decimals = max(0, -math.floor(math.log10(gap) + 1e-9))
    values = [first + i * gap for i in range(count)]
    return tuple((v, f"{v:,.{decimals}f}".replace(",", "\u2009")) for v in values)


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)

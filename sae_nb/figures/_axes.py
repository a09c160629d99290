"""Numbers and words of a plotly figure, and the axes that place them on a still image."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy.typing import ArrayLike
from plotly.basedatatypes import BasePlotlyType, BaseTraceType

from sae_nb.figures.theme import format_count, format_number


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
    named: bool = False
    """Whether its ticks are names of rows or columns, not places on a scale."""
    categories: tuple[str, ...] = ()
    """Those names; one of them is a place, too."""

    def place(self, values: ArrayLike) -> Float[np.ndarray, " n"]:
        """Return pixel positions of data values; what a log axis cannot show is NaN."""
        if isinstance(values, str):
            values = numbers_of([values], list(self.categories))
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if self.log:
            numbers = np.log10(np.where(numbers > 0, numbers, np.nan))
        span = self.high - self.low or 1.0
        return self.start + (numbers - self.low) / span * (self.end - self.start)


def axis_settings(figure: go.Figure, name: str) -> BasePlotlyType:
    """Return the layout's settings of the axis "x", "y2", …."""
    return figure.layout[f"{name[0]}axis{name[1:]}"]


def read_axis(
    figure: go.Figure, name: str, traces: Sequence[BaseTraceType], pixels: tuple[float, float]
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
    title = plain(settings.title.text or "")
    named = bool(categories) or settings.ticktext is not None
    ends = start + length * first, start + length * last
    return Axis(low, high, *ends, log, title, ticks, named, tuple(categories))


def categories_of(traces: Sequence[BaseTraceType], side: str) -> list[str]:
    """Return the names along one side ("x" or "y") of traces, in order; none where it is numbers."""
    names: dict[str, None] = {}
    for trace in traces:
        values = _along(trace, side)
        if values is not None and not isinstance(values, dict):
            names |= dict.fromkeys(value for value in values if isinstance(value, str))
    return list(names)


def _along(trace: BaseTraceType, side: str) -> Any:
    """Return the positions of a trace along one side; an image has no such list: its axes give its extent."""
    return None if trace.type == "image" else trace[side]


def numbers_of(values: Any, categories: list[str]) -> Float[np.ndarray, " n"]:
    """Return values as numbers: categories as their index, gaps as NaN, plotly's JSON decoded."""
    if values is None:
        return np.zeros(0)
    if isinstance(values, dict):
        return _decoded(values)
    if categories:
        return np.array([categories.index(v) if v in categories else np.nan for v in values])
    return np.asarray(
        [np.nan if v is None else v for v in np.asarray(values, dtype=object).tolist()],
        dtype=np.float64,
    )


def _decoded(array: dict[str, Any]) -> Float[np.ndarray, " n"]:
    """An array as plotly writes it to JSON."""
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"]).astype(np.float64)


def _values_along(
    traces: Sequence[BaseTraceType], side: str, categories: list[str]
) -> Float[np.ndarray, " n"]:
    parts = [np.zeros(0)]
    for trace in traces:
        values = numbers_of(_along(trace, side), categories)
        if trace.type == "heatmap":
            sizes = matrix(trace.z).shape
            n = sizes["yx".index(side)] if len(sizes) == 2 else 0
            values = borders(values, n)[[0, -1]] if n else np.zeros(0)
        parts.append(values)
        long_side = "x" if trace.type == "bar" and trace.orientation == "h" else "y"
        if trace.type == "bar" and side == long_side:
            parts.append(np.zeros(1))
    joined = np.concatenate(parts)
    return joined[np.isfinite(joined)]


def _range(
    settings: BasePlotlyType,
    values: Float[np.ndarray, " n"],
    categories: list[str],
    *,
    tight: bool = False,
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
    settings: BasePlotlyType, low: float, high: float, log: bool, categories: list[str]
) -> tuple[tuple[float, str], ...]:
    if settings.showticklabels is False or settings.visible is False:
        return ()
    if settings.tickvals is not None:
        texts = settings.ticktext if settings.ticktext is not None else settings.tickvals
        return tuple((float(v), plain(s)) for v, s in zip(settings.tickvals, texts))
    if categories:
        step = max(1, len(categories) // 12)
        return tuple((float(i), categories[i]) for i in range(0, len(categories), step))
    bottom, top = min(low, high), max(low, high)
    if log:
        powers = range(math.ceil(bottom - 1e-9), math.floor(top + 1e-9) + 1)
        every = max(1, len(powers) // 6)
        words = {p: format_count(10**p) if 0 <= p < 7 else format_number(10.0**p) for p in powers}
        return tuple((10.0**p, words[p]) for p in list(powers)[::every])
    rough = (top - bottom) / 5
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    gap = next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)
    gap = settings.dtick if isinstance(settings.dtick, int | float) else gap
    first = math.ceil(bottom / gap - 1e-9) * gap
    count = int((top - first) / gap + 1e-9) + 1
    decimals = max(0, -math.floor(math.log10(gap) + 1e-9))
    values = [first + i * gap for i in range(count)]
    return tuple((v, f"{v:,.{decimals}f}".replace(",", "\u2009")) for v in values)


def plain(text: object) -> str:
    """Return a label of plotly's as text in one line, without its few tags of HTML."""
    return unescape(
        re.sub(r"</?(?:b|i|sub|sup|span)\b[^>]*>", "", re.sub(r"<br\s*/?>", " ", str(text)))
    )


def matrix(given: Any) -> Float[np.ndarray, "rows columns *channels"]:
    """Return the heights of a heat-map or the pixels of an image, also as plotly writes them to JSON."""
    if isinstance(given, dict):
        return _decoded(given).reshape([int(n) for n in str(given["shape"]).split(",")])
    return np.asarray([] if given is None else given, dtype=np.float64)


def borders(centres: Float[np.ndarray, " m"], n: int) -> Float[np.ndarray, " n_plus_1"]:
    """Return the borders between n cells: half-way between centres, and as far beyond the outer ones."""
    if len(centres) != n:
        return np.arange(n + 1) - 0.5
    if n == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middles = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
    return np.concatenate(([first], middles, [last]))

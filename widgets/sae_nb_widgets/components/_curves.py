"""Curves: small charts under each other that share a legend, a read-out and a cursor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.figures import current_theme, theme
from sae_nb.figures.shapes import INK, Dot, Drawing, Label, Polyline, Rectangle, Stroke, legend
from sae_nb.figures.theme import escape, format_number
from sae_nb_widgets.components._base import Component, title_drawing
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import paragraph, stacked

MOST_POINTS = 240
"""Per line: more than a small chart has pixels."""

STATIC_WIDTH = 240
MARGIN = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One curve of a chart."""

    values: Float[np.ndarray, " n"]
    """Heights, at 0, 1, 2, …."""

    name: str = ""
    """Name in the legend."""

    colour: str = ""
    """CSS colour; the page's quiet ink when empty."""

    dashed: bool = False
    """So that two curves differ without colour."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """One small chart."""

    title: str
    """One line above it."""

    lines: Sequence[Line]
    """Its curves, all of one length."""

    low: float = 0.0
    """Value at the bottom."""

    high: float = 1.0
    """Value at the top."""

    unit: str = ""
    """Of its values, as they are read out."""

    note: str = ""
    """Text at the right end above it; the value at the top with its unit when empty."""

    bars: bool = False
    """Sticks from zero in place of lines, for coordinates without an order."""

    atom: int = -1
    """The atom it is of: pointing at the title shows its card; −1 for none."""

    @property
    def head(self) -> dict[str, Any]:
        """Everything but the curves, as a script reads it."""
        ends = {"low": float(self.low), "high": float(self.high)}
        return ends | {n: getattr(self, n) for n in ("title", "unit", "note", "bars", "atom")}


class Curves(Component):
    """Small charts; hover to read values, click to choose a place."""

    _esm = script("curves")

    charts = t.List(t.Dict(), help="Title, ends and kind of each chart.").tag(sync=True)
    lines = t.List(t.Dict(), help="Chart, name, colour and dash of each line.").tag(sync=True)
    data = t.Bytes(b"", help="float32 heights, line after line.").tag(sync=True)
    x_name = t.Unicode("", help="What is counted along the charts.").tag(sync=True)
    stride = t.Int(1, help="How many places one point stands for.").tag(sync=True)
    cursor = t.Int(-1, help="Place of the upright line; -1 for none.").tag(sync=True)
    height = t.Int(64, help="Height of one chart in CSS pixels.").tag(sync=True)
    clickable = t.Bool(False, help="Whether a click chooses a place.").tag(sync=True)
    selected = t.Int(-1, help="Place that was clicked; -1 for none.").tag(sync=True)

    def show(self, charts: Sequence[Chart], *, cursor: int = -1) -> None:
        """Replace what is shown, in one message to the browser."""
        stride = max(1, math.ceil(length_of(charts) / MOST_POINTS))
        thinned = [_thinned(line.values, stride) for chart in charts for line in chart.lines]
        with self.hold_sync(), self.hold_trait_notifications():
            self.charts = [chart.head for chart in charts]
            self.lines = lines_of(charts)
            self.data = np.concatenate([np.zeros(0), *thinned]).astype(np.float32).tobytes()
            self.stride, self.cursor, self.selected = stride, cursor, -1

    @property
    def n_points(self) -> int:
        """Points of every line."""
        return len(self.data) // 4 // max(len(self.lines), 1)

    def values(self, line: int) -> Float[np.ndarray, " n_points"]:
        """Return heights of a line, as drawn."""
        return np.frombuffer(self.data, np.float32).reshape(len(self.lines), -1)[line]

    @t.validate("selected", "cursor")
    def _place_exists(self, proposal: t.Bunch) -> int:
        value, most = int(proposal["value"]), self.n_points * self.stride
        if not -1 <= value < max(most, 1):
            raise t.TraitError(
                f"`{proposal['trait'].name}` must be between 0 and {most - 1}, or -1 for none, got "
                f"{value}."
            )
        return value

    def static_html(self) -> str:
        """Return the charts as inline SVG, with their titles and the legend."""
        if not self.lines:
            return self._empty_html()
        body = "".join(
            f"<div>{escape(chart['title'])}</div>{self._drawing(i).to_svg()}"
            for i, chart in enumerate(self.charts)
        )
        label = escape(self.description)
        return (
            f'<div class="sae-nb-component" role="group" aria-label="{label}">'
            f'<div class="sae-nb-cardtitle">{label}</div>{self._legend_html()}{body}</div>'
        )

    def drawing(self, width: float) -> Drawing:
        """Return the charts as strokes under each other, with their titles and the legend."""
        if not self.lines:
            return paragraph(self.empty_text, width)
        parts = [title_drawing(self.description, width), lines_key(self.lines, width)]
        for i, chart in enumerate(self.charts):
            parts += [paragraph(chart["title"], width), self._drawing(i)]
        return stacked(parts, gap=4)

    def _legend_html(self) -> str:
        return lines_html(self.lines)

    def _drawing(self, index: int) -> Drawing:
        """One chart as strokes."""
        chart, size = self.charts[index], current_theme().font_px
        foot, right = self.height - MARGIN, STATIC_WIDTH - MARGIN
        span = (chart["high"] - chart["low"]) or 1.0
        n = self.n_points

        def place(i: float, value: float) -> tuple[float, float]:
            x = MARGIN + i / max(n - 1, 1) * (right - MARGIN)
            return x, foot - (value - chart["low"]) / span * (foot - MARGIN)

        zero = place(0, 0.0 if chart["low"] <= 0 <= chart["high"] else chart["low"])[1]
        strokes: list[Stroke] = [Polyline([(MARGIN, zero), (right, zero)], theme.AXIS, 1)]
        for row, line in enumerate(self.lines):
            if line["chart"] != index:
                continue
            colour = line["colour"] or "currentColor"
            points = [place(i, float(v)) for i, v in enumerate(self.values(row))]
            if chart["bars"]:
                strokes += [
                    Rectangle(x - 1, min(y, zero), 2, abs(y - zero), colour) for x, y in points
                ]
            else:
                strokes.append(Polyline(points, colour, 2, line["dashed"]))
                if 0 <= self.cursor // self.stride < n and self.cursor >= 0:
                    x, y = points[self.cursor // self.stride]
                    strokes.append(Dot(x, y, 4, colour))
        high = chart["note"] or format_number(chart["high"], chart["unit"])
        strokes.append(Label(right, size, high, anchor="end", size=size))
        return Drawing(STATIC_WIDTH, self.height, tuple(strokes))


def length_of(charts: Sequence[Chart]) -> int:
    """Return how many values each line has; 0 without lines."""
    lengths = sorted({len(line.values) for chart in charts for line in chart.lines})
    if len(lengths) > 1:
        raise ValueError(f"`charts` must have lines of one length, got lengths {lengths}.")
    return lengths[0] if lengths else 0


def lines_of(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """Return the lines of all charts, without their values, as a script reads them."""
    return [
        {"chart": i, "name": line.name, "colour": line.colour, "dashed": line.dashed}
        for i, chart in enumerate(charts)
        for line in chart.lines
    ]


def lines_html(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return what the lines of charts are, as HTML; empty for a single one."""
    named = {line["name"]: line for line in lines if line["name"]}
    entries = "".join(
        f'<span style="margin-right:10px"><span style="display:inline-block;width:16px;'
        f"border-top:3px {'dashed' if line['dashed'] else 'solid'} "
        f'{escape(line["colour"] or "currentColor")};margin-right:4px;vertical-align:middle">'
        f"</span>{escape(name)}</span>"
        for name, line in named.items()
    )
    return f"<div>{entries}</div>" if len(named) > 1 else ""


def lines_key(lines: Sequence[Mapping[str, Any]], width: float) -> Drawing:
    """Return the legend of charts whose lines have more than one name."""
    named = {line["name"]: line for line in lines if line["name"]}
    marks = [
        (Polyline([(0, 6), (16, 6)], line["colour"] or INK, 3, line["dashed"]), name)
        for name, line in named.items()
    ]
    return legend(marks if len(named) > 1 else [], width)


def _thinned(values: Float[np.ndarray, " n"], stride: int) -> Float[np.ndarray, " m"]:
    """Keep the largest of every `stride` neighbours: a spike must stay visible."""
    values = np.asarray(values, dtype=np.float64)
    if stride == 1:
        return values
    padded = np.pad(values, (0, -len(values) % stride)).reshape(-1, stride)
    return padded[np.arange(len(padded)), np.abs(padded).argmax(axis=1)]

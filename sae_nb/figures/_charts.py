"""Charts that findings declare: series of points by name, and what the axes mean. Drawn in one way here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sae_nb.figures.theme import CONTROL, CONTROL_DASH, category_style, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CONTROL_SYMBOLS = ("line-ew-open", "x-open")
_CONTROL_DASHES = (CONTROL_DASH, "dot")


@dataclass(frozen=True)
class Points:
    """Points of one name."""

    name: str
    x: Any
    y: Any
    """Numbers, or words for an axis of categories."""

    control: bool = False
    """Values of a method that learned nothing, or of chance: grey, and dashed if it is a line."""

    line: bool = False
    """Joined by a line in a chart of marks, too."""

    error_x: Mapping[str, Any] | None = None
    error_y: Mapping[str, Any] | None = None
    """Bars of error as plotly takes them: `array`, and `arrayminus` where they differ."""

    text: tuple[str, ...] = ()
    """Name of each point, for hovering."""

    hover: str = ""
    """Text on hovering, as plotly's template."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Points on two axes with titles; lines, or single marks."""

    series: tuple[Points, ...]
    x: str = ""
    y: str = ""
    """Titles of the axes."""

    marks: bool = False
    """Marks alone, for what has no order; else lines."""

    height: int = 300
    """In CSS pixels at normal size."""

    cuts: tuple[float, ...] = ()
    """Positions of vertical dashed lines."""

    xaxis: Mapping[str, Any] = field(default_factory=dict)
    yaxis: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the axes, as plotly takes them."""


def draw_chart(chart: Chart) -> go.Figure:
    """Draw a chart: categories in the colours of the theme, controls grey."""
    from sae_nb.figures._plot_grids import framed, line

    traces, n_values, n_controls = [], 0, 0
    for one in chart.series:
        if one.control:
            dash = _CONTROL_DASHES[n_controls % len(_CONTROL_DASHES)]
            colour, symbol = CONTROL, _CONTROL_SYMBOLS[n_controls % len(_CONTROL_SYMBOLS)]
            n_controls += 1
        else:
            (colour, symbol), dash = category_style(n_values), "solid"
            n_values += 1
        more: dict[str, Any] = {"error_x": one.error_x, "error_y": one.error_y}
        if one.text:
            more["text"] = list(map(plot_text, one.text))
        marks = chart.marks and not one.line
        trace = line(
            one.name,
            *(v.detach().cpu().numpy() if hasattr(v, "detach") else v for v in (one.x, one.y)),
            colour=colour,
            symbol=symbol if marks else "",
            size=9 if marks else None,
            width=0 if marks else 2,
            dash=dash,
            hover=one.hover,
            **more,
        )
        traces.append(trace.update(mode="markers") if marks else trace)
    figure = framed(traces, x=chart.x, y=chart.y, height=chart.height)
    for cut in chart.cuts:
        figure.add_vline(x=cut, line={"dash": CONTROL_DASH, "color": CONTROL, "width": 1})
    return figure.update_xaxes(chart.xaxis).update_yaxes(chart.yaxis)

"""Several figures as one, with a slider that shows one of them at a time."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

SLIDER_PX = 80


def one_at_a_time(figures: Mapping[str, go.Figure], name: str) -> go.Figure:
    """Return the first figure with the traces of all, of which a slider shows one figure at a time.

    The axes are those of the first, wide enough for all, so that movement is visible. The slider works by
    keyboard, and in a page without a kernel.

    Parameters
    ----------
    figures
        Figures by their label on the slider.
    name
        Name of the quantity that the slider changes.

    Raises
    ------
    ValueError: If there are none.
    """
    if not figures:
        raise ValueError("`figures` must hold one or more, got none. Give them by name.")
    first = next(iter(figures.values()))
    owners = [of for of, figure in figures.items() for _ in figure.data]
    chosen = owners[0]
    traces = [trace for figure in figures.values() for trace in figure.data]
    both = go.Figure(traces, first.layout)
    for trace, of in zip(both.data, owners, strict=True):
        trace.visible = of == chosen
    steps = [
        {"label": of, "method": "restyle", "args": ["visible", [owner == of for owner in owners]]}
        for of in figures
    ]
    both.update_layout(
        sliders=[{"active": 0, "steps": steps, "currentvalue": {"prefix": f"{name} = "}}],
        margin={"b": SLIDER_PX},
        legend={"orientation": "h", "y": 1.08},
    )
    for axis in ("x", "y"):
        placed = [trace for trace in traces if axis in trace]  # images have no coordinates
        if placed:
            both.update_layout({f"{axis}axis": {"range": _range(placed, axis)}})
    return both


def _range(traces: list[go.Scatter], axis: str) -> tuple[float, float]:
    """Return the range from the smallest to the largest coordinate of all, with a margin."""
    values = [v for trace in traces for v in trace[axis] if v is not None]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low)
    return low - margin, high + margin

"""A volcano: of many things how large a difference is, and how sure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int

from sae_nb.figures import framed
from sae_nb.figures.shapes import shortened, text_width
from sae_nb.figures.theme import CONTROL, CONTROL_DASH, GREY, category_style, fade, plot_text

SMALLEST_Q = 1e-300
CELLS = (320, 160)
"""Across and up: points of one cell would hide each other, and are drawn as one."""

WIDTH, HEIGHT = 320, 340
"""Of the narrowest plot, in CSS pixels, by which names are kept apart and inside; height of the figure."""

PLOT_HEIGHT = 170
"""Height left for points there, below the key and above the axis."""

MOST_NAMES, LONGEST_NAME, NAME_PX, APART = 5, 150, 13, 13
"""Names on each side; the longest of them, the size of their letters and how far apart lines are, in pixels."""

ABOVE = (("top left", "top right"), ("top right", "top left"))
"""Places of a name that has no room next to its point, by side: towards the middle first."""

_Box = tuple[float, float, float]
"""Left and right end of a name or a point, and its height."""

UNSURE, FIRST, SECOND, CHOSEN, NAMED = range(5)
"""Traces, in the order in which they lie over each other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Volcano:
    """A volcano, and which things its points are."""

    figure: go.Figure
    points: tuple[Int[np.ndarray, " m"], ...]
    """Of the traces UNSURE, FIRST and SECOND: the thing at each point."""


def volcano(
    difference: Float[np.ndarray, " n"],
    q: Float[np.ndarray, " n"],
    *,
    max_q: float,
    sides: Sequence[str],
    x: str,
    shown: Bool[np.ndarray, " n"] | None = None,
    chosen: int = -1,
    hover: Callable[[int], str] = str,
    names: Mapping[int, str] | None = None,
) -> Volcano:
    """Return difference across, −log₁₀ q up; those up to `max_q` in the colour and marker of their side.

    Parameters
    ----------
    difference, q
        Of every thing; what has no q is not drawn.
    max_q
        Position of the dashed line.
    sides
        Names of the two sides: more of the first lies at the right.
    x
        Name of the difference.
    shown
        Things to draw; None: all.
    chosen
        The one with a ring; −1 for none.
    hover
        Tooltip of a thing, as plain text with line breaks.
    names
        Those that may have their name written, the first have precedence.
    """
    up = -np.log10(np.clip(q, SMALLEST_Q, 1.0))
    drawable = np.isfinite(q + difference) & (True if shown is None else shown)
    sure = drawable & (q <= max_q)
    kept, more = _apart(difference, up, drawable)
    parts = (
        kept[~sure[kept]],
        kept[sure[kept] & (difference[kept] >= 0)],
        kept[sure[kept] & (difference[kept] < 0)],
    )
    titles = ("not sure", f"more in {sides[0]}", f"more in {sides[1]}")
    traces = [
        _points(part, title, style, difference, up, more, hover)
        for part, title, style in zip(parts, titles, range(3))
    ]
    top = max(float(up[drawable].max(initial=0)), -np.log10(max(max_q, SMALLEST_Q)), 1.0) * 1.08
    wide = max(float(np.abs(difference[drawable]).max(initial=0)), 0.05) * 1.25
    ring = [chosen] if chosen >= 0 and drawable[chosen] else []
    traces += [
        _ring(difference[ring], up[ring]),
        _names(names or {}, difference, up, np.concatenate(parts[1:]), wide, top),
    ]
    figure = _frame(traces, x, sides, max_q, wide, top)
    return Volcano(figure=figure, points=parts)


def _frame(
    traces: list[go.Scatter], x: str, sides: Sequence[str], max_q: float, wide: float, top: float
) -> go.Figure:
    """The plot, with a dashed line at the largest q."""
    limit = -np.log10(max(max_q, SMALLEST_Q))
    first, second = (plot_text(shortened(side, 13, 160)) for side in sides)
    line = {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": limit, "y1": limit, "layer": "below",
        "line": {"color": CONTROL, "width": 1.5, "dash": CONTROL_DASH},
    }  # fmt: skip
    words = {
        "text": f"q = {max_q:g}", "xref": "paper", "x": 1, "xanchor": "right", "y": limit,
        "yanchor": "bottom", "showarrow": False,
    }  # fmt: skip
    return framed(
        traces,
        x=f"← {second} · {x} · {first} →",
        y="how sure: −log₁₀ q",
        height=HEIGHT,
        margin=(56, 16, 30, 46),
        hovermode="closest",
        xaxis={"range": [-wide, wide], "zeroline": True, "zerolinecolor": fade(GREY, 0.5)},
        yaxis={"range": [-0.03 * top, top]},
        shapes=[line],
        annotations=[words],
    )


def ring_volcano(figure: go.Figure, difference: float, q: float) -> None:
    """Put the ring elsewhere; nowhere where there is no q."""
    there = bool(np.isfinite(q))
    with figure.batch_update():
        figure.data[CHOSEN].x = [difference] * there
        figure.data[CHOSEN].y = [-np.log10(np.clip(q, SMALLEST_Q, 1.0))] * there


def draw_volcano(figure: go.Figure, drawn: Volcano) -> None:
    """Show another volcano in a figure that is there."""
    with figure.batch_update():
        for old, new in zip(figure.data, drawn.figure.data, strict=True):
            for part in ("x", "y", "text", "name", "textposition"):
                old[part] = new[part]
        for part in ("xaxis", "yaxis", "shapes", "annotations"):
            figure.layout[part] = drawn.figure.layout[part]


def _apart(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], drawable: Bool[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " m"], dict[int, int]]:
    """One thing of each cell of the plot, the one that differs most, and how many more lie there."""
    at = np.flatnonzero(drawable)
    if not len(at):
        return at, {}
    at = at[np.argsort(-np.abs(x[at]), kind="stable")]
    cell = np.zeros(len(at), np.int64)
    for values, n in zip((x[at], y[at]), CELLS):
        low, span = values.min(), np.ptp(values) or 1.0
        cell = cell * (n + 1) + np.floor((values - low) / span * n).astype(np.int64)
    _, first, counts = np.unique(cell, return_index=True, return_counts=True)
    others = {int(at[i]): int(n) - 1 for i, n in zip(first, counts) if n > 1}
    return np.sort(at[first]), others


def _points(
    part: Int[np.ndarray, " m"],
    title: str,
    style: int,
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    more: Mapping[int, int],
    hover: Callable[[int], str],
) -> go.Scatter:
    """The points of one side, or of neither."""
    if style == UNSURE:
        marker = {"color": CONTROL, "size": 3}
    else:
        colour, _ = category_style(style - 1)
        marker = {"color": colour, "size": 8, "symbol": ("circle", "diamond")[style - 1]}
    texts = []
    for i in part.tolist():
        here = f"\nand {more[i]} more at this place" if i in more else ""
        texts.append(plot_text(hover(i) + here).replace("\n", "<br>"))
    return go.Scatter(
        name=plot_text(title),
        x=x[part].astype(np.float32),
        y=y[part].astype(np.float32),
        mode="markers",
        marker=marker,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def _ring(x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]) -> go.Scatter:
    return go.Scatter(
        name="chosen",
        x=x,
        y=y,
        mode="markers",
        hoverinfo="skip",
        marker={"size": 15, "symbol": "circle-open", "color": GREY, "line": {"width": 2.5}},
    )


def _names(
    names: Mapping[int, str],
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    points: Int[np.ndarray, " m"],
    wide: float,
    top: float,
) -> go.Scatter:
    """Return names next to their points, where they cover no other point and no other name."""
    across, up = (x / wide + 1) / 2 * WIDTH, y / top * PLOT_HEIGHT
    boxes = [(px - 5, px + 5, py) for px, py in zip(across[points], up[points])]
    written: list[tuple[int, str, str]] = []
    on_side = [0, 0]
    for i, name in names.items():
        side, text = int(x[i] < 0), shortened(name, NAME_PX, LONGEST_NAME)
        long = text_width(text, NAME_PX)
        # Outwards, where there are fewer points, else towards the middle; the first, which is spoken of, above.
        beside = ("right", "left") if side == 0 else ("left", "right")
        for to in (*beside, *ABOVE[side] * (not written)):
            left = across[i] + 10 if to.endswith("right") else across[i] - 10 - long
            box = (left, left + long, up[i] + 2 * APART * to.startswith("top"))
            inside = left > 0 and left + long < WIDTH
            if i in points and inside and on_side[side] < MOST_NAMES and _free(box, boxes):
                boxes.append(box)
                written.append((i, text, to))
                on_side[side] += 1
                break
    at = [i for i, _, _ in written]
    # plotly ends a text at its point: spaces keep the marker free.
    spaced = {
        "left": "{}\u2002",
        "right": "\u2002{}",
        "top left": "{}<br> ",
        "top right": "{}<br> ",
    }
    return go.Scatter(
        name="names",
        x=x[at],
        y=y[at],
        mode="text",
        cliponaxis=False,
        text=[spaced[to].format(plot_text(text)) for _, text, to in written],
        textposition=[to if " " in to else f"middle {to}" for _, _, to in written],
        hoverinfo="skip",
        showlegend=False,
    )


def _free(box: _Box, others: Sequence[_Box]) -> bool:
    return all(
        box[1] < other[0] or box[0] > other[1] or abs(box[2] - other[2]) > APART for other in others
    )

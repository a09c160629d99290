"""A circuit as one plotly figure: inputs below, a row for each place, targets above.

Atoms and edges that add to the answer are orange, those that take from it blue; a node's size is its share of
the influence, an edge's width the share that runs through it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Int

from sae_nb.figures import (
    broken,
    css_colour,
    current_theme,
    fade,
    framed,
    line,
    plot_text,
    shortened,
    text_width,
    theme,
)
from sae_nb.studies.circuits import CircuitSummary

SIGNS = (theme.SIGNED[-1], theme.SIGNED[0])
POSITIVE, NEGATIVE = map(css_colour, SIGNS)
WIDTHS, ENDS = (1.0, 2.2, 4.5), (0.12, 0.4)
"""Of lines, in CSS pixels, and the shares of the strongest edge at which they change."""

FAINT, BACK, STRONG = 0.16, 0.55, 0.95
"""Opacities of edges: of others while a node is chosen, of all while none is, of the chosen one's."""

N_EDGES = 2 * len(WIDTHS)
CHOSEN_EDGES, PATH = N_EDGES, 2 * N_EDGES
TOKENS, FOR, AGAINST, ERRORS, GROUPS, TARGETS, PINS, RING, LABELS = range(PATH + 1, PATH + 10)
POINTS = (TOKENS, FOR, AGAINST, ERRORS, GROUPS, TARGETS)
"""Places of the traces; each width has a trace for what adds and one for what takes."""

STYLES = (
    ("input", theme.NEUTRAL, "square"),
    ("atom, for the answer", POSITIVE, "circle"),
    ("atom, against it", NEGATIVE, "circle"),
    ("missed by the atoms", theme.CONTROL, "x"),
    ("group", theme.OKABE_ITO[2], "diamond"),
    ("answer", theme.NEUTRAL, "triangle-up"),
)
SMALLEST, LARGEST = 6.0, 17.0
ROW_PX, FEWEST_PX, AROUND_PX = 92, 52, 120
"""Height of a row, with few rows and with many, and of the margins."""

PLOT_PX, LONGEST_LABEL, LONGEST_TOKEN, APART, MARGIN = 640, 160, 70, 14, 0.6
"""Width of the narrowest plot, by which words are cut, the longest of them, and how far lines are apart, in CSS
pixels; what is left free at the two sides, in
units of the axis."""

ABOVE_PX = 6
"""Height of names above the targets."""

CROP_PX, SMALLEST_CROP_PX, CROP_TOP = 34, 14, 0.3
"""Largest and smallest side of a patch under its column, in CSS pixels, and where patches begin under the
inputs, in rows."""


NAMED_ROW_PX, PILL_PX, PILL_PAD, LONGEST_PILL = 40, 26, 11, 132
NAMED_MARGINS, NAMED_SHARE = (0.6, 1.3), 0.28
"""Height of a row and of a node that is drawn as its name, what is free around the name, and the longest, in
CSS pixels; what is left free at both sides, in units of the axis, and of the columns' width at the least at the
right, where the answer is: half a name on a phone."""

CURVE = tuple(step / 24 for step in range(25))
"""Where a curved edge is drawn, from its source to its target."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The marked parts of a drawing; rows of the summary's nodes."""

    chosen: int = -1
    pinned: Collection[int] = ()
    path: Sequence[int] = ()
    names: Mapping[int, str] | None = None
    """Names written next to their nodes."""

    nameless: Collection[int] = ()
    """Those of which nothing is known, among nodes that are drawn as their names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A figure, and which rows of the summary's nodes the points of its traces are."""

    figure: go.Figure
    points: Mapping[int, Int[np.ndarray, " m"]]


def circuit_figure(
    summary: CircuitSummary,
    marks: Marks,
    hover: Sequence[str],
    tokens: Sequence[str],
    crops: Sequence[str] = (),
) -> Drawn:
    """Draw a circuit; `hover` has a text for every node, `tokens` a name for every column.

    `crops` has the address of an image for every column, which is then shown in place of the name;
    empty for columns that are not part of an image.
    """
    nodes, points = summary.nodes, _points(summary)
    x, y = nodes.x.to_numpy(), nodes.y.to_numpy()
    size = _sizes(summary)
    traces: list[Any] = [*_edges(summary, marks), _path(marks, x, y)]
    for (name, colour, symbol), part in zip(STYLES, points, strict=True):
        traces.append(
            go.Scatter(
                name=name,
                x=x[part],
                y=y[part],
                mode="markers",
                marker={
                    "color": colour,
                    "symbol": symbol,
                    "size": size[part].tolist(),
                    "opacity": 1,
                },
                text=[plot_text(hover[i]).replace("\n", "<br>") for i in part],
                hovertemplate="%{text}<extra></extra>",
                showlegend=bool(len(part)),
                meta={"atoms": nodes.node.to_numpy()[part].tolist()} if symbol == "circle" else {},
            )
        )
    pinned = [i for i in marks.pinned if i >= 0]
    chosen = [marks.chosen] if marks.chosen >= 0 else []
    traces += [
        _ring("pinned", pinned, x, y, size + 7, 1.2),
        _ring("chosen", chosen, x, y, size + 10, 2.5),
    ]
    traces.append(_labels(summary, marks, x, y))
    figure = _framed(traces, summary, tokens, crops or [""] * len(tokens))
    if summary.named:
        _as_pills(figure, summary, marks)
    return Drawn(figure=figure, points=dict(zip(POINTS, points, strict=True)))


def draw_circuit(figure: go.Figure, drawn: Drawn) -> None:
    """Show another drawing in a figure that is there."""
    with figure.batch_update():
        for old, new in zip(figure.data, drawn.figure.data, strict=True):
            for part in ("x", "y", "text", "textposition", "showlegend"):
                old[part] = new[part]
            if new.mode == "markers":
                old.marker.size = new.marker.size
                old.meta = new.meta  # whose card is shown when it is pointed at
            elif new.mode == "lines":
                old.line.color = new.line.color
        for part in ("xaxis", "yaxis"):
            for name in ("range", "tickvals", "ticktext", "tickangle"):
                figure.layout[part][name] = drawn.figure.layout[part][name]
        for name in ("height", "margin", "images", "shapes", "annotations"):
            figure.layout[name] = drawn.figure.layout[name]


def _points(summary: CircuitSummary) -> list[Int[np.ndarray, " m"]]:
    """Rows of each trace of nodes."""
    nodes = summary.nodes
    kind, grouped = nodes.kind.to_numpy(), (nodes.group != "").to_numpy()
    adds = nodes.adds.to_numpy() >= 0
    parts: list[Bool[np.ndarray, " n"]] = [
        (kind == "token") & ~grouped,
        (kind == "atom") & adds & ~grouped,
        (kind == "atom") & ~adds & ~grouped,
        (kind == "error") & ~grouped,
        grouped,
        kind == "target",
    ]
    return [np.flatnonzero(part) for part in parts]


def _sizes(summary: CircuitSummary) -> np.ndarray:
    """Areas by influence; targets alike."""
    influence = summary.nodes.influence.to_numpy()
    inner = summary.nodes.kind.isin(["atom", "error", "token"]).to_numpy()
    top = influence[inner].max(initial=0) or 1.0
    size = SMALLEST + (LARGEST - SMALLEST) * np.sqrt(np.clip(influence / top, 0, 1))
    return np.where(inner, size, 11.0)


def _edges(summary: CircuitSummary, marks: Marks) -> list[go.Scatter]:
    """Lines by sign and width: all, then those of the chosen node; curved between nodes that are names."""
    edges, nodes = summary.edges, summary.nodes
    x, y = nodes.x.to_numpy(), nodes.y.to_numpy()
    source, target = edges.source.to_numpy(), edges.target.to_numpy()
    share = edges.share.to_numpy()
    bins = np.digitize(share / (share.max(initial=0) or 1.0), ENDS)
    positive = edges.weight.to_numpy() >= 0
    mine = (source == marks.chosen) | (target == marks.chosen)
    some = marks.chosen >= 0
    traces = []
    for shown, opacity in ((~mine, FAINT if some else BACK), (mine, STRONG)):
        for sign, name in enumerate(("adds", "takes away")):
            for width in range(len(WIDTHS)):
                here = np.flatnonzero(shown & (bins == width) & (positive != bool(sign)))
                ends = zip(x[source[here]], y[source[here]], x[target[here]], y[target[here]])
                way = _curved if summary.named else _straight
                across, up = broken(way(*four) for four in ends)
                key = width == len(WIDTHS) - 1 and opacity == STRONG
                traces.append(
                    line(
                        name,
                        # A trace without points is left out of the key.
                        across or [None],
                        up or [None],
                        colour=css_colour(SIGNS[sign], opacity),
                        width=WIDTHS[width],
                        hoverinfo="skip",
                        showlegend=key,
                        legendrank=1100,
                    )
                )
    return traces


def _straight(a: float, b: float, c: float, d: float) -> list[tuple[float, float]]:
    return [(a, b), (c, d)]


def _curved(a: float, b: float, c: float, d: float) -> list[tuple[float, float]]:
    """A curve that leaves and arrives upright."""
    half = (b + d) / 2
    return [
        (
            a * (1 - t) ** 2 * (1 + 2 * t) + c * t**2 * (3 - 2 * t),
            b * (1 - t) ** 3 + 3 * half * t * (1 - t) + d * t**3,
        )
        for t in CURVE
    ]


def _as_pills(figure: go.Figure, summary: CircuitSummary, marks: Marks) -> None:
    """Draw each node as its name in an outline, orange or blue; the points behind are still pointed at."""
    nodes, size = summary.nodes, current_theme().font_px
    names = marks.names or {}
    shapes, words = [], []
    for i, (kind, x, y, adds) in enumerate(zip(nodes.kind, nodes.x, nodes.y, nodes.adds)):
        if kind == "token":
            continue
        text = shortened(names.get(i, ""), size, LONGEST_PILL)
        half = max(text_width(text, size) / 2 + PILL_PAD, PILL_PX)
        colour = theme.NEUTRAL if kind == "target" else POSITIVE if adds >= 0 else NEGATIVE
        bold = 2.8 if i == marks.chosen or i in marks.path else 1.4
        shapes.append(
            {
                "type": "path",
                "path": _outline(half, PILL_PX / 2),
                "xsizemode": "pixel",
                "ysizemode": "pixel",
                "xanchor": x,
                "yanchor": y,
                "layer": "above",
                "fillcolor": theme.WHITE,
                "fillrule": "nonzero",  # by which the style sheet knows it
                "line": {
                    "color": colour,
                    "width": bold,
                    "dash": "dot" if i in marks.pinned else "solid",
                },
            }
        )
        quiet = 0.7 if i in marks.nameless else 1.0
        words.append(
            {"x": x, "y": y, "text": plot_text(text), "showarrow": False, "opacity": quiet}
        )
    figure.update_layout(shapes=shapes, annotations=words)
    for trace in (*POINTS[1:], PINS, RING):
        figure.data[trace].marker.opacity = 0
        figure.data[trace].marker.size = PILL_PX
        figure.data[trace].showlegend = False
    for name, trace in (("adds to the answer", 2), ("takes from it", 5)):
        figure.data[CHOSEN_EDGES - N_EDGES + trace].name = name
    figure.data[LABELS].text = [""] * len(figure.data[LABELS].text or ())


def _outline(half: float, radius: float) -> str:
    """A rectangle with round ends around its anchor, as an SVG path."""
    flat, k = half - radius, radius * 0.552  # of a quarter circle by a cubic
    r = radius
    return (
        f"M{-flat:.1f},{r} L{flat:.1f},{r} C{flat + k:.1f},{r} {half:.1f},{k:.1f} {half:.1f},0 "
        f"C{half:.1f},{-k:.1f} {flat + k:.1f},{-r} {flat:.1f},{-r} L{-flat:.1f},{-r} "
        f"C{-flat - k:.1f},{-r} {-half:.1f},{-k:.1f} {-half:.1f},0 "
        f"C{-half:.1f},{k:.1f} {-flat - k:.1f},{r} {-flat:.1f},{r} Z"
    )


def _path(marks: Marks, x: np.ndarray, y: np.ndarray) -> go.Scatter:
    at = list(marks.path)
    return line(
        "strongest path",
        x[at],
        y[at],
        colour=fade(theme.GREY, 0.8),
        width=6,
        hoverinfo="skip",
        showlegend=bool(at),
    )


def _ring(
    name: str, at: list[int], x: np.ndarray, y: np.ndarray, size: np.ndarray, width: float
) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=x[at],
        y=y[at],
        mode="markers",
        hoverinfo="skip",
        showlegend=bool(at),
        marker={
            "symbol": "circle-open",
            "size": size[at].tolist(),
            "color": theme.GREY,
            "opacity": 1,
            "line": {"width": width},
        },
    )


def _labels(summary: CircuitSummary, marks: Marks, x: np.ndarray, y: np.ndarray) -> go.Scatter:
    """Return words next to nodes, if they cover no other words and no other node; targets have them above."""
    kinds, size = summary.nodes.kind.to_numpy(), current_theme().font_px
    across, up = x / _wide(summary) * PLOT_PX, y * _row_px(summary)
    taken = [(px - 8, px + 8, py) for px, py in zip(across, up)]
    apart = np.diff(across[kinds == "target"]).min(initial=LONGEST_LABEL)
    written: list[tuple[int, str, str]] = []
    for i, name in (marks.names or {}).items():
        if kinds[i] == "target":
            text = shortened(name, size, apart - 6)
            inside = across[i] + text_width(text, size) / 2 < PLOT_PX
            written.append((i, text, "top center" if inside else "top left"))
            continue
        text = shortened(name, size, LONGEST_LABEL)
        long, others = text_width(text, size), taken[:i] + taken[i + 1 :]
        for side in ("right", "left"):
            left = across[i] + 16 if side == "right" else across[i] - 16 - long
            box = (left, left + long, up[i])
            if left > 0 and left + long < PLOT_PX and _free(box, others):
                taken.append(box)
                written.append((i, text, f"middle {side}"))
                break
    # plotly ends a text at its point: spaces keep the marker free.
    spaced = {"middle left": "{}\u2003\u2002", "middle right": "\u2003\u2002{}"}
    at = [i for i, _, _ in written]
    lifted = np.where(kinds[at] == "target", ABOVE_PX / _row_px(summary), 0.0)
    return go.Scatter(
        name="names",
        x=x[at],
        y=y[at] + lifted,
        mode="text",
        text=[spaced.get(to, "{}").format(plot_text(text)) for _, text, to in written],
        textposition=[to for _, _, to in written],
        hoverinfo="skip",
        showlegend=False,
    )


def _free(box: tuple[float, float, float], others: Sequence[tuple[float, float, float]]) -> bool:
    return all(
        box[1] < other[0] or box[0] > other[1] or abs(box[2] - other[2]) > APART for other in others
    )


def _wide(summary: CircuitSummary) -> float:
    """Width of the plot in units of its axis."""
    return max(float(summary.nodes.x.max()), 1.0) + sum(_margins(summary))


def _margins(summary: CircuitSummary) -> tuple[float, float]:
    """Return the free units at both sides: half of a name, at the least."""
    if not summary.named:
        return MARGIN, MARGIN
    left, right = NAMED_MARGINS
    return left, max(right, NAMED_SHARE * float(summary.nodes.x.max()))


def _row_px(summary: CircuitSummary) -> int:
    """Height of a row: less where there are many."""
    if summary.named:
        return NAMED_ROW_PX
    return int(np.clip(ROW_PX * 6 / len(summary.rows), FEWEST_PX, ROW_PX))


def _framed(
    traces: list[Any], summary: CircuitSummary, tokens: Sequence[str], crops: Sequence[str]
) -> go.Figure:
    """Rows named at the left, inputs below: patches, or words, slanted where they would touch."""
    n_rows, wide, row = len(summary.rows), _wide(summary), _row_px(summary)
    size = current_theme().font_px
    words = [
        "" if crop else shortened(token.strip() or "␣", size, LONGEST_TOKEN)
        for token, crop in zip(tokens, crops, strict=True)
    ]
    centres = summary.columns.x.to_numpy()
    room = np.diff(centres).min(initial=wide) * PLOT_PX / wide
    if summary.named:  # columns differ in width: only neighbours that touch are in the way
        halves = np.array([text_width(word, size) / 2 for word in words])
        apart = np.diff(centres) * PLOT_PX / wide
        slanted = bool((halves[1:] + halves[:-1] + 6 > apart).any())
    else:
        slanted = max((text_width(word, size) for word in words), default=0) > room - 6
    side = float(np.clip(room - 4, SMALLEST_CROP_PX, CROP_PX)) if any(crops) else 0.0
    return framed(
        traces,
        height=AROUND_PX + row * (n_rows - 1) + side + 40 * slanted,
        # The key lies below, where no button of the figure covers it.
        margin=(62, 12, 44, 48 + 40 * slanted),
        hovermode="closest",
        legend={"y": 0.0, "yref": "container", "yanchor": "bottom", "itemsizing": "constant"},
        images=_patches(centres, crops, side * wide / PLOT_PX, side / row),
        xaxis={
            "range": [-_margins(summary)[0], wide - _margins(summary)[0]],
            "showgrid": False,
            "zeroline": False,
            "tickvals": centres.tolist(),
            "ticktext": [plot_text(word) for word in words],
            "tickangle": -45 if slanted else 0,
        },
        yaxis={
            "range": [-0.45 - side / row, n_rows - 0.6],
            "zeroline": False,
            "tickvals": [i for i, name in enumerate(summary.rows) if name],
            "ticktext": [plot_text(name) for name in summary.rows if name],
        },
    )


def _patches(
    centres: np.ndarray, crops: Sequence[str], wide: float, high: float
) -> list[dict[str, Any]]:
    """Images under the columns, `wide` × `high` in units of the axes."""
    box = {"sizex": wide, "sizey": high, "xanchor": "center", "yanchor": "middle"}
    return [
        {"source": crop, "x": x, "y": -CROP_TOP - high / 2, "xref": "x", "yref": "y", **box}
        for x, crop in zip(centres.tolist(), crops, strict=True)
        if crop
    ]

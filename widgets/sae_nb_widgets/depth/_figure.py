"""Depth as one figure: paths in 2-D or 3-D, or the similarity of blocks with phases and their gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int

from sae_nb.figures import colour_scale, current_theme, fade, plot_text, squares, template, theme
from sae_nb.figures.theme import escape, format_number
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.depth import _traces as traces
from sae_nb_widgets.depth._traces import HEAD, MOST_GROUPS, OWN, PUSHED, ROLLED
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._theming import figure_widget

KIND_COLOURS = {
    "cls": theme.OKABE_ITO[3],
    "register": theme.OKABE_ITO[4],
    "patch": theme.OKABE_ITO[2],
    "token": theme.NEUTRAL,
}
"""Of token types, where there are several. Blue and vermilion are taken."""
WHAT_IS_DRAWN = (
    '<span style="opacity:0.8">dot: one {what} at this layer; line: its way there from the first '
    "layer{of}</span>"
)
OPACITY_OF_ALL, OPACITY_OF_FEW = 0.45, 0.9
SHAPES = {"square": "", "diamond": "transform:rotate(45deg)"}
PHASE_TRACES = ("similarity", "phases, pale", "phases", "layer", "gain", "k")
PHASE_COLOURS = tuple(theme.OKABE_ITO[i] for i in (5, 4, 2, 3, 6, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnPaths:
    """The drawing of paths: positions, colours, and overlays."""

    points: Float[np.ndarray, "paths layers axes"]
    """Two or three axes."""

    groups: Int[np.ndarray, "paths layers"]
    """Colour of the stretch that leads to each layer."""

    names: tuple[str, ...]
    """Of the groups."""

    colours: tuple[str, ...]
    """Of the groups."""

    symbols: tuple[str, ...]
    """Of the groups' heads."""

    texts: tuple[str, ...]
    """Tooltip of a path."""

    words: tuple[str, ...]
    """Text next to its head; empty for nothing."""

    own: int
    """Index of the selected path; −1 for none."""

    trailed: Bool[np.ndarray, " paths"]
    """Of which paths the way is drawn; of the others only the dot at the layer."""

    axes: tuple[str, str, str]
    """Names of the axes."""

    title: str
    """Whose paths, and what they are drawn on: two lines above."""

    what: str
    """What one dot is: an input, or a token of one."""

    pushed: Float[np.ndarray, "layers axes"] | None = None
    """The selected path after a push, from the layer of the push on."""

    pushed_from: int = 0
    """That layer."""

    rolled: Float[np.ndarray, "layers axes"] | None = None
    """Raptor's prediction of the selected path."""

    rim: float = 0.0
    """Radius of a circle around a map of the sphere; 0 for none."""

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return int(self.points.shape[2])


def figure_height() -> int:
    """Return height in CSS pixels at the current scale."""
    return 380 if current_theme().scale == "normal" else 480


def depth_figure() -> go.Figure:
    """Draw empty similarity, gain and paths, with all traces."""
    figure = go.Figure(
        [
            traces.heatmap(),
            traces.outline("phases, pale", fade(theme.WHITE, 0.95), 4.5),
            traces.outline("phases", theme.PAGE_INKS[0], 2),
            traces.mark("layer", "x", "y", 11),
            traces.gain_curve(),
            traces.mark("k", "x2", "y2", 11),
            *(one for group in range(MOST_GROUPS) for one in traces.group_traces(group)),
            *traces.overlay_traces(),
            *(one for group in range(MOST_GROUPS) for one in traces.group_traces_3d(group)),
            *traces.overlay_traces_3d(),
        ],
        dict(
            template=template(),
            height=figure_height(),
            margin={"l": 34, "r": 8, "t": 28, "b": 44},
            hovermode="closest",
            showlegend=False,
            annotations=[traces.title(i) for i in range(3)],
            **traces.axes(),
        ),
    )
    arrange(figure, "paths")
    return figure


def arrange(figure: go.Figure, parts: str) -> None:
    """Give the room to the paths, to the phases, or to all."""
    places = traces.PLACES[parts]
    with figure.batch_update():
        for number in ("", "2", "3"):
            for side in "xy":
                axis = figure.layout[f"{side}axis{number}"]
                axis.domain = places.get(side + number, traces.HIDDEN)
        for trace in figure.data:
            if trace.meta in PHASE_TRACES:
                trace.visible = parts != "paths"
        figure.layout.scene.domain.x = places.get("x3", traces.HIDDEN)
        figure.layout.scene.domain.y = places.get("y3", traces.HIDDEN)
        for note, axis in zip(figure.layout.annotations, ("x", "x2", "x3")):
            note.visible = axis in places
        for number in ("", "2"):
            for side in "xy":
                figure.layout[f"{side}axis{number}"].visible = parts != "paths"


class DepthFigure:
    """The figure on screen and the legend of its paths."""

    def __init__(self) -> None:
        self.plot = figure_widget(depth_figure(), height=figure_height())
        self.legend = HTML()
        self.drawn: DrawnPaths | None = None
        self.parts = "paths"

    def show_parts(self, strip: str, layer: int, *, dark: bool) -> None:
        """Show what belongs to a strip: the paths, the phases, or all."""
        self.parts = strip if strip in traces.PLACES else "paths"
        arrange(self.plot, self.parts)
        show(self.legend, self.parts != "phases")
        self.show_layer(layer, dark=dark)

    def on_click(self, clicked: object) -> None:
        """Call back with clicks on heads of paths, on the gain curve and on the matrix."""
        for trace in self.plot.data:
            if str(trace.meta).startswith(("head", "gain", "similarity")):
                trace.on_click(clicked)

    def path_of(self, trace: go.Scatter, place: int, layer: int) -> int:
        """Return which path's head was clicked."""
        group = int(str(trace.meta).split()[1])
        return (
            int(np.flatnonzero(self.drawn.groups[:, layer] == group)[place]) if self.drawn else -1
        )

    def show_similarity(
        self,
        similarity: Float[np.ndarray, "blocks blocks"],
        cuts: Sequence[int],
        gains: Float[np.ndarray, " ks"],
        k: int,
        words: str,
    ) -> None:
        """Show a similarity matrix, its phases as squares on the diagonal, and the gain of every k."""
        n = len(similarity)
        blocks = np.arange(1, n + 1, dtype=np.float32)
        low = float(similarity.min())
        signed = low < -0.05
        floor = -1.0 if signed else min(np.floor(10 * low) / 10, 0.9)
        x, y = (np.array(side, np.float64) for side in squares(cuts))
        figure = self.plot
        with figure.batch_update():
            heat = named(figure, "similarity")
            heat.x, heat.y, heat.z = blocks, blocks, similarity.astype(np.float32)
            heat.zmin, heat.zmax, heat.colorscale = floor, 1.0, colour_scale(signed)
            for name in ("phases, pale", "phases"):
                line = named(figure, name)
                line.x, line.y = x, y
            gain, chosen = named(figure, "gain"), named(figure, "k")
            gain.x, gain.y = np.arange(1, len(gains) + 1), np.asarray(gains, np.float32)
            chosen.x, chosen.y = [k], [float(gains[k - 1])]
            figure.layout.xaxis.range, figure.layout.yaxis.range = [0.5, n + 0.5], [n + 0.5, 0.5]
            ends = "blue, 1 orange" if signed else "dark, 1 bright"
            said = f"{words}: {format_number(floor, digits=2)} {ends}"
            figure.layout.annotations[0].text = plot_text(said)

    def show_paths(self, drawn: DrawnPaths, layer: int, *, dark: bool) -> None:
        """Show other paths."""
        self.drawn, self.legend.value = drawn, _legend_html(drawn)
        self.show_layer(layer, dark=dark)

    def show_layer(self, layer: int, *, dark: bool) -> None:
        """Mark the layer on the diagonal (the embeddings are not a block), and lead paths up to it."""
        mark = named(self.plot, "layer")
        mark.x, mark.y = ([layer], [layer]) if layer > 0 else ([], [])
        if self.parts == "phases":
            with self.plot.batch_update():
                hide_paths(self.plot, 2)
                hide_paths(self.plot, 3)
        elif self.drawn is not None:
            draw_paths(self.plot, self.drawn, layer, ink=theme.PAGE_INKS[dark])


# --- drawing --------------------------------------------------------------------------------------


def draw_paths(
    figure: go.Figure, drawn: DrawnPaths, layer: int, *, ink: str = theme.PAGE_INKS[0]
) -> None:
    """Show paths up to a layer, where they are there, and the selected path over them."""
    suffix = " 3d" if drawn.dimensions == 3 else ""
    _colour(figure, drawn, suffix, ink)
    with figure.batch_update():
        hide_paths(figure, 5 - drawn.dimensions)
        for group in range(MOST_GROUPS):
            _draw_group(figure, drawn, group, layer, suffix)
        _draw_overlays(figure, drawn, layer, suffix)
        _draw_frame(figure, drawn)


def named(figure: go.Figure, name: str) -> go.Scatter:
    """Return the trace of that name in `meta`: legends may have another name for it."""
    return figure.data[next(i for i, one in enumerate(figure._data) if one.get("meta") == name)]


# --- parts of drawing -----------------------------------------------------------------------------


def _draw_group(figure: go.Figure, drawn: DrawnPaths, group: int, layer: int, suffix: str) -> None:
    line, heads = (named(figure, f"{part} {group}{suffix}") for part in ("path", "head"))
    shown = group < len(drawn.names)
    line.visible = heads.visible = shown
    if not shown:
        return
    _put(line, _trails(drawn, group, layer))
    mine = np.flatnonzero(drawn.groups[:, layer] == group)
    _put(heads, drawn.points[mine, layer])
    heads.hovertext = [plot_text(drawn.texts[i]) for i in mine]
    heads.text = [plot_text(drawn.words[i]) for i in mine]
    heads.mode = "markers+text" if any(drawn.words) else "markers"


def _colour(figure: go.Figure, drawn: DrawnPaths, suffix: str, ink: str) -> None:
    """Give traces their colours, one by one: within a batch a browser drops those of the others."""
    for group, name in enumerate(drawn.names):
        line, heads = (named(figure, f"{part} {group}{suffix}") for part in ("path", "head"))
        colour, symbol = drawn.colours[group], drawn.symbols[group]
        symbol = traces.symbol_3d(symbol) if suffix else symbol
        _change(line.line, "color", colour)
        _change(line, "opacity", OPACITY_OF_ALL if drawn.trailed.all() else OPACITY_OF_FEW)
        _change(heads.marker, "color", colour)
        _change(heads.marker, "symbol", symbol)
        _change(heads, "name", plot_text(name))
    for name in (OWN, HEAD):
        own = named(figure, name + suffix)
        _change(own.line, "color", ink)
        _change(own.marker, "color", ink)


def _change(part: go.Scatter, name: str, value: str | float) -> None:
    if part[name] != value:
        part[name] = value


def _draw_overlays(figure: go.Figure, drawn: DrawnPaths, layer: int, suffix: str) -> None:
    own, head = named(figure, OWN + suffix), named(figure, HEAD + suffix)
    own.visible = head.visible = drawn.own >= 0
    if drawn.own >= 0:
        _put(own, drawn.points[drawn.own, : layer + 1])
        _put(head, drawn.points[drawn.own, layer : layer + 1])
        # Of which layers the two ends are, next to them.
        own.text = ["embedding", *[""] * layer] if layer else []
        head.text = [f"block {layer}" if layer else "embedding"]
    first = drawn.pushed_from
    for name, path, start in ((PUSHED, drawn.pushed, first), (ROLLED, drawn.rolled, 0)):
        trace = named(figure, name + suffix)
        trace.visible = path is not None and layer >= start
        if path is not None and layer >= start:
            _put(trace, path[start : layer + 1])


def _draw_frame(figure: go.Figure, drawn: DrawnPaths) -> None:
    """Ranges that hold every layer, so that playing moves points and not axes."""
    flat = drawn.points.reshape(-1, drawn.dimensions)
    low, high = flat.min(axis=0), flat.max(axis=0)
    # Words stand over their dots: those at the top need room too.
    pad = (0.1 if any(drawn.words) else 0.06) * np.maximum(high - low, 1e-6)
    ranges = [[float(a), float(b)] for a, b in zip(low - pad, high + pad)]
    rim, globe = named(figure, "rim"), named(figure, "globe")
    flat_globe = bool(drawn.rim) and drawn.dimensions == 2
    turn = np.linspace(0, 2 * np.pi, 73 if flat_globe else 0)
    rim.x, rim.y, rim.visible = drawn.rim * np.cos(turn), drawn.rim * np.sin(turn), flat_globe
    globe.visible = bool(drawn.rim) and drawn.dimensions == 3
    if drawn.dimensions == 2:
        # A map of the sphere is round; other axes fill the room there is.
        figure.layout.yaxis3.scaleanchor = "x3" if drawn.rim else False
        if drawn.rim:
            ranges = [[-1.05 * drawn.rim, 1.05 * drawn.rim]] * 2
        axes: tuple[Any, ...] = (figure.layout.xaxis3, figure.layout.yaxis3)
        for axis in axes:
            axis.visible = True
        texts: tuple[str, ...] = drawn.axes
    else:
        scene = figure.layout.scene
        axes = (scene.xaxis, scene.yaxis, scene.zaxis)
        texts = drawn.axes
        ranges = [[-1.02, 1.02]] * 3 if drawn.rim else ranges
        for axis in axes:
            axis.visible = not drawn.rim
    # Shares of variance are among the numbers: an axis of a PCA means nothing on its own.
    texts = tuple("" if "(" in text else text for text in texts)
    for axis, span, text in zip(axes, ranges, texts):
        axis.range, axis.title.text = span, plot_text(text)
    figure.layout.annotations[2].text = plot_text(drawn.title).replace("\n", "<br>")


def hide_paths(figure: go.Figure, dimensions: int) -> None:
    """Show nothing of the paths in the plane, or of those in space."""
    suffix = " 3d" if dimensions == 3 else ""
    names = [f"{part} {g}{suffix}" for g in range(MOST_GROUPS) for part in ("path", "head")]
    frame = "globe" if dimensions == 3 else "rim"
    for name in (*names, *(one + suffix for one in (OWN, HEAD, PUSHED, ROLLED)), frame):
        trace = named(figure, name)
        if trace.visible is not False:
            trace.visible = False
    if dimensions == 2:
        figure.layout.xaxis3.visible = figure.layout.yaxis3.visible = False


def _trails(drawn: DrawnPaths, group: int, layer: int) -> Float[np.ndarray, "rows axes"]:
    """Stretches of one colour up to a layer, gaps between them."""
    gap = np.full((1, drawn.dimensions), np.nan, np.float32)
    parts: list[np.ndarray] = []
    for path in np.flatnonzero(drawn.trailed).tolist():
        colours = drawn.groups[path, : layer + 1]
        mine = np.flatnonzero(colours[1:] == group) + 1
        if len(mine):
            # A stretch begins where the one before it ended.
            parts += [drawn.points[path, [mine[0] - 1, *mine]].astype(np.float32), gap]
    return np.concatenate(parts) if parts else gap


def _put(trace: go.Scatter, points: Float[np.ndarray, "rows axes"]) -> None:
    for name, values in zip("xyz", np.ascontiguousarray(points.T, np.float32)):
        trace[name] = values


def _legend_html(drawn: DrawnPaths) -> str:
    """Return what dots, lines, colours and dashes of paths mean."""
    entries = [
        f'<span class="sae-nb-keep" style="margin-right:12px"><span style="display:inline-block;'
        f"width:10px;height:10px;background:{colour};vertical-align:baseline;margin-right:5px;"
        f'{SHAPES.get(symbol, "border-radius:50%")}"></span>{escape(name)}</span>'
        for name, colour, symbol in zip(drawn.names, drawn.colours, drawn.symbols)
        if name not in drawn.words  # it stands next to its dots
    ]
    lines = [("solid", "currentColor", "this one")]
    lines += [("dotted", theme.NOVEL, "pushed")] if drawn.pushed is not None else []
    lines += [("dashed", theme.PREDICTED, "Raptor")] if drawn.rolled is not None else []
    entries += [
        f'<span class="sae-nb-keep" style="margin-right:12px"><span style="display:inline-block;'
        f'width:20px;border-top:3px {style} {colour};vertical-align:middle;margin-right:4px">'
        f"</span>{name}</span>"
        for style, colour, name in lines
    ]
    n_trailed = int(drawn.trailed.sum())
    of = "" if n_trailed == len(drawn.trailed) else f", drawn for {n_trailed} of them"
    return f"<div>{''.join(entries)}{WHAT_IS_DRAWN.format(what=escape(drawn.what), of=of)}</div>"

"""The map on screen: a plot that hears a lasso, the legend under it, how a record comes to stand there."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Int

from sae_nb.figures import FIGURE_CONFIG, escape, template
from sae_nb.summaries import Column, ConceptMapSummary
from sae_nb_widgets.components import read_static
from sae_nb_widgets.concept_map import _figure as drawing
from sae_nb_widgets.concept_map._words import draw_corners, draw_names, legend_html
from sae_nb_widgets.panel import Plot

MOST_IN_FALLBACK = 600

Lasso = Callable[[int, Int[np.ndarray, " m"]], None]


class MapPlot(Plot):
    """A `Plot` whose lasso and box tell the points inside as one bit each; hovering tells nothing."""

    _esm = Plot._esm.replace("export default () =>", "const plotlyWidget = () =>") + read_static(
        "map_plot.js"
    )

    def __init__(self, figure: go.Figure | None = None, height: int = 400) -> None:
        super().__init__(figure if figure is not None else go.Figure())
        self.__dict__["_lasso_callbacks"] = []
        self.__dict__["_outlined"] = False
        self.update_layout(template=template(), autosize=True, height=height)
        self._config: dict[str, Any] = {**self._config, **FIGURE_CONFIG}
        self.on_msg(lambda _, content, __: self.hear(content))

    def on_lasso(self, callback: Lasso) -> None:
        """Call back with the trace and its points whenever a lasso or a box is closed."""
        self.__dict__["_lasso_callbacks"].append(callback)

    def clear_lasso(self) -> None:
        """Take the outline of the last lasso off the plot, if there is one."""
        if not self.__dict__["_outlined"]:
            return
        self.__dict__["_outlined"] = False
        if self.layout.selections:
            self.layout.selections = ()
        # The browser draws its outlines whether or not Python was told of them.
        self._send_relayout_msg({"selections": []})

    def hear(self, content: Any) -> None:
        """Take a message from the browser."""
        if isinstance(content, dict) and content.get("kind") == "deselect":
            self.__dict__["_outlined"] = False
            for callback in self.__dict__["_lasso_callbacks"]:
                callback(-1, np.zeros(0, np.int64))
            return
        if not isinstance(content, dict) or content.get("kind") != "lasso":
            return
        self.__dict__["_outlined"] = True
        inside = content.get("points") or {}
        if "none" in inside:  # drawn around nothing
            inside = dict.fromkeys(map(str, range(len(self.data))), "")
        for trace in range(len(self.data)):
            bits = np.frombuffer(base64.b64decode(inside.get(str(trace), "")), np.uint8)
            points = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
            if str(trace) in inside:
                for callback in self.__dict__["_lasso_callbacks"]:
                    callback(trace, points.astype(np.int64))


class MapFigure:
    """The plot of a ConceptMap with its legend."""

    def __init__(self, *, webgl: bool) -> None:
        figure = drawing.concept_map_figure(webgl=webgl)
        self.plot = MapPlot(figure, height=drawing.map_height())
        self.legend = ipw.HTML()

    @property
    def shown(self) -> int:
        """Which of the traces of points is on screen."""
        numbers = self.plot.data[drawing.NUMBERS].visible
        return drawing.NUMBERS if numbers else drawing.GROUPS

    def draw_points(self, record: ConceptMapSummary, texts: Sequence[str], *, both: bool) -> None:
        """Put points where they lie, the second dictionary's too if both are shown."""
        drawing.draw_points(self.plot, record, texts)
        drawing.draw_comparison(self.plot, record, both)
        draw_corners(self.plot, record.archetypes)

    def draw_colours(
        self,
        record: ConceptMapSummary,
        column: Column | None,
        texts: Sequence[str],
        *,
        names: bool,
        matched: str,
    ) -> None:
        """Colour points by a column, name what has a name, and say what colours mean."""
        drawing.draw_colours(self.plot, column, texts)
        named = record if names else replace(record, clusters=(), columns={})
        draw_names(self.plot, named, column if names else None)
        both = f"<p>{escape(matched)}</p>" if matched else ""
        self.legend.value = legend_html(column) + both

    def draw_sizes(self, record: ConceptMapSummary, by: str) -> None:
        """Make areas go with a column of numbers."""
        column = record.columns.get(by)
        values = None if column is None or column.is_category else column.values
        drawing.draw_sizes(self.plot, values, len(record.ids))

    def draw_selection(
        self,
        record: ConceptMapSummary,
        points: Int[np.ndarray, " m"],
        current: Int[np.ndarray, " one"],
        edges: Int[np.ndarray, "k 2"],
        *,
        dark: bool,
    ) -> None:
        """Outline what is selected and the current atom, joined by edges."""
        drawing.draw_selection(self.plot, record, points, current, edges, dark=dark)

    def still(self, *, sample: bool) -> go.Figure:
        """Return a plain figure, colours spelled out for images drawn without plotly."""
        figure = go.Figure(self.plot)
        drawing.spell_colours(figure)
        return drawing.split_large(figure, MOST_IN_FALLBACK if sample else None)

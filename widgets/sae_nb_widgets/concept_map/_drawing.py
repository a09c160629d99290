"""The map on screen: a plot, the legend under it, and how a record comes to stand there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Int

from sae_nb.figures import escape
from sae_nb.summaries import Column, ConceptMapSummary
from sae_nb_widgets.concept_map import _figure as drawing
from sae_nb_widgets.concept_map._plot import MapPlot
from sae_nb_widgets.concept_map._words import draw_corners, draw_names, legend_html

MOST_IN_FALLBACK = 600


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

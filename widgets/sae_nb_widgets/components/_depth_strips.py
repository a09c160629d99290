"""DepthStrips: small charts over layers under each other, with phase bands and one cursor they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.figures import current_theme, fade, theme
from sae_nb.figures.shapes import Drawing, Label, Polyline, Rectangle, Stroke
from sae_nb.figures.theme import escape, format_number
from sae_nb_widgets.components._base import Component
from sae_nb_widgets.components._curves import Chart, length_of, lines_html, lines_key, lines_of
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import paragraph, stacked

STATIC_WIDTH = 270
TALL, TALL_WIDTH, MOST_TICKS = 200, 460, 12
"""Height from which a chart stands alone, its width then, and the layers that are numbered under it."""

MARGIN, SIGNS = 6, 4.6
BANDS = "every second phase"
BAND, CUT = fade(theme.GREY, 0.14), fade(theme.GREY, 0.9)


class DepthStrips(Component):
    """Charts over layers; click, or drag across, to move the layer cursor.

    A line may have gaps (NaN): what a block does has no value at the embeddings.
    """

    _esm = script("depth_strips")

    charts = t.List(t.Dict(), help="Title and ends of each chart.").tag(sync=True)
    lines = t.List(t.Dict(), help="Chart, name, colour and dash of each line.").tag(sync=True)
    data = t.Bytes(b"", help="float32 heights, line after line.").tag(sync=True)
    n_layers = t.Int(1, help="Last layer.").tag(sync=True)
    cuts = t.List(t.Int(), help="Ends of the phases; every second one is shaded.").tag(sync=True)
    bands = t.Unicode(BANDS, help="Meaning of the shade.").tag(sync=True)
    cursor = t.Int(0, help="Layer of the upright line.").tag(sync=True)
    own = t.Unicode(
        "", help="Name of the line whose value is read out while nothing is hovered."
    ).tag(sync=True)
    height = t.Int(46, help="Height of one chart in CSS pixels.").tag(sync=True)

    def show(
        self, charts: Sequence[Chart], *, cuts: Sequence[int] = (), bands: str = BANDS
    ) -> None:
        """Replace what is shown, in one message to the browser."""
        n_layers = max((length_of(charts) or 2) - 1, 1)
        values = [np.asarray(line.values, np.float32) for chart in charts for line in chart.lines]
        with self.hold_sync(), self.hold_trait_notifications():
            self.charts = [chart.head for chart in charts]
            self.lines = lines_of(charts)
            self.data = np.concatenate([np.zeros(0, np.float32), *values]).tobytes()
            self.n_layers, self.cuts, self.bands = n_layers, [int(cut) for cut in cuts], bands
            self.cursor = min(self.cursor, n_layers)

    def values(self, line: int) -> Float[np.ndarray, " layers"]:
        """Return heights of a line."""
        return np.frombuffer(self.data, np.float32).reshape(len(self.lines), -1)[line]

    def value(self, line: int, layer: int) -> float:
        """Return the height of a line at a layer, as the read-out shows it."""
        return float(self.values(line)[layer])

    @t.validate("cursor")
    def _layer_exists(self, proposal: t.Bunch) -> int:
        value = int(proposal["value"])
        if not 0 <= value <= self.n_layers:
            raise t.TraitError(f"`cursor` must be between 0 and {self.n_layers}, got {value}.")
        return value

    def static_html(self) -> str:
        """Return the charts as inline SVG, with their titles and the legend."""
        if not self.lines:
            return self._empty_html()
        body = "".join(
            f"<div>{self._title(chart)}{'' if self._tall else self._reading(i)}</div>{self._svg(i)}"
            for i, chart in enumerate(self.charts)
        )
        label = escape(self.description)
        foot = f'<div class="sae-nb-foot"><span>{self._foot}</span></div>'
        return (
            f'<div class="sae-nb-component" role="group" aria-label="{label}">'
            f"{self._legend_html()}{body}{foot}</div>"
        )

    @property
    def _tall(self) -> bool:
        return self.height >= TALL

    @property
    def _foot(self) -> str:
        return "after block (0: the start)" if self._tall else f"layer {self.cursor}"

    def _svg(self, index: int) -> str:
        """One chart; one that stands alone is as wide as there is room, within reason."""
        wide = 'style="width:100%;max-width:728px;height:auto"' if self._tall else ""
        return self._drawing(index).to_svg().replace("<svg ", f"<svg {wide} ", 1)

    def _title(self, chart: dict[str, Any]) -> str:
        title = escape(chart["title"])
        return title if chart["atom"] < 0 else f'<span data-atom="{chart["atom"]}">{title}</span>'

    def drawing(self, width: float) -> Drawing:
        """Return the charts as strokes under each other, with their titles and the legend."""
        if not self.lines:
            return paragraph(self.empty_text, width)
        parts = [lines_key(self.lines, width)]
        for i, chart in enumerate(self.charts):
            parts += [paragraph(chart["title"], width), self._drawing(i)]
        return stacked([*parts, paragraph(self._foot, width)], gap=4)

    def _reading(self, chart: int) -> str:
        mine = [i for i, line in enumerate(self.lines) if line["chart"] == chart]
        mine = [i for i in mine if self.lines[i]["name"] == self.own] or mine
        unit = self.charts[chart]["unit"]
        texts = [format_number(self.value(i, self.cursor), unit) for i in mine]
        return f' <span style="opacity:0.75">{escape(" · ".join(texts))}</span>'

    def _legend_html(self) -> str:
        key = f'<span style="background:{BAND};padding:0 8px">{escape(self.bands)}</span>'
        return lines_html(self.lines) + (f"<div>{key}</div>" if len(self.cuts) > 2 else "")

    def _drawing(self, index: int) -> Drawing:
        """One chart as strokes: bands, axis, lines, cursor."""
        width, below = (TALL_WIDTH, 22) if self._tall else (STATIC_WIDTH, 0)
        chart, foot, right = self.charts[index], self.height - MARGIN, width - 2 * MARGIN
        span = (chart["high"] - chart["low"]) or 1.0
        gutter = SIGNS * current_theme().font_px

        def across(layer: float) -> float:
            return gutter + layer / self.n_layers * (right - gutter)

        def up(value: float) -> float:
            return foot - (value - chart["low"]) / span * (foot - MARGIN)

        strokes: list[Stroke] = [
            Rectangle(across(a), MARGIN, across(b) - across(a), foot - MARGIN, BAND)
            for a, b in list(zip(self.cuts, self.cuts[1:]))[1::2]
        ]
        strokes.append(Polyline([(gutter, foot), (right, foot)], theme.AXIS, 1))
        for value, at in ((chart["high"], MARGIN + 7), (chart["low"], foot + 1)):
            label = format_number(value, chart["unit"])
            strokes.append(Label(gutter - 5, at, label, anchor="end", size=current_theme().font_px))
        for row, line in enumerate(self.lines):
            if line["chart"] == index:
                points = [(across(i), up(float(v))) for i, v in enumerate(self.values(row))]
                for run in _runs(points):
                    colour = line["colour"] or "currentColor"
                    strokes.append(Polyline(run, colour, 2, line["dashed"]))
        if not self._tall:
            at = across(self.cursor)
            strokes.append(Polyline([(at, MARGIN), (at, foot)], CUT, 1, True))
        else:
            every = math.ceil(self.n_layers / MOST_TICKS)
            strokes += [
                Label(across(layer), foot + 17, str(layer), "middle", current_theme().font_px)
                for layer in range(0, self.n_layers + 1, every)
            ]
        return Drawing(width, self.height + below, tuple(strokes))


def _runs(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Stretches of points without gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]

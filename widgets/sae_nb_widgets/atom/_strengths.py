"""Two histograms of the AtomBrowser: how strongly its atom fires, and how many atoms fire how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import traitlets as t

from sae_nb.atoms import AtomSummary, Band
from sae_nb.figures.theme import format_number, format_percent
from sae_nb_widgets.components import Histogram
from sae_nb_widgets.components._histogram import Mark as AxisMark

CROWDED = 0.3
"""Share of the width below which a mark would touch another, or the end of the axis."""


class StrengthBars:
    """Histogram of an atom's strengths; a click on a bar or a mark chooses the band near it."""

    def __init__(self, choose: Callable[[Band], None]) -> None:
        self._choose = choose
        self._record: AtomSummary | None = None
        self._bands: list[Band] = []
        self.widget = Histogram(description="How strongly it fires", brush=False)
        self.widget.observe(self._clicked, "clicked")
        self.widget.observe(self._marked, "marked")

    def show(self, record: AtomSummary) -> None:
        """Draw an atom's strengths, with its median and its 99th percentile where there is room."""
        self._record = record
        edges, n = record.histogram.edges, len(record.histogram.counts)
        place = n / float(edges[-1] - edges[0])
        marks: list[AxisMark] = []
        self._bands = []
        for band, words in (("50 %", "median"), ("99 %", "99 %")):
            value = record.histogram.marks.get(band)
            at = 0.0 if value is None else (value - float(edges[0])) * place
            left = marks[-1].at if marks else 0.0
            if value is None or at - left < CROWDED * n * bool(marks) or at > (1 - CROWDED / 2) * n:
                continue
            tip = f"{words} of its strengths: {format_number(value)}"
            said = f"{words} {format_number(value, digits=2)}"
            marks.append(AxisMark(at, said, chosen=record.band == band, tip=tip))
            self._bands.append(band)  # type: ignore[arg-type]
        ends = [format_number(edge, digits=2) for edge in edges.tolist()]
        self.widget.show(record.histogram.counts, ends=ends, marks=marks)

    def _clicked(self, change: t.Bunch) -> None:
        if self._record is not None and change["new"] >= 0:
            edges, bar = self._record.histogram.edges, change["new"]
            last = bar == len(edges) - 2
            at = float(edges[-1]) if last else float(edges[bar] + edges[bar + 1]) / 2
            self._choose(nearest_band(self._record, at))

    def _marked(self, change: t.Bunch) -> None:
        if 0 <= change["new"] < len(self._bands):
            self._choose(self._bands[change["new"]])


class FrequencyBars:
    """Histogram of all atoms' frequencies, this one marked; a click leads to an atom of that frequency."""

    def __init__(self, rows: str, choose: Callable[[float], None]) -> None:
        self._choose = choose
        self._edges = np.zeros(0)
        self.widget = Histogram(
            description=f"How many atoms fire on what share of {rows}", brush=False, tall="linear"
        )
        self.widget.observe(self._clicked, "clicked")

    def show(self, record: AtomSummary) -> None:
        """Draw the frequencies of all atoms."""
        found = record.frequencies
        self._edges, n = found.edges, len(found.counts)
        marks = []
        if record.n_fired:
            logs = np.log10(found.edges)
            at = float((np.log10(record.frequency) - logs[0]) / (logs[-1] - logs[0])) * n
            marks = [AxisMark(min(max(at, 0.0), float(n)), "this atom", chosen=True)]
        ends = [format_percent(min(edge, 1.0), digits=2) for edge in found.edges.tolist()]
        self.widget.show(found.counts, ends=ends, marks=marks)

    def _clicked(self, change: t.Bunch) -> None:
        if change["new"] >= 0:
            low, high = self._edges[change["new"]], self._edges[change["new"] + 1]
            self._choose(float(np.sqrt(low * high)))


def nearest_band(record: AtomSummary, strength: float) -> Band:
    """Return the band whose examples are nearest to a strength: what a click on a bar chooses."""
    marks: dict[str, Any] = record.histogram.marks
    if not marks:
        return record.band
    name = min(marks, key=lambda mark: abs(marks[mark] - strength))
    return name  # type: ignore[return-value]

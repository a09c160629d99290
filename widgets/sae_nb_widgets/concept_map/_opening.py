"""The opening of a view of a ConceptMap: drawn at once as far as possible, then measured, laid out,
clustered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from sae_nb.summaries import ConceptMapSummary
from sae_nb_widgets.concept_map._detail import map_facts


class Opening:
    """Puts each part of a view on the map of `panel` as it arrives; what was asked for before is dropped."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self.measured = False
        """Whether what is shown has been measured."""

        self.chosen = False
        """Whether the user chose the atom; before, the most frequent one is shown."""

        self.opened_on: int | None = None
        """The atom that was shown without a choice."""

    def begin(self) -> None:
        """Draw what there is, and measure the rest."""
        panel = self._panel
        panel.runs.end()
        self.measured = False
        if panel.show == "atoms" and not panel.runs.quick:
            with panel.guarded("showing atoms"):
                panel.painting.bare()
        panel.runs.measure(self._take)

    def _take(self, record: ConceptMapSummary) -> None:
        panel = self._panel
        if record.show != panel.show:
            return
        self._put(record)
        if not self.chosen and record.show == "atoms" and "frequency" in record.columns:
            often = record.columns["frequency"].values
            panel.atom = self.opened_on = int(np.argmax(np.nan_to_num(often)))
            self.chosen = True
        self.measured = True
        panel.painting.measured()
        if panel.layout_by == "umap" and record.layout == "pca":
            panel.runs.unfold(record.show, lambda xy: self._take_layout(record, xy))
        else:
            panel.runs.look_for_clusters(record, self._take_clusters)

    def _put(self, record: ConceptMapSummary) -> None:
        panel = self._panel
        panel.record = record
        panel.chips = map_facts(record, panel.atlas, panel.seed)

    def _take_layout(self, record: ConceptMapSummary, xy: Float[np.ndarray, "n 2"]) -> None:
        panel = self._panel
        if panel.record is not record:
            return
        n = len(record.ids)
        other = xy[n:] if record.other_xy is not None else None
        record = replace(record, xy=xy[:n], other_xy=other, layout="umap", clusters=())
        self._put(record)
        panel.view = ()  # it was of another layout
        panel.painting.points()
        panel.looking.draw()
        panel.say("")
        panel.runs.look_for_clusters(record, self._take_clusters)

    def _take_clusters(self, found: ConceptMapSummary) -> None:
        panel, record = self._panel, self._panel.record
        if record is not None and record.xy is found.xy:
            columns = {**record.columns, **found.columns}
            panel.record = replace(record, clusters=found.clusters, columns=columns)
            panel.painting.colours_and_detail()

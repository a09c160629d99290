"""The opening of a view of a ConceptMap: drawn at once as far as possible, then measured, laid out,
clustered.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from sae_nb.atoms import Cluster, ConceptMapSummary
from sae_nb_widgets.concept_map._detail import map_facts
from sae_nb_widgets.concept_map._lookups import Lookups
from sae_nb_widgets.concept_map._painting import Painting
from sae_nb_widgets.concept_map._runs import MapRuns
from sae_nb_widgets.concept_map._state import CLUSTER, MapState

MOST_TRIED, N_NEAR = 60, 4
"""Atoms with the surest names, of which the one is opened on whose nearest tell most. Ours."""


class Opening:
    """Puts each part of a view on the map of `panel` as it arrives; what was asked for before is dropped."""

    def __init__(
        self, panel: MapState, runs: MapRuns, painting: Painting, looking: Lookups
    ) -> None:
        self._panel, self._runs, self._painting, self._looking = panel, runs, painting, looking
        self._atom = -1
        """The atom that was chosen for the user; −1 for none."""

    def begin(self) -> None:
        """Draw what there is, and measure the rest."""
        panel = self._panel
        self._runs.end()
        panel.measured = False
        if panel.show == "atoms" and not self._runs.quick:
            with panel.guarded("showing atoms"):
                self._painting.bare()
        self._runs.measure(self._take)

    def _take(self, record: ConceptMapSummary) -> None:
        panel = self._panel
        if record.show != panel.show:
            return
        self._put(record)
        if record.show == "atoms" and not panel.chosen:
            self._choose(record)
        panel.measured = True
        self._painting.measured()
        if panel.layout_by == "umap" and record.layout == "pca":
            self._runs.unfold(record.show, lambda xy: self._take_layout(record, xy))
        else:
            self._runs.look_for_clusters(record, self._take_clusters)

    def _choose(self, record: ConceptMapSummary) -> None:
        """Open on an atom with a name whose nearest ones have names, too; without one, on the most frequent."""
        panel, frequency = self._panel, record.columns.get("frequency")
        named = [atom for atom in panel.surest if panel.atlas.there[atom]]
        given = [atom for atom in named if panel.names.worth(atom) is None]
        if named:
            tried = (given or named)[:MOST_TRIED]
            panel.atom = max(tried, key=lambda atom: self._confirmed(record, atom))
        elif frequency is not None:
            panel.atom = int(np.argmax(np.nan_to_num(frequency.values)))
        else:
            return
        panel.chosen, self._atom = True, panel.atom

    def _confirmed(self, record: ConceptMapSummary, atom: int) -> float:
        """Return how well an atom's neighbours are known: the cosines of those with a name."""
        if record.neighbours is None or record.distances is None:
            return 0.0
        near, far = record.neighbours[atom][:N_NEAR], record.distances[atom][:N_NEAR]
        known = np.isin(near, self._panel.surest) & (near != atom)
        return float((known * (1 - far)).sum())

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
        self._painting.points()
        self._looking.draw()
        panel.say("")
        self._runs.look_for_clusters(record, self._take_clusters)

    def _take_clusters(self, found: ConceptMapSummary) -> None:
        panel, record = self._panel, self._panel.record
        if record is not None and record.xy is found.xy:
            columns = {**record.columns, **found.columns}
            panel.record = replace(record, clusters=found.clusters, columns=columns)
            self._painting.colours_and_detail()
            self._light_region(found)

    def _light_region(self, found: ConceptMapSummary) -> None:
        """Light the region whose words hold best, of others the named one around the atom opened on, else the
        tightest; once, if nothing was chosen.
        """
        panel, opened_on = self._panel, self._atom
        self._atom = -1
        chosen = panel.filter or panel.selected or panel.difference or panel.view or panel.cone
        if chosen or panel.atom != opened_on or panel.show != "atoms" or panel.color_by != CLUSTER:
            return
        if named := [c for c in found.clusters if c.is_named]:
            region = max(named, key=lambda c: _worth(c, opened_on))
            panel.filter = {CLUSTER: (region.name,)}


def _worth(region: Cluster, atom: int) -> tuple[float, bool, float]:
    """Return what the region to open on has most of."""
    held = 0.0 if region.held is None else region.held.share
    return held, atom in region.points, region.cosine - region.floor

"""The stages of a view of the map: measured, laid out by a UMAP in its own process, clusters looked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from sae_nb.atoms import ConceptAtlas, ConceptMapSummary
from sae_nb.figures.theme import format_percent
from sae_nb.geometry import UmapProcess, start_umap
from sae_nb_widgets.concept_map._state import MapState

# Multiply-adds of encoding and of finding neighbours that take a laptop a fifth of a second.
AT_ONCE = 1_500_000_000
POLL_SECONDS = 0.1
UMAP_SECONDS = 30
UMAP_OF_ALL = 50_000
"""Points up to which UMAP lays out each; of more it lays out some, and the others are placed."""

Taken = Callable[[ConceptMapSummary], None]


class MapRuns:
    """The work behind a ConceptMap; the newest request wins."""

    def __init__(self, panel: MapState) -> None:
        self._panel = panel
        self.process: UmapProcess | None = None
        self._ticket = 0

    @property
    def _atlas(self) -> ConceptAtlas:
        return self._panel.atlas

    def measure(self, taken: Taken) -> None:
        """Measure what the panel shows."""
        panel, atlas = self._panel, self._atlas
        show, layout = panel.show, panel.layout_by

        def work() -> ConceptMapSummary:
            xy, how = self._first_layout(show, layout)
            record = atlas.summary(show, xy, how, clusters=False)
            if show == "atoms":
                panel.surest = panel.names.surest()
            return record

        if self.quick:
            with panel.guarded(f"showing {show}"):
                taken(work())
            return
        self._say_encoding()
        panel.run_async(work, taken, doing=f"measuring the {show}", channel="view")

    @property
    def quick(self) -> bool:
        """Whether measuring takes no longer than a click may."""
        catalogue, x = self._atlas.catalogue, self._atlas.dictionary
        n = self._atlas.n_atoms + self._atlas.n_others
        if catalogue is not None and not catalogue.encoded:
            return len(catalogue.acts) * x.numel() + n * x.numel() <= AT_ONCE
        return n * x.numel() <= AT_ONCE and self._panel.show == "atoms"

    def _first_layout(self, show: Any, layout: str) -> tuple[Float[np.ndarray, "n 2"], str]:
        """Coordinates that are there without waiting, and how they came about."""
        if layout == "archetypes" and show == "atoms":
            return self._atlas.coordinates(show, "archetypes")
        if layout != "umap":
            return self._atlas.pca(show), "pca"
        saved = self._atlas.saved(show)
        if saved is not None:
            return saved, "saved"
        kept = self._atlas.kept(show)
        return (self._atlas.pca(show), "pca") if kept is None else (kept, "umap")

    def _say_encoding(self) -> None:
        catalogue = self._atlas.catalogue
        if catalogue is None or catalogue.encoded:
            return
        catalogue.callback = self._panel.progress_of("encoding", of="rows")

    def unfold(self, show: Any, taken: Callable[[Float[np.ndarray, "n 2"]], None]) -> None:
        """Lay out points by UMAP."""
        self._ticket += 1
        ticket = self._ticket

        def work() -> Float[np.ndarray, "n 2"]:
            process = start_umap(self._atlas.vectors(show), self._atlas.settings())
            if ticket != self._ticket or self._panel._closed:
                process.close()
            else:
                self.process = process
            return self._followed(process)

        def done(xy: Float[np.ndarray, "n 2"]) -> None:
            if ticket == self._ticket:
                taken(xy)

        few = len(self._atlas.vectors(show)) <= UMAP_OF_ALL
        takes = f"about {UMAP_SECONDS} s" if few else "minutes"
        doing = f"Computing UMAP ({takes} the first time). Showing PCA for now"
        self._panel.run_async(work, done, doing=doing, channel="layout")

    def _followed(self, process: UmapProcess) -> Float[np.ndarray, "n 2"]:
        """Wait for a layout, reporting its progress."""
        try:
            while not process.done:
                time.sleep(POLL_SECONDS)
                stage, share = process.stage
                part = f" {format_percent(share)}" if share else ""
                text = f"Computing UMAP: {stage}{part}. Showing PCA for now."
                if process is self.process and text != self._panel.status:
                    self._panel.say(text)
            return process.wait()
        finally:
            process.close()

    def end(self) -> None:
        """Stop a layout that is no longer needed."""
        self._ticket += 1
        self._panel.forget_async("layout")
        process, self.process = self.process, None
        if process is not None:
            process.close()
            self._panel.say("")

    def look_for_clusters(self, record: ConceptMapSummary, taken: Taken) -> None:
        """Find clusters of a record that is on screen."""
        work = lambda: self._atlas.with_clusters(record)  # noqa: E731
        self._panel.run_async(work, taken, channel="clusters")

"""The lookups for chosen points: edges, shared inputs, the sentence that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Int

from sae_nb.atoms import ConceptMapSummary, SelectionSummary
from sae_nb.figures.theme import format_count, format_number
from sae_nb_widgets.concept_map._choosing import Choosing
from sae_nb_widgets.concept_map._detail import (
    ConceptDetail,
    atom_answer,
    close_to,
    match_facts,
    region_title,
    selection_answer,
)
from sae_nb_widgets.concept_map._map_view import lines_of
from sae_nb_widgets.concept_map._overlays import ConceptOverlays
from sae_nb_widgets.concept_map._region import map_title
from sae_nb_widgets.concept_map._state import MapState

MOST_WITH_EDGES = 200
ENTRIES_AT_ONCE = 500_000
NO_EDGES = np.zeros((0, 2), np.int64)


class Lookups:
    """Looks up what the chosen points of a ConceptMap have in common, off the main thread if it is much."""

    def __init__(
        self, panel: MapState, choosing: Choosing, overlays: ConceptOverlays, cards: ConceptDetail
    ) -> None:
        self._panel, self._choosing, self._overlays, self._cards = panel, choosing, overlays, cards

    def draw(self) -> None:
        """Ring the chosen points on the map, joined by edges."""
        panel, record = self._panel, self._panel.record
        if record is None:
            return
        atoms = record.show == "atoms"
        points = np.array(panel.selected, np.int64)
        if not atoms:
            points = np.searchsorted(record.ids, np.array(panel.marked, np.int64))
        current = panel.atom if atoms else -1
        begin = points if len(points) or not atoms else np.array([panel.atom])
        edges = self.edges(begin) if panel.ready else NO_EDGES
        lines = lines_of(record, panel.compare)
        spokes = self._overlays.spokes(record)
        near = self.nearest(record) if atoms and not len(points) else []
        names = self._named(near) if atoms and panel.show_names else {}
        to_nearest = bool(near) and not len(edges)
        if to_nearest:
            ends = [(current, atom) for atom in near]
            edges = np.concatenate([edges, np.array(ends, np.int64).reshape(-1, 2)])
        panel.map.draw_selection(
            record, points, current, edges, lines, spokes, names, to_nearest=to_nearest
        )

    def nearest(self, record: ConceptMapSummary) -> list[int]:
        """Return the atoms that the sentence above the map calls nearest; none before they are known, and
        none where lines show something else: two dictionaries, a direction's atoms, archetypes.
        """
        other = self._panel.compare or self._panel.cone or record.archetypes is not None
        if record.neighbours is None or other:
            return []
        return close_to(self._panel.atlas, self._panel.atom)[0]

    def _named(self, near: Sequence[int]) -> dict[int, str]:
        """Return the names of the current atom and of those nearest to it, by their points."""
        panel = self._panel
        here = [panel.atom] if panel.names.source(panel.atom) else []
        names = {atom: panel.names.short(atom) for atom in [*here, *near]}
        return {atom: name for atom, name in names.items() if name != f"atom {atom}"}

    def edges(self, begin: Int[np.ndarray, " m"]) -> Int[np.ndarray, "k 2"]:
        """Return the edges from some points to others."""
        panel = self._panel
        if panel.edges == "none":
            return NO_EDGES
        if panel.edges == "co-active" and (panel.show != "atoms" or panel.atlas.catalogue is None):
            why = "there are no activations" if panel.show == "atoms" else f"these are {panel.show}"
            panel.say(f"Co-active edges join atoms that fire together; {why}, so none are drawn.")
            return NO_EDGES
        if len(begin) > MOST_WITH_EDGES:
            panel.say(
                f"Edges are drawn for the first {MOST_WITH_EDGES} of {format_count(len(begin))}."
            )
        return panel.atlas.edges(panel.show, begin[:MOST_WITH_EDGES].tolist(), panel.edges)

    def look_up(self) -> None:
        """Look up what the selection shares; the atom, if nothing is selected."""
        panel = self._panel
        atlas, view = panel.atlas, panel.show
        chosen = tuple(panel.selected if view == "atoms" else panel.marked)
        if view == "atoms":
            atoms = chosen or (panel.atom,)
            work: Callable[[], SelectionSummary] = partial(atlas.select, atoms)
            fired = None if atlas.catalogue is None else atlas.catalogue.n_fired
            entries = 0 if fired is None else int(fired[list(atoms)].sum())
        elif chosen:
            work, entries = partial(atlas.select_points, view, chosen), len(chosen)
        else:
            self._show(None, ())
            return
        if entries <= ENTRIES_AT_ONCE:
            self._show(work(), chosen)
            return
        doing = f"looking for what {format_count(len(chosen))} {view} share"
        done = lambda selection: self._show(selection, chosen)  # noqa: E731
        panel.run_async(work, done, doing=doing, channel="selection")

    def _show(self, selection: SelectionSummary | None, chosen: Sequence[int]) -> None:
        panel = self._panel
        panel.selection = selection
        alike = self._alike(chosen)
        self._cards.show_selection(
            panel.atlas,
            panel.record,
            panel.names,
            selection,
            panel.show,
            chosen,
            alike,
            self._choosing.ranked,
        )
        panel.headline = (
            region_title(selection, panel.show, len(chosen), self._choosing.region)
            if chosen
            else map_title(panel.record)
        )
        one = int(chosen[0]) if chosen else panel.atom
        panel.inputs.show(selection, panel.show, chosen, panel.names.in_text(one))
        if selection is not None and chosen:
            catalogue = panel.atlas.catalogue
            n_rows = 0 if catalogue is None else len(catalogue.acts)
            answer, reasons, bold = selection_answer(
                panel.names, selection, panel.show, len(chosen), n_rows, alike
            )
            numbers = ""
            if alike is not None:
                cosine, floor = (format_number(value, digits=2) for value in alike)
                numbers = f"mean cosine {cosine} (random {format_count(len(chosen))}: {floor})"
            panel.conclude(answer, numbers, bold, reasons=reasons)
        elif self._overlays.cone is not None:
            panel.conclude(*self._overlays.answer())
        elif panel.compare and panel.record is not None:
            found, _, numbers = match_facts(panel.record).partition(" (")
            panel.conclude(f"{found}.", numbers.split(")")[0])
        else:
            panel.conclude(*atom_answer(panel.names, panel.atlas, panel.atom))

    def _alike(self, chosen: Sequence[int]) -> tuple[float, float] | None:
        """Return how alike the selection is off the map, and as many points at random; None of one alone."""
        panel = self._panel
        record = panel.record
        if record is None or len(chosen) < 2:
            return None
        points = np.searchsorted(record.ids, np.array(chosen, np.int64))
        return panel.atlas.alikeness(record.show, points)

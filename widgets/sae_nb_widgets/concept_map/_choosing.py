"""The reaction to choosing points: a click, a lasso, an entry of the key, a histogram, a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from sae_nb.figures.theme import format_count
from sae_nb_widgets.concept_map._close import view_around
from sae_nb_widgets.concept_map._state import CLUSTER, MapState

if TYPE_CHECKING:
    from sae_nb.atoms import FoundAtoms


class Choosing:
    """Turns the user's actions on the map of `panel` into values of its traits."""

    def __init__(self, panel: MapState) -> None:
        self._panel = panel
        self._lit: tuple[int, ...] = ()
        """Atoms of the group that alone is lit."""
        self.ranked: tuple[int, ...] = ()
        """Atoms that a search selected, strongest first."""

    def click(self, point: int) -> None:
        """Show an atom, or mark a sample or row."""
        panel, record = self._panel, self._panel.record
        if record is None:
            return
        with panel.guarded("choosing a point"):
            chosen = int(record.ids[point])
            if record.show == "atoms":
                panel.atom = chosen
            else:
                panel.marked = (chosen,)

    def enclose(self, points: Int[np.ndarray, " m"], add: bool) -> None:
        """Select what a lasso encloses, besides what is selected or in its place."""
        panel, record = self._panel, self._panel.record
        if record is None:
            return
        with panel.guarded("selecting"):
            before = (panel.selected if record.show == "atoms" else panel.marked) if add else ()
            self.select([*before, *record.ids[points].tolist()])

    def keep(self, name: str, wanted: object) -> None:
        """Filter by one column; None shows everything of it again."""
        panel = self._panel
        with panel.guarded(f"filtering by {name}"):
            panel.filter = {**panel.filter, name: wanted}

    def light(self) -> None:
        """Select the atoms of the group that alone is lit; nothing, once all are lit again."""
        panel, record = self._panel, self._panel.record
        if record is None or record.show != "atoms":
            return
        names = panel.filter.get(CLUSTER, ())
        lit = {c.name: c for c in record.clusters}.get(names[0]) if len(names) == 1 else None
        if lit is not None:
            self._lit = tuple(lit.points.tolist())
            panel.atom = next((i for i in panel.surest if i in lit.points), self._lit[0])
            self.select(self._lit)
        elif self._lit:
            before, self._lit = self._lit, ()
            if panel.selected == before:
                self.select(())

    @property
    def region(self) -> str:
        """Name of the group that alone is lit, if it is what is selected."""
        names = self._panel.filter.get(CLUSTER, ())
        return names[0] if self._lit and self._panel.selected == self._lit else ""

    def put_out(self) -> None:
        """Light all regions again, if one alone is lit."""
        panel = self._panel
        if self.region:
            panel.filter = {name: kept for name, kept in panel.filter.items() if name != CLUSTER}

    def between(self, ends: Sequence[float]) -> None:
        """Select the atoms of a range of differences."""
        with self._panel.guarded("selecting by difference"):
            self._panel.difference = tuple(ends)

    def select_between(self) -> None:
        """Select the atoms of the range that is set; none where it was taken away."""
        panel = self._panel
        column = panel.atlas.difference
        if column is None or panel.show != "atoms":
            return
        low, high = panel.difference or (2.0, 2.0)
        inside = (column.values >= low) & (column.values <= high)
        panel.selected = tuple(np.flatnonzero(inside).tolist())
        if panel.difference and not inside.any():
            panel.say(f"No atom has a difference from {low:.2g} to {high:.2g}.")

    def select(self, ids: Sequence[int]) -> None:
        """Select or mark what is named, and say how to end that."""
        panel = self._panel
        if panel.show == "atoms":
            panel.difference = ()
            panel.selected = tuple(ids)
        else:
            panel.marked = tuple(ids)
        n = len(panel.selected if panel.show == "atoms" else panel.marked)
        panel.say("Esc clears the selection." if n else "")

    def view_of(self, ids: Sequence[int]) -> tuple[float, ...]:
        """Return the part of the map around what is named."""
        record = self._panel.record
        known = np.zeros(0, np.int64) if record is None else record.ids
        wanted = np.asarray(list(ids), np.int64)
        if record is None or not len(wanted) or not np.isin(wanted, known).all():
            raise ValueError(
                f"`ids` must be {self._panel.show} on the map, got {wanted[:3].tolist()}."
            )
        return view_around(record, np.searchsorted(known, wanted))

    def search(
        self, query: str, advice: str, before: tuple[int, tuple[int, ...]], found: FoundAtoms | None
    ) -> None:
        """Select what answers to a query; of atoms without activations, what is called so.

        What was chosen after `before`, while the model read, stays. `advice` is for who finds nothing.
        """
        panel = self._panel
        if not panel.ready:
            panel.say("The atoms are being measured; search again when that is done.")
        elif (panel.atom, panel.selected) == before:
            atoms = panel.atlas.search(query) if found is None else found.atoms
            self.show_found(query, atoms.tolist(), advice)

    def show_found(
        self, query: str, found: Sequence[int], advice: str = "", atom: int | None = None
    ) -> None:
        """Select the first of the atoms found, strongest first; show the first, or the one that was taken."""
        panel, n = self._panel, len(found)
        first = [*dict.fromkeys([*([] if atom is None else [atom]), *found])][: panel.MOST_FOUND]
        self.ranked = tuple(first)
        if first:
            self.put_out()  # atoms of other regions would be faint
            panel.atom = int(first[0])
            panel.selected = tuple(first)
            if panel.view:
                panel.view = self.view_of(first)
        if n > len(first):
            panel.say(
                f"{len(first)} of {format_count(n)} atoms that answer to “{query}” have a ring: the strongest. "
                "Esc clears them."
            )
        else:
            panel.say_found(query, n, advice)

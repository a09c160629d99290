"""What a ConceptMap draws when its traits change: points, colours, selection, the cards beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import traitlets as t
from jaxtyping import Int

from sae_nb.figures import escape, format_count
from sae_nb.summaries import Column, ConceptMapSummary, SelectionSummary, SharedInput
from sae_nb_widgets.concept_map import (
    _controls as concept_map_controls,
    _detail as concept_map_detail,
    _figure as drawing,
    _words as concept_corners,
    _words as concept_map_words,
)
from sae_nb_widgets.concept_map._detail import MOST_BARS, MOST_LISTED, reading
from sae_nb_widgets.concept_map._traits import ATOM, CLUSTER, EQUAL, ConceptMapTraits

if TYPE_CHECKING:
    from sae_nb_widgets.concept_map._controls import Controls
    from sae_nb_widgets.concept_map._detail import ConceptDetail, SharedInputs
    from sae_nb_widgets.concept_map._plot import MapPlot


Work = Callable[[], SelectionSummary]
"""Looks up what a selection shares."""

MOST_WITH_EDGES = 200
ENTRIES_AT_ONCE = 500_000
MOST_IN_FALLBACK = 600


class ConceptMapDrawing(ConceptMapTraits):
    """The drawing half of a ConceptMap: observers that turn its record into what is on screen."""

    _plot: MapPlot
    _legend: ipw.HTML
    _inputs: SharedInputs
    _made: Controls
    _cards: ConceptDetail
    _selection: SelectionSummary | None
    _chosen: bool
    _offering: bool = False
    _falling_back: bool = False

    # --- drawing ----------------------------------------------------------------------------------

    @property
    def record(self) -> ConceptMapSummary | None:
        """What is drawn; None before anything is."""
        return self._record

    @property
    def selection(self) -> SelectionSummary | None:
        """Table and shared inputs of what is selected; of the atom, if nothing is."""
        return self._selection

    @property
    def column(self) -> Column | None:
        """What the points are coloured by; None where it is not known yet."""
        if self._record is None:
            return None
        if self.color_by == ATOM:
            return self.atlas.atom_column(self._record.show, self.atom)
        return self._record.columns.get(self.color_by)

    def _offer_columns(self) -> None:
        """Put what there is in the dropdowns; a column that this view lacks falls back."""
        if self.color_by not in self.colours:
            self.color_by = CLUSTER
        if self.size_by not in self.sizes:
            self.size_by = "energy" if "energy" in self.sizes else EQUAL
        # New options make a dropdown choose its first one, which is nobody's choice.
        self._offering = True
        try:
            concept_map_controls.offer(self._made.colour, self.colours, self.color_by)
            concept_map_controls.offer(self._made.size, self.sizes, self.size_by)
        finally:
            self._offering = False

    def _choose_column(self, trait: str, change: t.Bunch) -> None:
        if change["new"] is not None and not self._offering:
            with self.guarded(f"choosing {change['new']}"):
                self.set_trait(trait, change["new"])

    def _draw_points(self) -> None:
        if self._record is not None:
            drawing.draw_points(self._plot, self._record, self._texts(None))
            drawing.draw_comparison(self._plot, self._record, self.compare)
            places = self._record.archetypes
            concept_corners.draw_corners(self._plot, places)
            if places is not None:
                n = self.atlas.sae.mixture.shape[1]
                self.say(concept_corners.corner_words(places, n))

    def _texts(self, column: Column | None) -> list[str]:
        if self._record is None:
            return []
        names = self.atlas.point_names(self._record.show)
        return drawing.point_texts(self._record, names, column)

    @t.observe("color_by", "dark", "names")
    def _colour_changed(self, _: t.Bunch) -> None:
        if self._measured:
            with self.guarded(f"colouring by {self.color_by}"):
                self._recolour()
                self._draw_chosen()

    def _recolour(self) -> None:
        if self._record is None:
            return
        column = self.column
        self._offer_columns()
        drawing.draw_colours(self._plot, column, self._texts(column))
        named = self._record if self.names else replace(self._record, clusters=(), columns={})
        concept_map_words.draw_names(self._plot, named, column if self.names else None)
        both = concept_map_detail.match_facts(self._record) if self.compare else ""
        self._legend.value = concept_map_words.legend_html(column) + (
            f"<p>{escape(both)}</p>" if both else ""
        )

    @t.observe("size_by")
    def _size_changed(self, _: t.Bunch) -> None:
        if self._measured:
            self._resize()

    def _resize(self) -> None:
        record = self._record
        if record is None:
            return
        column = record.columns.get(self.size_by)
        self._offer_columns()
        values = None if column is None or column.is_category else column.values
        drawing.draw_sizes(self._plot, values, len(record.ids))

    @t.observe("atom")
    def _atom_changed(self, _: t.Bunch) -> None:
        self._chosen = True
        if self._measured:
            with self.guarded(f"atom {self.atom}"):
                if self.color_by == ATOM:
                    self._recolour()
                self._draw_detail()

    @t.observe("selected", "marked", "edges", "compare")
    def _selection_changed(self, change: t.Bunch) -> None:
        if not self._measured or self._record is None:
            return
        with self.guarded("showing the selection"):
            if change["name"] == "compare":
                drawing.draw_comparison(self._plot, self._record, self.compare)
                facts = concept_map_detail.match_facts(self._record) if self.compare else ""
                self.say(facts.split(" (")[0] + "." if facts else "")
                self._recolour()
            self._draw_detail()

    def _points(self) -> Int[np.ndarray, " m"]:
        """Places in the record of what is selected."""
        if self._record is None or self._record.show == "atoms":
            return np.array(self.selected, np.int64)
        return np.searchsorted(self._record.ids, np.array(self.marked, np.int64))

    def _draw_chosen(self) -> None:
        record = self._record
        if record is None:
            return
        points = self._points()
        current = np.array([self.atom] if record.show == "atoms" else [], np.int64)
        begin = points if len(points) else current
        edges = self._edges_from(begin) if self._measured else np.zeros((0, 2), np.int64)
        drawing.draw_selection(self._plot, record, points, current, edges, dark=self.dark)

    def _edges_from(self, begin: Int[np.ndarray, " m"]) -> Int[np.ndarray, "k 2"]:
        if self.edges == "none":
            return np.zeros((0, 2), np.int64)
        if self.edges == "co-active" and (self.show != "atoms" or self.atlas.catalogue is None):
            why = "there are no activations" if self.show == "atoms" else f"these are {self.show}"
            self.say(f"Co-active edges join atoms that fire together; {why}, so none are drawn.")
            return np.zeros((0, 2), np.int64)
        if len(begin) > MOST_WITH_EDGES:
            self.say(
                f"Edges are drawn for the first {MOST_WITH_EDGES} of {format_count(len(begin))}."
            )
        return self.atlas.edges(self.show, begin[:MOST_WITH_EDGES].tolist(), self.edges)

    def _draw_detail(self) -> None:
        """Draw what is beside and under the map: the atom, the table, the shared inputs."""
        record = self._record
        if record is None or not self._measured:
            return
        # The cards go first: the page draws what comes first, and a large plot takes it far longer.
        self._show_atom(record)
        self._draw_selected(record)
        self._draw_chosen()

    def _draw_selected(self, record: ConceptMapSummary) -> None:
        show = record.show
        chosen = tuple(self.selected if show == "atoms" else self.marked)
        if show == "atoms":
            atoms = chosen or (self.atom,)
            work: Work = lambda: self.atlas.select(atoms)  # noqa: E731
            entries = self._entries(atoms)
        elif chosen:
            work, entries = (lambda: self.atlas.select_points(show, chosen)), len(chosen)
        else:
            self._show_selection(None, ())
            return
        if entries <= ENTRIES_AT_ONCE:
            self._show_selection(work(), chosen)
        else:
            doing = f"looking for what {format_count(len(chosen))} {show} share"
            self.run_async(
                work, lambda s: self._show_selection(s, chosen), doing=doing, channel="selection"
            )

    def _entries(self, atoms: Iterable[int]) -> int:
        catalogue = self.atlas.catalogue
        return 0 if catalogue is None else int(catalogue.firings.n_fired[list(atoms)].sum())

    def _show_atom(self, record: ConceptMapSummary) -> None:
        atlas, atom = self.atlas, self.atom
        rows, distances = atlas.neighbours("atoms")
        near = rows[atom, :MOST_BARS].tolist(), (1 - distances[atom, :MOST_BARS]).tolist()
        joint = None
        if atlas.catalogue is not None:
            found, lifts, _ = atlas.catalogue.coactive(atom, MOST_BARS)
            joint = found.tolist(), lifts.tolist()
        of_atoms = record
        if record.show != "atoms":
            of_atoms = replace(record, columns=atlas.columns("atoms"), clusters=())
        facts = concept_map_detail.atom_facts(of_atoms, atom, atlas.labels.get(atom, ""))
        self._cards.show_atom(facts, near, joint, self.name_of)

    def _show_selection(self, selection: SelectionSummary | None, chosen: Sequence[int]) -> None:
        self._selection = selection
        word, n = self.show, len(chosen)
        listed = selection if chosen else None
        if not chosen:
            title = "selected atoms"
        elif word == "atoms":
            named = f": {selection.name}" if selection is not None and selection.name else ""
            title = f"{format_count(n)} selected{named}"
            title += f" (first {MOST_LISTED})" if n > MOST_LISTED else ""
        else:
            things = word.removesuffix("s") if n == 1 else word
            title = f"atoms that fire more in {format_count(n)} {things}"
        self._cards.show_table(listed, title)
        shared = () if selection is None else selection.shared
        self._inputs.show(shared, self._inputs_title(selection, chosen), self._n_shown(selection))

    @staticmethod
    def _n_shown(selection: SelectionSummary | None) -> int:
        return 0 if selection is None else len(selection.atoms)

    def _inputs_title(self, selection: SelectionSummary | None, chosen: Sequence[int]) -> str:
        if selection is None:
            return ""
        if self.show != "atoms":
            return escape(f"inputs among the {self.show} selected")
        if not chosen:
            return escape(f"inputs that fire atom {self.name_of(self.atom)} most")
        if len(chosen) == 1:
            return escape(f"inputs that fire atom {self.name_of(int(chosen[0]))} most")
        rows = format_count(selection.n_rows) if selection.n_rows else "no"
        return escape(f"inputs the selected atoms share ({rows} rows fire at least half of them)")

    def name_of(self, atom: int) -> str:
        """Return the number of an atom and its label, where it has one."""
        return f"{atom} {self.atlas.labels.get(atom, '')}".rstrip()

    def _say_input(self, shared: SharedInput) -> None:
        self.say(reading(shared, self._n_shown(self._selection)))

    def current_figure(self) -> go.Figure:
        """Return the map as a plain figure, colours spelled out for pictures drawn without plotly."""
        figure = go.Figure(self._plot)
        drawing.spell_colours(figure)
        return drawing.split_large(figure, MOST_IN_FALLBACK if self._falling_back else None)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        # The picture for readers without JavaScript is made whenever the panel is shown, and takes
        # half a millisecond a point: of a large map it is a sample.
        self._falling_back = True
        try:
            return super()._repr_mimebundle_(**kwargs)
        finally:
            self._falling_back = False

    def static_chips(self) -> dict[str, str]:
        """Return the facts beside the question in exports, and what the colours and sizes are."""
        shown = {"colour": self.color_by, "size": self.size_by, **self.chips}
        n = 0 if self._record is None else len(self._record.ids)
        if self._falling_back and n > MOST_IN_FALLBACK:
            shown["drawn"] = f"{format_count(MOST_IN_FALLBACK)} of {format_count(n)}"
        return shown

"""The drawing of a ConceptMap's data: points, colours, sizes, filters, names near by."""

from __future__ import annotations

from sae_nb.figures.theme import escape
from sae_nb_widgets.concept_map._close import close_up, points_in_view
from sae_nb_widgets.concept_map._controls import ConceptMapControls
from sae_nb_widgets.concept_map._detail import (
    ConceptDetail,
    corner_words,
    filter_sentence,
    groups_sentence,
    match_facts,
    there_sentence,
)
from sae_nb_widgets.concept_map._lookups import Lookups
from sae_nb_widgets.concept_map._map_view import MOST_NAMED, landmarks, lines_of, words_on
from sae_nb_widgets.concept_map._overlays import ConceptOverlays
from sae_nb_widgets.concept_map._state import CLUSTER, EQUAL, MapState


class Painting:
    """Puts the record of `panel` on its map; where there is none yet, nothing is drawn."""

    def __init__(
        self,
        panel: MapState,
        controls: ConceptMapControls,
        overlays: ConceptOverlays,
        cards: ConceptDetail,
        looking: Lookups,
    ) -> None:
        self._panel, self._controls, self._overlays = panel, controls, overlays
        self._cards, self._looking = cards, looking

    def bare(self) -> None:
        """Draw atoms before anything is measured: where they are, and nothing about them."""
        panel, atlas = self._panel, self._panel.atlas
        saved = atlas.saved("atoms") if panel.layout_by == "umap" else None
        xy, how = (atlas.pca("atoms"), "pca") if saved is None else (saved, "saved")
        record = panel.record = atlas.bare("atoms", xy, how)
        self.points()
        panel.map.draw_colours(record, None, [], "")
        panel.map.draw_sizes(record, EQUAL)

    def points(self) -> None:
        """Draw where the points are, and the second dictionary if it is shown."""
        panel, record = self._panel, self._panel.record
        if record is None:
            return
        named = len(record.ids) <= MOST_NAMED
        names = panel.atlas.point_names(record.show) if named else []
        panel.map.draw_points(record, names, lines_of(record, panel.compare))
        panel.map.draw_comparison(record, panel.compare)
        if record.archetypes is not None:
            panel.say(corner_words(record.archetypes, panel.atlas.sae.mixture.shape[1]))

    def colours(self) -> None:
        """Colour the points and write names, the key, and what belongs to both."""
        panel, record = self._panel, self._panel.record
        if record is None:
            return
        if panel.color_by in panel.atlas.further(record.show):
            self._overlays.measure(record, panel.color_by, self.colours_and_detail)
        column = panel.column
        self._offer_columns()
        facts = match_facts(record) if panel.compare else groups_sentence(record)
        both = f"<p>{escape(facts)}</p>" if facts else ""
        words = words_on(record, column) if panel.show_names else []
        if panel.show_names and record.show == "atoms" and column is not None:
            marked = landmarks(record, panel.surest, panel.shown)
            words += [(x, y, panel.names.short(atom)) for x, y, atom in marked]
        words = [*self._overlays.words(record), *words]
        panel.map.draw_colours(record, column, words, both + self._overlays.key())
        self._filter()

    def _offer_columns(self) -> None:
        """Put what there is in the menus; a column that this view lacks falls back."""
        panel = self._panel
        if panel.color_by not in panel.colours:
            panel.color_by = CLUSTER
        if panel.size_by not in panel.sizes:
            panel.size_by = "energy" if "energy" in panel.sizes else EQUAL
        self._controls.offer()

    def sizes(self) -> None:
        """Draw the points' areas."""
        panel = self._panel
        if panel.record is not None:
            self._offer_columns()
            panel.map.draw_sizes(panel.record, panel.size_by)

    def _filter(self) -> None:
        panel = self._panel
        if panel.record is not None:
            drawn = panel.kept_but(panel.color_by)
            panel.map.draw_filter(panel.record, panel.filter, panel.shown, drawn)

    def filtered(self) -> None:
        """Leave out what the filter does, and say how many are left."""
        panel = self._panel
        self._filter()
        self.near()
        kept = panel.shown
        if panel.filter and len(kept):
            panel.say(filter_sentence(kept, panel.show, panel.filter))
        elif panel.show == "atoms" and not kept.all():
            panel.say(there_sentence(kept, panel.site))
        elif " are shown, by " in panel.status:
            panel.say("")

    def near(self) -> None:
        """Name the points in view, or show what they are, where there are few."""
        panel, record = self._panel, self._panel.record
        if record is not None:
            kept = panel.shown if panel.view else panel.kept_but(panel.color_by)
            points = points_in_view(record, panel.view, kept)
            panel.map.draw_close(*close_up(record, points, panel.atlas, panel.names))

    def detail(self) -> None:
        """Draw the parts next to and under the map: the atom, the table, the shared inputs."""
        panel = self._panel
        if panel.record is None:
            return
        # The cards go first: the page draws what comes first, and a large plot takes it far longer.
        self._cards.show_atom(panel.atlas, panel.names, panel.record, panel.atom)
        column = panel.atlas.difference if panel.show == "atoms" else None
        panel.map.draw_difference(column, panel.difference, panel.selected)
        self._looking.look_up()
        self._looking.draw()

    def colours_and_detail(self) -> None:
        """Draw what a column that was found changes."""
        self.colours()
        self.detail()

    def measured(self) -> None:
        """Draw everything there is, once it has been measured."""
        self.points()
        self.colours()
        self.sizes()
        self.filtered()
        self.detail()

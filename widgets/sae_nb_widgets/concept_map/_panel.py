"""ConceptMap: which atoms are alike — a map of atoms, samples or tokens that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import traitlets as t
from jaxtyping import Float
from torch import Tensor

from sae_nb.atoms import ConceptAtlas
from sae_nb.checks import checked, refuse_direction
from sae_nb.figures.theme import format_count
from sae_nb.files import write_bytes
from sae_nb.pretrained import examples_of
from sae_nb.sessions import names_of
from sae_nb_widgets.components._base import VBox
from sae_nb_widgets.concept_map._choosing import Choosing
from sae_nb_widgets.concept_map._close import every_name
from sae_nb_widgets.concept_map._cones import Cones
from sae_nb_widgets.concept_map._controls import ConceptMapControls
from sae_nb_widgets.concept_map._detail import ConceptDetail, SharedInputs, selection_csv
from sae_nb_widgets.concept_map._initial_state import Opening
from sae_nb_widgets.concept_map._lookups import Lookups
from sae_nb_widgets.concept_map._map_view import MOST_IN_FALLBACK, MapFigure
from sae_nb_widgets.concept_map._overlays import ConceptOverlays
from sae_nb_widgets.concept_map._painting import Painting
from sae_nb_widgets.concept_map._raster import MOST_AS_MARKS
from sae_nb_widgets.concept_map._runs import MapRuns
from sae_nb_widgets.concept_map._state import ATOM, CLUSTER, MapState
from sae_nb_widgets.panel._declaring import EVERYWHERE, reacts, small_button
from sae_nb_widgets.panel._finding import Finder
from sae_nb_widgets.panel._pages import Page, static_html

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomCatalogue, Labels
    from sae_nb.codes import SparseCodes
    from sae_nb.geometry import Containment
    from sae_nb.models import LiveModel
    from sae_nb.pretrained import ExampleStore


@checked(leave=("acts", "cones"))
class ConceptMap(MapState):
    """Which atoms are alike?

    One point per atom, laid out by UMAP in a process of its own while PCA is shown; coordinates that
    came with the SAE, or were made before, are there at once. It opens on a named region, lit and selected,
    unless `atom` is given; Esc lights the whole map. `atom` is a trait: link it with
    `traitlets.link((a, "atom"), (b, "atom"))`. `zoom_to`, `reset`, `view`, `filter` and `selected` do
    what wheel, double click, dragging, histograms and lasso do. Up to a million atoms: of more than 60 000 a
    sample is painted while the map moves, and every atom is searched, enclosed, filtered and clicked. Of a
    dictionary of several places, `site` shows one of them, by its name in `sites`; of a crosscoder of two
    models, `difference` selects the atoms between two values of it, as dragging over its histogram does. With
    `color_by="local dimension"` points take the number of directions that those around them spread into.

    Parameters
    ----------
    sae
        Any sparse autoencoder or dictionary of several places, or a plain (n_atoms, d_in) dictionary.
    acts
        Activations of its width, or what training takes; without them atoms have neighbours but no frequency.
    codes
        Their codes, where they have been computed already.
    labels
        Human readings by atom: a mapping, or where they are kept; see `AtomBrowser`.
    columns
        Name to one number or word per atom: further ways to colour.
    other
        A second SAE or dictionary to compare with.
    xy
        Coordinates of the atoms.
    cones
        Directions that mean something: from `sn.direction`, by name, or a matrix, a direction a row; or what
        `sn.geometry.containment` found of them: `cone` chooses one, and the atoms that build it are joined.
    examples
        An `ExampleStore`, in place of what is not given; None takes that of a pretrained SAE, and its layout.
    catalogue
        An `AtomCatalogue` of the same SAE and activations, to encode only once for many panels.
    model
        The running model: the find box then says what it does with a word that no text has.
    seed
        Of the layout.
    atom
        First one shown; the most frequent when None.

    Example
    -------
    >>> import torch
    >>> panel = ConceptMap(torch.eye(6), labels={2: "cat"})
    >>> panel.search = "cat"
    >>> panel.atom, panel.selected, panel.record.layout
    (2, (2,), 'umap')
    >>> panel.close()
    """

    question = "Which atoms are alike?"
    explanation = (
        "Each point is an atom; points that are near each other have similar directions, and those "
        "selected share the inputs beneath the map.",
        "Only neighbourhoods count: distances between far groups, their sizes and the empty space "
        "are the layout's own. Cosine 1 is the same direction, 0 unrelated; compare a "
        "cluster's mean with that of random atoms to see whether it is one. Of texts a region is named where "
        "words chosen on every other text hold on those between: eight times the part that random atoms give "
        "them, and more than any of twenty draws. It opens on the region where that part is largest, which "
        "flatters it a bit.",
        "UMAP: McInnes, Healy, Melville, arXiv 1802.03426 (2018); clusters by HDBSCAN (2013); matched "
        "atoms as in Archetypal SAE, arXiv 2502.12892; cones: arXiv 2512.07355; local dimension by maximum "
        "likelihood (Levina and Bickel, 2004).",
    )
    stem = "concept_map"
    needs_kernel = (
        "Search, selection, other colours and layouts need a running kernel and were left out; the "
        "map, the selection and the numbers shown are all here."
    )
    renamed_traits = {"names": "show_names"}
    kept_traits = (
        "site",
        "show",
        "layout_by",
        "color_by",
        "size_by",
        "cone",
        "edges",
        "show_names",
        "compare",
        "atom",
        "difference",
        "selected",
        "marked",
        "filter",
        "view",
    )

    def __init__(
        self,
        sae: Any,
        acts: Activations | Float[Tensor, "n d_in"] | None = None,
        *,
        codes: SparseCodes | None = None,
        labels: Labels | Mapping[int, str] | str | Path | None = None,
        columns: Mapping[str, Any] | None = None,
        other: Any = None,
        xy: Float[np.ndarray, "n 2"] | None = None,
        cones: Containment | Mapping[str, Any] | Float[Tensor, "n d_in"] | None = None,
        examples: ExampleStore | None = None,
        catalogue: AtomCatalogue | None = None,
        model: LiveModel | None = None,
        seed: int = 0,
        atom: int | None = None,
    ) -> None:
        refuse_direction(sae, "Mark it on the map of an SAE: ConceptMap(sae, cones=direction).")
        if catalogue is None and acts is None:
            if examples is None and codes is None and other is None and hasattr(sae, "dictionary"):
                examples = examples_of(sae)
            if examples is not None:
                catalogue = examples.catalogue(sae)
        self.labels = names_of(sae, catalogue, labels).labels
        self.atlas = ConceptAtlas(
            sae,
            acts,
            codes=codes,
            labels=self.labels,
            columns=columns,
            other=other,
            xy=xy,
            examples=examples,
            catalogue=catalogue,
            seed=seed,
        )
        self._whole, self.sites = self.atlas, self.atlas.sites
        self.n_atoms = self.atlas.n_atoms
        self.cones = None if cones is None else Cones(cones, self.atlas.dictionary, sae)
        self._falling_back, self._model = False, model
        super().__init__(seed=seed)
        self.chosen = atom is not None
        if atom is not None:
            self.atom = atom
        self.names = self.atlas.names = names_of(sae, self.atlas.catalogue, self.labels)
        self._build()
        self._open_view()

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.choosing = choosing = Choosing(self)
        self.finder = Finder(
            self,
            lambda: self.atlas.catalogue,
            lambda atom, found: choosing.show_found(found.query, found.atoms.tolist(), atom=atom),
            model=lambda: self._model,
        )
        self.map = MapFigure(choosing.click, choosing.enclose, choosing.keep, choosing.between)
        self.inputs = self._shared_inputs()
        self._under_map = VBox([self.inputs.widget])
        self.controls = ConceptMapControls(self, self.finder.widget)
        self.overlays = ConceptOverlays(self, choosing.select)
        self.cards = ConceptDetail(lambda atom: self.set_trait("atom", atom), self._buttons())
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[*self.map.widgets, self._under_map],
            detail=(self.overlays.card, *self.cards.widgets),
        )
        self.runs = MapRuns(self)
        self.looking = Lookups(self, choosing, self.overlays, self.cards)
        self.painting = Painting(self, self.controls, self.overlays, self.cards, self.looking)
        self.opening = Opening(self, self.runs, self.painting, self.looking)
        t.link((self, "drag"), (self.map.chart, "drag"))
        t.link((self, "view"), (self.map.chart, "view"), transform=(list, tuple))
        self.bind_key("ArrowRight", lambda: self.step(1))
        self.bind_key("ArrowLeft", lambda: self.step(-1))
        self.bind_key("Escape", self.clear_selection)
        self.bind_key("Enter", self.open_atom)

    def _buttons(self) -> list[ipw.Button]:
        return [
            small_button("open", "Open this atom in the linked browser (Enter)", self.open_atom),
            small_button(
                "steer", "Steer with the selected atoms, or with this one", self.steer_atoms
            ),
            small_button(
                "compare",
                "Compare the selected atoms, or show the second dictionary",
                self.compare_atoms,
            ),
            small_button("⤓ csv", "Write the selected atoms as a table (CSV)", self.export_table),
        ]

    def _shared_inputs(self) -> SharedInputs:
        catalogue = self.atlas.catalogue
        return SharedInputs(None if catalogue is None else catalogue.acts.context, self.say)

    # --- opening a view ---------------------------------------------------------------------------

    @reacts("show", doing="showing {panel.show}", early=True)
    def _change_view(self) -> None:
        self.marked, self.filter, self.view = (), {}, ()
        self._open_view()

    @reacts("site", doing="showing {panel.site}", early=True)
    def _change_site(self) -> None:
        before = self.inputs
        self.atlas = self._whole if self.site == EVERYWHERE else self._whole.at(self.site)
        self.inputs = self._shared_inputs()
        self._under_map.children = (self.inputs.widget,)
        before.close()
        self._change_view()

    @property
    def dictionary_shown(self) -> SparseAutoencoder | None:
        """Whose atoms these are."""
        return self._whole.sae

    @reacts("layout_by", doing="laying out", early=True)
    def _open_view(self) -> None:
        self.opening.begin()

    @reacts("seed", doing="laying out", early=True)
    def _reseed(self) -> None:
        self.atlas.reseed(self.seed)
        self._open_view()

    # --- drawing ----------------------------------------------------------------------------------

    @reacts("filter", doing="filtering")
    def _refilter(self) -> None:
        self.painting.filtered()
        self.choosing.light()

    @reacts("view", doing="looking closer")
    def _look_closer(self) -> None:
        self.painting.near()

    @reacts("color_by", "show_names", doing="colouring by {panel.color_by}")
    def _draw_colours(self) -> None:
        self.painting.colours()
        self.looking.draw()

    @reacts("size_by", doing="sizing by {panel.size_by}")
    def _resize(self) -> None:
        self.painting.sizes()

    @reacts("atom", doing="atom {panel.atom}", early=True)
    def _draw_atom(self) -> None:
        self.chosen = True
        if self.ready:
            if self.selected and self.atom not in self.selected:
                self.choosing.put_out()
            if self.color_by == ATOM:
                self.painting.colours()
            self.painting.detail()

    @reacts("cone", doing="the cone of {panel.cone}", early=True)
    def _choose_cone(self) -> None:
        self.overlays.ask(self._draw_cone)

    def _draw_cone(self) -> None:
        if self.ready:
            self.painting.colours()
            self.looking.look_up()
            self.looking.draw()

    @reacts("compare", doing="showing the second dictionary")
    def _draw_comparison(self) -> None:
        self.painting.points()
        self.painting.colours_and_detail()

    @reacts("selected", "marked", "edges", doing="showing the selection")
    def _draw_selection(self) -> None:
        self.painting.detail()

    # --- choosing ---------------------------------------------------------------------------------

    @reacts("difference", doing="selecting by difference", early=True)
    def _select_between(self) -> None:
        self.choosing.select_between()

    @checked
    def select(self, ids: Sequence[int]) -> None:
        """Select atoms, or what the points are: what a lasso does.

        Parameters
        ----------
        ids
            Atoms; samples or rows of the activations where those are shown.
        """
        self.choosing.select(ids)

    def clear_selection(self) -> None:
        """Select nothing and end the search."""
        self.search = ""
        self.finder.clear()
        self.difference = ()
        self.filter = {name: kept for name, kept in self.filter.items() if name != CLUSTER}
        self.selected = self.marked = ()
        self.say("")

    @checked
    def zoom_to(self, ids: Sequence[int]) -> None:
        """Show the part of the map around atoms (samples or rows, where those are shown).

        Parameters
        ----------
        ids
            Atoms; samples or rows of the activations where those are shown.

        Raises
        ------
        ValueError: If nothing is named, or something that is not on the map.
        """
        self.view = self.choosing.view_of(ids)

    def reset(self) -> None:
        """Show the whole map, as a double click does."""
        self.view = ()

    @reacts("search", doing="searching", early=True)
    def _search(self) -> None:
        query = self.search.strip()
        if query:
            chosen = self.atom, self.selected
            advice = self.finder.advice
            self.finder.search(query, partial(self.choosing.search, query, advice, chosen))

    @checked
    def step(self, by: int) -> None:
        """Go to another atom: of the selection, or the next nearest where nothing is selected.

        Parameters
        ----------
        by
            Number of steps; within a selection it cycles.
        """
        order = list(self.selected) or list(range(self.n_atoms))
        place = order.index(self.atom) + by if self.atom in order else 0
        self.atom = int(order[place % len(order)])

    def steer_atoms(self) -> None:
        """Ask for steering with the selected atoms, or with this one: an event on `steered`."""
        self.steered = ()
        self.steered = tuple(self.selected) or (self.atom,)

    def compare_atoms(self) -> None:
        """Show or hide the second dictionary, where there is one; an event on `compared` always."""
        self.compared = ()
        self.compared = tuple(self.selected) or (self.atom,)
        if self.atlas.other is not None:
            self.compare = not self.compare

    def draw_names(self) -> None:
        """Rewrite labels on the map and next to it."""
        self.refresh()

    def refresh(self) -> None:
        """Reread labels: one was written, here or in a linked panel."""
        record = self.record
        if record is None or not self.ready or self._closed:
            return
        with self.guarded("reading labels"):
            self.atlas.forget_labels()
            columns = self.atlas.columns(record.show)
            # What is no column of the atlas, or is measured when asked for.
            found = (CLUSTER, *self.atlas.further(record.show))
            columns |= {name: record.columns[name] for name in found if name in record.columns}
            self.record = replace(record, columns=columns)
            self.painting.points()
            self.painting.colours()
            self.painting.near()
            self.painting.detail()

    # --- taking it away ---------------------------------------------------------------------------

    def current_figure(self) -> go.Figure | None:
        """Return the map as a plain figure, for images and for readers without JavaScript."""
        if self.record is None:
            return None
        return self.map.still(self.record, self.shown, both=self.compare, sample=self._falling_back)

    def static_page(self) -> Page:
        """Return what `to_html` writes: the map moves and zooms on it as it does here."""
        return replace(super().static_page(), figure=None)

    def static_main(self) -> str:
        """Return the map with its script, a drawing of it for readers without, and what is under it."""
        if self.record is None:
            return ""
        self._falling_back = True
        try:
            figure = self.current_figure()
        finally:
            self._falling_back = False
        live = self.map.page_html(every_name(self.record, self.atlas, self.names), figure)
        return f"{live}{static_html(self.main_widgets())}"

    @checked
    def table_csv(self) -> str:
        """Return the selected atoms (the current one, if none is) as comma-separated text."""
        return "" if self.selection is None else selection_csv(self.selection, self.names)

    def export_table(self) -> None:
        """Write `<export_folder>/<export_name>.csv` and say so."""
        n = 0 if self.selection is None else len(self.selection.atoms)
        self._write_table(
            self.export_name(),
            lambda path: write_bytes(path, self.table_csv().encode()),
            f"{format_count(n)} atoms",
        )

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        # The image for readers without JavaScript is made whenever the panel is shown, and takes
        # half a millisecond a point: of a large map it is a sample.
        self._falling_back = True
        try:
            return super()._repr_mimebundle_(**kwargs)
        finally:
            self._falling_back = False

    def export_name(self) -> str:
        """Return the file name of exports: what is shown, and the atom or how many are selected."""
        if self.show != "atoms":
            return f"{self.stem}_{self.show}"
        if self.selected:
            return f"{self.stem}_{len(self.selected)}_atoms"
        return f"{self.stem}_atom_{self.atom}"

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports, and what the colours and sizes are."""
        facts = {"colour": self.color_by, "size": self.size_by, **self.chips}
        facts |= {"cone": self.cone} if self.cone else {}
        n = len(self.shown)
        if self._falling_back and MOST_IN_FALLBACK < n <= MOST_AS_MARKS:
            facts["drawn"] = f"{format_count(MOST_IN_FALLBACK)} of {format_count(n)}"
        return facts

    def _rescale(self) -> None:
        if self.ready:
            self.painting.sizes()
            self.painting.colours_and_detail()

    def close(self) -> None:
        """Free the panel and end its UMAP process; closing twice is harmless."""
        if not self._closed:
            self.runs.end()
        super().close()

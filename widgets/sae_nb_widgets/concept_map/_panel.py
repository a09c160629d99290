"""ConceptMap: which atoms are alike — a map of atoms, samples or tokens that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import traitlets as t
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from sae_nb.checks import check_atom, checked
from sae_nb.figures import escape, format_count, format_number, format_percent, to_svg
from sae_nb.files import write_bytes
from sae_nb.sessions import names_of
from sae_nb.summaries import (
    SHOWN,
    ArchetypePlaces,
    Column,
    ConceptAtlas,
    ConceptMapSummary,
    SelectionSummary,
    has_archetypes,
)
from sae_nb_widgets.components import csv_text
from sae_nb_widgets.concept_map._controls import DRAGS, EDGES, ConceptMapControls
from sae_nb_widgets.concept_map._detail import (
    ConceptDetail,
    SharedInputs,
    atom_answer,
    match_facts,
    selection_answer,
)
from sae_nb_widgets.concept_map._drawing import MOST_IN_FALLBACK, MapFigure, lines_of, words_on
from sae_nb_widgets.concept_map._runs import MapRuns
from sae_nb_widgets.concept_map._styles import NONE
from sae_nb_widgets.panel import (
    LARGEST_SEED,
    Atom,
    Page,
    Panel,
    Whole,
    or_trait_error,
    reacts,
    static_html,
)

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.atoms import AtomCatalogue, Labels
    from sae_nb.codes import SparseCodes
    from sae_nb.pretrained import ExampleStore


MOST_WITH_EDGES = 200
ENTRIES_AT_ONCE = 500_000
LAYOUTS = ("umap", "pca", "archetypes")
EQUAL = "equal"
ATOM = "atom"
CLUSTER = "cluster"
NO_EDGES = np.zeros((0, 2), np.int64)
MOST_CLOSE = 60
"""Points in view of which each is named, or drawn as a picture."""
CLOSE_CHARACTERS = 28
AROUND_ONE = 0.06
"""Share of the map that is seen around a single point."""


@checked
class ConceptMap(Panel):
    """Which atoms are alike?

    One point per atom, laid out by UMAP in a process of its own while PCA is shown; coordinates that
    came with the SAE, or were made before, are there at once. `atom` is a trait: link it with
    `traitlets.link((a, "atom"), (b, "atom"))`. `zoom_to`, `reset`, `view`, `filter` and `selected` do
    what wheel, double click, dragging, histograms and lasso do.

    Parameters
    ----------
    sae
        Any sparse autoencoder, or a plain (n_atoms, d_in) dictionary.
    acts
        Activations of its width; without them atoms have neighbours but no frequency.
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
    examples
        An `ExampleStore` of a pretrained SAE, in place of what is not given.
    catalogue
        An `AtomCatalogue` of the same SAE and activations, to encode only once for many panels.
    seed
        Of the layout.
    atom
        First one shown; the most frequent when None.

    Raises
    ------
    TypeError, ValueError: If the parts do not fit together, or `atom` is none of the atoms.

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
        "are the layout's own. A cluster's mean cosine beside that of random atoms says whether it "
        "is one.",
        "UMAP: McInnes, Healy, Melville, arXiv 1802.03426 (2018); clusters by HDBSCAN (2013); matched "
        "atoms as in Archetypal SAE, arXiv 2502.12892.",
    )
    stem = "concept_map"
    needs_kernel = (
        "Search, selection, other colours and layouts need a running kernel and were left out; the "
        "map, the selection and the numbers shown are all here."
    )
    renamed_traits = {"names": "show_names"}
    kept_traits = (
        "show",
        "layout_by",
        "color_by",
        "size_by",
        "edges",
        "show_names",
        "compare",
        "atom",
        "selected",
        "marked",
        "filter",
        "view",
    )

    record: ConceptMapSummary | None = None
    """What is drawn; None before anything is."""

    selection: SelectionSummary | None = None
    """Table and shared inputs of what is selected; of the atom, if nothing is."""

    atom = Atom(help="Row of the dictionary shown in detail; link it with an AtomBrowser's.")
    selected = t.Tuple(help="Atoms chosen by lasso, box or search.")
    marked = t.Tuple(help="Samples or rows chosen where those are shown.")
    show = t.Enum(SHOWN, default_value="atoms", help="What the points are.")
    color_by = t.Unicode(CLUSTER, help="Column the points are coloured by.")
    size_by = t.Unicode("energy", help='Column the areas of points go with; "equal" for none.')
    edges = t.Enum(
        tuple(EDGES), default_value="none", help="What joins the selected points to others."
    )
    search = t.Unicode("", help="Number, label or token; what answers is selected.")
    layout_by = t.Enum(LAYOUTS, default_value="umap", help="How points are laid out.")
    seed = Whole(0, 0, LARGEST_SEED, help="Of the UMAP.")
    compare = t.Bool(False, help="Whether the second dictionary is shown.")
    show_names = t.Bool(True, help="Whether clusters are named on the map.")
    drag = t.Enum(tuple(DRAGS), default_value="pan", help="What dragging the mouse does.")
    filter = t.Dict(
        help="Column to what is shown of it: (lowest, highest), or the names of categories; {} is all."
    )
    view = t.Tuple(help="What is seen: low x, low y, high x, high y; () is the whole map.")
    steered = t.Tuple(help="Event: atoms somebody asked to steer with; () in between.")
    compared = t.Tuple(help="Event: atoms somebody asked to compare; () in between.")

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
        examples: ExampleStore | None = None,
        catalogue: AtomCatalogue | None = None,
        seed: int = 0,
        atom: int | None = None,
    ) -> None:
        if catalogue is None and acts is None and examples is not None:
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
        self.n_atoms = self.atlas.n_atoms
        self._measured = self._falling_back = False
        super().__init__(seed=seed)
        self._chosen = atom is not None
        if atom is not None:
            self.atom = atom
        self.names = self.atlas.names = names_of(sae, self.atlas.catalogue, self.labels)
        self._build()
        self._open_view()

    @property
    def ready(self) -> bool:
        """Whether what is shown has been measured."""
        return self._measured

    @t.validate("selected")
    def _atoms_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        atoms = dict.fromkeys(proposal["value"])
        return tuple(or_trait_error(check_atom, atom, self.n_atoms) for atom in atoms)

    @t.validate("marked")
    def _points_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        chosen = tuple(int(i) for i in dict.fromkeys(proposal["value"]))
        known = set() if self.show == "atoms" else set(self.atlas.ids(self.show).tolist())
        lost = [i for i in chosen if i not in known]
        if lost:
            raise t.TraitError(
                f"`marked` must be {self.show} on the map, got {lost[:3]}. Set `show` to 'samples' or "
                "'tokens' first."
            )
        return chosen

    @t.validate("filter")
    def _filter_fits(self, proposal: t.Bunch) -> dict[str, Any]:
        wanted = {
            str(name): value for name, value in proposal["value"].items() if value is not None
        }
        # What a session asks for before anything is measured is looked at when it is.
        return {
            name: or_trait_error(_checked_filter, name, value, self._columns)
            for name, value in wanted.items()
            if self.ready or isinstance(value, list | tuple)
        }

    @t.validate("view")
    def _view_fits(self, proposal: t.Bunch) -> tuple[float, ...]:
        view = tuple(float(end) for end in proposal["value"])
        if view and not (len(view) == 4 and view[0] < view[2] and view[1] < view[3]):
            raise t.TraitError(
                "`view` must be (low x, low y, high x, high y), or () for the whole map, got "
                f"{proposal['value']}. `zoom_to` finds one around atoms."
            )
        return view

    @t.validate("show")
    def _view_exists(self, proposal: t.Bunch) -> str:
        return str(or_trait_error(self.atlas.check_view, proposal["value"]))

    @t.validate("color_by", "size_by")
    def _column_exists(self, proposal: t.Bunch) -> str:
        value = str(proposal["value"])
        known = self.colours if proposal["trait"].name == "color_by" else self.sizes
        # What a session asks for before anything is measured is looked at when it is.
        if self.ready and value not in known:
            raise t.TraitError(
                f"`{proposal['trait'].name}` must be one of {list(known)}, got {value!r}. Give more "
                "with `columns`."
            )
        return value

    @t.validate("layout_by")
    def _layout_exists(self, proposal: t.Bunch) -> str:
        if proposal["value"] not in self.layouts:
            raise t.TraitError(
                f"`layout_by` must be one of {list(self.layouts)} here, got {proposal['value']!r}: a map of "
                "archetypes needs one archetypal SAE, whose atoms are mixtures of data points."
            )
        return str(proposal["value"])

    @t.validate("compare")
    def _has_other(self, proposal: t.Bunch) -> bool:
        if proposal["value"] and self.atlas.other is None:
            raise t.TraitError(
                "`compare` needs a second dictionary, and this map has one. Make it with "
                "ConceptMap(sae, acts, other=second_sae)."
            )
        return bool(proposal["value"])

    @property
    def _columns(self) -> dict[str, Column]:
        return {} if self.record is None else dict(self.record.columns)

    @property
    def column(self) -> Column | None:
        """What the points are coloured by; None where it is not known yet."""
        if self.record is not None and self.color_by == ATOM:
            return self.atlas.atom_column(self.record.show, self.atom)
        return self._columns.get(self.color_by)

    @property
    def layouts(self) -> tuple[str, ...]:
        """Layouts there are: archetypes only where the atoms are mixtures of some."""
        mixed = has_archetypes(self.atlas.sae) and self.atlas.other is None
        return LAYOUTS if mixed else LAYOUTS[:2]

    @property
    def colours(self) -> tuple[str, ...]:
        """What points can be coloured by."""
        return tuple(dict.fromkeys((CLUSTER, *self._columns, ATOM)))

    @property
    def sizes(self) -> tuple[str, ...]:
        """What the areas of points can go with."""
        numbers = (name for name, column in self._columns.items() if not column.is_category)
        return (EQUAL, *numbers)

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        catalogue = self.atlas.catalogue
        self.map = MapFigure(self._clicked, self._enclosed, self._keep)
        self.inputs = SharedInputs(None if catalogue is None else catalogue.acts.context, self.say)
        self.controls = ConceptMapControls(self)
        self.cards = ConceptDetail(self, lambda atom: self.set_trait("atom", atom))
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[*self.map.widgets, self.inputs.widget],
            detail=self.cards.widgets,
        )
        self.runs = MapRuns(self)
        t.link((self, "drag"), (self.map.chart, "drag"))
        t.link((self, "view"), (self.map.chart, "view"), transform=(list, tuple))
        self.bind_key("ArrowRight", lambda: self.step(1))
        self.bind_key("ArrowLeft", lambda: self.step(-1))
        self.bind_key("Escape", self.clear_selection)
        self.bind_key("Enter", self.open_atom)

    # --- opening a view: drawn at once as far as can be, then measured, laid out, clustered ---------

    @reacts("show", doing="showing {panel.show}", early=True)
    def _change_view(self) -> None:
        self.marked, self.filter, self.view = (), {}, ()
        self._open_view()

    @reacts("layout_by", doing="laying out", early=True)
    def _open_view(self) -> None:
        self.runs.end()
        self._measured = False
        if self.show == "atoms" and not self.runs.quick:
            with self.guarded("showing atoms"):
                self._draw_bare()
        self.runs.measure(self._take)

    @reacts("seed", doing="laying out", early=True)
    def _reseed(self) -> None:
        self.atlas.reseed(self.seed)
        self._open_view()

    def _draw_bare(self) -> None:
        saved = self.atlas.saved("atoms") if self.layout_by == "umap" else None
        xy, how = (self.atlas.pca("atoms"), "pca") if saved is None else (saved, "saved")
        record = self.record = self.atlas.bare("atoms", xy, how)
        self._draw_points()
        self.map.draw_colours(record, None, [], "")
        self.map.draw_sizes(record, EQUAL)

    def _take(self, record: ConceptMapSummary) -> None:
        if record.show != self.show:
            return
        self.record = record
        self.chips = self._chips()
        if not self._chosen and record.show == "atoms" and "frequency" in record.columns:
            often = record.columns["frequency"].values
            self.atom = int(np.argmax(np.nan_to_num(often)))
            self._chosen = True
        self._measured = True
        self._draw_points()
        self._recolour()
        self._resize()
        self._refilter()
        self._draw_detail()
        if self.layout_by == "umap" and record.layout == "pca":
            self.runs.unfold(record.show, lambda xy: self._take_layout(record, xy))
        else:
            self.runs.look_for_clusters(record, self._take_clusters)

    def _take_layout(self, record: ConceptMapSummary, xy: Float[np.ndarray, "n 2"]) -> None:
        if self.record is not record:
            return
        n = len(record.ids)
        other = xy[n:] if record.other_xy is not None else None
        record = replace(record, xy=xy[:n], other_xy=other, layout="umap", clusters=())
        self.record = record
        self.chips = self._chips()
        self.view = ()  # it was of another layout
        self._draw_points()
        self._draw_chosen()
        self.say("")
        self.runs.look_for_clusters(record, self._take_clusters)

    def _take_clusters(self, found: ConceptMapSummary) -> None:
        record = self.record
        if record is not None and record.xy is found.xy:
            self.record = replace(record, clusters=found.clusters, columns=found.columns)
            self._recolour()
            self._draw_detail()

    def _chips(self) -> dict[str, str]:
        record, atlas = self.record, self.atlas
        facts = {} if record is None else dict(record.provenance)
        named = ("model", "at", "SAE")
        shown: dict[str, str] = {name: facts[name] for name in named if name in facts}
        shown["atoms"] = format_count(atlas.n_atoms)
        if atlas.catalogue is not None:
            shown["rows"] = format_count(len(atlas.catalogue.acts))
        if record is not None and record.show != "atoms":
            shown[record.show] = format_count(len(record.ids))
        if record is not None:
            seeded = f" seed {self.seed}" if record.layout == "umap" else ""
            shown["layout"] = f"{record.layout}{seeded}"
        return shown

    # --- drawing ----------------------------------------------------------------------------------

    def _draw_points(self) -> None:
        record = self.record
        if record is None:
            return
        self.map.draw_points(
            record, self.atlas.point_names(record.show), lines_of(record, self.compare)
        )
        self.map.draw_comparison(record, self.compare)
        places = record.archetypes
        if places is not None:
            self.say(_corner_words(places, self.atlas.sae.mixture.shape[1]))

    def _recolour(self) -> None:
        record = self.record
        if record is None:
            return
        column = self.column
        self._offer_columns()
        both = match_facts(record) if self.compare else ""
        words = words_on(record, column) if self.show_names else []
        self.map.draw_colours(record, column, words, f"<p>{escape(both)}</p>" if both else "")
        self._draw_filter()

    @property
    def shown(self) -> Bool[np.ndarray, " n"]:
        """Which points `filter` leaves on the map."""
        n = 0 if self.record is None else len(self.record.ids)
        kept = np.ones(n, bool)
        for name, wanted in self.filter.items():
            column = self._columns.get(name)
            if column is None:
                continue
            if column.names is None:
                kept &= (column.values >= wanted[0]) & (column.values <= wanted[1])
            else:
                places = [i for i, word in enumerate(column.names) if word in wanted]
                kept &= np.isin(column.values, [*places, *([-1] if NONE in wanted else [])])
        return kept

    def _draw_filter(self) -> None:
        if self.record is not None:
            self.map.draw_filter(self.record, self.filter, self.shown)

    @reacts("filter", doing="filtering")
    def _refilter(self) -> None:
        self._draw_filter()
        self._draw_close()
        kept = self.shown
        if self.filter and len(kept):
            n, of = format_count(int(kept.sum())), format_count(len(kept))
            columns = " and ".join(self.filter)
            self.say(f"{n} of {of} {self.show} are shown, by {columns}; the rest is hidden.")
        elif " are shown, by " in self.status:
            self.say("")

    @reacts("view", doing="looking closer")
    def _draw_close(self) -> None:
        """Name the points in view, or show what they are, where there are few."""
        record = self.record
        if record is None:
            return
        kept = self.shown
        if self.view:
            low, high = np.array(self.view[:2]), np.array(self.view[2:])
            kept &= ((record.xy >= low) & (record.xy <= high)).all(axis=1)
        points = np.flatnonzero(kept) if kept.sum() <= MOST_CLOSE else np.zeros(0, np.int64)
        crops = self._crops(record, points)
        # Those with a picture first: so many pictures there are.
        pictured = np.array([crop is not None for crop in crops], bool)
        points = np.concatenate([points[pictured], points[~pictured]])
        words = [_cut(word) for word in self._close_words(record, points)]
        self.map.draw_close(points, words, [crop for crop in crops if crop is not None])

    def _close_words(self, record: ConceptMapSummary, points: Int[np.ndarray, " m"]) -> list[str]:
        if record.show == "atoms":
            return [self.names.name(point) for point in points.tolist()]
        called = self.atlas.point_names(record.show) if len(points) else []
        return [called[point] for point in points.tolist()]

    def _crops(
        self, record: ConceptMapSummary, points: Int[np.ndarray, " m"]
    ) -> list[UInt8[np.ndarray, "3 height width"] | None]:
        """What each point is a picture of; None where it is of none."""
        if record.show == "atoms":
            return [self.names.crop(point) for point in points.tolist()]
        catalogue = self.atlas.catalogue
        pictures = None if catalogue is None else catalogue.acts.context.pictures
        if record.show != "samples" or pictures is None:
            return [None] * len(points)
        return [pictures[sample].cpu().numpy() for sample in record.ids[points].tolist()]

    def _offer_columns(self) -> None:
        """Put what there is in the menus; a column that this view lacks falls back."""
        if self.color_by not in self.colours:
            self.color_by = CLUSTER
        if self.size_by not in self.sizes:
            self.size_by = "energy" if "energy" in self.sizes else EQUAL
        self.controls.offer()

    @reacts("color_by", "show_names", doing="colouring by {panel.color_by}")
    def _draw_colours(self) -> None:
        self._recolour()
        self._draw_chosen()

    @reacts("size_by", doing="sizing by {panel.size_by}")
    def _resize(self) -> None:
        if self.record is not None:
            self._offer_columns()
            self.map.draw_sizes(self.record, self.size_by)

    @reacts("atom", doing="atom {panel.atom}", early=True)
    def _draw_atom(self) -> None:
        self._chosen = True
        if self.ready:
            if self.color_by == ATOM:
                self._recolour()
            self._draw_detail()

    @reacts("compare", doing="showing the second dictionary")
    def _draw_comparison(self) -> None:
        if self.record is not None:
            self._draw_points()
            self._recolour()
            self._draw_detail()

    @reacts("selected", "marked", "edges", doing="showing the selection")
    def _draw_detail(self) -> None:
        """Draw what is beside and under the map: the atom, the table, the shared inputs."""
        if self.record is None:
            return
        # The cards go first: the page draws what comes first, and a large plot takes it far longer.
        self.cards.show_atom(self.atlas, self.record, self.atom)
        self._look_up()
        self._draw_chosen()

    def _draw_chosen(self) -> None:
        record = self.record
        if record is None:
            return
        atoms = record.show == "atoms"
        points = np.array(self.selected, np.int64)
        if not atoms:
            points = np.searchsorted(record.ids, np.array(self.marked, np.int64))
        current = self.atom if atoms else -1
        begin = points if len(points) or not atoms else np.array([self.atom])
        edges = self._edges_from(begin) if self.ready else NO_EDGES
        self.map.draw_selection(record, points, current, edges, lines_of(record, self.compare))

    def _edges_from(self, begin: Int[np.ndarray, " m"]) -> Int[np.ndarray, "k 2"]:
        if self.edges == "none":
            return NO_EDGES
        if self.edges == "co-active" and (self.show != "atoms" or self.atlas.catalogue is None):
            why = "there are no activations" if self.show == "atoms" else f"these are {self.show}"
            self.say(f"Co-active edges join atoms that fire together; {why}, so none are drawn.")
            return NO_EDGES
        if len(begin) > MOST_WITH_EDGES:
            self.say(
                f"Edges are drawn for the first {MOST_WITH_EDGES} of {format_count(len(begin))}."
            )
        return self.atlas.edges(self.show, begin[:MOST_WITH_EDGES].tolist(), self.edges)

    def _look_up(self) -> None:
        """Look up what the selection shares; the atom, if nothing is selected."""
        atlas, view = self.atlas, self.show
        chosen = tuple(self.selected if view == "atoms" else self.marked)
        if view == "atoms":
            atoms = chosen or (self.atom,)
            work: Callable[[], SelectionSummary] = partial(atlas.select, atoms)
            fired = None if atlas.catalogue is None else atlas.catalogue.n_fired
            entries = 0 if fired is None else int(fired[list(atoms)].sum())
        elif chosen:
            work, entries = partial(atlas.select_points, view, chosen), len(chosen)
        else:
            self._show_selection(None, ())
            return
        if entries <= ENTRIES_AT_ONCE:
            self._show_selection(work(), chosen)
            return
        doing = f"looking for what {format_count(len(chosen))} {view} share"
        done = lambda selection: self._show_selection(selection, chosen)  # noqa: E731
        self.run_async(work, done, doing=doing, channel="selection")

    def _show_selection(self, selection: SelectionSummary | None, chosen: Sequence[int]) -> None:
        self.selection = selection
        self.cards.show_selection(selection, self.show, chosen)
        one = int(chosen[0]) if chosen else self.atom
        self.inputs.show(selection, self.show, chosen, self.names.in_text(one))
        if selection is not None and chosen:
            catalogue = self.atlas.catalogue
            n_rows = 0 if catalogue is None else len(catalogue.acts)
            answer = selection_answer(self.names, selection, self.show, len(chosen), n_rows)
            self.conclude(answer, self._cluster_numbers(chosen))
        elif self.compare and self.record is not None:
            found, _, numbers = match_facts(self.record).partition(" (")
            self.conclude(f"{found}.", numbers.split(")")[0])
        else:
            self.conclude(*atom_answer(self.names, self.atlas, self.atom))

    def _cluster_numbers(self, chosen: Sequence[int]) -> str:
        """How alike what is selected is off the map, beside as many at random."""
        record = self.record
        if record is None or len(chosen) < 2:
            return ""
        points = np.searchsorted(record.ids, np.array(chosen, np.int64))
        cosine, floor = self.atlas.alikeness(record.show, points)
        return (
            f"mean cosine {format_number(cosine, digits=2)} (random {format_count(len(points))}: "
            f"{format_number(floor, digits=2)})"
        )

    # --- choosing ---------------------------------------------------------------------------------

    def _clicked(self, point: int) -> None:
        record = self.record
        if record is None:
            return
        with self.guarded("choosing a point"):
            chosen = int(record.ids[point])
            if record.show == "atoms":
                self.atom = chosen
            else:
                self.marked = (chosen,)

    def _enclosed(self, points: Int[np.ndarray, " m"], add: bool) -> None:
        record = self.record
        if record is None:
            return
        with self.guarded("selecting"):
            before = (self.selected if record.show == "atoms" else self.marked) if add else ()
            self.select([*before, *record.ids[points].tolist()])

    def _keep(self, name: str, wanted: Any) -> None:
        """Filter by one column; None shows everything of it again."""
        with self.guarded(f"filtering by {name}"):
            self.filter = {**self.filter, name: wanted}

    @checked
    def select(self, ids: Sequence[int]) -> None:
        """Select atoms, or what the points are: what a lasso does.

        Parameters
        ----------
        ids
            Atoms; samples or rows of the activations where those are shown.
        """
        if self.show == "atoms":
            self.selected = tuple(ids)
        else:
            self.marked = tuple(ids)
        n = len(self.selected if self.show == "atoms" else self.marked)
        self.say("Esc clears the selection." if n else "")

    def clear_selection(self) -> None:
        """Select nothing and end the search."""
        self.search = ""
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
        record = self.record
        known = np.zeros(0, np.int64) if record is None else record.ids
        wanted = np.asarray(list(ids), np.int64)
        if record is None or not len(wanted) or not np.isin(wanted, known).all():
            raise ValueError(f"`ids` must be {self.show} on the map, got {wanted[:3].tolist()}.")
        xy = record.xy[np.searchsorted(known, wanted)]
        least = AROUND_ONE * float(np.ptp(record.xy, axis=0).max() or 1.0)
        middle, half = (xy.max(axis=0) + xy.min(axis=0)) / 2, 0.56 * np.ptp(xy, axis=0)
        half = np.maximum(half, least)
        self.view = (*(middle - half).tolist(), *(middle + half).tolist())

    def reset(self) -> None:
        """Show the whole map, as a double click does."""
        self.view = ()

    @reacts("search", doing="searching", early=True)
    def _search(self) -> None:
        query = self.search.strip()
        if not query:
            return
        if not self.ready:
            self.say("The atoms are being measured; search again when that is done.")
            return
        found = self.atlas.search(query)
        if not len(found):
            self.say(f"No atom matches “{query}”. Try a number, a label, or part of a token.")
            return
        self.atom = int(found[0])
        self.selected = tuple(found.tolist())
        if self.view:
            self.zoom_to(found.tolist())
        n = format_count(len(found))
        many = "1 match" if len(found) == 1 else f"{n} matches"
        self.say(f"{many} for “{query}”. ‹ › to step, Esc to clear.")

    @checked
    def step(self, by: int) -> None:
        """Go to another atom: of the selection, or the next nearest where nothing is selected.

        Parameters
        ----------
        by
            How many further; a selection is gone round.
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
        """Write labels on the map and beside it as they are now."""
        self.refresh()

    def refresh(self) -> None:
        """Read labels anew: somebody wrote one, here or in a linked panel."""
        record = self.record
        if record is None or not self.ready or self._closed:
            return
        with self.guarded("reading labels"):
            self.atlas.forget_labels()
            columns = self.atlas.columns(record.show)
            if "cluster" in record.columns:
                columns["cluster"] = record.columns["cluster"]
            self.record = replace(record, columns=columns)
            self._draw_points()
            self._recolour()
            self._draw_close()
            self._draw_detail()

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
        names = list(self.map.chart.names)
        self._falling_back = True
        try:
            figure = self.current_figure()
            self.map.chart.names = self._every_name(self.record)
            live = self.map.chart.live_html()
        finally:
            self._falling_back = False
            self.map.chart.names = names
        drawing = "" if figure is None else to_svg(figure)
        return (
            f'<div class="sae-nb-live">{live}</div>'
            f'<noscript><div class="sae-nb-still">{drawing}</div></noscript>'
            f"{static_html(self._main.children)}"
        )

    def _every_name(self, record: ConceptMapSummary) -> list[str]:
        if record.show != "atoms":
            return self.atlas.point_names(record.show)
        return [f"atom {self.names.name(atom)}" for atom in record.ids.tolist()]

    @checked
    def table_csv(self) -> str:
        """Return the selected atoms (the current one, if none is) as comma-separated text."""
        if self.selection is None:
            return ""
        table = self.selection.table
        table["label"] = [self.names.words(int(atom)) for atom in table["atom"]]
        rows = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
        return csv_text(list(table.columns), rows, [name != "label" for name in table.columns])

    def export_table(self) -> None:
        """Write `<export_folder>/<export_name>.csv` and say so."""
        path = Path(self.export_folder) / f"{self.export_name()}.csv"
        with self.guarded(f"writing {path.name}"):
            write_bytes(path, self.table_csv().encode())
            n = 0 if self.selection is None else len(self.selection.atoms)
            self.say(f"Written: {path} ({format_count(n)} atoms).")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        # The image for readers without JavaScript is made whenever the panel is shown, and takes
        # half a millisecond a point: of a large map it is a sample.
        self._falling_back = True
        try:
            return super()._repr_mimebundle_(**kwargs)
        finally:
            self._falling_back = False

    def static_chips(self) -> dict[str, str]:
        """Return the facts beside the question in exports, and what the colours and sizes are."""
        facts = {"colour": self.color_by, "size": self.size_by, **self.chips}
        n = 0 if self.record is None else len(self.record.ids)
        if self._falling_back and n > MOST_IN_FALLBACK:
            facts["drawn"] = f"{format_count(MOST_IN_FALLBACK)} of {format_count(n)}"
        return facts

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self.ready:
            self._resize()
            self._recolour()
            self._draw_detail()

    def close(self) -> None:
        """Free the panel and end its UMAP process; closing twice is harmless."""
        if not self._closed:
            self.runs.end()
        super().close()


def _cut(text: str) -> str:
    return text if len(text) <= CLOSE_CHARACTERS else f"{text[: CLOSE_CHARACTERS - 1]}…"


def _corner_words(places: ArchetypePlaces, n_candidates: int) -> str:
    """Say how much of the atoms the corners hold."""
    share = format_percent(float(places.held.mean()))
    return (
        f"The corners are the {len(places.archetypes)} archetypes of most weight among {n_candidates}; they "
        f"hold {share} of it, and an atom lies where its weights on them balance."
    )


def _checked_filter(name: str, wanted: Any, columns: Mapping[str, Column]) -> tuple[Any, ...]:
    """Return what is shown of a column: two ends, or names of categories."""
    # Clusters are found last: until then their names are taken as they are given.
    if columns and name not in (*columns, CLUSTER):
        raise ValueError(f"`filter` must name columns of the map, {list(columns)}, got {name!r}.")
    column = columns.get(name)
    if column is None:
        return tuple(wanted)
    if column.names is not None:
        names = (wanted,) if isinstance(wanted, str) else tuple(str(word) for word in wanted)
        unknown = [word for word in names if word not in (*column.names, NONE)]
        if unknown:
            raise ValueError(
                f"`filter` of {name!r} must hold names in its key, got {unknown[0]!r}."
            )
        return names
    ends = tuple(float(end) for end in wanted)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ValueError(f"`filter` of {name!r} must be (lowest, highest), got {wanted!r}.")
    return ends

"""ConceptMap: how concepts lie to each other — a map of atoms, samples or tokens that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import traitlets as t
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_atom, checked
from sae_nb.figures import format_count
from sae_nb.sessions import Annotations, annotations_of
from sae_nb.summaries import (
    SHOWN,
    Column,
    ConceptAtlas,
    ConceptMapSummary,
    SelectionSummary,
    has_archetypes,
)
from sae_nb_widgets.concept_map import _figure as drawing
from sae_nb_widgets.concept_map._controls import DRAGS, EDGES, ConceptMapControls
from sae_nb_widgets.concept_map._detail import ConceptDetail, SharedInputs, match_facts
from sae_nb_widgets.concept_map._drawing import MOST_IN_FALLBACK, MapFigure
from sae_nb_widgets.concept_map._runs import MapRuns
from sae_nb_widgets.concept_map._words import corner_words
from sae_nb_widgets.panel import LARGEST_SEED, Atom, Panel, Whole, or_trait_error, reacts

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.atoms import AtomCatalogue, Labels
    from sae_nb.codes import SparseCodes
    from sae_nb.pretrained import ExampleStore


# As SVG a map of 512 atoms is on screen in half the page's CPU; at some thousand it is the other way.
MOST_WITHOUT_WEBGL = 2000
MOST_WITH_EDGES = 200
ENTRIES_AT_ONCE = 500_000
LAYOUTS = ("umap", "pca", "archetypes")
EQUAL = "equal"
ATOM = "atom"
CLUSTER = "cluster"
NO_EDGES = np.zeros((0, 2), np.int64)


@checked
class ConceptMap(Panel):
    """How do concepts lie to each other?

    One point per atom, laid out by UMAP in a process of its own while PCA is shown; coordinates that
    came with the SAE, or were made before, are there at once. `atom` is a trait: link it with
    `traitlets.link((a, "atom"), (b, "atom"))`.

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
    webgl
        Whether points are drawn by WebGL: needed for many, slower to start for few, and a page has only
        so many such canvases. None: above 2 000 atoms.

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

    question = "How do concepts lie to each other?"
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
    drag = t.Enum(tuple(DRAGS), default_value="lasso", help="What dragging the mouse does.")
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
        webgl: bool | None = None,
    ) -> None:
        measured = None if examples is None else examples.labels
        self.labels = annotations_of(labels, sae, measured)
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
        n = self.n_atoms + self.atlas.n_others
        self._build(webgl=n > MOST_WITHOUT_WEBGL if webgl is None else webgl)
        if isinstance(self.labels, Annotations):
            self.labels.listen(self.refresh)
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

    def _build(self, *, webgl: bool) -> None:
        catalogue = self.atlas.catalogue
        self.map = MapFigure(webgl=webgl)
        self.inputs = SharedInputs(None if catalogue is None else catalogue.acts.context, self.say)
        self.controls = ConceptMapControls(self)
        self.cards = ConceptDetail(self, lambda atom: self.set_trait("atom", atom))
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self.map.plot, self.map.legend, self.inputs.widget],
            detail=self.cards.widgets,
        )
        self.runs = MapRuns(self)
        self.map.plot.on_lasso(self._lassoed)
        for place in (drawing.NUMBERS, drawing.GROUPS):
            self.map.plot.data[place].on_click(self._clicked)
        self.bind_key("ArrowRight", lambda: self.step(1))
        self.bind_key("ArrowLeft", lambda: self.step(-1))
        self.bind_key("Escape", self.clear_selection)
        self.bind_key("Enter", self.open_atom)

    # --- opening a view: drawn at once as far as can be, then measured, laid out, clustered ---------

    @reacts("show", doing="showing {panel.show}", early=True)
    def _change_view(self) -> None:
        self.marked = ()
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
        drawing.draw_colours(self.map.plot, None, drawing.point_texts(record))
        drawing.draw_sizes(self.map.plot, None, len(record.ids))

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
        if self.record is None:
            return
        self.map.draw_points(self.record, self._texts(None), both=self.compare)
        places = self.record.archetypes
        if places is not None:
            self.say(corner_words(places, self.atlas.sae.mixture.shape[1]))

    def _texts(self, column: Column | None) -> list[str]:
        if self.record is None:
            return []
        names = self.atlas.point_names(self.record.show)
        return drawing.point_texts(self.record, names, column)

    def _recolour(self) -> None:
        if self.record is None:
            return
        column = self.column
        self._offer_columns()
        both = match_facts(self.record) if self.compare else ""
        texts = self._texts(column)
        self.map.draw_colours(self.record, column, texts, names=self.show_names, matched=both)

    def _offer_columns(self) -> None:
        """Put what there is in the menus; a column that this view lacks falls back."""
        if self.color_by not in self.colours:
            self.color_by = CLUSTER
        if self.size_by not in self.sizes:
            self.size_by = "energy" if "energy" in self.sizes else EQUAL
        self.controls.offer()

    @reacts("color_by", "dark", "show_names", doing="colouring by {panel.color_by}")
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
            drawing.draw_comparison(self.map.plot, self.record, self.compare)
            facts = match_facts(self.record) if self.compare else ""
            self.say(facts.split(" (")[0] + "." if facts else "")
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
        current = np.array([self.atom] if atoms else [], np.int64)
        edges = self._edges_from(points if len(points) else current) if self.ready else NO_EDGES
        self.map.draw_selection(record, points, current, edges, dark=self.dark)

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
        self.inputs.show(selection, self.show, chosen, self.name_of(one))

    @checked
    def name_of(self, atom: int) -> str:
        """Return the number of an atom and its label, where it has one."""
        return f"{atom} {self.atlas.labels.get(atom, '')}".rstrip()

    # --- choosing ---------------------------------------------------------------------------------

    def _clicked(self, _trace: Any, points: Any, _: Any) -> None:
        record = self.record
        if record is None or not points.point_inds:
            return
        chosen = int(record.ids[points.point_inds[0]])
        if record.show == "atoms":
            self.atom = chosen
        else:
            self.marked = (chosen,)

    def _lassoed(self, trace: int, points: Int[np.ndarray, " m"]) -> None:
        record = self.record
        if trace < 0:
            self.clear_selection()
        elif trace == self.map.shown and record is not None:
            self.select(record.ids[points[points < len(record.ids)]].tolist())

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
        n = len(ids)
        self.say(f"{format_count(n)} {self.show} selected; Esc clears." if n else "")

    def clear_selection(self) -> None:
        """Select nothing and end the search."""
        self.search = ""
        self.selected = self.marked = ()
        self.map.plot.clear_lasso()
        self.say("")

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
            self.say(f"No atom answers to “{query}”. Try a number, a label, or part of a token.")
            return
        self.atom = int(found[0])
        self.map.plot.clear_lasso()
        self.selected = tuple(found.tolist())
        self.say(f"{format_count(len(found))} answer to “{query}”; ← and → step through them.")

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

    @reacts("drag", doing="choosing what dragging does", early=True)
    def _change_drag(self) -> None:
        self.map.plot.layout.dragmode = "select" if self.drag == "box" else self.drag

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
            self._recolour()
            self._draw_detail()

    # --- taking it away ---------------------------------------------------------------------------

    def current_figure(self) -> go.Figure:
        """Return the map as a plain figure, colours spelled out for images drawn without plotly."""
        return self.map.still(sample=self._falling_back)

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
            self.map.plot.layout.height = drawing.map_height()
            self._resize()
            self._recolour()
            self._draw_detail()

    def close(self) -> None:
        """Free the panel and end its UMAP process; closing twice is harmless."""
        if not self._closed:
            self.runs.end()
        super().close()

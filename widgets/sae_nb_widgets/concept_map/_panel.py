"""ConceptMap: how concepts lie to each other — a map of atoms, samples or tokens that answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.figures import format_count, format_duration, format_percent
from sae_nb.geometry import FEWEST_ROWS, UmapProcess, start_umap
from sae_nb.sessions import Annotations, annotations_of
from sae_nb.summaries import ConceptAtlas, ConceptMapSummary, SelectionSummary
from sae_nb_widgets.concept_map import _controls as concept_map_controls, _figure as drawing
from sae_nb_widgets.concept_map._detail import ConceptDetail, SharedInputs
from sae_nb_widgets.concept_map._drawing import ConceptMapDrawing
from sae_nb_widgets.concept_map._plot import MapPlot

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.atoms import AtomCatalogue, Labels
    from sae_nb.codes import SparseCodes
    from sae_nb.pretrained import ExampleStore


# Multiply-adds of encoding and of finding neighbours that take a laptop a fifth of a second.
AT_ONCE = 1_500_000_000
POLL_SECONDS = 0.1
# As SVG a map of 512 atoms is on screen in half the page's CPU; at some thousand it is the other way.
MOST_WITHOUT_WEBGL = 2000


class ConceptMap(ConceptMapDrawing):
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
    kept_traits = (
        "show",
        "layout_by",
        "color_by",
        "size_by",
        "edges",
        "names",
        "compare",
        "atom",
        "selected",
        "marked",
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
        self._record: ConceptMapSummary | None = None
        self._selection: SelectionSummary | None = None
        self._process: UmapProcess | None = None
        self._measured, self._said = False, 0.0
        n = self.atlas.n_atoms + self.atlas.n_others
        self._webgl = n > MOST_WITHOUT_WEBGL if webgl is None else webgl
        self._ticket = 0
        super().__init__(seed=seed)
        self._chosen = atom is not None
        if atom is not None:
            self.atom = atom
        self._build()
        if isinstance(self.labels, Annotations):
            self.labels.listen(self.refresh)
        self._open_view()

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        figure = drawing.concept_map_figure(webgl=self._webgl)
        self._plot = MapPlot(figure, height=drawing.map_height())
        self._legend = ipw.HTML()
        catalogue = self.atlas.catalogue
        self._inputs = SharedInputs(
            None if catalogue is None else catalogue.acts.context, self._say_input
        )
        self._made = made = concept_map_controls.build(self)
        self._cards = ConceptDetail(self, self._go)
        self.arrange(
            controls=made.first_row,
            more=made.more,
            figure=[self._plot, self._legend, self._inputs.widget],
            detail=self._cards.widgets,
        )
        made.colour.observe(lambda change: self._choose_column("color_by", change), "value")
        made.size.observe(lambda change: self._choose_column("size_by", change), "value")
        self._plot.on_lasso(self._lassoed)
        for place in (drawing.NUMBERS, drawing.GROUPS):
            self._plot.data[place].on_click(self._clicked)
        self.bind_key("ArrowRight", lambda: self.step(1))
        self.bind_key("ArrowLeft", lambda: self.step(-1))
        self.bind_key("Escape", self.clear_selection)
        self.bind_key("Enter", self.open_atom)

    # --- opening a view ---------------------------------------------------------------------------

    @t.observe("show", "layout_by", "seed")
    def _view_changed(self, change: t.Bunch) -> None:
        if self._closed or not hasattr(self, "_plot"):
            return
        if change["name"] == "seed":
            self.atlas.reseed(self.seed)
        if change["name"] == "show":
            self.marked = ()
        self._open_view()

    def _open_view(self) -> None:
        """Draw at once what can be, then measure, then lay out, then look for clusters."""
        self._end_umap()
        show, layout = self.show, self.layout_by
        self._measured = False

        def measure() -> ConceptMapSummary:
            xy, how = self._first_layout(show, layout)
            return self.atlas.summary(show, xy, how, clusters=False)

        if self._quick():
            with self.guarded(f"showing {show}"):
                self._ready(measure())
            return
        if show == "atoms":
            with self.guarded("showing atoms"):
                self._draw_bare()
        self._listen()
        self.run_async(measure, self._ready, doing=f"measuring the {show}", channel="view")

    def _quick(self) -> bool:
        """Whether measuring takes no longer than a click may."""
        catalogue, x = self.atlas.catalogue, self.atlas.dictionary
        n = self.atlas.n_atoms + self.atlas.n_others
        if catalogue is not None and not catalogue.encoded:
            return len(catalogue.acts) * x.numel() + n * x.numel() <= AT_ONCE
        return n * x.numel() <= AT_ONCE and self.show == "atoms"

    def _first_layout(self, show: Any, layout: str) -> tuple[Float[np.ndarray, "n 2"], str]:
        """Coordinates that are there without waiting, and how they came about."""
        if layout == "archetypes" and show == "atoms":
            return self.atlas.coordinates(show, "archetypes")
        if layout != "umap":
            return self.atlas.pca(show), "pca"
        saved = self.atlas.saved(show)
        if saved is not None:
            return saved, "saved"
        kept = self.atlas.kept(show)
        if kept is not None or len(self.atlas.vectors(show)) < FEWEST_ROWS:
            return self.atlas.pca(show) if kept is None else kept, "umap"
        return self.atlas.pca(show), "pca"

    def _draw_bare(self) -> None:
        saved = self.atlas.saved("atoms") if self.layout_by == "umap" else None
        xy, how = (self.atlas.pca("atoms"), "pca") if saved is None else (saved, "saved")
        self._record = self.atlas.bare("atoms", xy, how)
        self._draw_points()
        drawing.draw_colours(self._plot, None, drawing.point_texts(self._record))
        drawing.draw_sizes(self._plot, None, len(self._record.ids))

    def _listen(self) -> None:
        catalogue = self.atlas.catalogue
        if catalogue is None or catalogue.encoded:
            return
        started = time.perf_counter()

        def heard(done: int, total: int) -> None:
            now = time.perf_counter()
            if now - self._said > POLL_SECONDS and done < total:
                self._said = now
                left = format_duration((now - started) / done * (total - done))
                self.say(f"encoding {format_percent(done / total, of='rows')}, {left} left")

        catalogue.callback = heard

    def _ready(self, record: ConceptMapSummary) -> None:
        if record.show != self.show:
            return
        self._record, self._measured = record, True
        self.chips = self._chips()
        if not self._chosen and record.show == "atoms" and "frequency" in record.columns:
            self._chosen = True
            often = record.columns["frequency"].values
            self.atom = int(np.argmax(np.nan_to_num(often)))
        self._draw_points()
        self._recolour()
        self._resize()
        self._draw_detail()
        unfold = self.layout_by == "umap" and record.layout == "pca"
        if unfold:
            self._unfold(record)
        else:
            self._look_for_clusters(record)

    def _chips(self) -> dict[str, str]:
        record, atlas = self._record, self.atlas
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

    # --- layout and clusters, off the main thread -------------------------------------------------

    def _unfold(self, record: ConceptMapSummary) -> None:
        self._ticket += 1
        ticket, show = self._ticket, record.show

        def work() -> Float[np.ndarray, "n 2"]:
            process = start_umap(self.atlas.vectors(show), self.atlas.settings())
            if ticket != self._ticket or self._closed:
                process.close()
            else:
                self._process = process
            return self._followed(process)

        def done(xy: Float[np.ndarray, "n 2"]) -> None:
            if ticket == self._ticket and self._record is record:
                self._laid_out(xy)

        self.run_async(work, done, doing="UMAP; PCA is shown meanwhile", channel="layout")

    def _followed(self, process: UmapProcess) -> Float[np.ndarray, "n 2"]:
        """Wait for a layout, saying how far it is."""
        try:
            while not process.done:
                time.sleep(POLL_SECONDS)
                stage, share = process.stage
                part = f" {format_percent(share)}" if share else ""
                text = f"UMAP, {stage}{part}; PCA is shown meanwhile …"
                if process is self._process and text != self.status:
                    self.say(text)
            return process.wait()
        finally:
            process.close()

    def _laid_out(self, xy: Float[np.ndarray, "n 2"]) -> None:
        record = self._record
        if record is None:
            return
        n = len(record.ids)
        other = xy[n:] if record.other_xy is not None else None
        self._record = replace(record, xy=xy[:n], other_xy=other, layout="umap", clusters=())
        self.chips = self._chips()
        self._draw_points()
        self._draw_chosen()
        self.say("")
        self._look_for_clusters(self._record)

    def _end_umap(self) -> None:
        """Stop a layout nobody waits for any more."""
        self._ticket += 1
        self.forget_async("layout")
        process, self._process = self._process, None
        if process is not None:
            process.close()
            self.say("")

    def _look_for_clusters(self, record: ConceptMapSummary) -> None:
        def done(found: ConceptMapSummary) -> None:
            if self._record is not None and self._record.xy is record.xy:
                self._record = replace(record, clusters=found.clusters, columns=found.columns)
                self._recolour()
                self._draw_detail()

        self.run_async(lambda: self.atlas.with_clusters(record), done, channel="clusters")

    # --- choosing ---------------------------------------------------------------------------------

    def _go(self, atom: int) -> None:
        self.atom = atom

    def _clicked(self, _trace: Any, points: Any, _: Any) -> None:
        record = self._record
        if record is None or not points.point_inds:
            return
        chosen = int(record.ids[points.point_inds[0]])
        if record.show == "atoms":
            self.atom = chosen
        else:
            self.marked = (chosen,)

    def _lassoed(self, trace: int, points: Int[np.ndarray, " m"]) -> None:
        shown = drawing.NUMBERS if self._plot.data[drawing.NUMBERS].visible else drawing.GROUPS
        record = self._record
        if trace < 0:
            self.clear_selection()
        elif trace == shown and record is not None:
            self.select(record.ids[points[points < len(record.ids)]].tolist())

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
        self._plot.clear_lasso()
        self.say("")

    @t.observe("search")
    def _search_changed(self, _: t.Bunch) -> None:
        query = self.search.strip()
        if not query or not hasattr(self, "_plot"):
            return
        if not self._measured:
            self.say("The atoms are being measured; search again when that is done.")
            return
        with self.guarded("searching"):
            found = self.atlas.search(query)
            if not len(found):
                self.say(
                    f"No atom answers to “{query}”. Try a number, a label, or part of a token."
                )
                return
            self.atom = int(found[0])
            self._plot.clear_lasso()
            self.selected = tuple(found.tolist())
            self.say(f"{format_count(len(found))} answer to “{query}”; ← and → step through them.")

    def step(self, by: int) -> None:
        """Go to another atom: of the selection, or the next nearest where nothing is selected.

        Parameters
        ----------
        by
            How many further; a selection is gone round.
        """
        order = list(self.selected) or list(range(self.atlas.n_atoms))
        place = order.index(self.atom) + by if self.atom in order else 0
        self.atom = int(order[place % len(order)])

    def open_atom(self) -> None:
        """Ask linked panels to open the atom: an event on `opened`."""
        self.opened = -1
        self.opened = self.atom

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

    @t.observe("drag")
    def _drag_changed(self, _: t.Bunch) -> None:
        if hasattr(self, "_plot"):
            self._plot.layout.dragmode = "select" if self.drag == "box" else self.drag

    def refresh(self) -> None:
        """Read labels anew: somebody wrote one, here or in a linked panel."""
        record = self._record
        if record is None or not self._measured or self._closed:
            return
        with self.guarded("reading labels"):
            self.atlas.forget_labels()
            columns = self.atlas.columns(record.show)
            if "cluster" in record.columns:
                columns["cluster"] = record.columns["cluster"]
            self._record = replace(record, columns=columns)
            self._recolour()
            self._draw_detail()

    # --- taking it away ---------------------------------------------------------------------------

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self._measured:
            self._plot.layout.height = drawing.map_height()
            self._resize()
            self._recolour()
            self._draw_detail()

    def close(self) -> None:
        """Free the panel and end its UMAP process; closing twice is harmless."""
        if not self._closed:
            self._end_umap()
        super().close()

"""ConceptAtlas: one SAE, its activations and a second dictionary, asked for maps, matches, selections."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._sites import site_names
from sae_nb.atoms._catalogue import AtomCatalogue, directions_of
from sae_nb.atoms._labels import Labels
from sae_nb.atoms._names import AtomNames
from sae_nb.atoms._searching import named, numbered
from sae_nb.atoms.concept_map._concept_map import (
    Cluster,
    Column,
    ConceptMapSummary,
    ConceptMatch,
    Show,
    archetype_places,
    has_archetypes,
    match_dictionaries,
    mean_codes,
    spread,
    with_archetypes,
)
from sae_nb.atoms.concept_map._dimension import (
    DIMENSION,
    DISTANCE,
    FEWEST_NEIGHBOURS,
    dimension_column,
    distance_column,
)
from sae_nb.atoms.concept_map._held_words import held_words
from sae_nb.atoms.concept_map._many import (
    MOST_AT_ONCE,
    dense_groups,
    dictionary_of,
    how_grouped,
    label_column,
    lengths_of,
    nearest_to,
)
from sae_nb.atoms.concept_map._names import joined, names_of_atoms, names_of_points
from sae_nb.atoms.concept_map._selection import (
    SelectionSummary,
    atom_columns,
    atom_in_rows,
    atom_in_samples,
    given_columns,
    row_columns,
    sample_columns,
    summarise_rows,
    summarise_selection,
)
from sae_nb.checks import Seed, check_count, checked, one_of
from sae_nb.geometry import LayoutSettings, mean_cosines, nearest_by_cosine, pca_layout
from sae_nb.geometry._ivf_index import NearDistances, near_distances
from sae_nb.geometry._layout import FEWEST_ROWS, cache_file, cached_layout, layout_key

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.codes import SparseCodes


Made = TypeVar("Made")

N_NEIGHBOURS = 15
MOST_EDGES_PER_POINT = 5
MOST_COACTIVE = 3


@checked(leave=("acts",))
class ConceptAtlas:
    """Everything a concept map shows, computed when first asked for and kept.

    Parameters
    ----------
    sae
        Any sparse autoencoder, or a plain (n_atoms, d_in) dictionary.
    acts
        Activations of its width. Without them atoms have neighbours and places but no frequency.
    codes
        Codes of `acts`, where they have been computed already.
    labels
        Human readings by atom.
    columns
        Name to one number or word per atom, such as a stability over seeds.
    other
        A second SAE or dictionary of the same width, laid out together with the first.
    xy
        Coordinates of the atoms (of both dictionaries, end to end, where there are two).
    examples
        Of a pretrained SAE: in place of `acts`, `codes`, `labels` and `xy` that are not given.
    catalogue
        An `AtomCatalogue` of the same SAE and activations, in place of `acts` and `codes`.
    seed
        Of the layout and of the tokens and samples drawn.

    Example
    -------
    >>> atlas = ConceptAtlas(torch.eye(6), labels={2: "cat"})
    >>> atlas.views, atlas.search("CAT").tolist()
    (('atoms',), [2])
    """

    def __init__(
        self,
        sae: Any,
        acts: Activations | Float[Tensor, "n d_in"] | None = None,
        *,
        codes: SparseCodes | None = None,
        labels: Mapping[int, str] | None = None,
        columns: Mapping[str, Any] | None = None,
        other: Any = None,
        xy: Float[np.ndarray, "n 2"] | None = None,
        examples: Any = None,
        catalogue: AtomCatalogue | None = None,
        seed: Seed = 0,
    ) -> None:
        if not (examples is None or hasattr(examples, "catalogue")):
            raise TypeError(
                f"`examples` must be what sn.load_examples returns, got {type(examples).__name__}. Leave it "
                "out for an SAE that is not bundled."
            )
        self.sae, self.examples = sae, examples
        self.dictionary: Float[Tensor, "n_atoms d_in"] = dictionary_of(sae, "sae")
        self.n_atoms = len(self.dictionary)
        self.seed = seed
        self._lock = threading.RLock()
        self._computed: dict[tuple[str, ...], Any] = {}
        self.site: str | None = None
        self._whole = self
        self._at: dict[str, ConceptAtlas] = {}
        if labels is None:
            labels = {} if examples is None else examples.labels
        self.labels: Mapping[int, str] = labels
        self.catalogue = catalogue
        if catalogue is None and acts is not None:
            self.catalogue = AtomCatalogue(sae, acts, codes=codes, labels=labels)
        elif catalogue is None and codes is not None:
            raise ValueError("`codes` must come with the `acts` they are of, got codes alone.")
        elif catalogue is None and examples is not None:
            self.catalogue = examples.catalogue(sae)
        self.names = AtomNames(
            self.catalogue, labels if isinstance(labels, Labels) else Labels(labels)
        )
        self._given = given_columns(columns or {}, self.n_atoms)
        self.other = None if other is None else dictionary_of(other, "other")
        self._xy = None if xy is None else self._checked_xy(xy)
        if self.other is not None and self.other.shape[1] != self.dictionary.shape[1]:
            raise ValueError(
                f"`other` must have width d_in={self.dictionary.shape[1]} to be compared, got "
                f"{self.other.shape[1]}. Compare SAEs of one hook point."
            )
        if self._xy is None and examples is not None and self.other is None:
            self._xy = self._checked_xy(examples.xy)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the hook points or models of a dictionary of several, where one alone can be shown."""
        if self.other is not None or isinstance(self.sae, Tensor):
            return ()
        if self.catalogue is not None:
            return self.catalogue.sites
        n = len(directions_of(self.sae))
        return () if n < 2 else site_names(self.sae, [])

    def at(self, site: str) -> ConceptAtlas:
        """Return the map of the same atoms at one of `sites`, by their directions there."""
        one_of(site, self.sites, name="site")
        if site not in self._at:
            atlas = self._at[site] = copy(self)
            atlas.site, atlas._at, atlas._xy, atlas._computed = site, {}, None, {}
            own = directions_of(self.sae)[self.sites.index(site)]
            atlas.dictionary = own.cpu().float().clone()
            if self.catalogue is not None:
                atlas.catalogue = self.catalogue.at(site)
        return self._at[site]

    @property
    def has_archetypes(self) -> bool:
        """Whether the atoms are known as mixtures of at least three points."""
        return has_archetypes(self.sae)

    @property
    def difference(self) -> Column | None:
        """Where each atom lives, of two sites that a crosscoder compares; None of anything else."""
        sites = self._whole.sites
        if len(sites) != 2 or not hasattr(self.sae, "difference"):
            return None
        meaning = f"0: only {sites[0]}, 1: only {sites[1]}"
        return Column("difference", meaning, self.sae.difference().double().cpu().numpy())

    @property
    def there(self) -> Bool[np.ndarray, " n_atoms"]:
        """Mask of the atoms that have a direction: at one site of several, some may have none."""
        rows = torch.split(self.dictionary, 2**16)
        have = lambda: torch.cat([(some != 0).any(dim=1) for some in rows]).numpy()  # noqa: E731
        return np.asarray(self._once(("there",), have))

    def _checked_xy(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Coordinates as float32, one row per atom of both dictionaries."""
        array = np.asarray(xy, np.float32)
        if array.shape != (self.n_atoms + self.n_others, 2) or not np.isfinite(array).all():
            both = f" and the {self.n_others} of `other` after them" if self.n_others else ""
            raise ValueError(
                f"`xy` must be finite, one row of two coordinates for each of the {self.n_atoms} "
                f"atoms{both}, got shape {array.shape}. Leave it out to have it computed."
            )
        return array

    @property
    def n_others(self) -> int:
        """Atoms of the second dictionary; 0 without one."""
        return 0 if self.other is None else len(self.other)

    @property
    def views(self) -> tuple[Show, ...]:
        """The possible views: samples and tokens only if there are activations."""
        return ("atoms",) if self.catalogue is None else ConceptMapSummary.SHOWN

    def check_view(self, show: str) -> Show:
        """Return `show` if it is a view there is."""
        if show not in self.views:
            why = (
                " Samples and tokens need activations: pass `acts`."
                if show in ConceptMapSummary.SHOWN
                else ""
            )
            raise ValueError(f"`show` must be one of {list(self.views)}, got {show!r}.{why}")
        return show

    def reseed(self, seed: int) -> None:
        """Take another seed: layouts, and the tokens or samples drawn, are remade.

        Coordinates that were given belong to the old seed and are not used any more.
        """
        check_count(seed, name="seed", at_least=0)
        with self._lock:
            if seed == self.seed:
                return
            self.seed, self._xy = seed, None
            # Of atoms nothing but the layout depends on it.
            for key in [key for key in self._computed if key[0] in ("samples", "tokens")]:
                del self._computed[key]
            self._computed.pop(("atoms", "key"), None)

    def forget_labels(self) -> None:
        """Reread labels for samples and tokens too, after a label was written."""
        with self._lock:
            for show in ("samples", "tokens"):
                self._computed.pop((show, "columns"), None)

    # --- points and where they lie ----------------------------------------------------------------

    def ids(self, show: Show) -> Int[np.ndarray, " n"]:
        """Return atom, sample or row behind every point."""
        if show == "atoms" or self.catalogue is None:
            return np.arange(self.n_atoms)
        rows = np.arange(len(self.catalogue.acts))
        known = np.unique(self.catalogue.samples) if show == "samples" else rows
        return self._once((show, "ids"), lambda: spread(known, self.seed))

    def vectors(self, show: Show) -> Float[Tensor, "n d"]:
        """Return rows that are laid out: dictionaries end to end, mean codes of samples, or activations."""
        if show == "atoms" or self.catalogue is None:
            return self.dictionary if self.other is None else self._both
        catalogue, ids = self.catalogue, self.ids(show)

        def rows() -> Float[Tensor, "n d"]:
            if show == "samples":
                return mean_codes(catalogue, ids)
            return catalogue.acts.rows(torch.from_numpy(ids)).detach().cpu().float()

        return self._once((show, "vectors"), rows)

    @property
    def _both(self) -> Float[Tensor, "n d"]:
        parts = [self.dictionary, *([] if self.other is None else [self.other])]
        return self._once(("both",), lambda: torch.cat(parts))

    def pca(self, show: Show) -> Float[np.ndarray, "n 2"]:
        """Return the layout that needs no waiting."""
        return self._once((show, "pca"), lambda: pca_layout(self.vectors(show)))

    def saved(self, show: Show) -> Float[np.ndarray, "n 2"] | None:
        """Return coordinates that came with the SAE or were given; None if there are none."""
        return self._xy if show == "atoms" else None

    def kept(self, show: Show) -> Float[np.ndarray, "n 2"] | None:
        """Return a UMAP of these very vectors that was made before, from the cache; None without one.

        Too few to unfold are laid out by PCA, at once.
        """
        x = self.vectors(show)
        if len(x) < FEWEST_ROWS:
            return self.pca(show)
        return cached_layout(cache_file(x, self.settings()), len(x))

    def settings(self) -> LayoutSettings:
        """Return the settings of a UMAP of this atlas."""
        return LayoutSettings(seed=self.seed)

    def coordinates(
        self, show: Show, layout: Literal["umap", "pca", "archetypes"]
    ) -> tuple[Float[np.ndarray, "n 2"], str]:
        """Return coordinates and how they came about; a UMAP is computed in this process.

        "pca" is PCA; "archetypes" is for an archetypal SAE's atoms; "umap" takes what is saved, else
        the cache, else computes.
        """
        from sae_nb.geometry import umap_layout

        show = self.check_view(show)
        if layout == "archetypes" and show == "atoms":
            return archetype_places(self.sae).xy, layout
        if layout not in ("umap", "pca"):
            raise ValueError(f"`layout` must be 'umap' or 'pca', got {layout!r}.")
        if layout == "pca":
            return self.pca(show), "pca"
        saved = self.saved(show)
        if saved is not None:
            return saved, "saved"
        return umap_layout(self.vectors(show), self.settings()), "umap"

    # --- what is known of points ------------------------------------------------------------------

    def neighbours(self, show: Show) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Return points nearest to each point of the view (of the first dictionary), and distances.

        None, above 30 000 points: `nearest` finds those of one point then.
        """

        def search() -> tuple[np.ndarray, np.ndarray]:
            x = self.vectors(show)[: len(self.ids(show))]
            if not 2 <= len(x) <= MOST_AT_ONCE:
                return np.zeros((len(x), 0), np.int64), np.zeros((len(x), 0), np.float32)
            return nearest_by_cosine(x, min(N_NEIGHBOURS, len(x) - 1))

        return self._once((show, "neighbours"), search)

    def nearest(
        self, show: Show, point: int
    ) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Return points nearest to one point of the view, and distances; of many, looked up when asked."""
        n = len(self.ids(show))
        if n <= MOST_AT_ONCE:
            rows, distances = self.neighbours(show)
            return rows[point], distances[point]
        x = self.vectors(show)[:n]
        lengths = self._once((show, "lengths"), lambda: lengths_of(x))
        key = (show, "nearest")
        with self._lock:
            last, found = self._computed.get(key, (None, None))
            if last != point:  # the card, the sentence and the edges ask one after the other
                found = nearest_to(x, lengths, point, N_NEIGHBOURS)
                self._computed[key] = (point, found)
            return found

    @property
    def match(self) -> ConceptMatch | None:
        """Partners in the second dictionary; None without one."""
        other = self.other
        if other is None:
            return None
        return self._once(
            ("match",), lambda: match_dictionaries(self.dictionary, other, seed=self.seed)
        )

    def columns(self, show: Show) -> dict[str, Column]:
        """Return the columns that points can be coloured by, without clusters (they depend on the layout).

        Labels are reread, since they may have been written meanwhile.
        """
        if show == "atoms" or self.catalogue is None:
            columns = dict(self._once(("atoms", "columns"), self._atom_columns))
            named = label_column(self.labels, self.n_atoms)
            columns |= {} if named is None else {"label": named}
            return {**columns, **self._given}
        catalogue, ids = self.catalogue, self.ids(show)
        build = sample_columns if show == "samples" else row_columns
        return dict(self._once((show, "columns"), lambda: build(catalogue, ids, self.labels)))

    def _atom_columns(self) -> dict[str, Column]:
        columns = {} if self.catalogue is None else atom_columns(self.catalogue)
        if 2 <= self.n_atoms <= MOST_AT_ONCE:
            columns[DISTANCE] = distance_column(self._near("atoms"))
        if self.difference is not None:
            columns["difference"] = self.difference
        if self.match is not None:
            meaning = "cosine of the atom matched in the other dictionary"
            cosines = self.match.cosine_of_atom
            columns["stability"] = Column("stability", meaning, cosines)
        return columns

    def atom_column(self, show: Show, atom: int) -> Column:
        """Return the strength of one atom in every sample or token; its cosine with every atom."""
        ids, catalogue = self.ids(show), self.catalogue
        if show == "atoms" or catalogue is None:
            lengths = self._once(("atoms", "lengths"), lambda: lengths_of(self.dictionary))
            direction = self.dictionary[atom] / lengths[atom]
            values = (self.dictionary @ direction / lengths).double().numpy()
            meaning = f"cosine with atom {atom}"
        else:
            read = atom_in_samples if show == "samples" else atom_in_rows
            values = read(catalogue, atom, ids)
            of = "its largest strength" if show == "samples" else "its strength"
            meaning = f"atom {atom}: {of} in each {show.removesuffix('s')}"
        return Column("atom", meaning, values)

    def has_dimension(self, show: Show) -> bool:
        """Return whether there are enough points to estimate the dimension around each."""
        return len(self.ids(show)) > FEWEST_NEIGHBOURS

    def further(self, show: Show) -> tuple[str, ...]:
        """Return names of the columns that take time, and are measured when asked for.

        "local dimension", and above 30 000 atoms "distance": the nearest of all atoms have to be found.
        """
        far = show == "atoms" and self.n_atoms > MOST_AT_ONCE
        return (*[DISTANCE] * far, *[DIMENSION] * self.has_dimension(show))

    def measured(self, show: Show, name: str) -> Column:
        """Return one of `further`.

        The nearest are found exactly up to 50 000 points. With more points, they are searched in lists
        of similar ones, and the column's `meaning` gives the share of the nearest of 256 points that
        was found; a distance is then an upper bound.
        """
        one_of(name, self.further(show), name="name")
        return self.dimension(show) if name == DIMENSION else distance_column(self._near(show))

    def _near(self, show: Show) -> NearDistances:
        """Return the distances to the nearest points of every point."""

        def search() -> NearDistances:
            x = self.vectors(show)[: len(self.ids(show))]
            if len(x) <= MOST_AT_ONCE:
                return NearDistances(distances=self.neighbours(show)[1], found=1.0)
            return near_distances(x, N_NEIGHBOURS, seed=self.seed)

        return self._apart((show, "distances"), search)

    def dimension(self, show: Show) -> Column:
        """Return the dimension of the points around each point; see `measured`."""

        def measure() -> Column:
            near = self._near(show)
            x = self.vectors(show)[: len(near.distances)]
            return dimension_column(x, near, show, self.seed)

        return self._apart((show, "dimension"), measure)

    def clusters(self, show: Show, xy: Float[np.ndarray, "n 2"]) -> tuple[Cluster, ...]:
        """Return dense groups of a layout, named by what their points have in common, largest first.

        Each has the mean cosine of its own vectors, and that of a random group of its size. Of atoms of texts
        a group is called by its words where they hold on other texts, or by the label that most have.
        """
        n = len(self.ids(show))
        x, groups = self.vectors(show)[:n], dense_groups(xy[:n], self.seed)
        names = self._cluster_names(show, groups)
        shuffled = np.full(n, -1)
        shuffled[np.random.default_rng(self.seed).permutation(n)] = groups
        cosines = zip(mean_cosines(x, groups), mean_cosines(x, shuffled), strict=True)
        found: list[Cluster] = []
        for i, (cosine, floor) in enumerate(cosines):
            points = np.flatnonzero(groups == i)
            held = None
            if show == "atoms" and self.catalogue is not None:
                held = held_words(self.catalogue, points)
            called = Counter(filter(None, (self.labels.get(int(atom)) for atom in points)))
            if held is not None and not 2 * called[names[i]] > called.total():
                told = [joined(held.words[:n]) for n in (2, 3, 4)] if held.hold else []
                names[i] = f"group {i + 1}"
                names[i] = next((words for words in told if words not in names), names[i])
            found.append(
                Cluster(
                    name=names[i],
                    points=points,
                    cosine=float(cosine),
                    floor=float(floor),
                    held=held,
                )
            )
        return tuple(found)

    def alikeness(self, show: Show, points: Int[np.ndarray, " m"]) -> tuple[float, float]:
        """Return the mean cosine between two of some points, and that of as many at random."""
        x = self.vectors(show)[: len(self.ids(show))]
        drawn = np.random.default_rng(self.seed).choice(len(x), len(points), replace=False)
        groups = np.repeat([0, 1], len(points))
        cosine, floor = mean_cosines(x[torch.from_numpy(np.concatenate([points, drawn]))], groups)
        return float(cosine), float(floor)

    def _cluster_names(self, show: Show, groups: Int[np.ndarray, " n"]) -> list[str]:
        if show == "atoms":
            return names_of_atoms(groups, self.labels, self.catalogue)
        columns = self.columns(show)
        column = columns.get("label") or columns.get("token") or columns.get("place")
        texts = None if column is None else [column.text(i) for i in range(len(groups))]
        return names_of_points(groups, texts)

    def summary(
        self, show: Show, xy: Float[np.ndarray, "n 2"], layout: str, *, clusters: bool = True
    ) -> ConceptMapSummary:
        """Return the record of one view with these coordinates, the second dictionary's last.

        `layout`: what the coordinates are called; `clusters`: whether dense groups are looked for.
        """
        rows, distances = self.neighbours(show)
        record = replace(
            self.bare(show, xy, layout),
            columns=self.columns(show),
            neighbours=rows,
            distances=distances,
            match=self.match if show == "atoms" else None,
            key=self._once((show, "key"), lambda: layout_key(self.vectors(show), self.settings())),
        )
        record = with_archetypes(record, self.sae)
        return self.with_clusters(record) if clusters else record

    def _provenance(self, show: Show, layout: str) -> dict[str, str]:
        facts = {"SAE": type(self.sae).__name__, "atoms": str(self.n_atoms)}
        if self.catalogue is not None:
            acts = self.catalogue.acts
            facts |= {"model": acts.model_name or "", "hook point": acts.hook_point or ""}
            facts |= {"site": self.site} if self.site else {}
            facts["rows"] = str(len(acts))
        if self.examples is not None:
            facts["examples"] = self.examples.name
            if show == "tokens":
                facts["vectors"] = "the SAE's own reconstructions"
        facts |= {"show": show, "layout": layout, "seed": str(self.seed)}
        return {name: text for name, text in facts.items() if text}

    def bare(self, show: Show, xy: Float[np.ndarray, "n 2"], layout: str) -> ConceptMapSummary:
        """Return a record with places only: what can be drawn before anything is measured."""
        n = len(self.ids(show))
        return ConceptMapSummary(
            show=show,
            ids=self.ids(show),
            xy=xy[:n],
            other_xy=xy[n:] if show == "atoms" and self.n_others else None,
            layout=layout,
            columns={},
            neighbours=np.zeros((n, 0), np.int64),
            distances=np.zeros((n, 0), np.float32),
            clusters=(),
            match=None,
            provenance=self._provenance(show, layout),
            key="",
        )

    def with_clusters(self, record: ConceptMapSummary) -> ConceptMapSummary:
        """Return the record with dense groups found and named."""
        clusters = self.clusters(record.show, record.xy)
        if not clusters:
            return replace(record, clusters=())
        values = np.full(len(record.ids), -1)
        for i, cluster in enumerate(clusters):
            values[cluster.points] = i
        names = tuple(cluster.name for cluster in clusters)
        meaning = "dense group on this map" + how_grouped(len(record.ids))
        column = Column("cluster", meaning, values, names)
        return replace(record, clusters=clusters, columns={**record.columns, "cluster": column})

    # --- single atoms -----------------------------------------------------------------------------

    def search(self, query: str) -> Int[np.ndarray, " m"]:
        """Return atoms that answer to a number, a label or (with activations) a token."""
        if self.catalogue is not None:
            self.catalogue.labels = self.labels
            return self.catalogue.search(query)
        n, labels = self.n_atoms, self.labels
        return np.array(list(dict.fromkeys(numbered(query, n) + named(query, labels, n))), np.int64)

    def select(self, atoms: Sequence[int]) -> SelectionSummary:
        """Return a table of some atoms, what they have in common, and inputs that fire them."""
        columns = {
            name: column.values
            for name, column in self.columns("atoms").items()
            if not column.is_category and name != "distance"
        }
        return summarise_selection(self.catalogue, atoms, labels=self.labels, columns=columns)

    def select_points(self, show: Show, ids: Sequence[int]) -> SelectionSummary:
        """Return what some "samples" or "tokens" share: atoms that fire there more than elsewhere."""
        catalogue = self.catalogue
        if catalogue is None:
            raise ValueError("Samples and tokens need activations: pass `acts`.")
        rows = np.asarray(ids, np.int64)
        if show == "samples":
            rows = np.flatnonzero(np.isin(catalogue.samples, rows))
        return summarise_rows(catalogue, rows, labels=self.labels)

    def point_names(self, show: Show) -> list[str]:
        """Return what each point is called: "atom 17 digit 2", "image 3", "text 1, position 4"."""
        ids, catalogue = self.ids(show), self.catalogue
        if show == "atoms" or catalogue is None:
            named = self.labels
            return [f"atom {i} {named.get(i, '')}".rstrip() for i in ids.tolist()]
        context = catalogue.acts.context
        if show == "samples":
            return [f"{context.sample_word} {i}" for i in ids.tolist()]
        tokens = catalogue.acts.tokens
        places = [f"{context.sample_word} {s}" for s in catalogue.samples[ids].tolist()]
        if tokens is None:
            return places
        quote = "“{}”" if context.modality.is_text else "{}"
        return [f"{a}, {quote.format(tokens[i])}" for a, i in zip(places, ids.tolist())]

    def edges(self, show: Show, points: Sequence[int], kind: str) -> Int[np.ndarray, "m 2"]:
        """Return pairs of points joined to some points, each pair once.

        `kind`: "nearest" (the five nearest by cosine) or "co-active" (the three of largest lift).
        """
        pairs: dict[tuple[int, int], None] = {}
        for point in points:
            for end in self._ends(show, int(point), kind):
                pairs[min(point, end), max(point, end)] = None
        return np.array(list(pairs), np.int64).reshape(-1, 2)

    def _ends(self, show: Show, point: int, kind: str) -> list[int]:
        if kind == "nearest":
            return [int(i) for i in self.nearest(show, point)[0][:MOST_EDGES_PER_POINT]]
        if kind != "co-active":
            return []
        if show != "atoms" or self.catalogue is None:
            raise ValueError("Co-active edges join atoms, and need activations: pass `acts`.")
        return [int(i) for i in self.catalogue.coactive(point, MOST_COACTIVE)[0]]

    def _apart(self, key: tuple[str, ...], compute: Callable[[], Made]) -> Made:
        """As `_once`, for work of minutes: meanwhile everything else is answered."""
        with self._lock:
            if key in self._computed:
                return self._computed[key]
        made = compute()
        with self._lock:
            return self._computed.setdefault(key, made)

    def _once(self, key: tuple[str, ...], compute: Callable[[], Made]) -> Made:
        with self._lock:
            if key not in self._computed:
                self._computed[key] = compute()
            return self._computed[key]

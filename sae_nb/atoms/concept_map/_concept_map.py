"""The concept map as a record: where every atom (or sample, or token) lies, its columns, its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms.concept_map._held_words import HeldWords
from sae_nb.figures.theme import THIN_SPACE, format_number
from sae_nb.findings import Finding
from sae_nb.geometry._matching import match_atoms, matched_exactly
from sae_nb.geometry._matching_many import MATCHED_WHOLE, match_near

if TYPE_CHECKING:
    import pandas as pd


Show = Literal["atoms", "samples", "tokens"]
SAME_ATOM = 0.7
"""Cosine above which two matched atoms count as the same; as in `Stability.shared_fraction`."""


@dataclass(frozen=True, eq=False)
class Column:
    """One thing known of every point: a number, or which of some categories it is in."""

    name: str
    meaning: str
    """The same in a sentence, with its unit."""

    values: Float[np.ndarray, " n"] | Int[np.ndarray, " n"]
    """Numbers, NaN for unknown; or indices into `names`, −1 for none."""

    names: tuple[str, ...] | None = None
    """Categories, the largest first; None where the values are numbers."""

    # How it is drawn is no fact of the record: tables of it leave that out.
    log: bool = field(default=False, repr=False)
    """Whether the numbers spread over powers of ten."""

    share: bool = field(default=False, repr=False)
    """Whether the numbers are shares, which are written in percent."""

    @property
    def is_category(self) -> bool:
        """Whether the values are categories."""
        return self.names is not None

    def text(self, point: int) -> str:
        """Return one value in words; empty where it is unknown."""
        value = self.values[point]
        if self.names is not None:
            return self.names[int(value)] if value >= 0 else ""
        return self.written(float(value)) if np.isfinite(value) else ""

    def written(self, number: float, digits: int = 3) -> str:
        """Return a number of this column as it is displayed: shares in percent."""
        if self.share:
            return f"{format_number(100 * number, digits=digits)}{THIN_SPACE}%"
        return format_number(number, digits=digits)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cluster:
    """Points that lie densely together on the map."""

    name: str
    """Its most lifted labels, tokens or places; "group 3" if nothing is distinctive. No other
    cluster of the map has it.
    """

    points: Int[np.ndarray, " m"]
    cosine: float
    """Mean cosine between the vectors of two of its points: how alike they are off the map."""

    floor: float
    """The same for the same number of points drawn at random."""

    held: HeldWords | None = None
    """Of atoms whose rows are words of texts: words of theirs, tried on other texts. Where they do not hold
    the group has no name of its own."""

    @property
    def is_named(self) -> bool:
        """Whether something distinctive names it."""
        return not self.name.startswith(("group ", "no name yet"))


@dataclass(frozen=True, kw_only=True, eq=False)
class ConceptMatch:
    """The atoms of two dictionaries, each with its partner in the other."""

    atoms: Int[np.ndarray, " matched"]
    """Atoms of the first dictionary."""

    others: Int[np.ndarray, " matched"]
    """Their partners in the second; no atom has two."""

    cosines: Float[np.ndarray, " matched"]
    """Cosine of each pair."""

    n_atoms: int
    """Atoms of the first dictionary in all."""

    n_others: int
    """Atoms of the second."""

    floor: float
    """Mean cosine of matched random directions, in dictionaries of the same sizes."""

    exact: bool
    """Whether the matching is optimal (Hungarian) or by an auction with a known error, above 4096 atoms."""

    found: float = 1.0
    """Share of atoms whose best partner was compared; below 1 only above 20 000 atoms. There partners are
    looked for in lists of alike atoms, an atom that none is worth having has no partner, and `floor` is the
    mean cosine of random directions with the best of all, an upper bound."""

    @property
    def same(self) -> Bool[np.ndarray, " matched"]:
        """Pairs that are close enough to be one atom found twice."""
        return np.asarray(self.cosines > SAME_ATOM)

    @property
    def cosine_of_atom(self) -> Float[np.ndarray, " n_atoms"]:
        """Cosine of every atom's partner; NaN where it has none."""
        cosines = np.full(self.n_atoms, np.nan)
        cosines[self.atoms] = self.cosines
        return cosines

    @property
    def unmatched(self) -> Int[np.ndarray, " m"]:
        """Atoms of the first dictionary without a partner above the threshold."""
        return np.setdiff1d(np.arange(self.n_atoms), self.atoms[self.same])

    @property
    def unmatched_others(self) -> Int[np.ndarray, " m"]:
        """Atoms of the second dictionary without one."""
        return np.setdiff1d(np.arange(self.n_others), self.others[self.same])


@dataclass(frozen=True, kw_only=True, eq=False)
class ArchetypePlaces:
    """Atoms on a polygon of archetypes: the layout of an archetypal dictionary.

    An atom is a mixture of data points, a_j = Σ_i W_ji c_i with W_ji ≥ 0 and Σ_i W_ji = 1. The K points
    that carry most weight become the corners v_1 … v_K of a regular polygon, and the atom lies at
    Σ_i W_ji v_i / Σ_i W_ji over those K: for K = 3 the ternary plot of the subcomposition.
    """

    xy: Float[np.ndarray, "n_atoms 2"]
    """Position of each atom; the centre if it has no weight on any corner."""

    corners: Float[np.ndarray, "n_corners 2"]
    """Corners of a regular polygon with radius 1, the first on top."""

    archetypes: Int[np.ndarray, " n_corners"]
    """Candidate at each corner, that of most weight first."""

    held: Float[np.ndarray, " n_atoms"]
    """Share of each atom's weight that lies on the corners, in [0, 1]."""


class ConceptMapSummary(Finding):
    """A map of concepts: one point per atom (or sample, or token)."""

    SHOWN: ClassVar[tuple[Show, ...]] = ("atoms", "samples", "tokens")
    """What the points can be."""

    show: Show
    """Kind of the points."""

    ids: Int[np.ndarray, " n"]
    """Atom, sample or row of activations of each point."""

    xy: Float[np.ndarray, "n 2"]
    """Position of each point."""

    other_xy: Float[np.ndarray, "m 2"] | None
    layout: str
    """Origin of the coordinates: "umap", "pca", "saved", "archetypes"."""

    columns: Mapping[str, Column]
    """Columns that points can be coloured by."""

    neighbours: Int[np.ndarray, "n k"]
    """Points nearest to each by cosine, itself left out; by their place in the record. None above 30 000
    points: `ConceptAtlas.nearest` finds those of one, `ConceptAtlas.measured` how far those of all are."""

    distances: Float[np.ndarray, "n k"]
    """Their distances 1 − cos."""

    clusters: tuple[Cluster, ...]
    """Dense groups, the largest first."""

    match: ConceptMatch | None
    """Partners in the second dictionary; None without one."""

    provenance: Mapping[str, str]
    """SAE, hook point, rows, seed: where this map comes from."""

    key: str
    """Digest of the vectors and settings behind the coordinates: the name of the cache entry."""

    archetypes: ArchetypePlaces | None = None
    """The polygon that atoms are placed on, where they are laid out by archetypes."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per point: its id, its coordinates, every column in words or numbers."""
        import pandas as pd

        name = self.show.removesuffix("s")
        table: dict[str, Any] = {name: self.ids, "x": self.xy[:, 0], "y": self.xy[:, 1]}
        for name, column in self.columns.items():
            words = [column.text(i) for i in range(len(self.ids))] if column.is_category else None
            table[name] = column.values if words is None else words
        return pd.DataFrame(table)

    @property
    def headline(self) -> str:
        """Points, layout, clusters, columns; partners in the other dictionary."""
        facts = [f"{len(self.ids)} {self.show}", f"layout {self.layout}"]
        facts += [f"{len(self.clusters)} clusters", f"columns {', '.join(self.columns)}"]
        if self.match is not None:
            facts.append(f"{int(self.match.same.sum())} matched in the other dictionary")
        return "; ".join(facts)


# -------------------------------------------------------------------------------------------------
# Samples and tokens as points of a map: which are drawn, and the vectors that represent them.


MOST_POINTS = 4000
N_DIRECTIONS = 64


def spread(ids: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " m"]:
    """Return the rows or samples to show: all, or 4000 drawn by seed."""
    if len(ids) <= MOST_POINTS:
        return ids.astype(np.int64)
    chosen = np.random.default_rng(seed).choice(len(ids), MOST_POINTS, replace=False)
    return ids[np.sort(chosen)].astype(np.int64)


def mean_codes(
    catalogue: AtomCatalogue, samples: Int[np.ndarray, " m"]
) -> Float[Tensor, "m directions"]:
    """Return the mean code of each sample, in its 64 leading directions.

    Z̄ = U S Vᵀ, truncated: cosines between rows of U S are those between mean codes, up to what the
    truncation loses; the (samples, n_atoms) matrix stays sparse.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds

    rows = np.flatnonzero(np.isin(catalogue.samples, samples))
    place = np.searchsorted(samples, catalogue.samples[rows])
    share = 1 / np.bincount(place, minlength=len(samples))[place]
    averaging = csr_matrix((share, (place, rows)), shape=(len(samples), len(catalogue.acts)))
    mean = (averaging @ catalogue.codes.to_scipy().astype(np.float64)).tocsr()
    n_directions = min(N_DIRECTIONS, min(mean.shape) - 1)
    if n_directions < 2 or min(mean.shape) <= N_DIRECTIONS:
        return torch.from_numpy(mean.toarray()).float()
    # A fixed start, so that the same codes give the same map.
    u, s, _ = svds(mean, k=n_directions, v0=np.ones(min(mean.shape)))
    return torch.from_numpy(np.ascontiguousarray(u[:, ::-1] * s[::-1])).float()


# -------------------------------------------------------------------------------------------------
# Two dictionaries side by side: which atom of one is which atom of the other, and what random ones give.


def match_dictionaries(
    dictionary: Float[Tensor, "n_atoms d_in"],
    other: Float[Tensor, "n_others d_in"],
    *,
    seed: int = 0,
) -> ConceptMatch:
    """Match every atom of the smaller dictionary with one of the other, the sum of cosines largest.

    Above 20 000 atoms an atom may have none; see `ConceptMatch.found`.
    """
    if other.ndim != 2 or other.shape[1] != dictionary.shape[1]:
        raise ValueError(
            f"`other` must have width d_in={dictionary.shape[1]} to be compared, got shape "
            f"{tuple(other.shape)}. Compare SAEs of one hook point."
        )
    if max(len(dictionary), len(other)) > MATCHED_WHOLE:
        near = match_near(dictionary, other, seed=seed)
        return ConceptMatch(
            atoms=near.atoms,
            others=near.others,
            cosines=near.cosines,
            n_atoms=len(dictionary),
            n_others=len(other),
            floor=near.floor,
            exact=False,
            found=near.found,
        )
    atoms, others, cosines = match_atoms(dictionary, other)
    matched = others >= 0  # the auction may leave atoms without a partner
    generator = torch.Generator().manual_seed(seed)
    random = [torch.randn(d.shape, generator=generator) for d in (dictionary, other)]
    return ConceptMatch(
        atoms=atoms[matched],
        others=others[matched],
        cosines=cosines[matched],
        n_atoms=len(dictionary),
        n_others=len(other),
        floor=float(match_atoms(random[0], random[1])[2].mean()),
        exact=matched_exactly(dictionary, other),
    )


# -------------------------------------------------------------------------------------------------
# Where atoms lie among the archetypes they are mixed from.


LAYOUT = "archetypes"
N_CORNERS = 3
HELD = "corner weight"
FAINT = 1e-6


def has_archetypes(sae: object) -> bool:
    """Return whether the atoms are known as mixtures of at least three points."""
    mixture = getattr(sae, "mixture", None)
    return isinstance(mixture, Tensor) and mixture.dim() == 2 and mixture.shape[1] >= 3


def archetype_places(sae: object) -> ArchetypePlaces:
    """Place every atom by its weights on the three archetypes that carry most weight.

    An atom may have most of its weight elsewhere: `held` is the share that the corners have of it.
    """
    mixture = getattr(sae, "mixture", None)
    if not has_archetypes(sae) or not isinstance(mixture, Tensor):
        raise ValueError(
            "The layout 'archetypes' needs an SAE whose atoms are mixtures of at least three points, got "
            f"{type(sae).__name__}. Train an `Archetypal`, or choose 'umap' or 'pca'."
        )
    weights = mixture.detach().cpu().double().numpy()
    chosen = np.argsort(-weights.sum(axis=0), kind="stable")[:N_CORNERS]
    angle = np.pi / 2 - 2 * np.pi * np.arange(N_CORNERS) / N_CORNERS
    corners = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    on_corners = weights[:, chosen]
    held = on_corners.sum(axis=1)
    xy = on_corners @ corners / np.where(held > FAINT, held, np.inf)[:, None]
    return ArchetypePlaces(
        xy=xy.astype(np.float32),
        corners=corners.astype(np.float32),
        archetypes=chosen.astype(np.int64),
        held=held.astype(np.float32),
    )


def with_archetypes(record: ConceptMapSummary, sae: object) -> ConceptMapSummary:
    """Return the record with its polygon and the share of weight it holds, if it is laid out so."""
    if record.layout != LAYOUT:
        return record
    places = archetype_places(sae)
    column = Column(HELD, "share of the atom's weight on the corners", places.held)
    return replace(record, archetypes=places, columns={**record.columns, HELD: column})

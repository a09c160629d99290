"""Data of the points of a concept map, and of some that are chosen: columns and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._examples import in_picture, in_text
from sae_nb.atoms._words import row_words
from sae_nb.atoms.concept_map._concept_map import Column
from sae_nb.atoms.concept_map._held_words import HeldWords, held_words
from sae_nb.atoms.concept_map._names import (
    joined,
    shared_words,
    words_of_content,
    words_of_labels,
    words_of_rows,
)
from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd


# -------------------------------------------------------------------------------------------------
# What the points of a concept map can be coloured by: frequency, strength, energy, label, place …


RESERVED = frozenset({"cluster", "atom"})


def category(name: str, meaning: str, words: Sequence[str]) -> Column:
    """Return a column of categories from one word per point; an empty word is none."""
    counts = Counter(word for word in words if word)
    names = tuple(sorted(counts, key=lambda word: (-counts[word], word)))
    index = {word: i for i, word in enumerate(names)}
    values = np.array([index.get(word, -1) for word in words], np.int64)
    return Column(name, meaning, values, names)


def given_columns(columns: Mapping[str, Any], n_atoms: int) -> dict[str, Column]:
    """Return columns that a user gave, checked."""
    checked: dict[str, Column] = {}
    for name, values in columns.items():
        if name in RESERVED:
            raise ValueError(
                f"A column must not be called {name!r}, which the map computes itself."
            )
        array = np.asarray(values)
        if array.shape != (n_atoms,):
            raise ValueError(
                f"Column {name!r} must have one entry per atom, shape ({n_atoms},), got "
                f"{array.shape}."
            )
        if array.dtype.kind in "OUS":
            words = ["" if value is None else str(value) for value in array.tolist()]
            checked[name] = category(name, name, words)
        elif array.dtype.kind in "fiub":
            checked[name] = Column(name, name, array.astype(np.float64))
        else:
            raise ValueError(f"Column {name!r} must hold numbers or words, got {array.dtype}.")
    return checked


def atom_columns(catalogue: AtomCatalogue) -> dict[str, Column]:
    """Return what codes say about every atom; its frequency is the one all panels show."""
    lengths = catalogue.dictionary.double().norm(dim=1).numpy()
    squares = catalogue.values.astype(np.float64) ** 2
    energy = np.bincount(catalogue.atoms, weights=squares, minlength=catalogue.n_atoms)
    energy = energy * (lengths**2 / catalogue.n_rows)  # counts are whole where no atom fired
    share = f"share of {catalogue.rows_in_words} at which the atom fires"
    columns = (
        ("frequency", share, catalogue.frequency),
        ("strength", "mean strength where the atom fires", catalogue.mean_strength),
        ("energy", "mean of (strength × length of the atom)² over all rows: its part of x̂", energy),
    )
    # Over powers of ten; zero is unknown there.
    return {
        name: Column(
            name, meaning, np.where(values > 0, values, np.nan), log=True, share=name == "frequency"
        )
        for name, meaning, values in columns
    }


def row_columns(
    catalogue: AtomCatalogue, rows: Int[np.ndarray, " m"], labels: Mapping[int, str]
) -> dict[str, Column]:
    """Return what is known of single rows: their token or place, energy, L0, strongest label."""
    words = row_words(catalogue)
    offsets = catalogue.codes.offsets.numpy()
    strength = _sums(np.abs(catalogue.values), offsets)[rows]
    l0 = (offsets[1:] - offsets[:-1])[rows].astype(np.float64)
    columns = _label_column(catalogue, rows, np.arange(len(rows)), len(rows), labels, "row")
    if words is not None:
        name = "token" if catalogue.acts.context.modality.is_text else "place"
        texts = [words[1][i] for i in words[0][rows]]
        columns[name] = category(name, f"{name} the activation was read at", texts)
        position = catalogue.positions[rows].astype(np.float64)
        columns["position"] = Column("position", "position in its sample", position)
    columns["strength"] = Column("strength", "sum of the strengths of a row", strength)
    columns["L0"] = Column("L0", "atoms that fire in the row", l0)
    return columns


def sample_columns(
    catalogue: AtomCatalogue, samples: Int[np.ndarray, " m"], labels: Mapping[int, str]
) -> dict[str, Column]:
    """Return what is known of whole samples: mean strength and L0 of their rows, strongest label."""
    offsets = catalogue.codes.offsets.numpy()
    rows = np.flatnonzero(np.isin(catalogue.samples, samples))
    place = np.searchsorted(samples, catalogue.samples[rows])
    count = np.maximum(np.bincount(place, minlength=len(samples)), 1)
    total = _sums(np.abs(catalogue.values), offsets)[rows]
    strength = np.bincount(place, weights=total, minlength=len(samples)) / count
    l0 = np.bincount(place, weights=np.diff(offsets)[rows], minlength=len(samples)) / count
    columns = _label_column(catalogue, rows, place, len(samples), labels, "sample")
    columns["strength"] = Column(
        "strength", "sum of the strengths of a row, mean over its rows", strength
    )
    columns["L0"] = Column("L0", "mean atoms per row", l0)
    return columns


def atom_in_rows(
    catalogue: AtomCatalogue, atom: int, rows: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Return how strongly one atom fires in some rows."""
    fired, strength = catalogue.strengths(atom)
    everywhere = np.zeros(len(catalogue.acts))
    everywhere[fired] = strength
    return everywhere[rows]


def atom_in_samples(
    catalogue: AtomCatalogue, atom: int, samples: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Return how strongly one atom fires at most in each of some samples."""
    fired, strength = catalogue.strengths(atom)
    sample = catalogue.samples[fired]
    known = np.isin(sample, samples)
    most = np.zeros(len(samples))
    np.maximum.at(most, np.searchsorted(samples, sample[known]), np.abs(strength[known]))
    return most


def _sums(
    values: Float[np.ndarray, " nnz"], offsets: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " rows"]:
    ends = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    return ends[offsets[1:]] - ends[offsets[:-1]]


def _label_column(
    catalogue: AtomCatalogue,
    rows: Int[np.ndarray, " m"],
    place: Int[np.ndarray, " m"],
    n: int,
    labels: Mapping[int, str],
    what: str,
) -> dict[str, Column]:
    """Label of the labelled atom that fires strongest, measured in its own 99th percentiles."""
    known = [atom for atom, label in labels.items() if label and 0 <= atom < catalogue.n_atoms]
    if not known:
        return {}
    best, winner = np.zeros(n), np.full(n, -1)
    for atom in sorted(known):
        size = np.abs(atom_in_rows(catalogue, atom, rows)) / max(float(catalogue.p99[atom]), 1e-12)
        here = np.zeros(n)
        np.maximum.at(here, place, size)
        stronger = here > best
        best[stronger], winner[stronger] = here[stronger], atom
    words = ["" if atom < 0 else labels[atom] for atom in winner.tolist()]
    return {
        "label": category("label", f"label of the strongest labelled atom of the {what}", words)
    }


# -------------------------------------------------------------------------------------------------
# Some atoms chosen on the map: a table of them, what they share, and the inputs that fire them all.


MOST_SHARED, MOST_WORDS = 6, 6
MOST_LIFTED = 12
MOST_ONE_BY_ONE = 2000
"""Atoms whose rows are looked up one atom after the other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedInput:
    """One input on which the chosen atoms fire together."""

    row: int
    """Row of the activations in which most of them fire."""

    sample: int
    n_atoms: int
    """Number of the chosen atoms that fire in that row."""

    strength: float
    """Of one atom |z|; of several Σ|z| / p99 over them: 1 is one atom at its 99th percentile."""

    place: str
    position: int = 0
    """Position of the row in its sample."""

    picture: UInt8[np.ndarray, "3 height width"] | None = None
    """The image as displayed."""

    heat: Float[np.ndarray, "rows columns"] | None = None
    """The same strength at every patch; NaN where nothing was captured."""

    tokens: tuple[str, ...] = ()
    """Texts of the tokens around the row."""

    special: tuple[bool, ...] = ()
    """Mask of the tokens that are not text."""

    token_strengths: Float[np.ndarray, " window"] | None = None
    """The same strength at each of them."""

    numbers: tuple[int, ...] = ()
    """Number of each in a sequence that is written letter by letter, 0 at other tokens."""

    first_position: int = 0
    """Position in the sample of the first of those tokens."""

    clipped: tuple[bool, bool] = (False, False)
    """Whether text was left out before and after."""


class SelectionSummary(Finding):
    """Some atoms and what they share."""

    HEADLINE = "{atoms.len} atoms, {n_rows} rows with at least half of them; {name}"

    atoms: Int[np.ndarray, " m"]
    """The atoms, the most frequent first."""

    labels: tuple[str, ...]
    """Label of each; empty where it has none."""

    columns: Mapping[str, Float[np.ndarray, " m"]]
    """Numbers known of each: frequency, strength, stability …"""

    name: str
    """Their common feature: distinctive labels, tokens or places; empty if there is none."""

    n_rows: int
    """Rows in which at least half of them fire; all, for one."""

    shared: tuple[SharedInput, ...]
    """Inputs on which most of them fire, one per sample."""

    words: tuple[tuple[str, float], ...] = ()
    """Of texts words that they share, each with how many times the share of all atoms' strength falls on it."""

    held: HeldWords | None = None
    """Of texts words chosen on half of them, and their part in the other half; None for one atom."""

    n_together: int = 0
    """Rows in which at least two of them fire."""

    together_by_chance: float = 0.0
    """Share of rows in which two would, if each fired as often as it does, whatever the others do."""

    most_together: int = 0
    """Most of them that fire in one row."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per atom."""
        import pandas as pd

        return pd.DataFrame({"atom": self.atoms, "label": self.labels, **self.columns})


def summarise_selection(
    catalogue: AtomCatalogue | None,
    atoms: Sequence[int],
    *,
    labels: Mapping[int, str],
    columns: Mapping[str, Float[np.ndarray, " n_atoms"]],
) -> SelectionSummary:
    """Return a table of some atoms and the inputs on which they fire together."""
    chosen = np.unique(np.asarray(atoms, np.int64))
    for values in list(columns.values())[:1]:
        chosen = chosen[np.argsort(-np.nan_to_num(values[chosen]), kind="stable")]
    n_rows, shared, together = 0, tuple[SharedInput, ...](), dict[str, Any]()
    if catalogue is not None and len(chosen):
        count, strength = joint_strength(catalogue, chosen)
        n_rows = int((count >= max(1, -(-len(chosen) // 2))).sum())
        shared = _shared_inputs(catalogue, count, strength)
        together = _together(catalogue, chosen, count) if len(chosen) > 1 else {}
    return SelectionSummary(
        atoms=chosen,
        labels=tuple(labels.get(int(atom), "") for atom in chosen),
        columns={name: values[chosen] for name, values in columns.items()},
        name=joined(_words(catalogue, chosen, labels)),
        n_rows=n_rows,
        shared=shared,
        **together,
    )


def _together(
    catalogue: AtomCatalogue, chosen: Int[np.ndarray, " m"], count: Int[np.ndarray, " n"]
) -> dict[str, Any]:
    """What several atoms share: words, and in how many rows they fire together, beside chance."""
    groups = np.full(catalogue.n_atoms, -1)
    groups[chosen] = 0
    ((words, _),) = shared_words(groups, catalogue, MOST_WORDS)
    often = np.minimum(np.nan_to_num(catalogue.frequency[chosen]), 1 - 1e-12)
    none = float(np.prod(1 - often))
    one = none * float((often / (1 - often)).sum())
    return {
        "words": tuple(words),
        "held": held_words(catalogue, chosen),
        "n_together": int((count >= 2).sum()),
        "together_by_chance": max(1 - none - one, 0.0),
        "most_together": int(count.max(initial=0)),
    }


def joint_strength(
    catalogue: AtomCatalogue, atoms: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return, for every row, how many of the atoms fire and how strongly.

    Of one atom |z|, as everywhere; of several Σ|z| / p99, since their strengths have no unit in common.
    """
    n, p99 = len(catalogue.acts), catalogue.p99
    if len(atoms) > MOST_ONE_BY_ONE:
        return _joint_of_many(catalogue, atoms)
    count, strength = np.zeros(n, np.int64), np.zeros(n)
    for atom in atoms.tolist():
        rows, values = catalogue.strengths(atom)  # a row occurs once
        count[rows] += 1
        unit = 1.0 if len(atoms) == 1 else max(float(p99[atom]), 1e-12)
        strength[rows] += np.abs(values) / unit
    return count, strength


def _joint_of_many(
    catalogue: AtomCatalogue, atoms: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The same by one pass over all entries."""
    n = len(catalogue.acts)
    unit = np.zeros(catalogue.n_atoms)
    unit[atoms] = 1 / np.maximum(catalogue.p99[atoms], 1e-12)
    offsets = catalogue.codes.offsets.numpy()
    rows = np.repeat(np.arange(n), np.diff(offsets))
    mine = np.flatnonzero((unit[catalogue.atoms] > 0) & (catalogue.values != 0))
    strength = np.abs(catalogue.values[mine]) * unit[catalogue.atoms[mine]]
    count = np.bincount(rows[mine], minlength=n)
    return count, np.bincount(rows[mine], weights=strength, minlength=n)


def _shared_inputs(
    catalogue: AtomCatalogue,
    count: Int[np.ndarray, " n"],
    strength: Float[np.ndarray, " n"],
) -> tuple[SharedInput, ...]:
    """The inputs with the rows in which most atoms fire, one row per sample."""
    fired = np.flatnonzero(count)
    # Summed strength is in units of one atom, so a second atom outweighs a stronger first.
    order = fired[
        np.argsort(-(count[fired] + np.minimum(strength[fired], 1e3) / 1e4), kind="stable")
    ]
    _, first = np.unique(catalogue.samples[order], return_index=True)
    rows = order[np.sort(first)][:MOST_SHARED]
    return tuple(_shared(catalogue, row, count, strength) for row in rows.tolist())


def _words(
    catalogue: AtomCatalogue | None, atoms: Int[np.ndarray, " m"], labels: Mapping[int, str]
) -> tuple[str, ...]:
    if not len(atoms):
        return ()
    if len(atoms) == 1 and labels.get(int(atoms[0])):
        return (labels[int(atoms[0])],)
    n_atoms = 0 if catalogue is None else catalogue.n_atoms
    groups = np.full(max(n_atoms, int(atoms.max()) + 1), -1)
    groups[atoms] = 0
    (by_label,) = words_of_labels(groups, labels)
    if by_label or catalogue is None:
        return by_label
    (content,), (typical,) = words_of_content(groups, catalogue), words_of_rows(groups, catalogue)
    return content or typical


def _shared(
    catalogue: AtomCatalogue,
    row: int,
    count: Int[np.ndarray, " n"],
    strength: Float[np.ndarray, " n"],
) -> SharedInput:
    context, sample = catalogue.acts.context, int(catalogue.samples[row])
    rows = catalogue.rows_of_sample(sample)
    known = catalogue.positions[rows]
    around: dict[str, Any] = {}
    if context.modality.is_text and context.token_ids is not None:
        z = np.full(len(context.token_ids.sample(sample)), np.nan)
        z[known] = strength[rows]
        around = in_text(context, sample, int(catalogue.positions[row]), z)
    elif context.pictures is not None or context.patch_grid is not None:
        around = in_picture(context, sample, known, strength[rows])
    return SharedInput(
        row=row,
        sample=sample,
        n_atoms=int(count[row]),
        strength=float(strength[row]),
        place=catalogue.acts.where(row).split(":")[0],
        position=int(catalogue.positions[row]),
        **around,
    )


def summarise_rows(
    catalogue: AtomCatalogue, rows: Int[np.ndarray, " m"], *, labels: Mapping[int, str]
) -> SelectionSummary:
    """Return the atoms that fire in some rows more than elsewhere, and inputs among those rows.

    Atoms are ordered by P(atom | rows) log(P(atom | rows) / P(atom)); the table holds both parts.
    """
    rows = np.unique(np.asarray(rows, np.int64))
    entries = catalogue.entries_of(rows)
    fired = catalogue.atoms[entries[catalogue.values[entries] != 0]]
    share = np.bincount(fired, minlength=catalogue.n_atoms) / max(len(rows), 1)
    lift = share / np.maximum(catalogue.frequency, 1e-12)
    score = share * np.log(np.maximum(lift, 1e-12))
    best = np.argsort(-score, kind="stable")[:MOST_LIFTED]
    best = best[score[best] > 0]
    count, strength = joint_strength(catalogue, best)
    inside = np.zeros_like(count)
    inside[rows] = count[rows]
    return SelectionSummary(
        atoms=best,
        labels=tuple(labels.get(int(atom), "") for atom in best),
        columns={"lift": lift[best], "share": share[best]},
        name="",
        n_rows=len(rows),
        shared=_shared_inputs(catalogue, inside, strength),
    )

"""What the points of a concept map can be coloured by: frequency, strength, energy, label, place …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sae_nb.summaries.catalogue import AtomCatalogue
from sae_nb.summaries.concept_map import Column
from sae_nb.summaries.concept_map_names import row_words

RESERVED = frozenset({"cluster", "atom"})


def category(name: str, meaning: str, words: Sequence[str]) -> Column:
    """Return a column of categories from one word per point; an empty word is none.

    Parameters
    ----------
    name, meaning
        As in `Column`.
    words
        One per point.

    Example
    -------
    >>> column = category("kind", "made up", ["b", "a", "b", ""])
    >>> column.names, column.values.tolist()
    (('b', 'a'), [0, 1, 0, -1])
    """
    counts: dict[str, int] = {}
    for word in words:
        if word:
            counts[word] = counts.get(word, 0) + 1
    names = tuple(sorted(counts, key=lambda word: (-counts[word], word)))
    index = {word: i for i, word in enumerate(names)}
    values = np.array([index.get(word, -1) for word in words], np.int64)
    return Column(name=name, meaning=meaning, values=values, names=names)


def given_columns(columns: Mapping[str, Any], n_atoms: int) -> dict[str, Column]:
    """Return columns that a user gave, checked.

    Parameters
    ----------
    columns
        Name to one number or one word per atom.
    n_atoms
        How many there must be.

    Raises
    ------
    ValueError
        If a column has another length, is empty of numbers, or takes a reserved name.
    """
    found: dict[str, Column] = {}
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
            found[name] = category(name, name, words)
        elif array.dtype.kind in "fiub":
            found[name] = Column(name=name, meaning=name, values=array.astype(np.float64))
        else:
            raise ValueError(f"Column {name!r} must hold numbers or words, got {array.dtype}.")
    return found


def atom_columns(
    catalogue: AtomCatalogue, frequency: Float[np.ndarray, " n_atoms"] | None = None
) -> dict[str, Column]:
    """Return what codes say about every atom.

    Parameters
    ----------
    catalogue
        Encoded activations.
    frequency
        Measured on more rows than the catalogue has; its own when None.
    """
    firings = catalogue.firings
    often = firings.frequency if frequency is None else np.asarray(frequency, np.float64)
    lengths = catalogue.dictionary.double().norm(dim=1).numpy()
    squares = firings.values.astype(np.float64) ** 2
    energy = np.bincount(firings.atoms, weights=squares, minlength=catalogue.n_atoms)
    energy *= lengths**2 / firings.n_rows
    return {
        "frequency": _log("frequency", "share of rows in which the atom fires", often),
        "strength": _log("strength", "mean |z| where the atom fires", firings.mean_strength),
        "energy": _log("energy", "mean z²‖d‖² over all rows: its part of x̂", energy),
    }


def _log(name: str, meaning: str, values: Float[np.ndarray, " n"]) -> Column:
    """A column over powers of ten; zero is unknown there."""
    known = np.where(values > 0, values, np.nan)
    return Column(name=name, meaning=meaning, values=known, log=True)


def row_columns(
    catalogue: AtomCatalogue, rows: Int[np.ndarray, " m"], labels: Mapping[int, str]
) -> dict[str, Column]:
    """Return what is known of single rows: their token or place, energy, L0, strongest label.

    Parameters
    ----------
    catalogue
        Encoded activations.
    rows
        Which of its rows.
    labels
        Human readings by atom.
    """
    firings, told = catalogue.firings, row_words(catalogue)
    offsets = catalogue.codes.offsets.numpy()
    strength = _sums(np.abs(firings.values), offsets)[rows]
    l0 = (offsets[1:] - offsets[:-1])[rows].astype(np.float64)
    found = _label_column(catalogue, rows, np.arange(len(rows)), len(rows), labels, "row")
    if told is not None:
        name = "token" if catalogue.acts.context.kind == "language" else "place"
        words = [told[1][i] for i in told[0][rows]]
        found[name] = category(name, f"{name} the activation was read at", words)
        position = catalogue.positions[rows].astype(np.float64)
        found["position"] = Column(
            name="position", meaning="position in its sample", values=position
        )
    found["strength"] = Column(name="strength", meaning="Σ|z| of the row", values=strength)
    found["L0"] = Column(name="L0", meaning="atoms that fire in the row", values=l0)
    return found


def sample_columns(
    catalogue: AtomCatalogue, samples: Int[np.ndarray, " m"], labels: Mapping[int, str]
) -> dict[str, Column]:
    """Return what is known of whole samples: mean strength and L0 of their rows, strongest label.

    Parameters
    ----------
    catalogue
        Encoded activations.
    samples
        Which samples.
    labels
        Human readings by atom.
    """
    offsets = catalogue.codes.offsets.numpy()
    rows = np.flatnonzero(np.isin(catalogue.samples, samples))
    place = np.searchsorted(samples, catalogue.samples[rows])
    count = np.maximum(np.bincount(place, minlength=len(samples)), 1)
    total = _sums(np.abs(catalogue.firings.values), offsets)[rows]
    strength = np.bincount(place, weights=total, minlength=len(samples)) / count
    l0 = np.bincount(place, weights=np.diff(offsets)[rows], minlength=len(samples)) / count
    found = _label_column(catalogue, rows, place, len(samples), labels, "sample")
    found["strength"] = Column(name="strength", meaning="mean Σ|z| of its rows", values=strength)
    found["L0"] = Column(name="L0", meaning="mean atoms per row", values=l0)
    return found


def atom_in_rows(
    catalogue: AtomCatalogue, atom: int, rows: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Return how strongly one atom fires in some rows.

    Parameters
    ----------
    catalogue
        Encoded activations.
    atom
        Row of the dictionary.
    rows
        Which rows.
    """
    fired, strength = catalogue.strengths(atom)
    everywhere = np.zeros(len(catalogue.acts))
    everywhere[fired] = strength
    return everywhere[rows]


def atom_in_samples(
    catalogue: AtomCatalogue, atom: int, samples: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Return how strongly one atom fires at most in each of some samples.

    Parameters
    ----------
    catalogue
        Encoded activations.
    atom
        Row of the dictionary.
    samples
        Which samples, ascending.
    """
    fired, strength = catalogue.strengths(atom)
    sample = catalogue.samples[fired]
    known = np.isin(sample, samples)
    found = np.zeros(len(samples))
    np.maximum.at(found, np.searchsorted(samples, sample[known]), np.abs(strength[known]))
    return found


def _sums(values: Float[np.ndarray, " nnz"], offsets: Int[np.ndarray, " m"]) -> Any:
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

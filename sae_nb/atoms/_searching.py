"""The atoms that match a number, a label or a token: for the panels' search and the site's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from sae_nb.atoms._catalogue import AtomCatalogue

TIMES_CHANCE = 2
"""An atom answers to a token where more than twice as much of its strength falls there as on any rows."""


def folded(text: str) -> str:
    """Return a text as searches compare it: without case, width and ways of writing an accent.

    NFKC, then small, capital and small letters of every character (so that "ß" is "ss" and "ς" is "σ"), then
    NFKC; a dotless or a doubly dotted i is an i. `saeNb.fold` in `site.js` is the same in the page.

    >>> folded("Straẞe"), folded("ﬁn"), folded("İı"), folded("ΟΔΟΣ") == folded("οδος")
    ('strasse', 'fin', 'ii', True)
    """
    text = unicodedata.normalize("NFKC", text)
    # One by one: in a word Python ends "ΟΔΟΣ" on a ς.
    for change in (str.lower, str.upper, str.lower):
        text = "".join(map(change, text))
    return unicodedata.normalize("NFKC", text).replace("i\u0307", "i")


def answering(catalogue: AtomCatalogue, query: str) -> Int[np.ndarray, " m"]:
    """Return the atom of that number, then those whose label holds the text, then those firing on it."""
    text = query.strip()
    if not text:
        return np.zeros(0, np.int64)
    number = re.fullmatch(r"#?\s*(\d+)", text)
    atoms = [int(number[1])] if number and int(number[1]) < catalogue.n_atoms else []
    text, labels = folded(text), catalogue.labels
    atoms += [atom for atom in sorted(labels) if text in folded(labels[atom])]
    names, of_row = names_of_rows(catalogue)
    named = np.array([0 if text in name else -1 for name in names], np.int64)
    for found, _ in preferring(catalogue, named[of_row], 1):
        atoms += found.tolist()
    return np.array(list(dict.fromkeys(atoms)), np.int64)


def names_of_rows(catalogue: AtomCatalogue) -> tuple[list[str], Int[np.ndarray, " n"]]:
    """Return what the tokens (or patches) of the rows are called, folded, and which each row is.

    Rows without tokens have no names.
    """
    tokens = catalogue.acts.tokens
    if tokens is None:
        return [], np.zeros(0, np.int64)
    names, of_row = tokens.words()
    return [folded(name) for name in names], of_row


def preferring(
    catalogue: AtomCatalogue, groups: Int[np.ndarray, " n"], n_groups: int
) -> Iterator[tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]]:
    """Yield the atoms that prefer each group of rows, best first, and the share of their |z| there.

    `groups` is the group of every row, −1 for none. An atom prefers a group where it holds more than
    `TIMES_CHANCE` times the share of the atom's strength than of the rows.
    """
    from scipy.sparse import csc_matrix

    rows = np.flatnonzero(groups >= 0)
    entries, offsets = catalogue.entries_of(rows), catalogue.codes.offsets.numpy()
    of_entry = np.repeat(groups[rows], offsets[rows + 1] - offsets[rows])
    size = np.abs(catalogue.values[entries]).astype(np.float64)
    # By atom first: a group may hold all entries, an atom holds few groups to sort.
    by_atom = csc_matrix(
        (size, (of_entry, catalogue.atoms[entries])), shape=(n_groups, catalogue.n_atoms)
    )
    there = by_atom.tocsr()
    everywhere = np.maximum(catalogue.mean_strength * catalogue.n_fired, 1e-12)
    chance = np.bincount(groups[rows], minlength=n_groups) / max(len(groups), 1)
    for i in range(n_groups):
        inside = slice(there.indptr[i], there.indptr[i + 1])
        atoms = there.indices[inside].astype(np.int64)
        share = there.data[inside] / everywhere[atoms]
        order = np.argsort(-share, kind="stable")
        order = order[share[order] > TIMES_CHANCE * chance[i]]
        yield atoms[order], share[order]

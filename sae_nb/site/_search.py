"""What the page searches: names of atoms, and the atoms that fire on a token, by its first letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from sae_nb.atoms import AtomCatalogue, AtomNames

NAMES_AT_ONCE = 4096
MOST_ATOMS = 24
"""Shown of one token."""


def name_pages(names: AtomNames, catalogue: AtomCatalogue) -> Iterator[tuple[str, Any]]:
    """Yield pages of (words, share of rows) by atom, a chunk each."""
    for start in range(0, catalogue.n_atoms, NAMES_AT_ONCE):
        atoms = range(start, min(start + NAMES_AT_ONCE, catalogue.n_atoms))
        page = {
            "words": [names.words(atom) for atom in atoms],
            "frequency": [round(float(catalogue.frequency[atom]), 6) for atom in atoms],
        }
        yield f"names/{start // NAMES_AT_ONCE}", page


def token_pages(catalogue: AtomCatalogue) -> Iterator[tuple[str, Any]]:
    """Yield, by first letter, each token with its atoms and the share of their strength that falls on it."""
    pages: dict[str, dict[str, list[list[float]]]] = defaultdict(dict)
    for word, atoms, shares in atoms_on_tokens(catalogue):
        pages[letter_of(word)][word] = [
            [int(a), float(s)] for a, s in zip(atoms, shares, strict=True)
        ]
    for letter, words in sorted(pages.items()):
        yield f"tokens/{letter}", words


def letter_of(word: str) -> str:
    """Return the name of the page that a word is on: the code of its first letter.

    >>> letter_of("cat"), letter_of("猫"), letter_of("")
    ('63', '732b', '0')
    """
    return f"{ord(word[0]):x}" if word else "0"


def atoms_on_tokens(
    catalogue: AtomCatalogue,
) -> Iterator[tuple[str, Int[np.ndarray, " m"], Float[np.ndarray, " m"]]]:
    """Yield every word (a token without spaces around it, in small letters) with the atoms that prefer it.

    An atom answers where more than twice as much of its strength falls on the word as on any row: the
    rule of `AtomCatalogue.search`.
    """
    from scipy.sparse import csr_matrix

    words, of_row = _words_of_rows(catalogue)
    if not words:
        return
    offsets = catalogue.codes.offsets.numpy()
    of_entry = np.repeat(of_row, np.diff(offsets))
    there = csr_matrix(
        (np.abs(catalogue.values), (of_entry, catalogue.atoms)),
        shape=(len(words), catalogue.n_atoms),
    )
    everywhere = np.maximum(catalogue.mean_strength * catalogue.n_fired, 1e-12)
    expected = 2 * np.bincount(of_row, minlength=len(words)) / catalogue.n_rows
    for i, word in enumerate(words):
        entries = slice(there.indptr[i], there.indptr[i + 1])
        atoms = there.indices[entries]
        share = there.data[entries] / everywhere[atoms]
        order = np.argsort(-share, kind="stable")
        order = order[share[order] > expected[i]][:MOST_ATOMS]
        if len(order) and word:
            yield word, atoms[order], share[order]


def _words_of_rows(catalogue: AtomCatalogue) -> tuple[list[str], Int[np.ndarray, " n"]]:
    """Return the different words of all rows, and which of them each row is."""
    tokens, context = catalogue.acts.tokens, catalogue.acts.context
    if tokens is None:
        return [], np.zeros(0, np.int64)
    known, of_row = np.unique(tokens.ids.cpu().numpy(), return_inverse=True)
    if context.kind == "language":
        names = [context.vocabulary.get(int(i), "") for i in known]
    else:
        names = [context.token_name(int(i)) for i in known]
    words, of_name = np.unique([name.strip().casefold() for name in names], return_inverse=True)
    return words.tolist(), of_name[of_row.reshape(-1)]

"""The search index of the page: names of atoms, and the atoms that fire on a token, by its first letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.atoms._searching import names_of_rows, preferring

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from sae_nb.atoms import AtomCatalogue
    from sae_nb.atoms._names import AtomNames

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
    """Yield every word (a token without spaces around it, folded) with the atoms that prefer it.

    Those with the largest share of their strength there come first: the page says that share.
    """
    names, of_row = names_of_rows(catalogue)
    words, of_name = np.unique([name.strip() for name in names], return_inverse=True)
    groups = of_name.reshape(-1)[of_row]
    for word, (atoms, shares) in zip(
        words.tolist(), preferring(catalogue, groups, len(words)), strict=True
    ):
        if word and len(atoms):
            yield word, atoms[:MOST_ATOMS], shares[:MOST_ATOMS]

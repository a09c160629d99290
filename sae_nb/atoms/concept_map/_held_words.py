"""Words of some atoms, chosen on half of the texts and tried on the others, beside as many atoms at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Int

from sae_nb.atoms._words import kinds_of_words, row_words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sae_nb.atoms._catalogue import AtomCatalogue

N_WORDS, N_DRAWS = 12, 20
"""Words that are chosen, and draws of as many atoms. Ours."""

FEWEST_LETTERS = 3
"""Of a word that can be chosen: shorter ones ("of", "to") are at home with atoms of every kind. Ours."""

TIMES_CHANCE = 8
"""Of the random atoms' mean share, from which on words are said to be those of a group. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldWords:
    """Words on which some atoms fire more than others do, and their part in other texts."""

    words: tuple[str, ...]
    """Chosen on every other text, the most characteristic first."""

    share: float
    """Part of the atoms' strength that falls on them in the texts between, every atom counted alike."""

    random: Float[np.ndarray, " draws"]
    """The same part of as many atoms drawn at random, each time."""

    strongest: tuple[str, ...]
    """The word at which each of the atoms fires most in all texts; empty where it never fires."""

    @property
    def hold(self) -> bool:
        """Whether the words are theirs: eight times the random part, and more than the largest of it."""
        chance = self.random
        if not self.words or not len(chance):
            return False
        return bool(self.share >= TIMES_CHANCE * chance.mean() and self.share > chance.max())


class _Halves(NamedTuple):
    """Each atom's strength on every whole word, as shares, in either half of the texts."""

    chosen: csr_matrix
    tried: csr_matrix
    both: csr_matrix
    words: tuple[str, ...]
    everywhere: Float[np.ndarray, " words"]
    """Mean share of the half on which words are chosen."""

    live: Int[np.ndarray, " live"]


_cache: WeakKeyDictionary[AtomCatalogue, _Halves | None] = WeakKeyDictionary()


def held_words(
    catalogue: AtomCatalogue, atoms: Int[np.ndarray, " m"], *, seed: int = 0
) -> HeldWords | None:
    """Choose twelve words of some atoms on every other text, and return their part of the strength in the rest.

    Words are chosen by share × log(share / that of all atoms). None where rows are not words of texts.
    """
    if catalogue not in _cache:
        _cache[catalogue] = _halves(catalogue)
    halves = _cache[catalogue]
    if halves is None or not len(atoms):
        return None
    share = _mean(halves.chosen, atoms)
    lift = share / np.maximum(halves.everywhere, 1e-12)
    score = share * np.log(np.maximum(lift, 1.0))
    words = np.argsort(-score, kind="stable")[:N_WORDS]
    words = words[score[words] > 0]
    rng, live = np.random.default_rng(seed), halves.live
    n = min(len(atoms), len(live))
    draws = [rng.choice(live, n, replace=False) for _ in range(N_DRAWS)]
    every = halves.both[atoms]
    most = np.asarray(every.argmax(axis=1)).ravel()
    fires = np.asarray(every.max(axis=1).todense()).ravel() > 0
    return HeldWords(
        words=tuple(halves.words[i] for i in words),
        share=float(_mean(halves.tried, atoms)[words].sum()),
        random=np.array([_mean(halves.tried, draw)[words].sum() for draw in draws if n]),
        strongest=tuple(halves.words[i] if on else "" for i, on in zip(most, fires, strict=True)),
    )


def _mean(shares: csr_matrix, atoms: Int[np.ndarray, " m"]) -> Float[np.ndarray, " words"]:
    return np.asarray(shares[atoms].mean(axis=0)).ravel()


def _halves(catalogue: AtomCatalogue) -> _Halves | None:
    """The strengths of a catalogue of texts; None for others, and for a single text."""
    found = row_words(catalogue) if catalogue.acts.context.modality.is_text else None
    if found is None or catalogue.acts.context.images is not None:
        return None
    of_row, names = found
    _, pieces = kinds_of_words(catalogue, of_row, names)
    bare = [name.strip("“”") for name in names]
    whole = ~pieces & np.array([w.isalpha() and len(w) >= FEWEST_LETTERS for w in bare], bool)
    _, text = np.unique(catalogue.samples, return_inverse=True)
    if text.max(initial=0) < 1:
        return None
    row = np.repeat(np.arange(len(of_row)), np.diff(catalogue.codes.offsets.numpy()))
    atom, size = catalogue.codes.atoms.numpy(), np.abs(catalogue.values)

    def shares(chosen: Any) -> csr_matrix:
        from scipy.sparse import coo_matrix, diags

        where = (atom[chosen], of_row[row[chosen]])
        strength = coo_matrix((size[chosen], where), shape=(catalogue.n_atoms, len(names))).tocsr()
        total = np.asarray(strength.sum(axis=1)).ravel()
        # The whole counts all that an atom fires on; the words are those that can be read.
        return (diags(1 / np.maximum(total, 1e-12)) @ strength @ diags(whole * 1.0)).tocsr()

    even = text[row] % 2 == 0
    chosen, both = shares(even), shares(slice(None))
    return _Halves(
        chosen=chosen,
        tried=shares(~even),
        both=both,
        words=tuple(bare),
        everywhere=_mean(chosen, np.arange(catalogue.n_atoms)),
        live=np.flatnonzero(np.asarray(both.sum(axis=1)).ravel() > 0),
    )

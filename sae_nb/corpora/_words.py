"""The words of texts: which word each token belongs to, and how often each word is in each text, by arrays.

A word is a run of letters, digits and underscores, in lower case; tokens are cut within words and hold
several. Token texts are read once each; the content of a text follows from which tokens are next to
which. Letters are lowered token by token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORD = re.compile(r"\w+")
_CONTINUES = "##"  # how tokenizers that keep no spaces mark the inside of a word


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """The words of some texts."""

    names: tuple[str, ...]
    """Every word, in the order of their letters."""

    counts: csr_matrix
    """Counts of each in each text, (n, n_words)."""

    of_token: Int[np.ndarray, " tokens"]
    """The word that each token belongs to, the first of several; −1: none."""

    starts: Int[np.ndarray, " n_plus_1"]
    """Start of each text among the tokens."""


def words_of(
    ids: Int[np.ndarray, " tokens"],
    offsets: Int[np.ndarray, " n_plus_1"],
    texts: Mapping[int, str],
) -> Words:
    """Read texts that lie end to end; text i has the tokens from `offsets[i]` to `offsets[i + 1]`.

    Where no token of a text begins with a space, tokens are words but those that begin with ##.
    """
    pieces = _Pieces.of(ids, offsets, texts)
    kept = np.flatnonzero(pieces.is_there)
    kind, owner = pieces.kind[kept], pieces.owner[kept]
    joined = np.zeros(len(kept), dtype=bool)  # to the token before
    joined[1:] = (
        (owner[1:] == owner[:-1])
        & pieces.glued[kept[1:]]
        & pieces.ends_in_word[kind[:-1]]
        & pieces.begins_in_word[kind[1:]]
    )
    n_of = pieces.n_of[kind]
    first = np.cumsum(n_of) - n_of  # the first piece of each token
    flat = pieces.flat[np.arange(n_of.sum()) + np.repeat(pieces.begin[kind] - first, n_of)]
    begins = np.ones(len(flat), dtype=bool)
    begins[first[joined]] = False
    number = np.cumsum(begins) - 1
    names, word = _sorted(*_joined(flat, np.flatnonzero(begins), list(pieces.names)))
    of_token = np.full(len(ids), -1)
    some = n_of > 0
    of_token[kept[some]] = word[number[first[some]]]
    _fill_inside(of_token, kept, joined, word[number[first[joined] - 1]])
    of_text = np.repeat(owner, n_of)[begins]
    counts = _counted(of_text, word, len(offsets) - 1, len(names))
    return Words(names=names, counts=counts, of_token=of_token, starts=offsets)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pieces:
    """Tokens by their kinds, and the parts of words that each kind holds."""

    owner: Int[np.ndarray, " tokens"]
    kind: Int[np.ndarray, " tokens"]
    glued: Bool[np.ndarray, " tokens"]
    """The text of each token, its kind, and whether nothing is between it and the token before."""

    is_there: Bool[np.ndarray, " tokens"]
    """False of tokens that leave no trace in the text."""

    n_of: Int[np.ndarray, " kinds"]
    begin: Int[np.ndarray, " kinds"]
    flat: Int[np.ndarray, " pieces"]
    names: tuple[str, ...]
    """Each kind has `n_of` pieces from `begin` in `flat`; these are numbers of `names`."""

    begins_in_word: Bool[np.ndarray, " kinds"]
    ends_in_word: Bool[np.ndarray, " kinds"]

    @classmethod
    def of(cls, ids: np.ndarray, offsets: np.ndarray, texts: Mapping[int, str]) -> _Pieces:
        """Find them; a token that continues a word is of another kind than the same token elsewhere."""
        unique, kind = np.unique(ids, return_inverse=True)
        raw = [texts.get(one, "") for one in unique.tolist()]
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        spaced = np.zeros(len(offsets) - 1, dtype=bool)
        spaced[owner[np.array([text[:1].isspace() for text in raw], bool)[kind]]] = True
        spaced = spaced[owner]
        is_first = np.zeros(len(ids), dtype=bool)
        is_first[offsets[:-1][np.diff(offsets) > 0]] = True
        continues = np.array([text.startswith(_CONTINUES) for text in raw], bool)[kind]
        continues &= ~spaced & ~is_first
        kinds = [*raw, *(text.removeprefix(_CONTINUES) for text in raw)]
        kind = kind + continues * len(raw)
        glued = spaced | continues
        empty = np.array([not text for text in kinds], bool)[kind]
        found = [[m.span() for m in WORD.finditer(text.lower())] for text in kinds]
        numbers: dict[str, int] = {}
        flat = [
            numbers.setdefault(text.lower()[a:b], len(numbers))
            for text, spans in zip(kinds, found)
            for a, b in spans
        ]
        n_of = np.array([len(spans) for spans in found], dtype=np.int64)
        return cls(
            owner=owner,
            kind=kind,
            glued=glued,
            is_there=~(empty & glued),
            n_of=n_of,
            begin=np.cumsum(n_of) - n_of,
            flat=np.array(flat, dtype=np.int64),
            names=tuple(numbers),
            begins_in_word=np.array([bool(s) and s[0][0] == 0 for s in found], bool),
            ends_in_word=np.array(
                [bool(s) and s[-1][1] == len(t.lower()) for t, s in zip(kinds, found)], bool
            ),
        )


def _joined(
    flat: Int[np.ndarray, " pieces"], begin: Int[np.ndarray, " words"], names: list[str]
) -> tuple[list[str], Int[np.ndarray, " words"]]:
    """The name of each word: its pieces put together, one more of all words at a time."""
    numbers = {name: i for i, name in enumerate(names)}
    length = np.diff(np.append(begin, len(flat)))
    word = flat[begin]
    for step in range(1, int(length.max(initial=1))):
        longer = np.flatnonzero(length > step)
        base = len(names)
        pairs, which = np.unique(
            word[longer] * base + flat[begin[longer] + step], return_inverse=True
        )
        made = []
        for head, tail in zip(*np.divmod(pairs, base)):
            name = names[head] + names[tail]
            if name not in numbers:
                numbers[name] = len(names)
                names.append(name)
            made.append(numbers[name])
        word[longer] = np.array(made, dtype=np.int64)[which]
    return names, word


def _sorted(
    names: list[str], word: Int[np.ndarray, " words"]
) -> tuple[tuple[str, ...], Int[np.ndarray, " words"]]:
    """Leave out what is only a part of words, and number by letters."""
    used = np.flatnonzero(np.bincount(word, minlength=len(names))).tolist()
    used.sort(key=names.__getitem__)
    place = np.zeros(len(names), dtype=np.int64)
    place[used] = np.arange(len(used))
    return tuple(names[i] for i in used), place[word]


def _fill_inside(
    of_token: Int[np.ndarray, " tokens"],
    kept: Int[np.ndarray, " kept"],
    joined: Bool[np.ndarray, " kept"],
    word: Int[np.ndarray, " joined"],
) -> None:
    """Assign tokens without a text to the word that continues across them."""
    second = np.flatnonzero(joined)
    gaps = kept[second] - kept[second - 1] - 1
    for i in np.flatnonzero(gaps):
        of_token[kept[second[i] - 1] + 1 : kept[second[i]]] = word[i]


def _counted(
    of_text: Int[np.ndarray, " words"], word: Int[np.ndarray, " words"], n: int, n_words: int
) -> csr_matrix:
    """Texts × words."""
    from scipy.sparse import csr_matrix

    ones = np.ones(len(word), dtype=np.int64)
    return csr_matrix((ones, (of_text, word)), shape=(n, n_words))


def most_common(numbers: Int[np.ndarray, "m few"]) -> Int[np.ndarray, " m"]:
    """Return of each row the number that is there most often, the first of several; −1 counts as nothing."""
    same = (numbers[:, :, None] == numbers[:, None, :]) & (numbers[:, :, None] >= 0)
    best = same.sum(axis=2).argmax(axis=1)
    return numbers[np.arange(len(numbers)), best]

"""Names of groups of points: the most lifted labels, tokens or places of each, no two names alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.atoms._captions import NO_NAME
from sae_nb.atoms._words import PATCHES, kinds_of_words, row_words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sae_nb.atoms._catalogue import AtomCatalogue


MOST_WORDS, MOST_LABELS = 3, 2
MOST_FURTHER = 8
"""Words of a group that may tell it from another one whose name begins alike."""
LEAST_LIFT = 1.5
LEAST_SHARE = 0.02
RARE_LIFT, RARE_SHARE = 4.0, 0.01
"""A word that is much more frequent in a group names it from a smaller share on."""
FEWEST_LABELLED = 2
LEAST_CONTENT, MOSTLY = 0.2, 0.5
"""Share of a group's strength on words that say what a text is about, from which on two of them name it; and on
pieces of words, from which on it is said to be at those. Ours."""
PIECES = "pieces of words"


def lifted_words(
    weights: csr_matrix,
    words: Sequence[str],
    base: Float[np.ndarray, " words"],
    *,
    most: int = MOST_WORDS,
    least_lift: float = LEAST_LIFT,
) -> list[tuple[str, ...]]:
    """Return the distinctive words of each group, the most characteristic first.

    A word w of group g is scored by P(w | g) log(P(w | g) / P(w)), its part of the divergence of the
    group from everything: lift alone would choose words that occur once.
    """
    everywhere = base / max(float(base.sum()), 1e-12)
    words_of_group: list[tuple[str, ...]] = []
    for group in range(weights.shape[0]):
        first, last = weights.indptr[group], weights.indptr[group + 1]
        columns, weight = weights.indices[first:last], weights.data[first:last]
        share = weight / max(float(weight.sum()), 1e-12)
        lift = share / np.maximum(everywhere[columns], 1e-12)
        score = share * np.log(np.maximum(lift, 1e-12))
        typical = (lift >= least_lift) & (share >= LEAST_SHARE)
        typical |= (lift >= max(least_lift, RARE_LIFT)) & (share >= RARE_SHARE)
        best = np.argsort(-score, kind="stable")
        best = best[typical[best]][:most]
        words_of_group.append(tuple(dict.fromkeys(words[columns[i]] for i in best)))
    return words_of_group


def words_of_labels(
    groups: Int[np.ndarray, " n_atoms"], labels: Mapping[int, str]
) -> list[tuple[str, ...]]:
    """Return the labels that several atoms of a group share and that others have less."""
    n_groups = int(groups.max(initial=-1)) + 1
    known = [(groups[i], label) for i, label in labels.items() if label and 0 <= i < len(groups)]
    everywhere = Counter(label for _, label in known)
    counted: list[Counter[str]] = [Counter() for _ in range(n_groups)]
    for group, label in known:
        if group >= 0:
            counted[group][label] += 1
    sizes = np.bincount(groups[groups >= 0], minlength=n_groups)
    found = []
    for group, mine in enumerate(counted):
        lift = {
            label: n * len(groups) / (everywhere[label] * max(int(sizes[group]), 1))
            for label, n in mine.items()
            if n >= FEWEST_LABELLED
        }
        ranked = sorted(lift, key=lambda label: (-mine[label], -lift[label], label))
        found.append(tuple([label for label in ranked if lift[label] >= LEAST_LIFT][:MOST_LABELS]))
    return found


_cache: WeakKeyDictionary[AtomCatalogue, Any] = WeakKeyDictionary()


class _Words(NamedTuple):
    """The words at which a catalogue's rows stand."""

    of_row: Int[np.ndarray, " n"]
    words: tuple[str, ...]
    base: Float[np.ndarray, " words"]
    """Share of the atoms' strength on each, every atom counted alike."""

    telling: Bool[np.ndarray, " words"]
    pieces: Bool[np.ndarray, " words"]


def _word_strengths(catalogue: AtomCatalogue) -> _Words | None:
    """The words of a catalogue; kept."""
    if catalogue not in _cache:
        found, known = row_words(catalogue), None
        if found is not None:
            word = np.repeat(found[0], np.diff(catalogue.codes.offsets.numpy()))
            atom, size = catalogue.codes.atoms.numpy(), np.abs(catalogue.values)
            # Every atom counts alike: the few that fire everywhere would name every group.
            size = size / np.maximum(np.bincount(atom, weights=size)[atom], 1e-12)
            base = np.bincount(word, weights=size, minlength=len(found[1]))
            known = _Words(*found, base, *kinds_of_words(catalogue, *found))
        _cache[catalogue] = known
    return _cache[catalogue]


def _weights(
    catalogue: AtomCatalogue,
    groups: Int[np.ndarray, " n_atoms"],
    word_of_row: Int[np.ndarray, " n"],
    shape: tuple[int, int],
) -> csr_matrix:
    """Share of each group's atoms on each word, gathered atom by atom: a few atoms cost little."""
    from scipy.sparse import coo_matrix

    parts: list[Any] = [(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for atom in np.flatnonzero(groups >= 0).tolist():
        rows, values = catalogue.strengths(atom)
        share = np.abs(values) / max(float(np.abs(values).sum()), 1e-12)
        parts.append((share, np.full(len(rows), groups[atom]), word_of_row[rows]))
    share, group, word = (np.concatenate(column) for column in zip(*parts))
    return coo_matrix((share, (group, word)), shape=shape).tocsr()


def words_of_rows(
    groups: Int[np.ndarray, " n_atoms"], catalogue: AtomCatalogue
) -> list[tuple[str, ...]]:
    """Return the tokens (or places) on which the atoms of a group fire more than others do."""
    # Neighbouring ninths of an image say little more than the first of them.
    return [
        named[:1] if named and named[0].endswith(PATCHES) else named
        for named in _lifted_rows(groups, catalogue)
    ]


def _lifted_rows(
    groups: Int[np.ndarray, " n_atoms"],
    catalogue: AtomCatalogue,
    *,
    most: int = MOST_WORDS,
    least_lift: float = LEAST_LIFT,
) -> list[tuple[str, ...]]:
    n_groups = int(groups.max(initial=-1)) + 1
    known = _word_strengths(catalogue)
    if known is None or n_groups == 0:
        return [()] * n_groups
    weights = _weights(catalogue, groups, known.of_row, (n_groups, len(known.words)))
    return lifted_words(weights, known.words, known.base, most=most, least_lift=least_lift)


def words_of_content(
    groups: Int[np.ndarray, " n_atoms"], catalogue: AtomCatalogue
) -> list[tuple[str, ...]]:
    """Return for every group two words of content on which its atoms fire more than others, if it has such;
    else that it fires at pieces of words, if it mostly does; else nothing.
    """
    return [
        tuple(word for word, _ in shared[:2]) if shared else (PIECES,) * at_pieces
        for shared, at_pieces in shared_words(groups, catalogue)
    ]


def shared_words(
    groups: Int[np.ndarray, " n_atoms"], catalogue: AtomCatalogue, most: int = MOST_FURTHER
) -> list[tuple[list[tuple[str, float]], bool]]:
    """Return for every group its words of content with their lifts, and whether it fires at pieces of words.

    The lift is the share of the group's strength on a word over that of all atoms; words are in the order of
    P(w | g) log lift. A group with little strength on any has none.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    known = _word_strengths(catalogue)
    if known is None or n_groups == 0:
        return [([], False)] * n_groups
    everywhere = known.base / max(float(known.base.sum()), 1e-12)
    weights = _weights(catalogue, groups, known.of_row, (n_groups, len(known.words)))
    found = []
    for row in weights:
        share = np.asarray(row.todense()).ravel() / max(float(row.sum()), 1e-12)
        lift = share / np.maximum(everywhere, 1e-12)
        told = known.telling & (lift >= LEAST_LIFT)
        order = np.argsort(-share * np.log(np.maximum(lift, 1.0)), kind="stable")
        enough = float(share[known.telling].sum()) >= LEAST_CONTENT
        best = order[told[order]][: most * enough]
        shared = [(known.words[i].strip("“”"), float(lift[i])) for i in best.tolist()]
        found.append((shared, float(share[known.pieces].sum()) >= MOSTLY))
    return found


def names_of_atoms(
    groups: Int[np.ndarray, " n_atoms"],
    labels: Mapping[int, str],
    catalogue: AtomCatalogue | None,
) -> list[str]:
    """Return a name for every group of atoms, from what they have in common, no two alike."""
    members = _members(groups)
    leading: list[tuple[str, ...]] = words_of_labels(groups, labels)
    further: list[list[str]] = []
    for atoms in members:  # labels of the group's atoms, the commonest first
        counted = Counter(label for i in atoms.tolist() if (label := labels.get(i)))
        further.append([label for label, _ in counted.most_common()])
    if catalogue is not None:
        # More words than make a name, also such as are hardly more frequent here.
        rows = _lifted_rows(groups, catalogue, most=MOST_FURTHER, least_lift=1.0)
        typical = words_of_rows(groups, catalogue)
        of_text = catalogue.acts.context.modality.is_text
        # A place in images says less than the label of one atom.
        single: list[tuple[str, ...]] = [() if of_text else tuple(own[:1]) for own in further]
        told = words_of_content(groups, catalogue)
        every = zip(leading, single, told, typical, rows, strict=True)
        leading = [a or b or c or d or unnamed(e) for a, b, c, d, e in every]
        further = [[*fires_on, *own] for fires_on, own in zip(rows, further, strict=True)]
    return distinct_names(leading, further)


def unnamed(fires_on: Sequence[str]) -> tuple[str, ...]:
    """Return what a group without a name is called: that, and what it fires on most."""
    return (NO_NAME, *fires_on[:1]) if fires_on else ()


def names_of_points(groups: Int[np.ndarray, " n"], texts: Sequence[str] | None) -> list[str]:
    """Return a name for every group of points, from their texts, as far as there are any."""
    members = _members(groups)
    none: list[tuple[str, ...]] = [()] * len(members)
    leading = none if texts is None else words_of_labels(groups, dict(enumerate(texts)))
    return distinct_names(leading, none)


def _members(groups: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    return [np.flatnonzero(groups == i) for i in range(int(groups.max(initial=-1)) + 1)]


def distinct_names(leading: Sequence[Sequence[str]], further: Sequence[Sequence[str]]) -> list[str]:
    """Return a short name for every group, no two alike: its `leading` words.

    Where an earlier group has them all, the first and one of the `further` make a name; where there is
    none left, the group has a number.

    >>> distinct_names([["cls"], ["cls"], []], [["digit 4"], ["digit 7"], ["eye"]])
    ['cls', 'cls · digit 7', 'group 3']
    """
    taken: set[frozenset[str]] = set()
    names = []
    for number, (words, more) in enumerate(zip(leading, further, strict=True), 1):
        options = (
            [tuple(words), *((words[0], word) for word in more if word not in words)]
            if words
            else []
        )
        free = [option for option in options if frozenset(option) not in taken]
        numbered = (words[0], f"{number}") if words else (f"group {number}",)
        chosen = free[0] if free else numbered
        taken.add(frozenset(chosen))
        names.append(joined(chosen))
    return names


def joined(words: Sequence[str]) -> str:
    """Return words as one name; patches are named once.

    >>> joined(["centre patches", "top left patches"])
    'centre · top left patches'
    """
    follows = [*words[1:], ""]
    return " · ".join(
        word.removesuffix(f" {PATCHES}")
        if word.endswith(PATCHES) and after.endswith(PATCHES)
        else word
        for word, after in zip(words, follows)
    )

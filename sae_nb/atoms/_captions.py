"""Captions: names of atoms, made from what the strongest firings share and judged on other samples.

A name of one kind (its word, the word before, …) is made from one half of the samples and judged on the other
half, both ways, by F1: the share of the strong firings it holds for, and the share of its occurrences in which
the atom fires. Names of other atoms are judged on the same firings. An atom that fires on pieces of words is
called by its tokens. Where nothing separates the atom, the words of its strongest firings are shown instead.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.activations.tokens import CONTINUED
from sae_nb.atoms._evidence import LabelEvidence
from sae_nb.atoms._words import PATCHES, PREFIX, row_words
from sae_nb.figures import visible_token

if TYPE_CHECKING:
    from sae_nb.activations._context import Ragged
    from sae_nb.atoms._catalogue import AtomCatalogue

NO_NAME = "no name yet"
"""Beginning of a caption where nothing separates an atom; what it fires on may follow."""

STRONG = 0.5
"""A firing is strong from this share of the atom's 99th percentile on."""

FEWEST = 3
"""Strong firings that each half must have, and a name for each of its words."""

FITS, LISTED_TOKENS = 0.7, 0.9
"""Share of the strong firings that a name must fit; that a list of tokens must. Ours: nine of ten such names
fit nine of an atom's twelve strongest examples in other texts, and half of those that fit between ½ and .7."""

PIECES = 0.25
"""Share of strong firings on pieces of words from which on tokens name the atom, and not words."""

MOST_STRONG, MOST_CANDIDATES, MOST_WORDS = 60, 24, 12
"""Strong firings read; words tried of each kind; words that a name may have."""

MOST_SEEN, MOST_SAID = 12, 3
"""Firings whose words are shown where there is no name; words that are written of a name."""

REACH = 8
"""Words on each side in which "near" looks."""

RARE = 0.002
"""Share of all words from which on a word is too common to be what a passage is about."""

STEM = 4
"""Letters that the forms of a word share."""

LONGER = 0.02
"""F1 that a further word of a name must add."""

MOST_TOKENS = 200_000
"""Tokens read; of more texts, a part that is drawn at random."""

OTHERS = 4
"""Atoms whose names are judged on every atom, too."""

ENOUGH = 0.97
"""F1 from which no further kind of name is tried."""


def says_much(caption: str) -> bool:
    """Return whether a caption, or the words of an atom, are more than the note that there is no name.

    >>> says_much("“dog”"), says_much("no name yet: “ a”"), says_much("")
    (True, False, False)
    """
    return bool(caption) and not caption.startswith(NO_NAME)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """The automatic name of an atom with its evidence, or what it fires on if nothing separates it."""

    name: str = ""
    """Empty if there is none."""

    evidence: LabelEvidence | None = None
    seen: tuple[str, ...] = ()
    """Words, or the place, of its strongest firings."""

    @property
    def words(self) -> str:
        """The name, as sure as it is; else that there is none, and what the atom fires on."""
        if self.evidence is not None and self.name:
            return self.evidence.worded(self.name)
        return f"{NO_NAME}: {', '.join(self.seen)}" if self.seen else NO_NAME

    @property
    def fires_on(self) -> str:
        """The strongest firings in words; empty if unknown."""
        return self.words if self.name else ", ".join(self.seen)


class Captions:
    """The captions of the atoms of a catalogue; about a millisecond each."""

    def __init__(self, catalogue: AtomCatalogue) -> None:
        self._catalogue = catalogue
        self._pool: dict[Units, list[tuple[int, Found]]] = {}

    @cached_property
    def _units(self) -> Units | None:
        catalogue = self._catalogue
        named, texts = row_words(catalogue), catalogue.acts.context.token_ids
        if named is None:
            return None
        if texts is None:
            of_row, sample = np.arange(catalogue.n_rows), _numbered(catalogue.samples)
            kinds = [Kind("{}", named[0], named[1], sample, np.ones(len(sample), dtype=bool))]
            return Units(of_row, sample, kinds, of_text=False)
        of_row, sample, words, pieced = _words_of(catalogue, texts)
        there = np.zeros(len(sample), dtype=bool)
        there[of_row[of_row >= 0]] = True
        key, names = _folded(words)
        if catalogue.acts.context.images is not None:
            # Patches are called by their ninth, and not by their placeholder.
            is_patch = np.array([name.endswith(PATCHES) for name in named[1]])
            patches = is_patch[named[0]] & (of_row >= 0)
            key[of_row[patches]] = len(names) + named[0][patches]
            names = [*names, *named[1]]
        return Units(of_row, sample, _kinds(key, names, sample, there), of_text=True, pieced=pieced)

    @cached_property
    def _pieces(self) -> Units | None:
        """The tokens of the texts, for atoms that fire on pieces of words."""
        words, tokens = self._units, self._catalogue.acts.tokens
        if words is None or tokens is None:
            return None
        texts, token = tokens.words()
        read = np.flatnonzero(words.of_row >= 0)
        of_row = np.full(len(words.of_row), -1)
        of_row[read] = np.arange(len(read))
        key, names = _folded([text.removeprefix("##") for text in texts])
        letters = np.array([name.strip("“”").isalpha() for name in names], bool)
        key = np.where(letters[key], key, -1)[token[read]]
        sample = words.sample[words.of_row[read]]
        kind = Kind("token {}", key, names, sample, np.ones(len(read), bool))
        return Units(of_row, sample, [kind], of_text=True)

    def caption(self, atom: int) -> Caption | None:
        """Return the caption of an atom; None where it never fires or rows have no words."""
        units = self._units
        rows, strengths = self._catalogue.strengths(atom)
        if units is None or not len(rows):
            return None
        firings = units.firings(rows, strengths)
        seen = units.seen(firings)
        pieces = self._pieces if units.on_pieces(firings) else None
        if pieces is not None:
            units = pieces
            firings = units.firings(rows, strengths)
        found = units.best(firings)
        if found is None:
            return Caption(seen=seen)
        f1, fits = units.judged(found, firings)
        others = [
            units.scores(other, firings, BOTH)[0]
            for one, other in self._others(units)
            if one != atom and other != found
        ]
        evidence = LabelEvidence(
            by="caption", f1=f1, fits=fits, fits_floor=units.common(found), n=len(firings.strong),
            f1_control=float(np.mean(others)) if others else math.nan,
        )  # fmt: skip
        # A place, or a long list, names an atom only if the atom is nothing but that.
        plain = units.of_text and len(found.keys) <= MOST_SAID
        unclear = evidence.worth == "unclear" or (evidence.worth == "mostly" and not plain)
        listed = pieces is not None and len(found.keys) > 1
        fitting = fits >= (LISTED_TOKENS if listed else FITS)
        few = len(firings.strong) < FEWEST * len(found.keys)
        if unclear or few or not fitting or units.is_prefix(found):
            return Caption(seen=seen)
        return Caption(name=units.name(found, firings), evidence=evidence, seen=seen)

    def _others(self, units: Units) -> list[tuple[int, Found]]:
        """Names of some other atoms, for comparison."""
        if units not in self._pool:
            alive = np.flatnonzero(self._catalogue.n_fired >= 2 * FEWEST)
            drawn = np.random.default_rng(0).permutation(alive)[: 4 * OTHERS].tolist()
            firings = {atom: units.firings(*self._catalogue.strengths(atom)) for atom in drawn}
            names = ((atom, units.best(firings[atom])) for atom in drawn)
            known = [(atom, found) for atom, found in names if found is not None]
            self._pool[units] = known[:OTHERS]
        return self._pool[units]


BOTH = 2
"""In place of the number of a half."""


# -------------------------------------------------------------------------------------------------
# What a name may speak of: keys of words (or places), by kind, with where each occurs.


class Found(NamedTuple):
    """A name as it is judged: its kind, and keys any of which must hold."""

    kind: int
    keys: tuple[int, ...]


class Firing(NamedTuple):
    """Where one atom fires: all units, the first of them, and the strong ones; strongest first."""

    fired: Bool[np.ndarray, " units"]
    top: Int[np.ndarray, " n"]
    strong: Int[np.ndarray, " m"]
    half: Int[np.ndarray, " samples"]
    """Half of every sample; those with strong firings are dealt out by turns, so that both halves have some."""

    def part(
        self, units: Int[np.ndarray, " n"], sample: Int[np.ndarray, " units"], half: int
    ) -> Int[np.ndarray, " k"]:
        """Return those of some units that are in a half, or all."""
        return units if half == BOTH else units[self.half[sample[units]] == half]


@dataclass(eq=False)
class Kind:
    """One kind of statement about a unit: its word, the word before, a word near it."""

    template: str
    """Around the quoted words: "after {}"."""

    key: Int[np.ndarray, " units"]
    """Of every unit; −1 where it has none."""

    names: Sequence[str]
    """Of every key."""

    sample: Int[np.ndarray, " units"]
    there: Bool[np.ndarray, " units"]
    """Sample of every unit; whether it was captured."""

    handicap: float = 0.0
    """F1 by which it must be better than the plainest kind."""

    offsets: tuple[int, ...] = (0,)
    """Units, from the one in question, whose key counts."""

    of_forms: bool = False
    """Whether a key is of several words, those that begin alike: a name has those on which the atom fires."""

    def __post_init__(self) -> None:
        known = np.flatnonzero((self.key >= 0) & self.there)
        self._units = known[np.argsort(self.key[known], kind="stable")]
        self._starts = np.searchsorted(self.key[self._units], np.arange(len(self.names) + 1))

    def where(
        self, keys: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Return the captured units with one of some keys, and which of the keys that is."""
        first = self._starts[keys]
        n = self._starts[keys + 1] - first
        which = np.arange(len(keys)).repeat(n)
        return self._units[np.arange(len(which)) + (first + n - n.cumsum())[which]], which

    def keys(self, units: Int[np.ndarray, " m"]) -> Int[np.ndarray, "m offsets"]:
        """Return the keys that count for some units."""
        if self.offsets == (0,):
            return self.key[units][:, None]
        at, inside = self._around(units)
        return np.where(inside, self.key[at], -1)

    def reached(
        self, units: Int[np.ndarray, " m"], fired: Bool[np.ndarray, " units"]
    ) -> Bool[np.ndarray, " m"]:
        """Return for which of some units a firing counts, as their key counts for it."""
        if self.offsets == (0,):
            return fired[units]
        at, inside = self._around(units)
        return np.asarray((fired[at] & inside).any(axis=1))

    def _around(
        self, units: Int[np.ndarray, " m"]
    ) -> tuple[Int[np.ndarray, "m offsets"], Bool[np.ndarray, "m offsets"]]:
        """The units at the offsets, and whether they are of the same sample."""
        at = units[:, None] + np.array(self.offsets)
        inside = (at >= 0) & (at < len(self.key))
        at = np.where(inside, at, units[:, None])
        return at, inside & (self.sample[at] == self.sample[units][:, None])


@dataclass(eq=False)
class Units:
    """The words of all texts, or the places of all images, and the kinds of statement about them."""

    of_row: Int[np.ndarray, " rows"]
    """Unit of every row; −1 for rows that are not read."""

    sample: Int[np.ndarray, " units"]
    """Number of the sample of every unit, without gaps."""

    kinds: list[Kind]
    """The first one is the unit itself."""

    of_text: bool
    pieced: Bool[np.ndarray, " units"] | None = None
    """Which units are words of several tokens with letters."""

    @cached_property
    def _half(self) -> Int[np.ndarray, " samples"]:
        return np.random.default_rng(0).permutation(int(self.sample.max(initial=-1)) + 1) % 2

    def firings(self, rows: Int[np.ndarray, " m"], strengths: Float[np.ndarray, " m"]) -> Firing:
        """Return where an atom fires that has these strengths in these rows."""
        unit, size = self.of_row[rows], np.abs(strengths)
        unit, size = unit[unit >= 0], size[unit >= 0]
        fired = np.zeros(len(self.sample), dtype=bool)
        fired[unit] = True
        order = (-size).argsort(kind="stable")
        _, first = np.unique(unit[order], return_index=True)
        order = order[np.sort(first)]  # a word by its strongest token
        least = STRONG * size[order[len(order) // 100]] if len(order) else 0.0
        strong = unit[order[size[order] >= least]][:MOST_STRONG]
        half = self._half.copy()
        samples, first = np.unique(self.sample[strong], return_index=True)
        half[samples[np.argsort(first)]] = np.arange(len(samples)) % 2
        return Firing(fired, unit[order[:MOST_SEEN]], strong, half)

    def on_pieces(self, firings: Firing) -> bool:
        """Return whether an atom fires on pieces of words; not so where words are mostly in pieces."""
        if self.pieced is None or not len(firings.strong):
            return False
        usual = self.pieced.mean()
        return bool(self.pieced[firings.strong].mean() > max(PIECES, 2 * usual))

    def seen(self, firings: Firing) -> tuple[str, ...]:
        """Return the words of the strongest firings, those of most of them first; a place only of most."""
        strongest = self.kinds[0].key[firings.top]
        counted = Counter(strongest[strongest >= 0].tolist()).most_common()
        if not self.of_text:
            counted = [one for one in counted[:1] if 2 * one[1] > len(strongest)]
        return tuple(self.kinds[0].names[key] for key, _ in counted[:MOST_SAID])

    def best(self, firings: Firing) -> Found | None:
        """Return the name that holds best on all firings; None if nothing is shared, or a half has too few."""
        if np.bincount(firings.half[self.sample[firings.strong]], minlength=2).min() < FEWEST:
            return None
        found, reached = None, 0.0
        for i, kind in enumerate(self.kinds):
            keys, f1 = _grown(kind, firings, BOTH, above=reached + kind.handicap)
            worth = f1 - kind.handicap - LONGER * (len(keys) - 1)  # the shorter name, at equal F1
            if keys and worth > reached:
                found, reached = Found(i, keys), worth
            if reached >= ENOUGH:
                break
        return found

    def judged(self, found: Found, firings: Firing) -> tuple[float, float]:
        """Return F1 and share fitted on a half, of names of that kind made on the other; mean of both ways."""
        kind = self.kinds[found.kind]
        made = [Found(found.kind, _grown(kind, firings, half)[0]) for half in (0, 1)]
        scores = [self.scores(one, firings, 1 - half) for half, one in enumerate(made)]
        f1, fits = np.mean(scores, axis=0).tolist()
        return f1, fits

    def scores(self, found: Found, firings: Firing, half: int) -> tuple[float, float]:
        """Return F1 of a name on a half, and the share of the strong firings that it fits."""
        kind = self.kinds[found.kind]
        strong = firings.part(firings.strong, self.sample, half)
        keys = np.array(found.keys, np.int64)
        fits = float((kind.keys(strong)[:, :, None] == keys).any(axis=(1, 2)).mean())
        hits, n = _counted(kind, firings, half, keys)
        return _f1(fits, hits.sum(), n.sum()), fits

    def common(self, found: Found) -> float:
        """Return the share of all units that a name is true of, wherever the atom fires."""
        kind = self.kinds[found.kind]
        said = np.flatnonzero(np.isin(kind.key, found.keys))
        true = np.zeros(len(kind.key), dtype=bool)
        for offset in kind.offsets:
            at = said - offset
            inside = (at >= 0) & (at < len(true))
            at, by = at[inside], said[inside]
            true[at[kind.sample[at] == kind.sample[by]]] = True
        return float(true[kind.there].mean())

    def is_prefix(self, found: Found) -> bool:
        """Return whether a name has tokens before an image's patches, which show nothing of the image."""
        names = self.kinds[found.kind].names
        return not self.of_text and any(names[key] in PREFIX for key in found.keys)

    def name(self, found: Found, firings: Firing) -> str:
        """Return a name in words."""
        kind = self.kinds[found.kind]
        words = [kind.names[key] for key in found.keys[:MOST_SAID]]
        if kind.of_forms:
            fitting = firings.strong[np.isin(kind.key[firings.strong], found.keys)]
            forms = Counter(self.kinds[0].key[fitting].tolist()).most_common(MOST_SAID)
            words = [self.kinds[0].names[form] for form, _ in forms]
        if len(found.keys) > MOST_SAID:
            listed = f"{', '.join(words)} …"
        else:
            listed = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
        if listed.count(f" {PATCHES}") > 1:
            listed = listed.replace(f" {PATCHES}", "", listed.count(f" {PATCHES}") - 1)
        return kind.template.format(listed)


def _grown(
    kind: Kind, firings: Firing, half: int, *, above: float = 0.0
) -> tuple[tuple[int, ...], float]:
    """The keys of a kind that name the firings of a half best, and their F1; none if it cannot be `above`."""
    strong = firings.part(firings.strong, kind.sample, half)
    keys, n_samples = kind.keys(strong), len(firings.half)
    pairs = np.unique(kind.sample[strong][:, None] + n_samples * keys)
    tried, counts = np.unique(pairs[pairs >= 0] // n_samples, return_counts=True)
    often = int((counts > 1).sum()) if half == BOTH else len(counts)  # in several samples
    tried = tried[(-counts).argsort(kind="stable")][:often][:MOST_CANDIDATES]
    if not len(tried):
        return (), 0.0
    has = (keys[:, :, None] == tried).any(axis=1)
    if _f1(has.any(axis=1).mean(), 1, 1) <= above:  # at a precision of 1
        return (), 0.0
    hits, n = _counted(kind, firings, half, tried)
    chosen: list[int] = []
    best, covered, named, there = 0.0, np.zeros(len(keys), dtype=bool), 0, 0
    while len(chosen) < MOST_WORDS:
        recall = (has | covered[:, None]).sum(axis=0) / len(keys)
        f1 = _f1(recall, named + hits, there + n)
        f1[chosen] = -np.inf
        i = int(f1.argmax())
        if f1[i] < best + LONGER:
            break
        best, covered, chosen = float(f1[i]), covered | has[:, i], [*chosen, i]
        named, there = named + hits[i], there + n[i]
    return tuple(tried[chosen].tolist()), best


def _counted(
    kind: Kind, firings: Firing, half: int, keys: Int[np.ndarray, " keys"]
) -> tuple[Int[np.ndarray, " keys"], Int[np.ndarray, " keys"]]:
    """In how many occurrences of each key the atom fires, and how many there are."""
    units, which = kind.where(keys)
    if half != BOTH:
        mine = firings.half[kind.sample[units]] == half
        units, which = units[mine], which[mine]
    hit = which[kind.reached(units, firings.fired)]
    return np.bincount(hit, minlength=len(keys)), np.bincount(which, minlength=len(keys))


def _f1(recall: Any, hits: Any, n: Any) -> Any:
    precision = hits / np.maximum(n, 1)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


# -------------------------------------------------------------------------------------------------
# Words of texts, read from their tokens; places of images.


def _numbered(sample: Int[np.ndarray, " units"]) -> Int[np.ndarray, " units"]:
    """Samples numbered without gaps; of fewer than both halves need, parts of them."""
    known, index = np.unique(sample, return_inverse=True)
    if len(known) >= 2 * FEWEST:
        return index.ravel()
    return np.arange(len(sample)) * 4 * FEWEST // max(len(sample), 1)


def _words_of(
    catalogue: AtomCatalogue, token_ids: Ragged
) -> tuple[
    Int[np.ndarray, " rows"], Int[np.ndarray, " words"], list[str], Bool[np.ndarray, " words"]
]:
    """Word of every row; sample and text of every word, and whether it is of several tokens with letters."""
    context = catalogue.acts.context
    of_row = np.full(catalogue.n_rows, -1)
    samples: list[int] = []
    texts: list[str] = []
    n_tokens: list[int] = []
    bare = not any(name[:1].isspace() for name in context.vocabulary.values())
    for sample in _read(catalogue, token_ids):
        tokens = context.names_of(token_ids.sample(sample).tolist())
        word = len(texts) - 1 + np.cumsum(_begins(tokens, bare))
        texts += ["" for _ in range(int(word[-1]) + 1 - len(texts))] if len(word) else []
        samples += [sample] * (len(texts) - len(samples))
        n_tokens += [0] * (len(texts) - len(n_tokens))
        for i, token in zip(word.tolist(), tokens, strict=True):
            text = token.removeprefix("##").replace(CONTINUED, "")
            texts[i] += text
            n_tokens[i] += text.strip().isalpha()
        rows = catalogue.rows_of_sample(sample)
        of_row[rows] = word[catalogue.positions[rows]]
    pieced = np.array(n_tokens, np.int64) > 1
    return of_row, _numbered(np.array(samples, np.int64)), texts, pieced


def _read(catalogue: AtomCatalogue, token_ids: Ragged) -> Iterator[int]:
    """Texts to be read: all, or as many at random as the limit allows."""
    n = 0
    for sample in np.random.default_rng(0).permutation(np.unique(catalogue.samples)).tolist():
        if n > MOST_TOKENS:
            return
        n += len(token_ids.sample(sample))
        yield sample


def _begins(tokens: Sequence[str], bare: bool) -> list[bool]:
    """Whether a word begins at each token; `bare` tokens keep no white space and mark what continues."""
    if bare:
        return [not (token.startswith("##") or token == CONTINUED) for token in tokens]
    begins, last = [], ""
    for token in tokens:
        spaces = last.isspace() and "\n" not in last and not token[:1].isspace()
        inside = _joins(last[-1:]) and _joins(token[:1])
        begins.append(not (token == CONTINUED or spaces or inside))
        last = last if token == CONTINUED else token
    if begins:
        begins[0] = True
    return begins


@cache
def _joins(letter: str) -> bool:
    """Whether a letter may be inside a word that spaces set apart (not so in Chinese, Japanese, Thai)."""
    return letter.isalnum() and not ("\u0e00" <= letter <= "\u0eff" or letter >= "\u2e80")


def _folded(texts: Sequence[str]) -> tuple[Int[np.ndarray, " words"], list[str]]:
    """Words without regard to case; of each the commonest spelling, quoted."""
    index: dict[str, int] = {}
    spellings: list[Counter[str]] = []
    key = np.zeros(len(texts), np.int64)
    shown = {text: visible_token(text, bare=True) for text in set(texts)}
    for i, text in enumerate(texts):
        word = shown[text]
        place = index.setdefault(word.casefold(), len(index))
        if place == len(spellings):
            spellings.append(Counter())
        spellings[place][word] += 1
        key[i] = place
    return key, [f"“{one.most_common(1)[0][0]}”" for one in spellings]


def _kinds(
    word: Int[np.ndarray, " words"],
    names: list[str],
    sample: Int[np.ndarray, " words"],
    there: Bool[np.ndarray, " words"],
) -> list[Kind]:
    """Word, word before, word after, both together, number, and what the passage is about."""
    same = np.diff(sample, prepend=-1) == 0
    before = np.where(same, np.roll(word, 1), -1)
    after = np.where(np.roll(same, -1), np.roll(word, -1), -1)
    pairs, pair = np.unique(before * len(names) + word, return_inverse=True)
    pair = np.where(before >= 0, pair.ravel(), -1)
    together = _Pairs(pairs, names)
    count = np.bincount(word, minlength=len(names))
    plain = np.array([name.strip("“”") for name in names])
    about = np.array([len(text) > 2 and text.isalpha() for text in plain.tolist()])
    about &= (count <= max(RARE * len(word), 2 * FEWEST)) & (count > 1)
    # The first letters of a word, which its forms share.
    long = [len(text) >= STEM and text.isalpha() for text in plain.tolist()]
    begins = [text[:STEM].casefold() if one else "" for text, one in zip(plain.tolist(), long)]
    index = {stem: i for i, stem in enumerate(dict.fromkeys(filter(None, begins)))}
    stem = np.array([index.get(one, -1) for one in begins])
    number = np.array([_number(text) for text in plain.tolist()])
    around = tuple(i for i in range(-REACH, REACH + 1) if i)
    passage = np.where(about, np.arange(len(names)), -1)[word]
    return [
        Kind("{}", word, names, sample, there),
        Kind("{}", number[word], ("years", "decades", "numbers"), sample, there),
        Kind("{}", pair, together, sample, there),
        Kind("{}", stem[word], list(index), sample, there, handicap=LONGER, of_forms=True),
        Kind("after {}", before, names, sample, there, handicap=LONGER),
        Kind("before {}", after, names, sample, there, handicap=LONGER),
        Kind("near {}", passage, names, sample, there, handicap=5 * LONGER, offsets=around),
    ]


class _Pairs(Sequence[str]):
    """Names of pairs of neighbouring words, written when asked for."""

    def __init__(self, pairs: Int[np.ndarray, " pairs"], names: list[str]) -> None:
        self._pairs, self._names = pairs, names

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, key: int) -> str:  # type: ignore[override]  # one at a time
        first, second = divmod(int(self._pairs[key]), len(self._names))
        a, b = (self._names[i].strip("“”") for i in (first, second))
        return f"“{a} {b}”" if _joins(b[:1]) else f"“{a}{b}”"


def _number(text: str) -> int:
    """0 for a year, 1 for a decade, 2 for another number, −1 for any other word."""
    digits = text.replace(",", "").replace(".", "")
    if text[4:] in ("", "s") and text[:4].isdecimal() and 1000 <= int(text[:4]) < 2100:
        return 1 if text[4:] else 0
    return 2 if digits.isdecimal() else -1

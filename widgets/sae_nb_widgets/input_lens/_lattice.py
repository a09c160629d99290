"""The words of a text that an InputLens reads, each with the atom it lights most, and what that says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sae_nb.activations.tokens import CONTINUED, is_special
from sae_nb.corpora import InputSummary
from sae_nb.figures import visible_token
from sae_nb.figures.theme import format_count, format_number, format_percent
from sae_nb_widgets.components._concordance import INSIDE, joins_of
from sae_nb_widgets.components._find_box import plain
from sae_nb_widgets.components._word_lattice import LatticeWord

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames

LEAST, LOOKED_AT, MOST_NAMED = 0.25, 8, 40
"""Share of its strongest from which an atom is written under a word; atoms whose names are compared at a word,
and words that carry one at most. Ours."""

WORTH = {"label": 1.0, "label found automatically": 1.0, "label read": 1.0, "row": 1.0}
OF_WORDS, UNNAMED, OF_PLACES = 0.9, 0.45, 0.3
"""How much a name of each source counts: labels before captions of words, these before what an atom without a
name fires on, and that before what it follows or precedes. Ours."""
COMMON = 0.02
"""Frequency from which an atom tells less the more often it fires. Ours."""
NEW = 1.5
"""How much more an atom tells to begin with whose name is not the word itself. Ours."""

PLACES = ("after ", "before ", "near ", "mostly before ", "mostly after ", "mostly near ")

_ENGLISH = """
a about above after again all also am an and any are as at be because been before being below between both
but by can could did do does doing down during each few for from further had has have having he her here
hers him his how i if in into is it its just me more most my no nor not now of off on once only or other our
out over own same she should so some such than that the their them then there these they this those through
to too under until up us very was we were what when where which while who whom why will with would you your
don't i'm it's he's she's
"""
FUNCTION_WORDS = frozenset(_ENGLISH.split())
"""English words under which nothing is written: the atoms they light tell of grammar."""

_CORE = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadWord:
    """A word as read: its text, its positions, and (atom, strength, share) of what fires, strongest first."""

    text: str
    positions: tuple[int, ...]
    fired: tuple[tuple[int, float, float], ...]

    @cached_property
    def parts(self) -> tuple[str, str, str]:
        """Signs before, the word, signs after; of a word of signs alone all of it is the word."""
        found = _CORE.match(self.text)
        before, core, after = found.groups() if found else ("", self.text, "")
        return (before, core, after) if core else ("", self.text, "")

    @property
    def quiet(self) -> bool:
        """Whether it is grammar or signs alone."""
        core = self.parts[1].casefold().replace("’", "'")
        return core in FUNCTION_WORDS or not any(letter.isalnum() for letter in core)


def read_words(summary: InputSummary, names: AtomNames) -> list[ReadWord]:
    """Return the words of a text with what fires at each."""
    peaks = _peaks(summary, names)
    tokens, joins = summary.tokens, joins_of(summary.tokens)
    groups: list[list[int]] = []
    for position, token in enumerate(tokens):
        goes_on = bool(groups) and joins[position] == INSIDE and not is_special(token)
        if goes_on and not _begins(tokens[groups[-1][0] : position], token):
            groups[-1].append(position)
        else:
            groups.append([position])
    order = np.argsort(summary.position, kind="stable")
    first = np.searchsorted(summary.position[order], np.arange(len(tokens) + 1))
    fired = [order[a:b] for a, b in pairwise(first)]
    words = (group for group in groups if not is_special(tokens[group[0]]))
    return [_read(summary, group, peaks, fired) for group in words]


def _begins(before: Sequence[str], token: str) -> bool:
    """Whether a word begins inside what has no spaces: letters, after letters and a sign ("<b>bold")."""
    sign = before[-1]
    if any(map(str.isalnum, sign)) or not any(map(str.isalnum, token)) or sign in "-'’":
        return False
    return not token[0].isdigit() and any(letter.isalnum() for one in before for letter in one)


def _peaks(summary: InputSummary, names: AtomNames) -> Float[np.ndarray, " n_atoms"]:
    """Strongest seen of every atom: on its examples, else in this text."""
    catalogue = names.catalogue
    peaks = np.zeros(summary.run.sae.n_atoms)
    if catalogue is not None and catalogue.encoded:
        peaks[:] = catalogue.max_strength
    here = summary.used
    peaks[here.atom] = np.maximum(peaks[here.atom], here.strength)
    return peaks


def _read(
    summary: InputSummary,
    positions: Sequence[int],
    peaks: Float[np.ndarray, " n_atoms"],
    fired_at: Sequence[Int[np.ndarray, " m"]],
) -> ReadWord:
    tokens = [summary.tokens[i] for i in positions]
    lettered = [i for i, token in zip(positions, tokens) if any(map(str.isalnum, token))]
    at = np.concatenate([fired_at[i] for i in lettered or positions])
    atoms, sizes = summary.atom[at], np.abs(summary.strength[at])
    best: dict[int, float] = {}
    for atom, size in zip(atoms.tolist(), sizes.tolist()):
        best[atom] = max(best.get(atom, 0.0), size)
    ranked = sorted(best.items(), key=lambda one: -one[1])
    text = "".join(visible_token(x, bare=True) for x in tokens if x != CONTINUED)
    fired = tuple((a, z, float(z / max(peaks[a], 1e-12))) for a, z in ranked if z > 0)
    return ReadWord(text=text.strip() or text, positions=tuple(lettered or positions), fired=fired)


def best_at(word: ReadWord, names: AtomNames) -> tuple[int, float, float, float] | None:
    """Return the atom to write under a word, its strength, its share, and how much that tells.

    That is its share, times its strength next to the strongest atom's there, times the worth of its name.
    """
    top = word.fired[0][1] if word.fired else 1.0
    found = [
        (atom, z, share, share * z / top * _worth(names, atom))
        for atom, z, share in word.fired[:LOOKED_AT]
        if share >= LEAST
    ]
    return max(found, key=lambda one: one[3]) if found else None


def _worth(names: AtomNames, atom: int) -> float:
    """How much an atom tells by what it is called; one that fires at many words tells little of any."""
    catalogue = names.catalogue
    known = catalogue is not None and catalogue.encoded
    often = float(catalogue.frequency[atom]) if catalogue is not None and known else 0.0
    return _worth_of_name(names, atom) * min(1.0, COMMON / max(often, COMMON))


def _worth_of_name(names: AtomNames, atom: int) -> float:
    source = names.source(atom)
    if source == "caption":
        return OF_PLACES if names.words(atom).startswith(PLACES) else OF_WORDS
    return WORTH.get(source, UNNAMED)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """The words of a text, and of each the atom under it (None: nothing is written there)."""

    words: list[ReadWord]
    under: list[tuple[int, float, float, float] | None]

    @classmethod
    def of(cls, summary: InputSummary, names: AtomNames) -> Lattice:
        """Return the lattice of a text; of a long one only the words that fire most carry an atom."""
        words = read_words(summary, names)
        loud = [i for i, word in enumerate(words) if word.fired and not word.quiet]
        loud.sort(key=lambda i: -max(share for _, _, share in words[i].fired))
        chosen = set(loud[:MOST_NAMED])
        return cls(
            words=words,
            under=[best_at(word, names) if i in chosen else None for i, word in enumerate(words)],
        )

    @property
    def n_loud(self) -> int:
        """Number of words that carry meaning and light some atom."""
        return sum(bool(word.fired) and not word.quiet for word in self.words)

    def first(self, names: AtomNames) -> int | None:
        """Return the word whose atom tells most, by a name and something new if possible; None without any."""
        known = []
        for i, one in enumerate(self.under):
            if one is not None:
                said = self.words[i].parts[1].casefold() in names.words(one[0]).casefold()
                known.append((bool(names.source(one[0])), one[3] * (1.0 if said else NEW), -i))
        return -max(known)[2] if known else None

    def word_of(self, position: int) -> int:
        """Return the word that a position is in; −1 for none."""
        found = (i for i, word in enumerate(self.words) if position in word.positions)
        return next(found, -1)

    def holding(self, atom: int) -> int:
        """Return the word that an atom is written under, else the one where it fires most; −1 for none."""
        under = [i for i, one in enumerate(self.under) if one is not None and one[0] == atom]
        if under:
            return max(under, key=lambda i: self.under[i][1])  # type: ignore[index] # those that are there
        at = [(z, -i) for i, word in enumerate(self.words) for a, z, _ in word.fired if a == atom]
        return -max(at)[1] if at else -1

    def drawn(self, names: AtomNames) -> list[LatticeWord]:
        """Return the words as the component draws them."""
        return [_drawn(word, one, names) for word, one in zip(self.words, self.under, strict=True)]


def _drawn(
    word: ReadWord, under: tuple[int, float, float, float] | None, names: AtomNames
) -> LatticeWord:
    before, core, after = word.parts
    if under is None:
        return LatticeWord(text=core, before=before, after=after, tip="Click: what fires here")
    atom, z, share, _ = under
    named = bool(names.source(atom))
    tip = f"atom {atom}, strength {format_number(z)}: {format_percent(share)} of its strongest"
    return LatticeWord(
        text=core, before=before, after=after, atom=atom, name=plain(names.short(atom)), named=named,
        share=share, tip=tip if named else f"no name yet, so what it fires on; {tip}",
    )  # fmt: skip


# --- what is said ---------------------------------------------------------------------------------


def headline_words(lattice: Lattice, word: int, atom: int, names: AtomNames) -> str:
    """Return the title: which word lights what, or that the atom is silent; empty where nothing fires."""
    name = plain(names.short(atom))
    if word < 0:
        fires = any(one.fired for one in lattice.words)
        return f"“{name}” does not fire here" if fires else ""
    core = lattice.words[word].parts[1]
    if names.source(atom):
        return f"“{core}” lights up “{name}”"
    return f"“{core}” lights up an atom with no name yet: {name}"


def claim_words(lattice: Lattice, names: AtomNames) -> str:
    """Return the claim under it: under how many of its content words an atom stands that has a name."""
    content = sum(not word.quiet for word in lattice.words)
    if not content:
        return "No word here carries meaning of its own."
    named = sum(one is not None and bool(names.source(one[0])) for one in lattice.under)
    words = f"{format_count(content)} content word{'s' * (content != 1)}"
    if lattice.n_loud > MOST_NAMED:
        words = f"the {MOST_NAMED} words that fire most"
    return (
        f"An atom with a name stands under {format_count(named) if named else 'none'} of {words}."
    )


def legend_words(lattice: Lattice) -> str:
    """Return the legend under the words."""
    said = "under a word: its strongest atom, one with a name first · bar: next to the strongest ever seen"
    if lattice.n_loud > MOST_NAMED:
        of = f"{MOST_NAMED} of {format_count(lattice.n_loud)} words"
        return f"{said} · the {of} that fire most; click any other"
    return said

"""Atoms that answer to a query: by number, name, or firing where it stands in texts or the model reads it."""

from __future__ import annotations

import re
import unicodedata
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sae_nb.checks import Count, checked

if TYPE_CHECKING:
    from sae_nb.atoms._catalogue import AtomCatalogue
    from sae_nb.models import LiveModel

TIMES_CHANCE = 2
"""An atom answers to a token where more than twice as much of its strength falls there as on any rows."""

LEAST = 0.3
"""Share of its largest strength that an atom must reach where the query stands. Ours."""

DENSE_ABOVE = 0.1
"""Share of rows; an atom that is active in more of them says little about any. A convention."""

SENTENCES = (
    "They talked about {}",
    "I remember {}",
    "In the end it was {}",
    "The old man said: {}",
)
OTHERS = ("something", "things", "it")
"""Sentences in which the model reads a word, and words that it reads there for comparison, one of them in the
plural: an atom of every plural is not about horses. Ours."""

LONGEST_QUERY = 200
"""Letters of a query that are read: a pasted page answers like its beginning."""


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


# -------------------------------------------------------------------------------------------------
# Where a query stands.


@dataclass(frozen=True, eq=False)
class _Written:
    """What the rows of a catalogue say, as one text; where each row begins in it."""

    text: str
    rows: Int[np.ndarray, " n"]
    starts: Int[np.ndarray, " n"]

    def ends(self, query: str) -> Int[np.ndarray, " places"]:
        """Return the row in which each place of a query ends: of whole words, else of beginnings, else any."""
        query = _once(query)
        exact, before, after = re.escape(query), r"(?<!\w)", r"(?!\w)"
        for pattern in (before + exact + after, before + exact, exact):
            found = [match.start() for match in re.finditer(pattern, self.text)]
            if found:
                ends = np.array(found) + len(query) - 1
                return self.rows[np.searchsorted(self.starts, ends, side="right") - 1]
        return np.zeros(0, np.int64)


_known: weakref.WeakKeyDictionary[AtomCatalogue, _Written] = weakref.WeakKeyDictionary()


def _written(catalogue: AtomCatalogue) -> _Written:
    """Return what the rows of a catalogue say; put together once."""
    if catalogue not in _known:
        names, of_row = names_of_rows(catalogue)
        order = np.lexsort((catalogue.positions, catalogue.samples))[: len(of_row)]
        sample, position, of_row = (
            x[order] for x in (catalogue.samples, catalogue.positions, of_row)
        )
        apart = (np.diff(sample, prepend=-1) != 0) | (np.diff(position, prepend=-1) != 1)
        # Tokens that keep no white space are words of their own unless they go on with one.
        bare = not any(name[:1].isspace() for name in names)
        begins = np.array([bare and not name.startswith("##") for name in names], dtype=bool)
        # A character that several tokens write together is said once.
        whole = np.array([len(name) == 1 and not name.isascii() for name in names], dtype=bool)
        again = np.zeros(len(order), dtype=bool)
        again[1:] = (of_row[1:] == of_row[:-1]) & whole[of_row[1:]] & ~apart[1:]
        shown = [name.removeprefix("##") if bare else name for name in names]
        gap = apart | begins[of_row] if len(order) else apart
        parts = ["" if more else f"\n{shown[i]}" if new else shown[i]
                 for i, new, more in zip(of_row.tolist(), gap.tolist(), again.tolist())]  # fmt: skip
        lengths = np.array([len(part) for part in parts], np.int64)
        starts = np.cumsum(lengths) - lengths
        _known[catalogue] = _Written("".join(parts), order, starts)
    return _known[catalogue]


def _once(query: str) -> str:
    """Return a query as `_written` says it: a character beyond ASCII that stands twice is said once."""
    return re.sub(r"([^\x00-\x7f])\1+", r"\1", query)


class _Fired(NamedTuple):
    """Atoms that fire in some rows; mean of |z| over all of these, its largest, and the row of that."""

    atoms: Int[np.ndarray, " m"]
    mean: Float[np.ndarray, " m"]
    largest: Float[np.ndarray, " m"]
    row: Int[np.ndarray, " m"]


def _fired_at(catalogue: AtomCatalogue, rows: Int[np.ndarray, " places"]) -> _Fired:
    """Return what fires in some rows."""
    entries, offsets = catalogue.entries_of(rows), catalogue.codes.offsets.numpy()
    row = np.repeat(rows, offsets[rows + 1] - offsets[rows])
    atom, size = catalogue.atoms[entries], np.abs(catalogue.values[entries]).astype(np.float64)
    order = np.lexsort((-size, atom))
    order = order[size[order] > 0]
    atoms, first = np.unique(atom[order], return_index=True)
    sums = np.bincount(atom[order], weights=size[order], minlength=catalogue.n_atoms)[atoms]
    largest = order[first]
    return _Fired(atoms.astype(np.int64), sums / max(len(rows), 1), size[largest], row[largest])


# -------------------------------------------------------------------------------------------------
# The answer.


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundAtoms:
    """Atoms that answer to a query, best first."""

    query: str
    atoms: Int[np.ndarray, " m"]
    strengths: Float[np.ndarray, " m"]
    """Mean |z| where the query ends; 0 for an atom that was found by its number or its name alone."""

    shares: Float[np.ndarray, " m"]
    """The largest |z| there (of the running model, the mean) as a share of the largest ever seen, 0 to 1."""

    rows: Int[np.ndarray, " m"]
    """Row of the catalogue with the largest |z| there; −1 where the texts were not searched."""

    n_places: int
    """Places in the texts at which the query stands; of the running model, sentences read."""

    live: bool = False
    """Whether the running model read the query."""

    def __len__(self) -> int:
        return len(self.atoms)


@checked
def find_atoms(
    catalogue: AtomCatalogue,
    query: str,
    *,
    model: LiveModel | None = None,
    among: Sequence[int] | Int[np.ndarray, " k"] | None = None,
) -> FoundAtoms:
    """Return the atoms that answer to a query, best first.

    First the atom of that number, then atoms with a label in which a word begins with it, then atoms that fire
    where it ends: with at least `LEAST` of their largest strength, the strongest first (mean |z| there), and
    after them those that fire in more than `DENSE_ABOVE` of all rows. Of images the names of places are
    searched ("cls", "patch 3,4"), by the share of an atom's strength there.

    Parameters
    ----------
    model
        The running model: it reads the query at the end of four short sentences, and the atoms count that fire
        there more than twice as strongly as at any of three other words. Without one the query is looked for in
        the texts, as a whole word, else as the beginning of words, else as any part, and the atoms count that
        fire there more than twice as strongly as anywhere; case and ways of writing an accent do not matter.
    among
        Atoms that may be found; None for all.

    Raises
    ------
    ValueError: If the model is asked and the activations are of no text or of several places.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.load_sae("tiny-gpt/resid_post.3")
    >>> catalogue = sn.load_examples("tiny-gpt/resid_post.3").catalogue(sae)
    >>> found = find_atoms(catalogue, "dog")
    >>> found.n_places > 0, bool((found.shares[found.strengths > 0] >= 0.3).all())
    (True, True)
    """
    text = " ".join(query.split())[:LONGEST_QUERY]
    acts = catalogue.acts
    if model is not None and not catalogue.reads_words:
        raise ValueError(
            "`catalogue` must hold activations of texts at one hook point for the model to read a query, got "
            f"{acts!r:.80}. Leave `model` out."
        )
    is_text = acts.context.modality.is_text and acts.tokens is not None
    if text and model is not None:
        fired, usual, n_places = _read(catalogue, model, text)
    else:
        rows = _written(catalogue).ends(folded(text)) if text and is_text else np.zeros(0, np.int64)
        fired, n_places = _fired_at(catalogue, rows), len(rows)
        usual = catalogue.mean_strength * catalogue.n_fired / catalogue.n_rows
    lit = _lit(catalogue, fired, usual)
    if text and not is_text and acts.tokens is not None:
        lit = _at_places(catalogue, folded(text))
    strengths, largest = np.zeros((2, catalogue.n_atoms))
    strengths[fired.atoms], largest[fired.atoms] = fired.mean, fired.largest
    row = np.full(catalogue.n_atoms, -1)
    row[fired.atoms] = fired.row
    atoms = np.array(_named_and(catalogue, text, lit, strengths), np.int64)
    if among is not None:
        atoms = atoms[np.isin(atoms, np.asarray(among, np.int64))]
    shares = largest[atoms] / np.maximum(catalogue.max_strength[atoms], 1e-12)
    return FoundAtoms(
        query=text, atoms=atoms, strengths=strengths[atoms], shares=np.minimum(shares, 1.0),
        rows=row[atoms], n_places=n_places, live=model is not None,
    )  # fmt: skip


def _lit(
    catalogue: AtomCatalogue, fired: _Fired, usual: Float[np.ndarray, " n_atoms"]
) -> list[int]:
    """Return which of what fired fired well and more than usual; the strongest first, dense atoms last."""
    atoms = fired.atoms
    well = fired.largest >= LEAST * catalogue.max_strength[atoms]
    kept = well & (fired.mean > TIMES_CHANCE * usual[atoms])
    order = np.lexsort((-fired.mean, catalogue.frequency[atoms] > DENSE_ABOVE))
    return atoms[order[kept[order]]].tolist()


def _named_and(
    catalogue: AtomCatalogue, query: str, lit: list[int], strengths: Float[np.ndarray, " n_atoms"]
) -> list[int]:
    """Return the atom of that number, those with such a name, and `lit`; each once."""
    names = sorted(named(query, catalogue.labels, catalogue.n_atoms), key=lambda i: -strengths[i])
    # A name that a person wrote is looked for; one found automatically counts where its atom fires.
    written = getattr(catalogue.labels, "is_written", lambda _: True)
    sure = [atom for atom in names if strengths[atom] > 0 or written(atom)]
    return list(dict.fromkeys([*numbered(query, catalogue.n_atoms), *sure, *lit, *names]))


@checked
def numbered(query: str, n_atoms: Count) -> list[int]:
    """Return the atom whose number a query is, if there is one.

    >>> numbered("#17", 20), numbered("17", 17), numbered("seventeen", 20)
    ([17], [], [])
    """
    number = re.fullmatch(r"#?\s*(\d+)", query.strip())
    return [int(number[1])] if number and int(number[1]) < n_atoms else []


@checked
def named(query: str, labels: Mapping[int, str], n_atoms: Count) -> list[int]:
    """Return the atoms with a label in which a word begins with a query, ascending.

    >>> named("Cat", {5: "my cats", 2: "concatenate", 0: "cat"}, 8)
    [0, 5]
    """
    text = folded(query.strip())
    begins = re.compile(rf"(?<!\w){re.escape(text)}")
    known = (atom for atom in sorted(labels) if 0 <= atom < n_atoms and text)
    return [atom for atom in known if begins.search(folded(labels[atom]))]


def _at_places(catalogue: AtomCatalogue, text: str) -> list[int]:
    """Atoms that prefer the places of images, or of sounds, whose name holds a text, best first."""
    names, of_row = names_of_rows(catalogue)
    named = np.array([0 if text in name else -1 for name in names], np.int64)
    ((atoms, _),) = preferring(catalogue, named[of_row], 1)
    return atoms.tolist()


def _read(
    catalogue: AtomCatalogue, model: LiveModel, query: str
) -> tuple[_Fired, Float[np.ndarray, " n_atoms"], int]:
    """Return what fires where the model reads a query, how strongly atoms fire at other words, and how many
    sentences it read.
    """
    from sae_nb.atoms._catalogue import AtomCatalogue
    from sae_nb.capturing import capture

    others = [word for word in OTHERS if word != folded(query)]
    words, n = (query, *others), len(SENTENCES)
    texts = [sentence.format(word) for word in words for sentence in SENTENCES]
    hook_point = str(catalogue.acts.hook_point)
    acts = capture(model, texts, hook_point, progress=False)
    here = AtomCatalogue(catalogue.sae, acts)
    # The word ends its sentence, but for what a tokenizer adds.
    ends = {int(here.samples[row]): row for row in range(here.n_rows)}
    for i, word in enumerate(words):
        found = _written(here).ends(folded(word)).tolist()
        ends |= {int(here.samples[row]): row for row in found if here.samples[row] // n == i}
    rows = np.array([ends[sample] for sample in sorted(ends)], np.int64)
    fired, usual = _fired_at(here, rows[:n]), np.zeros(catalogue.n_atoms)
    for begin in range(n, len(rows), n):
        other = _fired_at(here, rows[begin : begin + n])
        usual[other.atoms] = np.maximum(usual[other.atoms], other.mean)
    # All of the sentences are about the word: what it lights fires in them all.
    return fired._replace(largest=fired.mean, row=np.full(len(fired.row), -1)), usual, n


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
    chance = np.bincount(groups[rows], minlength=n_groups) / len(groups)
    for i in range(n_groups):
        inside = slice(there.indptr[i], there.indptr[i + 1])
        atoms = there.indices[inside].astype(np.int64)
        share = there.data[inside] / everywhere[atoms]
        order = np.argsort(-share, kind="stable")
        order = order[share[order] > TIMES_CHANCE * chance[i]]
        yield atoms[order], share[order]

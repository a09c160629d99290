"""Atoms that answer to a query: by number, name, or firing where it stands in texts or the model reads it."""

from __future__ import annotations

import re
import unicodedata
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sae_nb.checks import checked

if TYPE_CHECKING:
    from sae_nb.atoms._catalogue import AtomCatalogue
    from sae_nb.models import LiveModel

TIMES_CHANCE = 2
"""An atom answers to a token where more than twice as much of its strength falls there as on any rows."""

LEAST = 0.3
"""Share of its largest strength that an atom must reach where the query stands. Ours."""

SENTENCES = (
    "They talked about {}",
    "I remember {}",
    "In the end it was {}",
    "The old man said: {}",
)
OTHERS = ("something", "people", "it")
"""Sentences in which the model reads a word, and words that it reads there for comparison. Ours."""

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

    def places(self, query: str) -> list[Int[np.ndarray, " tokens"]]:
        """Return the rows of every place of a query: of whole words, else of beginnings, else of any part."""
        query = _once(query)
        exact, before, after = re.escape(query), r"(?<!\w)", r"(?!\w)"
        for pattern in (before + exact + after, before + exact, exact):
            found = [match.start() for match in re.finditer(pattern, self.text)]
            if found:
                first = np.searchsorted(self.starts, found, side="right") - 1
                ends = np.array(found) + len(query) - 1
                last = np.searchsorted(self.starts, ends, side="right")
                return [self.rows[a:b] for a, b in zip(first.tolist(), last.tolist())]
        return []


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
    """Atoms that fire at some places; mean over all places of |z| there, its largest, and the row of that."""

    atoms: Int[np.ndarray, " m"]
    mean: Float[np.ndarray, " m"]
    largest: Float[np.ndarray, " m"]
    row: Int[np.ndarray, " m"]


def _fired_at(catalogue: AtomCatalogue, places: Sequence[Int[np.ndarray, " tokens"]]) -> _Fired:
    """Return what fires at places of one or several rows each; at several, by the strongest of them."""
    rows = np.concatenate([*places, np.zeros(0, np.int64)]).astype(np.int64)
    place = np.repeat(np.arange(len(places)), [len(one) for one in places])
    offsets = catalogue.codes.offsets.numpy()
    counts = offsets[rows + 1] - offsets[rows]
    entries = catalogue.entries_of(rows)
    atom, size = catalogue.atoms[entries], np.abs(catalogue.values[entries]).astype(np.float64)
    place, row = np.repeat(place, counts), np.repeat(rows, counts)
    kept = np.lexsort((-size, place, atom))
    kept = kept[size[kept] > 0]
    atom, place, size, row = atom[kept], place[kept], size[kept], row[kept]
    first = np.ones(len(atom), dtype=bool)  # of each atom at each place: its strongest row
    first[1:] = (np.diff(atom) != 0) | (np.diff(place) != 0)
    atom, size, row = atom[first], size[first], row[first]
    strongest = np.lexsort((-size, atom))
    atoms, at = np.unique(atom[strongest], return_index=True)
    sums = np.bincount(atom, weights=size, minlength=catalogue.n_atoms)[atoms]
    largest = strongest[at]
    return _Fired(atoms.astype(np.int64), sums / max(len(places), 1), size[largest], row[largest])


# -------------------------------------------------------------------------------------------------
# The answer.


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundAtoms:
    """Atoms that answer to a query, best first."""

    query: str
    atoms: Int[np.ndarray, " m"]
    strengths: Float[np.ndarray, " m"]
    """Mean |z| where the query stands; 0 for an atom that was found by its number or its name alone."""

    shares: Float[np.ndarray, " m"]
    """The largest |z| there as a share of the largest ever seen, 0 to 1."""

    rows: Int[np.ndarray, " m"]
    """Row of the catalogue with that |z|; −1 where the query does not stand in the texts."""

    n_places: int
    """Places in the texts at which the query stands; of the running model, sentences read."""

    live: bool = False
    """Whether the running model was asked."""

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
    """Return the atoms that answer to a query, strongest first.

    First the atom of that number, then atoms with a label in which a word begins with it, then atoms that fire
    where it stands in the texts: by mean |z| there, if they reach `LEAST` of their largest strength. It is
    looked for as a whole word, else as the beginning of words, else as any part; case and ways of writing an
    accent do not matter. Of images the names of places are searched ("cls", "patch 3,4"), by the share of an
    atom's strength there.

    Parameters
    ----------
    model
        The running model: it reads the query in four short sentences, and the atoms that fire there at least
        twice as strongly as at other words in its place are returned. The texts are not searched then.
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
    >>> len(found) > 0, bool((found.strengths[:-1] >= found.strengths[1:]).all())
    (True, True)
    """
    text = " ".join(query.split())[:LONGEST_QUERY]
    if model is not None:
        found = _asked(catalogue, model, text)
    else:
        found = _found(catalogue, text)
    if among is None:
        return found
    kept = np.isin(found.atoms, np.asarray(among, np.int64))
    parts = (found.atoms, found.strengths, found.shares, found.rows)
    atoms, strengths, shares, rows = (part[kept] for part in parts)
    return FoundAtoms(
        query=found.query, atoms=atoms, strengths=strengths, shares=shares, rows=rows,
        n_places=found.n_places, live=found.live,
    )  # fmt: skip


def _found(catalogue: AtomCatalogue, query: str) -> FoundAtoms:
    text = folded(query)
    if not text:
        return _answer(catalogue, query, [], None, 0)
    number = re.fullmatch(r"#?\s*(\d+)", query)
    first = [int(number[1])] if number and int(number[1]) < catalogue.n_atoms else []
    named = _named(catalogue, text)
    if catalogue.acts.tokens is None:
        return _answer(catalogue, query, [*first, *named], None, 0)
    if not catalogue.acts.context.modality.is_text:
        return _answer(catalogue, query, [*first, *named, *_at_places(catalogue, text)], None, 0)
    places = _written(catalogue).places(text)
    fired = _fired_at(catalogue, places)
    peak = catalogue.max_strength[fired.atoms]
    everywhere = (catalogue.mean_strength * catalogue.n_fired)[fired.atoms]
    rows = sum(map(len, places))
    apart = fired.mean * len(places) / everywhere > TIMES_CHANCE * rows / catalogue.n_rows
    order = np.argsort(-fired.mean, kind="stable")
    order = order[(apart & (fired.largest >= LEAST * peak))[order]]
    there = dict(zip(fired.atoms.tolist(), fired.mean.tolist()))
    named.sort(key=lambda atom: -there.get(atom, 0.0))
    # A name that a person wrote is looked for; one found automatically counts where its atom fires.
    written = getattr(catalogue.labels, "is_written", lambda _: True)
    behind = [atom for atom in named if atom not in there and not written(atom)]
    first += [atom for atom in named if atom not in behind]
    atoms = [*first, *fired.atoms[order].tolist(), *behind]
    return _answer(catalogue, query, atoms, fired, len(places))


def _named(catalogue: AtomCatalogue, text: str) -> list[int]:
    """Atoms with a label in which a word begins with a text."""
    labels = {atom: folded(label) for atom, label in sorted(catalogue.labels.items())}
    labels = {atom: label for atom, label in labels.items() if 0 <= atom < catalogue.n_atoms}
    begins = re.compile(rf"(?<!\w){re.escape(text)}")
    return [atom for atom, label in labels.items() if begins.search(label)]


def _at_places(catalogue: AtomCatalogue, text: str) -> list[int]:
    """Atoms that prefer the places of images, or of sounds, whose name holds a text, best first."""
    names, of_row = names_of_rows(catalogue)
    named = np.array([0 if text in name else -1 for name in names], np.int64)
    ((atoms, _),) = preferring(catalogue, named[of_row], 1)
    return atoms.tolist()


def _asked(catalogue: AtomCatalogue, model: LiveModel, query: str) -> FoundAtoms:
    """What fires when the running model reads the query, and not at other words in its place."""
    from sae_nb.atoms._catalogue import AtomCatalogue
    from sae_nb.capturing import capture

    hook_point = catalogue.acts.hook_point
    if catalogue.sites or not hook_point or not catalogue.acts.context.modality.is_text:
        raise ValueError(
            "`catalogue` must hold activations of texts at one hook point for the model to be asked, got "
            f"{catalogue.acts!r:.80}. Leave `model` out."
        )
    if not query:
        return _answer(catalogue, query, [], None, 0, live=True)

    def read(word: str) -> _Fired:
        texts = [sentence.format(word) for sentence in SENTENCES]
        acts = capture(model, texts, hook_point, progress=False)
        here = AtomCatalogue(catalogue.sae, acts)
        # The word ends every sentence, and may stand in its beginning too.
        last = {int(here.samples[row]): np.array([row]) for row in range(here.n_rows)}
        last |= {int(here.samples[at[0]]): at for at in _written(here).places(folded(word))}
        return _fired_at(here, list(last.values()))

    usual = np.zeros(catalogue.n_atoms)
    for word in OTHERS:
        other = read(word)
        usual[other.atoms] += other.mean / len(OTHERS)
    fired = read(query)
    peak = catalogue.max_strength[fired.atoms]
    kept = (fired.mean >= LEAST * peak) & (fired.mean > TIMES_CHANCE * usual[fired.atoms])
    order = np.argsort(-fired.mean, kind="stable")
    atoms = fired.atoms[order[kept[order]]].tolist()
    nowhere = fired._replace(largest=fired.mean, row=np.full(len(fired.row), -1))
    return _answer(catalogue, query, atoms, nowhere, len(SENTENCES), live=True)


def _answer(
    catalogue: AtomCatalogue,
    query: str,
    atoms: Sequence[int],
    fired: _Fired | None,
    n_places: int,
    *,
    live: bool = False,
) -> FoundAtoms:
    chosen = np.array(list(dict.fromkeys(atoms)), np.int64)
    strengths, shares = np.zeros(len(chosen)), np.zeros(len(chosen))
    rows = np.full(len(chosen), -1)
    if fired is not None and len(fired.atoms):
        at = np.minimum(np.searchsorted(fired.atoms, chosen), len(fired.atoms) - 1)
        fires = fired.atoms[at] == chosen
        peak = np.maximum(catalogue.max_strength[chosen], 1e-12)
        strengths = np.where(fires, fired.mean[at], 0.0)
        shares = np.where(fires, np.minimum(fired.largest[at] / peak, 1.0), 0.0)
        rows = np.where(fires, fired.row[at], -1)
    return FoundAtoms(
        query=query, atoms=chosen, strengths=strengths, shares=shares, rows=rows,
        n_places=n_places, live=live,
    )  # fmt: skip


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

"""Documents: the record of texts or images by the atoms that fire in them, a sparse row each.

Made by `documents`; what uses read of one (shares, strongest documents, words, labels) is asked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb._hints import near
from sae_nb.activations._context import Context
from sae_nb.activations.tokens import CONTINUED, is_special, join_tokens
from sae_nb.atoms._examples import in_picture, in_text, place_in
from sae_nb.atoms._records import Example
from sae_nb.checks import Count, check_atom, checked, row_numbers
from sae_nb.corpora._words import WORD, Words, most_common, words_of
from sae_nb.files import SaeIdentity

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

Pool = Literal["max", "mean", "count"]

GOES_ON = -1
"""Number of a token in which no character begins."""

_PEAKS = 5  # documents that an atom's word is taken from


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Documents:
    """Texts or images by their atoms; made by `documents`.

    Row i of `matrix` is document i. Active entries are stored: an atom is in a document if it has an
    entry there, whatever its value.
    """

    matrix: csr_matrix
    """Pooled strengths, (n, n_atoms), float32."""

    position: Int[np.ndarray, " nnz"]
    """Position of the largest |z| within the document, of each entry of `matrix.data`."""

    n_rows: Int[np.ndarray, " n"]
    """Tokens or patches that were read of each document."""

    means: Float[np.ndarray, "n d_in"]
    """Mean activation of each document: what simpler methods read."""

    sample: Int[np.ndarray, " n"]
    """Number of each document among the samples of `context`."""

    context: Context
    pool: Pool
    hook_point: str
    model_name: str
    identity: SaeIdentity
    """Where they were read, and by which SAE."""

    dictionary: Float[Tensor, "n_atoms d_in"]
    labels: Mapping[int, str] = field(default_factory=dict)
    """Names of the SAE's atoms."""

    def __len__(self) -> int:
        return len(self.sample)

    def __repr__(self) -> str:
        word = self.context.sample_word
        per_document = self.matrix.nnz / max(len(self), 1)
        return (
            f"Documents({len(self)} {word}s × {self.n_atoms} atoms, {per_document:.1f} per {word}; "
            f"{self.pool} at {self.hook_point} of {self.model_name}, {self.nbytes / 2**20:.1f} MiB)"
        )

    @property
    def n_atoms(self) -> int:
        """Rows of the dictionary."""
        return int(self.matrix.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory of the matrix, the positions and the means."""
        parts = (self.matrix.data, self.matrix.indices, self.matrix.indptr)
        return sum(part.nbytes for part in (*parts, self.position, self.means))

    @cached_property
    def present(self) -> csr_matrix:
        """1 where an atom fires in a document, (n, n_atoms): the matrix without its strengths."""
        from scipy.sparse import csr_matrix

        ones = np.ones(self.matrix.nnz, np.float32)
        return csr_matrix((ones, self.matrix.indices, self.matrix.indptr), shape=self.matrix.shape)

    @cached_property
    def counts(self) -> Int[np.ndarray, " n_atoms"]:
        """Documents in which each atom fires."""
        return np.bincount(self.matrix.indices, minlength=self.n_atoms)

    def shares(
        self, rows: slice | Sequence[int] | np.ndarray = slice(None)
    ) -> Float[np.ndarray, " n_atoms"]:
        """Return share of some documents, by default of all, in which each atom fires; 0 of none."""
        some = self.present[rows]
        return np.asarray(some.sum(axis=0), np.float64).ravel() / max(some.shape[0], 1)

    @checked(leave=("rows",))
    def subset(self, rows: object) -> Documents:
        """Keep some documents: a slice, a mask or their numbers.

        Raises
        ------
        IndexError: If a mask has another length, or a number is out of range.
        """
        beyond = "Documents have one axis."
        chosen = row_numbers(rows, (len(self),), torch.device("cpu"), beyond=beyond)
        at = chosen.reshape(-1).numpy()
        entries, indptr = entries_of(self.matrix.indptr, at)
        return replace(
            self,
            matrix=csr_of(
                self.matrix.data[entries], self.matrix.indices[entries], indptr, self.n_atoms
            ),
            position=self.position[entries],
            n_rows=self.n_rows[at],
            means=self.means[at],
            sample=self.sample[at],
        )

    @checked
    def top(self, atom: int, n: Count = 10) -> DataFrame:
        """Return the documents in which an atom is strongest: document, value, position, word, text.

        `text` is empty for images, whose `word` is the patch; `context.pictures[sample]` is the image.

        Raises
        ------
        IndexError: If the SAE has no such atom.
        """
        import pandas as pd

        atom = check_atom(atom, self.n_atoms)
        rows, entries = self._strongest(atom, n)
        columns = {
            "document": rows,
            "sample": self.sample[rows],
            "value": self.matrix.data[entries],
            "position": self.position[entries],
            "word": [self.word_at(int(i), int(t)) for i, t in zip(rows, self.position[entries])],
            "text": [self.text(int(i)) for i in rows],
        }
        return pd.DataFrame(columns)

    @checked
    def examples(self, atom: int, n: Count = 5) -> tuple[Example, ...]:
        """Return the documents in which an atom is strongest, as cards of examples draw them.

        Of each, one strength is known: at the position of the maximum. Those of other tokens and patches
        are NaN.

        Raises
        ------
        IndexError: If the SAE has no such atom.
        """
        atom = check_atom(atom, self.n_atoms)
        return tuple(
            self._example(int(i), float(self.matrix.data[entry]), int(self.position[entry]))
            for i, entry in zip(*self._strongest(atom, n))
        )

    def _example(self, document: int, value: float, position: int) -> Example:
        context, sample = self.context, int(self.sample[document])
        around: dict[str, Any] = {}
        if context.modality.is_text and context.token_ids is not None:
            strengths = np.full(len(context.token_ids.sample(sample)), np.nan)
            strengths[position] = value
            around = in_text(context, sample, position, strengths)
        elif context.pictures is not None or context.patch_grid is not None:
            around = in_picture(context, sample, np.array([position]), np.array([value]))
        return Example(
            row=document,
            sample=sample,
            position=position,
            strength=value,
            place=place_in(context, sample, position),
            **around,
        )

    def _strongest(self, atom: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The n documents in which an atom is strongest, and their entries."""
        documents, all_entries, offsets = self._by_atom
        mine = slice(offsets[atom], offsets[atom + 1])
        rows, entries = documents[mine], all_entries[mine]
        best = np.argsort(-np.abs(self.matrix.data[entries]), kind="stable")[:n]
        return rows[best], entries[best]

    @cached_property
    def _by_atom(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Documents and entries grouped by atom, and where each atom begins."""
        grouped = csr_of(
            np.arange(self.matrix.nnz), self.matrix.indices, self.matrix.indptr, self.n_atoms
        ).tocsc()
        return grouped.indices, grouped.data, grouped.indptr

    # Words: what simpler methods read of texts

    @property
    def has_texts(self) -> bool:
        """Whether the documents are texts whose tokens have names."""
        return self.context.token_ids is not None and bool(self.context.vocabulary)

    def text(self, document: int) -> str:
        """Return a document as the model read it; empty for images."""
        return join_tokens(self._tokens(document)) if self.has_texts else ""

    def _tokens(self, document: int) -> list[str]:
        names = self.context.token_names(int(self.sample[document]))
        return ["" if is_special(name) else name for name in names]

    @cached_property
    def _texts(self) -> tuple[Int[np.ndarray, " tokens"], dict[int, str]]:
        """Every token as its id, or below 0 where it shows something else than alone; the text of each such
        number, empty of special tokens and where a character goes on.
        """
        context = self.context
        ids = context.token_ids.ids.numpy().copy()  # type: ignore[union-attr]
        numbers: dict[str, int] = {CONTINUED: GOES_ON}
        for at, (text, _) in context.names_in_place.items():
            ids[at] = numbers.setdefault(text, GOES_ON - len(numbers))
        names = {one: "" if is_special(name) else name for one, name in context.vocabulary.items()}
        return ids, names | {one: text for text, one in numbers.items()} | {GOES_ON: ""}

    @property
    def words(self) -> tuple[csr_matrix, tuple[str, ...]]:
        """Counts of each word in each text, (n, n_words), and the words, in lower case."""
        return self._words.counts, self._words.names

    @cached_property
    def _words(self) -> Words:
        """The words of all texts."""
        return self._words_in(np.arange(len(self)))

    def _words_in(self, documents: Int[np.ndarray, " m"]) -> Words:
        """The words of some texts."""
        (ids, names), offsets = self._texts, self.context.token_ids.offsets.numpy()  # type: ignore[union-attr]
        entries, begins = entries_of(offsets, self.sample[documents])
        words = words_of(ids[entries], begins, names)
        begun = np.where(ids[entries] != GOES_ON, np.arange(len(entries)), 0)
        return replace(words, of_token=words.of_token[np.maximum.accumulate(begun)])

    @cached_property
    def word_documents(self) -> dict[str, Int[np.ndarray, " m"]]:
        """The documents that have each word."""
        counts, names = self.words
        by_word = counts.tocsc()
        return dict(zip(names, np.split(by_word.indices, by_word.indptr[1:-1])))

    def word_at(self, document: int, position: int) -> str:
        """Return the word that a token belongs to, in lower case; of an image, the name of its patch."""
        if not self.has_texts:
            return self.context.token_name(position)
        return self._words_at(np.array([document]), np.array([position]))[0]

    def _words_at(
        self, documents: Int[np.ndarray, " m"], positions: Int[np.ndarray, " m"]
    ) -> list[str]:
        """The words that some tokens belong to."""
        if "_words" in vars(self):
            words, place = self._words, documents
        else:  # those of a few texts are read at once
            texts, place = np.unique(documents, return_inverse=True)
            words = self._words_in(texts)
        numbers = words.of_token[words.starts[place] + positions].tolist()
        return [words.names[i] if i >= 0 else "" for i in numbers]

    def peak_word(self, atom: int) -> str:
        """Return the word at which an atom most often peaks, in the five texts where it is strongest."""
        return self.peak_words([atom])[0]

    def peak_words(self, atoms: Sequence[int]) -> list[str]:
        """Return `peak_word` of several atoms, in one go; empty of images."""
        wanted = np.asarray(atoms, dtype=np.int64)
        for atom in wanted[(wanted < 0) | (wanted >= self.n_atoms)]:
            check_atom(int(atom), self.n_atoms)
        if not self.has_texts:
            return [""] * len(wanted)
        documents, entries, offsets = self._by_atom
        places, begins = entries_of(offsets, wanted)
        owner = np.repeat(np.arange(len(wanted)), np.diff(begins))
        order = np.lexsort((-np.abs(self.matrix.data[entries[places]]), owner))
        rank = np.arange(len(order)) - np.repeat(begins[:-1], np.diff(begins))
        best = order[rank < _PEAKS]
        at = places[best]
        words = self._words_at(documents[at], self.position[entries[at]])
        numbers = {word: i for i, word in enumerate(dict.fromkeys(words))}
        few = np.full((len(wanted), _PEAKS), -1)
        few[owner[best], rank[rank < _PEAKS]] = [numbers[word] for word in words]
        names = [*numbers, ""]  # −1: an atom that fires nowhere
        return [names[i] for i in most_common(few).tolist()]

    def label(self, atom: int) -> str:
        """Return the label of an atom; empty without one."""
        return str(self.labels.get(atom, ""))

    def find(self, words: str) -> list[int]:
        """Return the atoms whose label holds one of some words, whole and in any case.

        Raises
        ------
        ValueError: If there are no labels, or none holds such a word; near ones are named.
        """
        wanted = set(WORD.findall(words.lower()))
        if not self.labels:
            raise ValueError(
                f"Atoms are found by words in their labels, got {words!r} and no labels. Pass labels= "
                "to sn.uses.documents, or name atoms by their numbers."
            )
        by_word: dict[str, list[int]] = {}
        for atom, label in self.labels.items():
            for word in set(WORD.findall(str(label).lower())):
                by_word.setdefault(word, []).append(int(atom))
        found = sorted({atom for word in wanted for atom in by_word.get(word, [])})
        if not found:
            close = sorted({other for word in wanted for other in near(word, by_word)})
            there = close or sorted(by_word)[:8]
            raise ValueError(
                f"A query must hold a word of a label, got {words!r}. "
                f"{'Near ones are' if close else 'There are'} {', '.join(map(repr, there))}."
            )
        return found


def entries_of(
    indptr: Int[np.ndarray, " n_plus_1"], rows: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " m_plus_1"]]:
    """Return places of the entries of some rows of a CSR matrix, and where each of these rows then begins."""
    starts = indptr[rows].astype(np.int64)
    counts = indptr[rows + 1] - starts
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts), offsets


def strongest_entries(
    owner: Int[np.ndarray, " nnz"], values: Float[np.ndarray, " nnz"], n: int | None
) -> Int[np.ndarray, " kept"]:
    """Return places of each document's n entries of largest |value|, in the order they are in; None: all.

    Parameters
    ----------
    owner
        The document of each entry, as `np.repeat(np.arange(len(docs)), np.diff(docs.matrix.indptr))`.

    Example
    -------
    >>> strongest_entries(np.array([0, 0, 0, 1]), np.array([1.0, -3.0, 2.0, 0.5]), 2)
    array([1, 2, 3])
    """
    if n is None:
        return np.arange(len(values))
    order = np.lexsort((-np.abs(values), owner))
    begins = np.flatnonzero(np.diff(owner[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    return np.sort(order[rank < n])


def csr_of(data: np.ndarray, atoms: np.ndarray, indptr: np.ndarray, n_atoms: int) -> csr_matrix:
    """Return documents × atoms, from the parts of a CSR matrix."""
    from scipy.sparse import csr_matrix

    return csr_matrix((data, atoms, indptr), shape=(len(indptr) - 1, n_atoms))


def check_same_kind(first: Documents, other: Documents) -> None:
    """Refuse documents that cannot be compared: of two models, places, SAEs, tokenizers, kinds or pools.

    Raises
    ------
    ValueError: Naming what differs.
    """
    facts = (
        ("model", first.model_name, other.model_name),
        ("hook point", first.hook_point, other.hook_point),
        ("kind of documents", first.context.sample_word, other.context.sample_word),
        ("number of atoms", first.n_atoms, other.n_atoms),
        ("pool", first.pool, other.pool),
    )
    for what, here, there in facts:
        if here != there:
            raise ValueError(
                f"Corpora are compared by one {what}, got {here!r} and {there!r}. Make both by the same "
                "call of sn.uses.documents."
            )
    _check_tokenizer(first.context.vocabulary, other.context.vocabulary)
    if not first.identity.is_same(other.identity):
        raise ValueError(
            f"Corpora are compared by one SAE, got {first.identity} and {other.identity}. Make both by "
            "the same SAE."
        )


def _check_tokenizer(first: Mapping[int, str], other: Mapping[int, str]) -> None:
    """Refuse texts in which one token id is two texts."""
    differs = next((i for i in first.keys() & other.keys() if first[i] != other[i]), None)
    if differs is not None:
        raise ValueError(
            f"Corpora are compared by one tokenizer, got token {differs} as {first[differs]!r} and as "
            f"{other[differs]!r}. Read both with the same model."
        )


def check_several(docs: Documents, *, name: str = "docs", at_least: int = 2) -> None:
    """Refuse a corpus with too few documents; `name` is the argument that the error speaks of.

    Raises
    ------
    ValueError: If there are fewer than `at_least`.
    """
    if len(docs) < at_least:
        raise ValueError(
            f"`{name}` must hold at least {at_least} documents, got {len(docs)}. Pass more texts or "
            "images."
        )

"""Documents: each text or image by the atoms that fire in it, as one sparse row, never dense.

v_ij = z_tj at the position t where |z_tj| is largest ("max"), Σ_t z_tj / T_i ("mean"), or the number of
positions t with z_tj ≠ 0 ("count"). Source: "Interpretable embeddings with sparse autoencoders", arXiv
2512.10092.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb._lazy import near
from sae_nb.activations import Context, check_one_place, join_tokens
from sae_nb.atoms import is_special
from sae_nb.capturing import (
    BatchRows,
    CaptureSettings,
    ContextBuilder,
    Harvest,
    check_any_rows,
    reporting,
)
from sae_nb.checks import (
    check_atom,
    check_count,
    check_memory,
    checked,
    row_numbers,
    warn_caller,
)
from sae_nb.files import SaeIdentity, identity_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

Pool = Literal["max", "mean", "count"]

# 2048 rows × 16 384 atoms of pre-codes are 128 MiB, the most an encoder may need at once.
_PRE_CODE_ENTRIES = 2048 * 16384
_MUCH = 2**30  # bytes from which the caller hears what is needed
_ENTRY_BYTES = 12  # value, atom, position
_PEAKS = 5  # documents that an atom's word is taken from
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Documents:
    """Texts or images by their atoms; made by `documents`.

    Row i of `matrix` is document i. What is stored is what was active: an atom is in a document if it has an
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
    """The SAE's atoms, and what people call them."""

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

    def shares(self, rows: Any = slice(None)) -> Float[np.ndarray, " n_atoms"]:
        """Share of some documents, by default of all, in which each atom fires; 0 of none."""
        some = self.present[rows]
        return np.asarray(some.sum(axis=0), np.float64).ravel() / max(some.shape[0], 1)

    @checked(leave=("rows",))
    def subset(self, rows: Any) -> Documents:
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
            matrix=_csr(
                self.matrix.data[entries], self.matrix.indices[entries], indptr, self.n_atoms
            ),
            position=self.position[entries],
            n_rows=self.n_rows[at],
            means=self.means[at],
            sample=self.sample[at],
        )

    @checked
    def top(self, atom: int, n: int = 10) -> DataFrame:
        """Return the documents in which an atom is strongest: document, value, position, word, text.

        `text` is empty for images, whose `word` is the patch; `context.pictures[sample]` is the image.

        Raises
        ------
        IndexError: If the SAE has no such atom.
        """
        import pandas as pd

        atom = check_atom(atom, self.n_atoms)
        rows, entries = self._of_atom(atom)
        best = np.argsort(-np.abs(self.matrix.data[entries]), kind="stable")[
            : check_count(n, name="n")
        ]
        rows, entries = rows[best], entries[best]
        columns = {
            "document": rows,
            "sample": self.sample[rows],
            "value": self.matrix.data[entries],
            "position": self.position[entries],
            "word": [self.word_at(int(i), int(t)) for i, t in zip(rows, self.position[entries])],
            "text": [self.text(int(i)) for i in rows],
        }
        return pd.DataFrame(columns)

    @cached_property
    def _by_atom(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Documents and entries grouped by atom, and where each atom begins."""
        grouped = _csr(
            np.arange(self.matrix.nnz), self.matrix.indices, self.matrix.indptr, self.n_atoms
        ).tocsc()
        return grouped.indices, grouped.data, grouped.indptr

    def _of_atom(self, atom: int) -> tuple[np.ndarray, np.ndarray]:
        documents, entries, offsets = self._by_atom
        mine = slice(offsets[atom], offsets[atom + 1])
        return documents[mine], entries[mine]

    # Words: what simpler methods read of texts

    @property
    def has_texts(self) -> bool:
        """Whether the documents are texts whose tokens have names."""
        return self.context.token_ids is not None and bool(self.context.vocabulary)

    def text(self, document: int) -> str:
        """Return a document as the model read it; empty for images."""
        return join_tokens(self._tokens(document)) if self.has_texts else ""

    def _tokens(self, document: int) -> list[str]:
        ids = self.context.token_ids.sample(int(self.sample[document])).tolist()  # type: ignore[union-attr]
        names = [self.context.vocabulary.get(one, "") for one in ids]
        return ["" if is_special(name) else name for name in names]

    @cached_property
    def words(self) -> tuple[csr_matrix, tuple[str, ...]]:
        """How often each word is in each text, (n, n_words), and the words, in lower case."""
        from sklearn.feature_extraction.text import CountVectorizer

        counter = CountVectorizer(token_pattern=_WORD.pattern)
        counts = counter.fit_transform([self.text(i) for i in range(len(self))])
        return counts, tuple(counter.get_feature_names_out())

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
        words = self._words_by_place
        if document not in words:
            words[document] = words_of_tokens(self._tokens(document))
        return words[document][position]

    @cached_property
    def _words_by_place(self) -> dict[int, list[str]]:
        """Of the documents that were asked about, the word of every token."""
        return {}

    def peak_word(self, atom: int) -> str:
        """Return the word at which an atom most often peaks, in the five texts where it is strongest."""
        if not self.has_texts:
            return ""
        documents, entries = self._of_atom(atom)
        best = np.argsort(-np.abs(self.matrix.data[entries]), kind="stable")[:_PEAKS]
        places = zip(documents[best].tolist(), self.position[entries[best]].tolist())
        words = Counter(self.word_at(*place) for place in places)
        return words.most_common(1)[0][0] if words else ""

    def label(self, atom: int) -> str:
        """Return what people call an atom; empty where nobody said."""
        return str(self.labels.get(atom, ""))

    def find(self, words: str) -> list[int]:
        """Return the atoms whose label holds one of some words, whole and in any case.

        Raises
        ------
        ValueError: If there are no labels, or none holds such a word; near ones are named.
        """
        wanted = set(_WORD.findall(words.lower()))
        if not self.labels:
            raise ValueError(
                f"Atoms are found by words in their labels, got {words!r} and no labels. Pass labels= "
                "to sn.uses.documents, or name atoms by their numbers."
            )
        by_word: dict[str, list[int]] = {}
        for atom, label in self.labels.items():
            for word in set(_WORD.findall(str(label).lower())):
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


def words_of_tokens(tokens: Sequence[str]) -> list[str]:
    """The word that each token belongs to, in lower case; empty for what is no part of a word."""
    whole = join_tokens(tokens)
    if any(token[:1].isspace() for token in tokens):
        ends = list(itertools.accumulate(map(len, tokens)))
    else:  # these are joined with spaces, but where one continues the last
        ends = [len(join_tokens(tokens[: i + 1])) for i in range(len(tokens))]
    spans, found, at = (
        [(w.start(), w.end(), w.group()) for w in _WORD.finditer(whole.lower())],
        [],
        0,
    )
    for begin, end in itertools.pairwise([0, *ends]):
        while at < len(spans) and spans[at][1] <= begin:
            at += 1
        found.append(spans[at][2] if at < len(spans) and spans[at][0] < end else "")
    return found


def entries_of(
    indptr: Int[np.ndarray, " n_plus_1"], rows: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " m_plus_1"]]:
    """Places of the entries of some rows of a CSR matrix, and where each of these rows then begins."""
    starts = indptr[rows].astype(np.int64)
    counts = indptr[rows + 1] - starts
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts), offsets


def _csr(data: np.ndarray, atoms: np.ndarray, indptr: np.ndarray, n_atoms: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix((data, atoms, indptr), shape=(len(indptr) - 1, n_atoms))


def check_same_kind(first: Documents, other: Documents) -> None:
    """Refuse documents that were not read at one place by one SAE and pooled alike."""
    facts = (
        ("model", first.model_name, other.model_name),
        ("hook point", first.hook_point, other.hook_point),
        ("pool", first.pool, other.pool),
    )
    for what, here, there in facts:
        if here != there:
            raise ValueError(
                f"Corpora are compared by one {what}, got {here!r} and {there!r}. Make both by the same "
                "call of sn.uses.documents."
            )
    if not first.identity.is_same(other.identity):
        raise ValueError(
            f"Corpora are compared by one SAE, got {first.identity} and {other.identity}. Make both by "
            "the same SAE."
        )


def check_several(docs: Documents, *, name: str = "docs", at_least: int = 2) -> None:
    """Refuse a corpus with too few documents."""
    if len(docs) < at_least:
        raise ValueError(
            f"`{name}` must hold at least {at_least} documents, got {len(docs)}. Pass more texts or "
            "images."
        )


# -------------------------------------------------------------------------------------------------
# From a live model: a batch is run, encoded and pooled before the next one is.


@checked(leave=("hook_point", "texts_or_images", "labels"))
def documents(
    model: LiveModel,
    sae: SparseAutoencoder,
    texts_or_images: Any,
    hook_point: str,
    pool: Literal["max", "mean", "count"] = "max",
    *,
    labels: Mapping[int, str] | None = None,
    strongest: int | None = None,
    batch_size: int | None = None,
    keep_special: bool = False,
    progress: bool | Callable[[Any], Any] = True,
) -> Documents:
    """Read texts or images once and keep, of each, which atoms fired, how strongly and where.

    One batch at a time is run, encoded and pooled; its activations are then dropped. What stays is 12 bytes
    per atom that a document has, and its mean activation. After the first batch it is known how much that
    will be: beyond 1 GiB a warning says it, and what would not fit is refused then.

    Parameters
    ----------
    texts_or_images
        What `capture` takes; one sample is one document. Long texts are cut where the model ends.
    hook_point
        Where the SAE reads.
    pool
        "max": the strength of largest |z|, sign kept. "mean": the sum of strengths over the number of
        tokens. "count": tokens in which the atom is active. Which atoms a document has is the same.
    labels
        What people call atoms, such as `sn.load_examples(name).labels`: for tables, and queries in words.
    strongest
        Keep only so many atoms of each document, by |pooled strength|. Memory is then bounded beforehand.
    keep_special
        Also read special tokens (class, separator, registers); first tokens of decoders never are.

    Raises
    ------
    HookPointNotFound: If the model has no such hook point.
    ValueError: If inputs are empty, the SAE was trained at another hook point, the pool is none of the
        three, or a label is of an atom that is not there.
    MemoryError: If the result would not fit.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> from sae_nb.architectures import TopK
    >>> model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 4)))
    >>> docs = documents(model, TopK(4, 8, 2), torch.randn(5, 3), "0", progress=False)
    >>> docs.matrix.shape, docs.matrix.nnz, len(docs.subset(slice(2)))
    ((5, 8), 10, 2)
    """
    check_one_place(sae)
    point = _check_place(model, sae, hook_point)
    if getattr(sae, "reads_sequences", False):
        raise ValueError(
            f"`sae` must encode row by row, got {type(sae).__name__}, whose codes depend on the rows "
            "before. Use an SAE such as sn.TopK."
        )
    names = _named(labels, sae.n_atoms)
    if strongest is not None:
        check_count(strongest, name="strongest")
    settings = CaptureSettings(batch_size=batch_size, keep_special=keep_special)
    harvest = Harvest(model, {hook_point: model.hook_point(hook_point)}, settings)
    with torch.inference_mode(False):
        return _read(harvest, sae, texts_or_images, point, pool, strongest, names, progress)


def _check_place(model: LiveModel, sae: SparseAutoencoder, hook_point: str) -> str:
    point = str(model.hook_point(hook_point))
    width = model.width(hook_point)
    if width is not None and width != sae.d_in:
        raise ValueError(
            f"`sae` must have d_in={width}, the width at {hook_point!r}, got {sae.d_in}. "
            "Was it trained at another hook point? See `sae.hook_point`."
        )
    trained_at = getattr(sae, "hook_point", None)
    if trained_at is not None and str(trained_at) not in (point, hook_point):
        raise ValueError(
            f"`hook_point` must be where the SAE was trained, {str(trained_at)!r}, got {hook_point!r}."
        )
    return point


def _named(labels: Mapping[int, str] | None, n_atoms: int) -> dict[int, str]:
    if not isinstance(labels, Mapping | None):
        raise TypeError(
            f"`labels` must be a mapping of atoms to words, got {type(labels).__name__}. Pass "
            '{17: "bad story"} or sn.load_examples(name).labels.'
        )
    return {
        check_atom(atom, n_atoms, name="a label's atom"): text
        for atom, text in (labels or {}).items()
    }


class _Pooled(NamedTuple):
    """What one batch leaves behind."""

    values: Float[np.ndarray, " nnz"]
    atoms: Int[np.ndarray, " nnz"]
    position: Int[np.ndarray, " nnz"]
    lengths: Int[np.ndarray, " n"]
    n_rows: Int[np.ndarray, " n"]
    means: Float[np.ndarray, "n d_in"]


def _read(
    harvest: Harvest,
    sae: SparseAutoencoder,
    inputs: Any,
    point: str,
    pool: Pool,
    strongest: int | None,
    labels: Mapping[int, str],
    progress: bool | Callable[[Any], Any],
) -> Documents:
    builder, parts, n_rows = ContextBuilder(harvest.model), [], 0
    (name,) = harvest.points
    batches = harvest.batches(inputs)
    grid, dropped = None, Counter[str]()
    with reporting(progress, batches.n_samples) as report:
        for batch in batches:
            first = builder.n_samples
            builder.add(batch)
            rows = _own_rows(harvest, harvest.rows(batch, {name: n_rows})[name])
            parts.append(_pool_rows(sae, rows, first, builder.n_samples - first, pool, strongest))
            if len(parts) == 1:
                _say_memory(parts[0], batches.n_samples)
            n_rows += len(rows.x)
            grid = rows.layout.grid
            dropped.update(rows.dropped)
            report(n_rows, builder.n_samples)
    check_any_rows(name, n_rows, dropped)
    joined = _Pooled(*(np.concatenate(column) for column in zip(*parts)))
    indptr = np.concatenate([[0], np.cumsum(joined.lengths)])
    return Documents(
        matrix=_csr(joined.values, joined.atoms, indptr, sae.n_atoms),
        position=joined.position,
        n_rows=joined.n_rows,
        means=joined.means,
        sample=np.arange(len(joined.lengths)),
        context=builder.build(grid, harvest.policy(batches, builder, dropped)),
        pool=pool,
        hook_point=point,
        model_name=harvest.model.name,
        identity=identity_of(sae),
        dictionary=sae.dictionary.detach().cpu(),
        labels=dict(labels),
    )


def _own_rows(harvest: Harvest, rows: BatchRows) -> BatchRows:
    """Leave out the class token and registers of an image, unless special tokens are asked for."""
    prefix, columns = harvest.model.prefix_tokens, rows.layout.columns
    without_tokens = rows.layout.grid is not None or (columns is not None and columns <= prefix)
    if harvest.settings.keep_special or without_tokens:
        return rows
    kept = rows.position >= prefix
    return replace(rows, x=rows.x[kept], sample=rows.sample[kept], position=rows.position[kept])


def _say_memory(first: _Pooled, n_samples: int | None) -> None:
    """Refuse what would not fit; say beforehand what is much."""
    if n_samples is None or not len(first.lengths):
        return
    per_document = (len(first.values) * _ENTRY_BYTES + first.means.nbytes) / len(first.lengths)
    needed = round(per_document * n_samples)
    # The parts of all batches, and what they are joined to.
    check_memory(
        2 * needed, f"Pooling {n_samples} documents", "Pass strongest= to keep fewer atoms of each."
    )
    if needed > _MUCH:
        warn_caller(
            f"{n_samples} documents will need about {needed / 2**30:.1f} GiB, by those of the first "
            "batch. Pass strongest= to keep fewer atoms of each."
        )


@torch.no_grad()
def _pool_rows(
    sae: SparseAutoencoder, rows: BatchRows, first: int, n: int, pool: Pool, strongest: int | None
) -> _Pooled:
    """Pool the rows of one batch, which holds documents `first` … first + n − 1 whole."""
    document = (rows.sample - first).long()
    n_rows = np.bincount(document.numpy(), minlength=n)
    x = rows.x.to(sae.dictionary)
    sums = torch.zeros(n, x.shape[1], dtype=torch.float64)
    sums.index_add_(0, document, rows.x.double())
    values, atoms, row = _encoded(sae, x)
    owner = document.numpy()[row]
    key = owner.astype(np.int64) * sae.n_atoms + atoms
    # The strongest entry of each document and atom comes first; of equals, the earliest.
    order = np.lexsort((-np.abs(values), key))
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    peak = order[starts]
    pooled = values[peak]
    if pool == "count":
        pooled = np.diff(np.append(starts, len(order))).astype(np.float32)
    elif pool == "mean" and len(starts):
        pooled = (np.add.reduceat(values[order], starts) / n_rows[owner[peak]]).astype(np.float32)
    kept = strongest_entries(owner[peak], pooled, strongest)
    return _Pooled(
        pooled[kept],
        atoms[peak][kept],
        rows.position.numpy()[row[peak]][kept].astype(np.int32),
        np.bincount(owner[peak][kept], minlength=n),
        n_rows,
        (sums.numpy() / np.maximum(n_rows, 1)[:, None]).astype(np.float32),
    )


def _encoded(
    sae: SparseAutoencoder, x: Float[Tensor, "m d_in"]
) -> tuple[Float[np.ndarray, " nnz"], Int[np.ndarray, " nnz"], Int[np.ndarray, " nnz"]]:
    """Strength, atom and row of every active entry, encoded in pieces of bounded pre-codes."""
    size = max(1, _PRE_CODE_ENTRIES // sae.n_atoms)
    values, atoms, row, before = [], [], [], 0
    for piece in torch.split(x, size):
        codes = sae.encode(piece).detach().to("cpu")
        active = codes.values != 0
        values.append(codes.values[active].float().numpy())
        atoms.append(codes.atoms[active].numpy().astype(np.int32))
        row.append(codes.support.rows[active].numpy().astype(np.int64) + before)
        before += len(piece)
    none = np.zeros(0, np.int64)
    return (
        np.concatenate([none.astype(np.float32), *values]),
        np.concatenate([none.astype(np.int32), *atoms]),
        np.concatenate([none, *row]),
    )


def strongest_entries(
    owner: Int[np.ndarray, " nnz"], values: Float[np.ndarray, " nnz"], n: int | None
) -> Int[np.ndarray, " kept"]:
    """Places of each document's n entries of largest absolute value, in the order they are in."""
    if n is None:
        return np.arange(len(values))
    order = np.lexsort((-np.abs(values), owner))
    begins = np.flatnonzero(np.diff(owner[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    return np.sort(order[rank < n])

"""Atoms that share documents although nothing shows that they are alike.

NPMI_ij = log(p_ij / (p_i p_j)) / −log p_ij of the shares of documents with atom i, j and both: 1 where
they only occur together, 0 for independent ones. Source: Bouma, "Normalized (pointwise) mutual
information in collocation extraction", 2009; unexpected pairs: arXiv 2512.10092, §correlations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Float, Int
from torch.nn.functional import normalize

from sae_nb.checks import Between, Count, Share, at_least, between, checked
from sae_nb.corpora import Documents, check_several, strongest_entries
from sae_nb.findings import Finding

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

_PAIRS = 2**23  # meetings counted at a time: some 100 MiB


class Cooccurrence(Finding):
    """Pairs of atoms that share documents; made by `cooccurrence`."""

    HEADLINE = "{table.len} pairs of {n_atoms} atoms"

    table: DataFrame
    """A pair per row, the highest NPMI first: atom, other, npmi, together, share, other_share, cosine
    (of their decoder rows), label, other_label; of texts also word, other_word and word_npmi, the
    result of counting the words at which they peak.
    """

    n_atoms: int
    """Atoms that were compared."""


@checked
def cooccurrence(
    docs: Documents,
    *,
    n: Count = 50,
    low: Share = 0.001,
    high: float = 0.5,
    strongest: Annotated[int, at_least(2)] = 64,
    min_count: Count = 5,
    alike: Annotated[float, Between(0, 2.0, "(]")] = 0.3,
) -> Cooccurrence:
    """Return the pairs of atoms that share documents most, without those that are alike anyway.

    Left out are pairs whose decoder rows have a cosine of at least `alike`, whose labels share half of their
    words, or which peak at the same word. The counts are sparse, and of a bounded number of atoms at a time.

    Parameters
    ----------
    n
        Pairs returned.
    low, high
        Only atoms in at least and at most this share of documents: rarer ones meet by accident, those in
        most documents meet everything.
    strongest
        Atoms of each document that count, by |strength|.
    min_count
        Documents that a pair must share.
    alike
        Cosine from which decoder rows are alike; above 1 nothing is left out.

    Raises
    ------
    ValueError: If there are fewer than two documents.

    Example
    -------
    >>> import torch
    >>> from sae_nb.models import wrap
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.corpora import documents
    >>> model = wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> sae = TopK(4, 8, 1, generator=torch.Generator().manual_seed(0))
    >>> rows = torch.eye(4)[torch.arange(40) // 10] * 2  # four kinds of documents, ten of each
    >>> docs = documents(model, sae, rows, "0", progress=False)
    >>> len(cooccurrence(docs).table)  # of one atom a document, none meet
    0
    """
    check_several(docs)
    between(high, low, 1.0, name="high")
    present, atoms = _common(docs, low, high, strongest)
    found = _pairs(docs, present, atoms, n, min_count, alike)
    return Cooccurrence(table=_table(docs, present, atoms, found), n_atoms=len(atoms))


def _common(
    docs: Documents, low: float, high: float, strongest: int
) -> tuple[csr_matrix, Int[np.ndarray, " m"]]:
    """1 where one of the atoms that are neither rare nor everywhere is among a document's strongest."""
    from scipy.sparse import csr_matrix

    share = docs.counts / len(docs)
    chosen = (share >= low) & (share <= high) & (docs.counts > 0)
    owner = np.repeat(np.arange(len(docs)), np.diff(docs.matrix.indptr))
    kept = np.flatnonzero(chosen[docs.matrix.indices])
    kept = kept[strongest_entries(owner[kept], docs.matrix.data[kept], strongest)]
    atoms = np.flatnonzero(chosen)
    place = np.full(docs.n_atoms, -1)
    place[atoms] = np.arange(len(atoms))
    entries = (np.ones(len(kept), np.float32), (owner[kept], place[docs.matrix.indices[kept]]))
    return csr_matrix(entries, shape=(len(docs), len(atoms))), atoms


def _blocks(present: csr_matrix) -> Iterator[slice]:
    """Stretches of atoms whose meetings with all others are counted together."""
    per_document = np.diff(present.indptr).astype(np.float64)
    work = np.cumsum(present.T @ per_document)
    ends = np.searchsorted(work, np.arange(_PAIRS, work[-1] + _PAIRS, _PAIRS), side="right")
    begin = 0
    for end in [*ends.tolist(), present.shape[1]]:
        if end > begin:
            yield slice(begin, end)
            begin = end


def _pairs(
    docs: Documents,
    present: csr_matrix,
    atoms: Int[np.ndarray, " m"],
    n: int,
    min_count: int,
    alike: float,
) -> list[tuple[float, int, int, int]]:
    """The best pairs that are not alike: NPMI, two places in `atoms`, documents together."""
    best: list[tuple[float, int, int, int]] = []
    if not len(atoms):
        return best
    likeness = _Likeness(docs, atoms, alike)
    by_atom, counts = present.T.tocsr(), np.asarray(present.sum(axis=0)).ravel()
    for block in _blocks(present):
        met = (by_atom[block] @ present).tocoo()
        first, second = met.row + block.start, met.col
        together = np.rint(met.data).astype(np.int64)
        kept = (second > first) & (together >= min_count)
        first, second, together = first[kept], second[kept], together[kept]
        score = npmi(together, counts[first], counts[second], len(docs))
        order = np.argsort(-score, kind="stable")
        taken, enough = 0, best[-1][0] if len(best) >= n else -np.inf
        for at in order:
            if taken == n or score[at] <= enough:
                break
            i, j = int(first[at]), int(second[at])
            if not likeness(i, j):
                best.append((float(score[at]), i, j, int(together[at])))
                taken += 1
        best = sorted(best, key=lambda pair: -pair[0])[:n]
    return best


def npmi(
    together: Int[np.ndarray, " m"],
    count: Float[np.ndarray, " m"],
    other: Float[np.ndarray, " m"],
    n: int,
) -> Float[np.ndarray, " m"]:
    """Return NPMI of counts among n documents; 1 where both are in all of them, −1 where they never meet."""
    p = together / n
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(p * n * n / (np.asarray(count) * np.asarray(other))) / -np.log(p)
    return np.where(p >= 1, 1.0, np.where(p <= 0, -1.0, value))


class _Likeness:
    """Whether two atoms are alike by what can be seen without documents."""

    def __init__(self, docs: Documents, atoms: Int[np.ndarray, " m"], alike: float) -> None:
        self._docs, self._atoms, self._alike = docs, atoms, alike
        self._rows = normalize(docs.dictionary[atoms].float(), dim=1)
        self._words: dict[int, str] = {}

    def cosine(self, i: int, j: int) -> float:
        """Return cosine of their decoder rows."""
        return float(self._rows[i] @ self._rows[j])

    def word(self, i: int) -> str:
        """Return the word at which one peaks."""
        if i not in self._words:
            self._words[i] = self._docs.peak_word(int(self._atoms[i]))
        return self._words[i]

    def __call__(self, i: int, j: int) -> bool:
        if self._alike > 1:
            return False
        labels = [set(self._docs.label(int(self._atoms[k])).lower().split()) for k in (i, j)]
        shared = len(labels[0] & labels[1]) / max(len(labels[0] | labels[1]), 1)
        if self.cosine(i, j) >= self._alike or shared >= 0.5:
            return True
        return bool(self.word(i)) and self.word(i) == self.word(j)


def _table(
    docs: Documents,
    present: csr_matrix,
    atoms: Int[np.ndarray, " m"],
    pairs: list[tuple[float, int, int, int]],
) -> DataFrame:
    import pandas as pd

    counts = np.asarray(present.sum(axis=0)).ravel()
    seen = _Likeness(docs, atoms, 1.0)
    rows: list[dict[str, Any]] = []
    for score, i, j, together in pairs:
        atom, other = int(atoms[i]), int(atoms[j])
        rows.append({
            "atom": atom, "other": other, "npmi": score, "together": together,
            "share": counts[i] / len(docs), "other_share": counts[j] / len(docs),
            "cosine": seen.cosine(i, j), "label": docs.label(atom), "other_label": docs.label(other),
        })  # fmt: skip
        if docs.has_texts:
            words = seen.word(i), seen.word(j)
            rows[-1] |= {
                "word": words[0],
                "other_word": words[1],
                "word_npmi": _of_words(docs, *words),
            }
    columns = [
        "atom",
        "other",
        "npmi",
        "together",
        "share",
        "other_share",
        "cosine",
        "label",
        "other_label",
    ]
    more = ["word", "other_word", "word_npmi"] if docs.has_texts else []
    return pd.DataFrame(rows, columns=[*columns, *more])


def _of_words(docs: Documents, word: str, other: str) -> float:
    """NPMI of two words; NaN where one is none."""
    places = docs.word_documents
    if word not in places or other not in places:
        return float("nan")
    here, there = places[word], places[other]
    met = np.array([len(np.intersect1d(here, there, assume_unique=True))])
    return float(npmi(met, np.array([len(here)]), np.array([len(there)]), len(docs))[0])

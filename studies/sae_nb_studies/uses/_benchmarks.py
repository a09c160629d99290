"""The coverage, repetition and overlap of test sets, by the atoms that fire in them.

Footprint F: the atoms that at least one document has among its strongest. Source: Qwen-Scope, arXiv
2605.11887, which takes the k atoms that are active at the last token; ours takes the strongest of the whole
document, by the size of their pooled strength. Not all that fire: a text of sixty tokens has half of the atoms
of a small SAE somewhere, so that all test sets have all atoms, and none repeats more than another. Its c_n,
the expected share of F in n random documents, has a closed form, Σ_{j∈F} 1 − C(N − m_j, n) / C(N, n) over #F
for atoms of m_j documents, and so has the mean over n, (N + 1) / N · mean_{j∈F} m_j / (m_j + 1): nothing is
drawn.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from sae_nb.checks import Count, check_count, checked
from sae_nb.corpora import Documents, check_same_kind, check_several, strongest_entries
from sae_nb.findings import Finding

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

_POINTS = 50
STRONGEST = 32


class Redundancy(Finding):
    """The share of a test set that its own parts already hold; made by `redundancy`."""

    HEADLINE = "{value:.3f}; footprint of {scores.footprint.iloc[0]:.0f} atoms"

    value: float
    """Mean coverage over all sizes of a random part: about ½ where no two documents share an atom, near 1
    where few documents have all that the others have."""

    curve: DataFrame
    """n, coverage: expected share of the footprint in n random documents, exactly."""

    scores: DataFrame
    """A method per row ("atoms", and "words" of texts, as a simpler method): redundancy and the size of
    the footprint.
    """


@checked
def footprint(
    docs: Documents, *, min_count: Count = 1, strongest: Count | None = STRONGEST
) -> Int[np.ndarray, " m"]:
    """Return the atoms that at least `min_count` documents have among their strongest, ascending.

    Parameters
    ----------
    strongest
        Atoms of each document that count, by |pooled strength|; None: all that fire.
    """
    return np.flatnonzero(_n_with(_marked(docs, strongest)) >= min_count)


def _marked(docs: Documents, strongest: int | None) -> csr_matrix:
    """1 where an atom is among the strongest of a document, (n, n_atoms)."""
    from scipy.sparse import csr_matrix

    if strongest is None:
        return docs.present
    lengths = np.diff(docs.matrix.indptr)
    owner = np.repeat(np.arange(len(docs)), lengths)
    kept = strongest_entries(owner, docs.matrix.data, strongest)
    indptr = np.concatenate([[0], np.cumsum(np.minimum(lengths, strongest))])
    ones = np.ones(len(kept), np.float32)
    return csr_matrix((ones, docs.matrix.indices[kept], indptr), shape=docs.matrix.shape)


@checked
def redundancy(docs: Documents, *, strongest: Count | None = STRONGEST) -> Redundancy:
    """Measure how much of a test set random parts of it already cover.

    Parameters
    ----------
    strongest
        Atoms of each document that count, by |pooled strength|; None: all that fire, which is little
        informative for texts that have a large share of all atoms each.

    Raises
    ------
    ValueError: If there are fewer than two documents, or no atom fires in any.

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
    >>> bool(redundancy(docs).value > 0.8)  # ten copies of each
    True
    """
    import pandas as pd

    check_several(docs)
    _check_any(docs, "docs")
    n, counts = len(docs), _n_with(_marked(docs, strongest))
    sizes = np.unique(np.linspace(1, n, min(n, _POINTS)).round().astype(int))
    rows = [_repeated("atoms", counts, n)]
    if docs.has_texts:
        rows.append(_repeated("words", _n_with(docs.words[0]), n))
    coverage = [expected_coverage(counts, n, int(size)) for size in sizes]
    return Redundancy(
        value=float(rows[0]["redundancy"]),
        curve=pd.DataFrame({"n": sizes, "coverage": coverage}),
        scores=pd.DataFrame(rows),
    )


def expected_coverage(counts: Int[np.ndarray, " m"], n: int, size: int) -> float:
    """Return expected share of what occurs at all that `size` of n documents, drawn at random, have."""
    from scipy.special import gammaln

    m = counts[counts > 0].astype(np.float64)
    room = n - m >= size
    left = gammaln(n - m[room] + 1) + gammaln(n - size + 1)
    missed = np.exp(left - gammaln(n - m[room] - size + 1) - gammaln(n + 1))
    return float(1 - missed.sum() / max(len(m), 1))


def _repeated(method: str, counts: Int[np.ndarray, " m"], n: int) -> dict[str, Any]:
    there = counts[counts > 0]
    value = (n + 1) / n * float(np.mean(there / (there + 1))) if len(there) else np.nan
    return {"method": method, "redundancy": value, "footprint": len(there)}


def _n_with(counts: csr_matrix) -> Int[np.ndarray, " m"]:
    return np.bincount(counts.indices, minlength=counts.shape[1])


def _check_any(docs: Documents, name: str) -> None:
    if not docs.matrix.nnz:
        raise ValueError(
            f"`{name}` must have an atom that fires, got documents without any. Check that the SAE belongs "
            "to this hook point: sn.check_fit(model, sae)."
        )


@checked
def overlap(
    test_sets: Mapping[str, Documents],
    *,
    min_count: Count = 1,
    strongest: Count | None = STRONGEST,
) -> DataFrame:
    """Return how much of each test set's footprint lies in each other's.

    Return a row per ordered pair: a, b, overlap #(F_a ∩ F_b) / #F_a, of_smaller (over the smaller
    footprint), and words, the same of the words of texts (NaN of images), as a simpler method.

    Parameters
    ----------
    min_count, strongest
        As in `footprint`.

    Raises
    ------
    ValueError: If there are fewer than two test sets, one is empty, or they are of different places, SAEs or
        pools.
    """
    import pandas as pd

    if len(test_sets) < 2:
        raise ValueError(
            f"`test_sets` must hold at least two, got {len(test_sets)}. Pass {{name: documents, …}}."
        )
    first = next(iter(test_sets.values()))
    for name, docs in test_sets.items():
        check_same_kind(first, docs)
        _check_any(docs, name)
    prints = {
        name: set(footprint(docs, min_count=min_count, strongest=strongest).tolist())
        for name, docs in test_sets.items()
    }
    words = {name: set(d.words[1]) if d.has_texts else set() for name, d in test_sets.items()}
    rows = []
    for a in test_sets:
        for b in test_sets:
            if a != b:
                both = len(prints[a] & prints[b])
                smaller = max(min(len(prints[a]), len(prints[b])), 1)
                simple = len(words[a] & words[b]) / len(words[a]) if words[a] else np.nan
                share = both / max(len(prints[a]), 1)
                rows.append(
                    {
                        "a": a,
                        "b": b,
                        "overlap": share,
                        "of_smaller": both / smaller,
                        "words": simple,
                    }
                )
    return pd.DataFrame(rows)


# -------------------------------------------------------------------------------------------------
# A few documents that hold much.


class Selection(Finding):
    """Documents chosen to cover atoms; made by `select`."""

    chosen: Int[np.ndarray, " n"]
    """Numbers of the documents, in the order they were chosen."""

    table: DataFrame
    """n, coverage (share of the footprint after n documents), random (expected of n random ones,
    exactly); of texts also words, the coverage in atoms of a choice by words, as a simpler method.
    """

    @property
    def headline(self) -> str:
        """Coverage by the chosen documents, and by random ones."""
        last, n = self.table.iloc[-1], len(self.chosen)
        return f"{n} documents cover {last.coverage:.0%}; random ones {last.random:.0%}"


@checked
def select(docs: Documents, n: Count, *, strongest: Count | None = STRONGEST) -> Selection:
    """Choose n documents that together have as much of the footprint as greedy steps reach.

    Each step takes the document with the most atoms not covered yet, which reaches at least 1 − 1/e of the best
    choice (Nemhauser, Wolsey and Fisher, 1978). A document that would add nothing is still taken.

    Parameters
    ----------
    n
        Documents to choose.
    strongest
        As in `footprint`.

    Raises
    ------
    ValueError: If there are fewer than two documents or fewer than n, or no atom fires.

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
    >>> float(select(docs, 4).table["coverage"].iloc[-1])  # one of each kind
    1.0
    """
    import pandas as pd

    check_several(docs)
    check_count(n, name="n", at_most=len(docs))
    _check_any(docs, "docs")
    marked = _marked(docs, strongest)
    counts = _n_with(marked)
    chosen, size = _greedy(marked, n), max(int((counts > 0).sum()), 1)
    columns = {
        "n": np.arange(1, n + 1),
        "coverage": _covered(marked, chosen) / size,
        "random": [expected_coverage(counts, len(docs), i) for i in range(1, n + 1)],
    }
    if docs.has_texts:
        columns["words"] = _covered(marked, _greedy(docs.words[0], n)) / size
    return Selection(chosen=chosen, table=pd.DataFrame(columns))


def _greedy(present: csr_matrix, n: int) -> Int[np.ndarray, " n"]:
    """Rows in the order of what they add; gains only fall, so an old one is a bound."""
    covered = np.zeros(present.shape[1], bool)
    queue = [(-int(gain), row) for row, gain in enumerate(np.diff(present.indptr))]
    heapq.heapify(queue)
    chosen: list[int] = []
    while len(chosen) < n:
        _, row = heapq.heappop(queue)
        columns = present.indices[present.indptr[row] : present.indptr[row + 1]]
        entry = (-int((~covered[columns]).sum()), row)
        if queue and entry > queue[0]:
            heapq.heappush(queue, entry)
            continue
        chosen.append(row)
        covered[columns] = True
    return np.array(chosen)


def _covered(present: csr_matrix, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Columns that the first 1, 2, … of some rows have together."""
    seen = np.zeros(present.shape[1], bool)
    totals = []
    for row in rows:
        seen[present.indices[present.indptr[row] : present.indptr[row + 1]]] = True
        totals.append(int(seen.sum()))
    return np.array(totals, dtype=np.float64)

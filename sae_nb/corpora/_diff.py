"""Differences of two corpora: the share of each in which an atom fires, with intervals, against a count
of words.

Δ_j = a_j − b_j of the shares of documents in which atom j fires. The interval is Newcombe's (1998, method 10,
of two Wilson intervals); p is Fisher's exact test, twice the smaller tail; q is p after Benjamini and
Hochberg. Source: arXiv 2512.10092, §diffing; it has no test. Exact rather than normal: most atoms fire in few
documents, where the normal test rejects too often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Int

from sae_nb.checks import Count, checked
from sae_nb.corpora._documents import Documents, check_same_kind, check_several
from sae_nb.findings import Finding
from sae_nb.statistics import q_values, wilson_interval

if TYPE_CHECKING:
    from pandas import DataFrame

LEVEL = 0.05


class Diff(Finding):
    """Two corpora compared; made by `diff`."""

    table: DataFrame
    """An atom per row, the surest first: atom, label, a, b (shares), difference, relative, low, high
    (of the difference, 95 %), q; word (where it peaks) and word_difference: the result of counting that
    word.
    """

    simpler: DataFrame
    """Result of a simpler method: the same test of every word; for images, Welch's t-test of every
    channel of the mean activations.
    """

    n_a: int
    n_b: int

    @property
    def headline(self) -> str:
        """Number of atoms that differ, and of words or channels."""
        kind = str(self.simpler.columns[0])
        found, words = (int((t["q"] < LEVEL).sum()) for t in (self.table, self.simpler))
        return (
            f"{self.n_a} and {self.n_b} documents: {found} of {len(self.table)} atoms have q < "
            f"{LEVEL}; of {len(self.simpler)} {kind}s {words}"
        )


@checked
def diff(
    docs_a: Documents,
    docs_b: Documents,
    *,
    by: Literal["difference", "relative"] = "difference",
    min_count: Count = 5,
) -> Diff:
    """Find atoms that fire in more documents of one corpus than of the other.

    Parameters
    ----------
    by
        Order among atoms of one q: by |a − b|, or by |a − b| / max(a, b), which puts rare atoms first.
    min_count
        Atoms (and words) of fewer documents in both together are left out: no test could find them, and
        each would weaken the others'.

    Raises
    ------
    ValueError: If a corpus has fewer than two documents, or they are of different places, SAEs or pools.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.corpora import documents
    >>> import torch
    >>> model = wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> sae = TopK(4, 8, 1, generator=torch.Generator().manual_seed(0))
    >>> rows = torch.eye(4)[torch.arange(40) // 10] * 2  # four kinds of documents, ten of each
    >>> docs = documents(model, sae, rows, "0", progress=False)
    >>> result = diff(docs.subset(slice(20)), docs.subset(slice(20, 40)))
    >>> result.n_a, result.n_b, bool(result.table["q"][0] < 0.01)
    (20, 20, True)
    """
    check_pair(docs_a, docs_b)
    table = compared_atoms(docs_a, docs_b, min_count)
    simpler = with_words(table, docs_a, docs_b, min_count)
    if simpler is None:
        simpler = channels(docs_a, docs_b)
    n_a, n_b = len(docs_a), len(docs_b)
    return Diff(table=_ordered(table, by), simpler=_ordered(simpler, by), n_a=n_a, n_b=n_b)


def check_pair(docs_a: Documents, docs_b: Documents) -> None:
    """Refuse corpora that cannot be compared."""
    check_several(docs_a, name="docs_a")
    check_several(docs_b, name="docs_b")
    check_same_kind(docs_a, docs_b)


def compared_atoms(docs_a: Documents, docs_b: Documents, min_count: int) -> DataFrame:
    """Return every atom of enough documents, without what words say."""
    table = _compared(docs_a.counts, docs_b.counts, len(docs_a), len(docs_b), min_count)
    table.insert(0, "atom", table.pop("place"))
    table.insert(1, "label", [docs_a.label(j) or docs_b.label(j) for j in table["atom"]])
    return table


def _compared(
    in_a: Int[np.ndarray, " m"], in_b: Int[np.ndarray, " m"], n_a: int, n_b: int, min_count: int
) -> DataFrame:
    """Shares, difference, interval and q of everything that enough documents have."""
    import pandas as pd
    from scipy.stats import hypergeom

    place = np.flatnonzero(in_a + in_b >= min_count)
    k_a, k_b = in_a[place], in_b[place]
    a, b = k_a / n_a, k_b / n_b
    (low_a, high_a), (low_b, high_b) = wilson_interval(k_a, n_a), wilson_interval(k_b, n_b)
    # Thousands of atoms share a few hundred pairs of counts.
    pairs, which = np.unique(k_a * (n_b + 1) + k_b, return_inverse=True)
    in_first, in_second = np.divmod(pairs, n_b + 1)
    chance = hypergeom(n_a + n_b, in_first + in_second, n_a)
    p = np.minimum(1.0, 2 * np.minimum(chance.cdf(in_first), chance.sf(in_first - 1)))[which]
    return pd.DataFrame(
        {
            "place": place,
            "a": a,
            "b": b,
            "difference": a - b,
            "relative": (a - b) / np.maximum(np.maximum(a, b), 1e-12),
            "low": a - b - np.hypot(a - low_a, high_b - b),
            "high": a - b + np.hypot(high_a - a, b - low_b),
            "q": q_values(p),
        }
    )


def _ordered(table: DataFrame, by: str) -> DataFrame:
    size = -table[by if by in table else "difference"].abs()
    return table.iloc[np.lexsort((size, table["q"]))].reset_index(drop=True)


# -------------------------------------------------------------------------------------------------
# What a simpler method says.


def _words(docs_a: Documents, docs_b: Documents, min_count: int) -> DataFrame | None:
    """Every word of both corpora, compared like an atom; None of images."""
    if not (docs_a.has_texts and docs_b.has_texts):
        return None
    by_word: dict[str, list[int]] = {}
    for side, docs in enumerate((docs_a, docs_b)):
        counts, names = docs.words
        n_with = np.bincount(counts.indices, minlength=len(names)).tolist()
        for name, n in zip(names, n_with):
            by_word.setdefault(name, [0, 0])[side] = n
    in_a, in_b = np.array(list(by_word.values())).reshape(-1, 2).T
    table = _compared(in_a, in_b, len(docs_a), len(docs_b), 1)
    table["count"] = in_a + in_b
    tested = table["count"] >= min_count
    # Corrected for those that are tested, as atoms are.
    n_a, n_b = len(docs_a), len(docs_b)
    table["q"] = np.nan
    table.loc[tested, "q"] = _compared(in_a, in_b, n_a, n_b, min_count)["q"].to_numpy()
    table.insert(0, "word", [list(by_word)[i] for i in table.pop("place")])
    return table


def with_words(
    table: DataFrame, docs_a: Documents, docs_b: Documents, min_count: int
) -> DataFrame | None:
    """Add to each atom the word at which it peaks and how that word differs; return the words tested.

    Of images nothing is added, and None returned.
    """
    words = _words(docs_a, docs_b, min_count)
    if words is None:
        return None
    more_in_a = (table["a"] >= table["b"]).to_numpy()
    table["word"] = ""
    for docs, mine in ((docs_a, more_in_a), (docs_b, ~more_in_a)):
        table.loc[mine, "word"] = docs.peak_words(table["atom"].to_numpy()[mine])
    differences = dict(zip(words["word"], words["difference"]))
    table["word_difference"] = [differences.get(word, np.nan) for word in table["word"]]
    return words[words.pop("count") >= min_count]


def channels(docs_a: Documents, docs_b: Documents) -> DataFrame:
    """Return every channel of the mean activations: Welch's t-test."""
    import pandas as pd
    from scipy.stats import ttest_ind

    a, b = docs_a.means.astype(np.float64), docs_b.means.astype(np.float64)
    moving = np.flatnonzero((a.var(axis=0) > 0) | (b.var(axis=0) > 0))
    a, b = a[:, moving], b[:, moving]
    test = ttest_ind(a, b, equal_var=False)
    interval = test.confidence_interval(1 - LEVEL)
    difference = a.mean(axis=0) - b.mean(axis=0)
    columns = {
        "channel": moving, "a": a.mean(axis=0), "b": b.mean(axis=0), "difference": difference,
        "low": interval.low, "high": interval.high, "q": q_values(np.nan_to_num(test.pvalue, nan=1.0)),
    }  # fmt: skip
    return pd.DataFrame(columns)

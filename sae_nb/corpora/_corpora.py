"""Two corpora atom by atom, as a panel draws them: every atom, tested or not, its intervals, its word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.checks import Count, checked
from sae_nb.corpora._diff import LEVEL, channels, check_pair, compared_atoms, with_words
from sae_nb.corpora._documents import Documents
from sae_nb.findings import Finding
from sae_nb.statistics import wilson_interval

if TYPE_CHECKING:
    from pandas import DataFrame


class CorpusSummary(Finding):
    """Two corpora atom by atom: what a panel draws of them; made by `summarise_corpora`."""

    HEADLINE = "{n_a} of {names[0]}, {n_b} of {names[1]}; {n_sure} of {n_tested} atoms"

    table: DataFrame
    """Row j is atom j: a, b (shares), low_a, high_a, low_b, high_b (Wilson), difference, relative, low, high
    (Newcombe), q, word, word_difference. Of an atom in too few documents, q and the intervals of the
    difference are NaN; words are empty until `with_simpler`, and of images."""

    names: tuple[str, str]
    n_a: int
    n_b: int
    min_count: int
    """Names of the corpora, their numbers of documents, and the number that an atom needs to be tested."""

    simpler: DataFrame | None = None
    """Result of a simpler method, as in `Diff`: words, or channels of images; None until `with_simpler`."""

    @property
    def tested(self) -> Bool[np.ndarray, " n_atoms"]:
        """Atoms that are in enough documents to be tested."""
        return self.table["q"].notna().to_numpy()

    @property
    def n_tested(self) -> int:
        """Number of them."""
        return int(self.tested.sum())

    def n_sure(self, max_q: float = LEVEL) -> int:
        """Return atoms with a q of at most so much."""
        return int((self.table["q"] <= max_q).sum())

    def size(self, by: str) -> Float[np.ndarray, " n_atoms"]:
        """Return difference of each atom, plain or relative."""
        return self.table[by].to_numpy()

    def shown(self, min_share: float) -> Bool[np.ndarray, " n_atoms"]:
        """Return a mask of the tested atoms that are in such a share of the documents of either corpus."""
        most = np.maximum(self.table["a"].to_numpy(), self.table["b"].to_numpy())
        return self.tested & (most >= min_share)

    def listed(self, by: str, max_q: float, min_share: float) -> Int[np.ndarray, " m"]:
        """Return atoms within both limits, the largest difference first; of equal ones the surest."""
        q = self.table["q"].to_numpy()
        kept = np.flatnonzero(self.shown(min_share) & (q <= max_q))
        return kept[np.lexsort((q[kept], -np.abs(self.size(by)[kept])))]

    def with_simpler(self, docs_a: Documents, docs_b: Documents) -> CorpusSummary:
        """Add the result of a simpler method; to each atom that was tested its word, and how that differs."""
        found = self.table.loc[self.tested, ["a", "b"]].reset_index()
        words = with_words(found, docs_a, docs_b, self.min_count)
        if words is None:
            return replace(self, simpler=channels(docs_a, docs_b))
        table = self.table.copy()
        for column in ("word", "word_difference"):
            table.loc[found["atom"], column] = found[column].to_numpy()
        return replace(self, table=table, simpler=words)


@checked
def summarise_corpora(
    docs_a: Documents,
    docs_b: Documents,
    names: Sequence[str] = ("A", "B"),
    min_count: Count = 5,
) -> CorpusSummary:
    """Compare two corpora atom by atom as `diff` does, without its simpler method, which takes longer.

    Parameters
    ----------
    names
        Of the two corpora.
    min_count
        Documents of both together that an atom must be in to be tested.

    Raises
    ------
    ValueError: If a corpus has fewer than two documents, or they are of different places, SAEs or pools.

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
    >>> found = summarise_corpora(docs.subset(slice(20)), docs.subset(slice(20, 40)), ("old", "new"))
    >>> len(found.table), found.n_a, found.n_b, found.simpler
    (8, 20, 20, None)
    """
    check_pair(docs_a, docs_b)
    n_a, n_b = len(docs_a), len(docs_b)
    tested = compared_atoms(docs_a, docs_b, min_count).set_index("atom").drop(columns="label")
    table = tested.reindex(range(docs_a.n_atoms))
    for side, docs, n in (("a", docs_a, n_a), ("b", docs_b, n_b)):
        table[side] = docs.counts / n
        table[f"low_{side}"], table[f"high_{side}"] = wilson_interval(docs.counts, n)
    table["difference"] = table["a"] - table["b"]
    table["relative"] = table["difference"] / np.maximum(table[["a", "b"]].max(axis=1), 1e-12)
    table["word"], table["word_difference"] = "", np.nan
    first, second = names
    return CorpusSummary(table=table, names=(first, second), n_a=n_a, n_b=n_b, min_count=min_count)

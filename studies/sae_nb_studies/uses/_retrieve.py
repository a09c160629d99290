"""Documents in order of what is asked: score_i = Σ_j w_j v_ij / max_i |v_ij| over the atoms of a query.

Dividing by each atom's largest strength is ours (arXiv 2512.10092 adds strengths as they are): a loud
atom would be the whole query. For comparison: TF-IDF of words, and the cosine of mean activations with
Σ_j w_j d_j.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from sae_nb.checks import check_atom, check_real, checked, shown
from sae_nb.corpora import Documents, check_several
from sae_nb.findings import Finding
from sae_nb_studies.uses._cluster import one_per_document, tfidf

if TYPE_CHECKING:
    from pandas import DataFrame


class Retrieval(Finding):
    """Documents in order; made by `retrieve`."""

    order: Int[np.ndarray, " n"]
    """Numbers of the documents, best first."""

    scores: Float[np.ndarray, " n"]
    """Score of each document, in the order of the corpus."""

    weights: dict[int, float]
    """The query: weight of each atom."""

    words: tuple[str, ...]
    """Query for TF-IDF: the words of the query, else those at which its atoms peak."""

    table: DataFrame
    """A method per row ("atoms", "words" of texts, "activations"): map, and ndcg over the first 10, NaN
    unless `relevant` was given; its best document."""

    @property
    def headline(self) -> str:
        """Number of documents and of atoms, and the best documents."""
        best = self.order[:5].tolist()
        return f"{len(self.order)} documents by {len(self.weights)} atoms; best {best}"


@checked(leave=("query", "relevant"))
def retrieve(
    docs: Documents,
    query: str | int | Sequence[int] | Mapping[int, float],
    *,
    relevant: Any = None,
) -> Retrieval:
    """Order documents by a query of atoms.

    Parameters
    ----------
    query
        An atom, several, weights by atom (negative ones ask for absence), or words that labels hold.
    relevant
        Documents that were wanted, if known: a truth value for each. The order is then judged.

    Raises
    ------
    IndexError: If the SAE has no such atom.
    ValueError: If no label holds a word of the query (near ones are named), there are fewer than two
        documents, or `relevant` is of another length or the same for all.

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
    >>> retrieve(docs, int(docs.matrix.indices[0])).order[:3].tolist()
    [0, 1, 2]
    """
    check_several(docs)
    weights = _weights(docs, query)
    wanted = None if relevant is None else one_per_document(relevant, docs, "relevant", truth=True)
    atoms, weight = np.array(list(weights)), np.array(list(weights.values()))
    table = docs.matrix[:, atoms]
    largest = np.maximum(np.asarray(abs(table).max(axis=0).todense()).ravel(), 1e-12)
    scores = table @ (weight / largest)
    words = _asked(docs, query, weights)
    methods = [("atoms", scores)]
    if docs.has_texts:
        methods.append(("words", _by_words(docs, words)))
    methods.append(("activations", _by_activations(docs, atoms, weight)))
    import pandas as pd

    return Retrieval(
        order=np.argsort(-scores, kind="stable"),
        scores=scores,
        weights=weights,
        words=words,
        table=pd.DataFrame([_judged(name, values, wanted) for name, values in methods]),
    )


def _weights(docs: Documents, query: Any) -> dict[int, float]:
    if isinstance(query, str):
        return dict.fromkeys(docs.find(query), 1.0)
    if isinstance(query, Mapping):
        weights = {
            check_atom(atom, docs.n_atoms): check_real(weight, name=f"the weight of {shown(atom)}")
            for atom, weight in query.items()
        }
    else:
        several = query if isinstance(query, Sequence | np.ndarray) else [query]
        weights = {check_atom(atom, docs.n_atoms): 1.0 for atom in several}
    if not any(weights.values()):
        raise ValueError("`query` must name at least one atom of a weight other than 0, got none.")
    return weights


def _asked(docs: Documents, query: Any, weights: Mapping[int, float]) -> tuple[str, ...]:
    if isinstance(query, str):
        return tuple(re.findall(r"\w+", query.lower()))
    peaks = [docs.peak_word(atom) for atom, weight in weights.items() if weight > 0]
    return tuple(dict.fromkeys(word for word in peaks if word))


def _by_words(docs: Documents, words: Sequence[str]) -> Float[np.ndarray, " n"]:
    """Sum of the TF-IDF of the words of the query."""
    counts, names = docs.words
    there = np.flatnonzero(np.isin(names, list(words)))
    return np.asarray(tfidf(counts)[:, there].sum(axis=1)).ravel()


def _by_activations(
    docs: Documents, atoms: np.ndarray, weight: np.ndarray
) -> Float[np.ndarray, " n"]:
    """Cosine of the mean activations, around their mean, with the atoms' directions."""
    direction = weight @ docs.dictionary[atoms].float().numpy()
    centred = docs.means - docs.means.mean(axis=0)
    size = np.linalg.norm(centred, axis=1) * np.linalg.norm(direction)
    return centred @ direction / np.maximum(size, 1e-12)


def _judged(name: str, scores: np.ndarray, wanted: np.ndarray | None) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, ndcg_score

    row = {"method": name, "best": int(np.argmax(scores)), "map": np.nan, "ndcg": np.nan}
    if wanted is not None:
        row["map"] = average_precision_score(wanted, scores)
        row["ndcg"] = ndcg_score(wanted[None], scores[None], k=10)
    return row

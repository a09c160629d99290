"""Documents in groups by chosen atoms, against groups by words and by raw activations.

Chosen atoms ("targeted", arXiv 2512.10092): a row is weighted by TF-IDF, v_ij = log(n / n_j) + 1 where atom j
fires, and has length 1. "spectral" cuts the graph of its nearest neighbours, "kmeans" clusters it as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Int
from torch import Tensor

from sae_nb.checks import Seed, at_least, check_atom, check_data, checked, same_length
from sae_nb.corpora import Documents, check_several
from sae_nb.findings import Finding

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

NONE = -1
_NEIGHBOURS = 15
_SILHOUETTE_ROWS = 2000
_SHOWN = 8


class Clusters(Finding):
    """Documents in groups; made by `cluster`."""

    labels: Int[np.ndarray, " n"]
    """Group of each document, −1 where none of the chosen atoms fires."""

    atoms: Int[np.ndarray, " m"]
    """Atoms that were compared."""

    table: DataFrame
    """The atoms that make each group: cluster, atom, label, inside, outside (shares), difference."""

    scores: DataFrame
    """A method per row ("atoms", then what simpler ones say: "words" or nothing, "activations"): ari (with the
    attribute that was given, else NaN) and silhouette (cosine; each in its own space)."""

    @property
    def ari(self) -> float:
        """Adjusted Rand index with the attribute; 0 is chance, 1 the same groups."""
        return float(self.scores["ari"].iloc[0])

    @property
    def silhouette(self) -> float:
        """Silhouette of the groups, over documents that have one."""
        return float(self.scores["silhouette"].iloc[0])

    @property
    def headline(self) -> str:
        """Sizes of the groups; documents without one."""
        sizes = np.bincount(self.labels[self.labels != NONE]).tolist()
        none = int((self.labels == NONE).sum())
        return f"{len(sizes)} of sizes {sizes}, {none} without; {len(self.atoms)} atoms"


@checked(leave=("attribute",))
def cluster(
    docs: Documents,
    n_clusters: Annotated[int, at_least(2)],
    *,
    atoms: str | Sequence[int] | None = None,
    method: Literal["spectral", "kmeans"] = "spectral",
    attribute: Any = None,
    seed: Seed = 0,
) -> Clusters:
    """Group documents by the atoms that fire in them.

    Parameters
    ----------
    atoms
        Subject of the groups: atoms, or words that their labels hold. None: every atom.
    method
        "spectral" on the graph of nearest neighbours, or "kmeans", both of scikit-learn.
    attribute
        Known facts about each document, if any, to be compared with.

    Raises
    ------
    ValueError: If there are fewer documents than groups, no label fits the words, `attribute` is of another
        length or the same for all, or too few documents have one of the atoms.

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
    >>> cluster(docs, 2, attribute=torch.arange(40) // 20, method="kmeans").labels.shape
    (40,)
    """
    check_several(docs, at_least=n_clusters + 1)
    known = None if attribute is None else one_per_document(attribute, docs, "attribute")
    chosen = chosen_atoms(docs, atoms)
    rows = tfidf(docs.present[:, chosen])
    labels = _grouped(rows, n_clusters, method, seed)
    scored = [_scored("atoms", rows, labels, known, seed)]
    for name, simple in _simpler(docs):
        groups = _grouped(simple, n_clusters, "kmeans", seed)
        scored.append(_scored(name, simple, groups, known, seed))
    import pandas as pd

    table = _makers(docs, labels, chosen)
    return Clusters(labels=labels, atoms=chosen, table=table, scores=pd.DataFrame(scored))


def chosen_atoms(docs: Documents, atoms: str | Sequence[int] | None) -> Int[np.ndarray, " m"]:
    """Return atoms by number, or by words of their labels; None: those that fire anywhere."""
    if atoms is None:
        return np.flatnonzero(docs.counts)
    if isinstance(atoms, str):
        return np.array(docs.find(atoms))
    if not len(atoms):
        raise ValueError("`atoms` must name at least one atom, got none. Leave it out for all.")
    return np.array([check_atom(atom, docs.n_atoms) for atom in atoms])


def one_per_document(
    values: Any, docs: Documents, name: str, *, truth: bool = False
) -> Int[np.ndarray, " n"]:
    """Return numbers of the values of what is known of each document, of which there must be two or more.

    `truth`: values are yes or no, and 1 is yes.
    """
    if isinstance(values, Tensor):
        check_data(values, name=name, what="values")
        values = values.detach().to_dense().cpu().numpy()
    array = np.asarray(values, bool) if truth else np.asarray(values)
    same_length(array.reshape(-1), len(docs), name=name, per="document")
    there, numbers = np.unique(array.reshape(-1), return_inverse=True)
    if len(there) < 2:
        raise ValueError(
            f"`{name}` must hold at least two different values, got {there.tolist()} alone. Pass documents "
            "of both kinds."
        )
    return numbers


def tfidf(counts: csr_matrix) -> csr_matrix:
    """Return rows of length 1, weighted by how few documents have what is in a column."""
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer().fit_transform(counts)


def _grouped(rows: Any, n: int, method: str, seed: int) -> Int[np.ndarray, " n"]:
    """Group of each row; −1 of an empty one."""
    from sklearn.cluster import KMeans, SpectralClustering
    from sklearn.neighbors import kneighbors_graph

    full = np.flatnonzero(_lengths(rows) > 0)
    if len(full) <= n:
        raise ValueError(
            f"More than {n} documents must have one of the atoms, got {len(full)}. Choose more atoms, "
            "or fewer clusters."
        )
    labels = np.full(rows.shape[0], NONE)
    if method == "kmeans":
        made = KMeans(n, n_init=4, random_state=seed).fit_predict(rows[full])
    else:
        many = min(_NEIGHBOURS, len(full) - 1)
        near = kneighbors_graph(rows[full], many, metric="cosine", include_self=True)
        near = 0.5 * (near + near.T)
        with warnings.catch_warnings():  # groups that share no neighbour are what is looked for
            warnings.filterwarnings("ignore", message="Graph is not fully connected")
            maker = SpectralClustering(n, affinity="precomputed", random_state=seed)
            made = maker.fit_predict(near)
    labels[full] = made
    return labels


def _lengths(rows: Any) -> np.ndarray:
    return np.asarray(abs(rows).sum(axis=1)).ravel()


def _simpler(docs: Documents) -> list[tuple[str, Any]]:
    """TF-IDF of words, and the mean activations around their mean, rows of length 1."""
    from sklearn.preprocessing import normalize

    words = [("words", tfidf(docs.words[0]))] if docs.has_texts else []
    centred = docs.means - docs.means.mean(axis=0)
    return [*words, ("activations", normalize(centred))]


def _scored(
    name: str, rows: Any, labels: np.ndarray, known: np.ndarray | None, seed: int
) -> dict[str, Any]:
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    full = labels != NONE
    several = len(np.unique(labels[full])) > 1
    size = min(_SILHOUETTE_ROWS, int(full.sum()))
    silhouette = (
        silhouette_score(
            rows[full], labels[full], metric="cosine", sample_size=size, random_state=seed
        )
        if several
        else np.nan
    )
    ari = np.nan if known is None else adjusted_rand_score(known, labels)
    return {"method": name, "ari": ari, "silhouette": silhouette}


def _makers(docs: Documents, labels: np.ndarray, chosen: np.ndarray) -> DataFrame:
    """Of each group, the chosen atoms that fire in more of its documents than of the others."""
    import pandas as pd

    rows = []
    for group in np.unique(labels[labels != NONE]):
        inside, outside = (docs.shares(side)[chosen] for side in (labels == group, labels != group))
        for at in np.argsort(outside - inside, kind="stable")[:_SHOWN]:
            atom = int(chosen[at])
            rows.append({
                "cluster": int(group), "atom": atom, "label": docs.label(atom), "inside": inside[at],
                "outside": outside[at], "difference": inside[at] - outside[at],
            })  # fmt: skip
    return pd.DataFrame(rows)

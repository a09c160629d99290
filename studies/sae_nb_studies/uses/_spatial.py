"""Atoms that know where: spatial autocorrelation of the firings in documents that have a place on the
earth.

Moran's I = Σ_ij w_ij (x_i − x̄)(x_j − x̄) / Σ_i (x_i − x̄)², w_ij = 1/k for the k nearest places by great circle,
else 0: 1 where near places have the same strength, −1/(n − 1) on average where places say nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Float, Int

from sae_nb.checks import (
    Count,
    Seed,
    as_tensor,
    at_least,
    check_count,
    check_data,
    checked,
    same_length,
)
from sae_nb.corpora import Documents, check_several
from sae_nb.findings import Finding
from sae_nb.statistics import permutation_p, q_values

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix


class SpatialAutocorrelation(Finding):
    """Moran's I of atoms over places; made by `spatial_autocorrelation`."""

    table: DataFrame
    """An atom per row, the largest I first: atom, label, moran, p (share of permutations that reach it), q
    (Benjamini and Hochberg over all atoms), count (of documents), text (of the document where it is
    strongest)."""

    simpler: DataFrame
    """The same of principal components of the documents' mean activations, and of their neurons: method,
    number, moran, p, q."""

    luck: Float[np.ndarray, " n_permutations"]
    """The largest I of any atom when the places are dealt out at random."""

    n_documents: int

    def figure(self) -> Any:
        """Draw the largest I of any atom among those of places dealt out at random.

        Raises
        ------
        ValueError: If no atom fires in enough documents.
        """
        from sae_nb.figures import null_distribution

        if not len(self.table):
            raise ValueError(
                "`figure` needs an atom that fires in `min_count` documents, and none does. Lower `min_count`."
            )
        return null_distribution(self.luck, self.table.moran.max(), x="largest I of any atom")

    @property
    def headline(self) -> str:
        """The largest I of an atom, by luck, of components and of neurons."""
        best = self.table.moran.max() if len(self.table) else float("nan")
        simple = self.simpler.groupby("method").moran.max()
        return (
            f"{len(self.table)} atoms over {self.n_documents} places: largest I "
            f"{best:.2f}, by luck {np.quantile(self.luck, 0.95):.2f}; components "
            f"{simple.get('component', float('nan')):.2f}, neurons {simple.get('neuron', float('nan')):.2f}"
        )


@checked(leave=("latitude", "longitude"))
def spatial_autocorrelation(
    docs: Documents,
    latitude: Any,
    longitude: Any,
    *,
    n_neighbours: int = 8,
    n_permutations: Annotated[int, at_least(19)] = 199,
    min_count: Count = 10,
    n_components: Count = 20,
    seed: Seed = 0,
) -> SpatialAutocorrelation:
    """Find the atoms whose strength is alike in places that are near each other.

    Parameters
    ----------
    docs
        A document per place, such as its name in a sentence.
    latitude, longitude
        Degrees north and east, one per document.
    n_neighbours
        Nearest places that count as near.
    n_permutations
        Times that the places are dealt out at random, for p and for luck.
    min_count
        Documents in which an atom must fire.
    n_components
        Principal components of the mean activations, for comparison.

    Raises
    ------
    ValueError, TypeError: If there are too few places, or a coordinate is none.

    Source
    ------
    Moran, "Notes on continuous stochastic phenomena", 1950; weights of nearest places and permutation tests as
    in Anselin, 1995.

    Example
    -------
    >>> import torch
    >>> from sae_nb.models import wrap
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.corpora import documents
    >>> sae = TopK(4, 8, 2, generator=torch.Generator().manual_seed(0))
    >>> rows = torch.eye(4)[torch.arange(40) // 10]  # four regions of ten places
    >>> docs = documents(wrap(torch.nn.Sequential(torch.nn.Identity())), sae, rows, "0", progress=False)
    >>> found = spatial_autocorrelation(docs, torch.zeros(40), torch.arange(40) * 4.0, n_neighbours=2)
    >>> bool(found.table.moran.iloc[0] > 0.8)
    True
    """
    check_several(docs, at_least=4)
    n = len(docs)
    check_count(n_neighbours, name="n_neighbours", at_most=n - 1)
    rng = np.random.default_rng(seed)
    points = _points(
        _degrees(latitude, n, "latitude", 90), _degrees(longitude, n, "longitude", 360)
    )
    weights = _near(points, n_neighbours)
    orders = [rng.permutation(n) for _ in range(n_permutations)]
    atoms = np.flatnonzero(docs.counts >= min_count)
    strengths = docs.matrix[:, atoms].astype(np.float64)
    found = _morans(strengths, weights)
    dealt = np.array([_morans(strengths[order], weights) for order in orders])
    return SpatialAutocorrelation(
        table=_of_atoms(docs, atoms, found, dealt),
        simpler=_of_activations(docs.means, weights, orders, n_components),
        luck=dealt.max(axis=1, initial=-1.0) if len(atoms) else np.full(n_permutations, np.nan),
        n_documents=n,
    )


def _degrees(values: Any, n: int, name: str, most: float) -> Float[np.ndarray, " n"]:
    given = as_tensor(values, name=name)
    check_data(given, name=name, what="degrees")
    degrees = given.detach().to_dense().cpu().double().reshape(-1).numpy()
    same_length(degrees, n, name=name, per="document")
    wrong = np.flatnonzero(~(np.abs(degrees) <= most))
    if len(wrong):
        raise ValueError(
            f"`{name}` must be degrees of at most ±{most:g}, got {degrees[wrong[0]]:g} for document "
            f"{wrong[0]}. Leave out documents without a place: docs.subset(…)."
        )
    return degrees


def _points(
    latitude: Float[np.ndarray, " n"], longitude: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """On the unit sphere, where near by great circle is near by straight line."""
    north, east = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], 1)


def _near(points: Float[np.ndarray, "n 3"], k: int) -> csr_matrix:
    """1/k for the k nearest other places of each; of places that are one, the others come first."""
    from scipy.sparse import csr_matrix
    from scipy.spatial import KDTree

    n = len(points)
    nearest = KDTree(points).query(points, k=k + 1)[1]
    others = [[j for j in row if j != i][:k] for i, row in enumerate(nearest.tolist())]
    columns = np.array(others).ravel()
    return csr_matrix((np.full(n * k, 1 / k), columns, np.arange(0, n * k + 1, k)), shape=(n, n))


def _morans(x: Any, weights: csr_matrix) -> Float[np.ndarray, " columns"]:
    """I of every column, sparse or dense; 0 of one that is the same everywhere.

    Nothing is centred: as the rows of w sum to 1, and its columns to c, the numerator is Σ x (Wx) − x̄ Σ c x.
    """
    n = weights.shape[0]
    mean = np.asarray(x.mean(axis=0), np.float64).ravel()
    near = weights @ x
    product = x.multiply(near) if hasattr(x, "multiply") else x * near
    squares = x.multiply(x) if hasattr(x, "multiply") else x * x
    total = np.asarray(product.sum(axis=0), np.float64).ravel()
    towards = np.asarray(weights.sum(axis=0)).ravel()
    weighted = np.asarray(towards @ x, np.float64).ravel()
    above = total - mean * weighted
    size = np.asarray(squares.sum(axis=0), np.float64).ravel()
    below = size - n * mean**2
    varies = below > 1e-9 * size
    return np.divide(above, below, out=np.zeros(len(below)), where=varies)


def _of_atoms(
    docs: Documents,
    atoms: Int[np.ndarray, " m"],
    found: Float[np.ndarray, " m"],
    dealt: Float[np.ndarray, "n_permutations m"],
) -> DataFrame:
    import pandas as pd

    p = permutation_p(dealt, found)
    columns = {
        "atom": atoms,
        "label": [docs.label(int(j)) for j in atoms],
        "moran": found,
        "p": p,
        "q": q_values(p),
        "count": docs.counts[atoms],
    }
    table = pd.DataFrame(columns).sort_values("moran", ascending=False, kind="stable")
    strongest = [docs.top(int(j), 1).text.iloc[0] for j in table.atom]
    return table.assign(text=strongest).reset_index(drop=True)


def _of_activations(
    means: Float[np.ndarray, "n d_in"],
    weights: csr_matrix,
    orders: list[Int[np.ndarray, " n"]],
    n_components: int,
) -> DataFrame:
    """Principal components and neurons, in the same numbers."""
    import pandas as pd

    centred = (means - means.mean(axis=0)).astype(np.float64)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    scores = {"component": (left * size)[:, :n_components], "neuron": centred}
    parts = []
    for method, x in scores.items():
        found = _morans(x, weights)
        dealt = np.array([_morans(x[order], weights) for order in orders])
        p = permutation_p(dealt, found)
        columns = {"method": method, "number": np.arange(x.shape[1]), "moran": found, "p": p}
        part = pd.DataFrame({**columns, "q": q_values(p)})
        parts.append(part.sort_values("moran", ascending=False, kind="stable"))
    return pd.concat(parts, ignore_index=True)

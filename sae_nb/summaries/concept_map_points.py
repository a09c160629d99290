"""Samples and tokens as points of a map: which are drawn, and the vectors that stand for them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.summaries.catalogue import AtomCatalogue

MOST_POINTS = 4000
N_DIRECTIONS = 64


def spread_rows(catalogue: AtomCatalogue, seed: int) -> Int[np.ndarray, " m"]:
    """Return rows to show: all, or 4000 drawn by seed.

    Parameters
    ----------
    catalogue
        Whose activations.
    seed
        Which are drawn.
    """
    return _drawn(np.arange(len(catalogue.acts)), seed)


def spread_samples(catalogue: AtomCatalogue, seed: int) -> Int[np.ndarray, " m"]:
    """Return samples to show, among those that have rows: all, or 4000 drawn by seed.

    Parameters
    ----------
    catalogue
        Whose activations.
    seed
        Which are drawn.
    """
    return _drawn(np.unique(catalogue.samples), seed)


def _drawn(ids: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " m"]:
    if len(ids) <= MOST_POINTS:
        return ids.astype(np.int64)
    chosen = np.random.default_rng(seed).choice(len(ids), MOST_POINTS, replace=False)
    return ids[np.sort(chosen)].astype(np.int64)


def mean_codes(
    catalogue: AtomCatalogue, samples: Int[np.ndarray, " m"]
) -> Float[Tensor, "m directions"]:
    """Return the mean code of each sample, in its 64 leading directions.

    Z̄ = U S Vᵀ, truncated: cosines between rows of U S are those between mean codes, up to what the
    truncation loses; the (samples, n_atoms) matrix stays sparse.

    Parameters
    ----------
    catalogue
        Encoded activations.
    samples
        Which, ascending.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds

    rows = np.flatnonzero(np.isin(catalogue.samples, samples))
    place = np.searchsorted(samples, catalogue.samples[rows])
    share = 1 / np.bincount(place, minlength=len(samples))[place]
    averaging = csr_matrix((share, (place, rows)), shape=(len(samples), len(catalogue.acts)))
    mean = (averaging @ catalogue.codes.to_scipy().astype(np.float64)).tocsr()
    n_directions = min(N_DIRECTIONS, min(mean.shape) - 1)
    if n_directions < 2 or min(mean.shape) <= N_DIRECTIONS:
        return torch.from_numpy(mean.toarray()).float()
    # A start that is given, so that the same codes give the same map.
    u, s, _ = svds(mean, k=n_directions, v0=np.ones(min(mean.shape)))
    return torch.from_numpy(np.ascontiguousarray(u[:, ::-1] * s[::-1])).float()

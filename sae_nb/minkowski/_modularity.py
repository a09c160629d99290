"""Do coefficients fall into blocks? Modularity of their correlations, against shuffled columns.

A_ij = |corr(z_i, z_j)|, Q = Σ_ij (A_ij − a_i a_j / 2m) [c_i = c_j] / 2m, communities c by local moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count, check_matrix

MOST_COLUMNS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class CoefficientBlocks:
    """Whether columns of coefficients move in groups."""

    modularity: float
    """Of the communities found."""

    floor: float
    """The same after every column is shuffled by itself, mean over draws."""

    floor_sd: float
    """Over draws."""

    community: Int[np.ndarray, " used"]
    """Of each column that varies."""

    used: Int[np.ndarray, " used"]
    """Those columns."""

    correlation: Float[np.ndarray, "used used"]
    """corr of the columns, zero on the diagonal."""

    @property
    def excess(self) -> float:
        """Modularity above the floor."""
        return self.modularity - self.floor


@torch.no_grad()
def coefficient_blocks(
    z: Float[Tensor, "n n_atoms"], *, n_nulls: int = 5, seed: int = 0
) -> CoefficientBlocks:
    """Look for blocks in the correlations of coefficients.

    Weights that sum to 1 within a tile correlate negatively there by construction, so block archetypes
    show blocks on any data: compare with the same fit to `gaussian_like(x)`, too.

    Parameters
    ----------
    z
        Dense coefficients, rows by atoms (`codes.to_dense()` of few rows; `block.encode(x).mixtures`).
    n_nulls
        Draws of shuffled columns.

    Raises
    ------
    TypeError, ValueError: If fewer than three columns vary, or there are more than 1024.

    Source
    ------
    arXiv 2510.08638 reports blocks in archetypal coefficients; modularity against shuffled columns is
    inferred. Communities: local moves of Blondel et al. 2008 (Louvain), merged until nothing improves.

    Example
    -------
    >>> draws = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> found = coefficient_blocks(draws.repeat_interleave(4, dim=1))
    >>> found.community.tolist(), found.excess > 0.2
    ([0, 0, 0, 0, 1, 1, 1, 1], True)
    """
    rows = check_matrix(z, name="z").detach().double().numpy(force=True)
    check_count(n_nulls, name="n_nulls", at_least=2)
    used = np.flatnonzero(rows.std(axis=0) > 1e-9)
    if not 3 <= len(used) <= MOST_COLUMNS:
        raise ValueError(
            f"`z` must have between 3 and {MOST_COLUMNS} columns that vary, got {len(used)}. Choose "
            "columns, for example the ones that fire most."
        )
    rows = rows[:, used]
    correlation = _correlations(rows)
    community, modularity = communities(np.abs(correlation))
    draws = np.random.default_rng(seed)
    nulls = [
        communities(np.abs(_correlations(draws.permuted(rows, axis=0))))[1] for _ in range(n_nulls)
    ]
    return CoefficientBlocks(
        modularity=modularity,
        floor=float(np.mean(nulls)),
        floor_sd=float(np.std(nulls, ddof=1)),
        community=community,
        used=used,
        correlation=correlation,
    )


def _correlations(rows: Float[np.ndarray, "n used"]) -> Float[np.ndarray, "used used"]:
    found = np.corrcoef(rows.T)
    np.fill_diagonal(found, 0.0)
    return found


def communities(
    weight: Float[np.ndarray, "n n"],
) -> tuple[Int[np.ndarray, " n"], float]:
    """Partition a weighted graph for large modularity."""
    label = np.arange(len(weight))
    graph = np.array(weight, dtype=np.float64)
    while True:
        merged = _moved(graph)
        label = merged[label]
        if merged.max() + 1 == len(graph):
            break
        member = np.eye(merged.max() + 1)[merged]
        graph = member.T @ graph @ member
    total = weight.sum()
    if total == 0:
        return _numbered(label), 0.0
    degree, same = weight.sum(axis=1), label[:, None] == label[None, :]
    value = float(((weight - np.outer(degree, degree) / total) * same).sum() / total)
    return _numbered(label), value


def _moved(graph: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
    """Move nodes one by one to the neighbouring community that gains most, until none does."""
    n, total = len(graph), graph.sum()
    label = np.arange(n)
    if total == 0:
        return label
    degree = graph.sum(axis=1)
    moving = True
    while moving:
        moving = False
        for node in range(n):
            ties = np.bincount(label, weights=graph[node], minlength=n)
            ties[label[node]] -= graph[node, node]
            sizes = np.bincount(label, weights=degree, minlength=n)
            sizes[label[node]] -= degree[node]
            gain = ties - degree[node] * sizes / total
            best = int(gain.argmax())
            if gain[best] > gain[label[node]] + 1e-12:
                label[node], moving = best, True
    return _numbered(label)


def _numbered(label: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place]

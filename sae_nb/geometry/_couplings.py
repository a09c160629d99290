"""Which atoms fire together because of each other: couplings by pseudo-likelihood, and their communities.

P(atom i fires | all others) = σ(b_i + Σ_j J_ij s_j), s_j whether atom j fires: the conditional of an Ising
model, fitted atom by atom: min_J −log-likelihood + Σ_j λ_ij |J_ij|, λ_ij = PENALTY √(n p_i q_i p_j q_j),
q = 1 − p. The slope at J = 0 of independent atoms has the standard deviation √(n p_i q_i p_j q_j), so that a
coupling stands PENALTY of them out of what the other couplings explain.

scikit-learn has the problem (LogisticRegression, ℓ1, liblinear) and not the speed: it looks at every row for
every atom. Here rows in which no candidate fires are one term, and each Newton step solves the small problem of
the candidates by coordinate descent, as glmnet does.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Int

from sae_nb.checks import Count, Seed, at_least, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels._compiling import compiled
from sae_nb.kernels._threads import share

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SCORE = 6.0
"""Standard deviations of a chance count that co-firing must stand out by to be looked at: the signed root of
twice its Poisson log-likelihood ratio. Ours."""

PENALTY = 4.0
"""The same, of what a coupling must add to the others. Ours."""

LEAST_ROWS = 20
"""Rows in which an atom must fire to be looked at. Ours."""

MOST_OFTEN = 0.5
"""Share of rows in which it may fire at most: what is always there belongs to no group. Ours."""

CANDIDATES = 32
"""Atoms of each sign that co-fire most and least by score, of which each atom's couplings are sought. Ours."""

MOST = 64
"""Atoms of a group; larger communities are divided again."""


@checked
def couplings(
    codes: SparseCodes, *, penalty: Annotated[float, at_least(0)] = PENALTY
) -> csr_matrix:
    """Return J (n_atoms × n_atoms, symmetric, sparse): which atoms fire because of which others, in log-odds.

    Above zero atom i makes atom j likelier where all other atoms are as they are, below zero less likely. Of
    atoms that fire in fewer than 20 rows or in more than half of them nothing is said. A pair is coupled if
    each needs the other; J_ij is the mean of both fits, shrunk by ℓ1. Correlations, in comparison, hold
    between all atoms with a common cause.

    Parameters
    ----------
    penalty
        Of ℓ1: standard deviations by which a coupling must stand out of what the others explain.

    Source
    ------
    Ravikumar, Wainwright & Lafferty, "High-dimensional Ising model selection using ℓ1-regularized logistic
    regression", 2010. Groups of atoms as an inverse Ising problem: arXiv 2604.28119.

    Example
    -------
    >>> import torch
    >>> fires = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) < 0.2
    >>> fires[:, 1] |= fires[:, 0]  # atom 1 fires wherever atom 0 does
    >>> j = couplings(SparseCodes.from_dense(fires.float()))
    >>> bool(j[0, 1] > 1), float(j[0, 2]), float(j[1, 2])
    (True, 0.0, 0.0)
    """
    from scipy.sparse import csr_matrix

    by_atom = codes.detach().to("cpu").by_atom()
    kept = (by_atom.values != 0).numpy()
    offsets = np.concatenate([[0], np.cumsum(kept)])[by_atom.offsets.long().numpy()]
    rows, n, n_atoms = by_atom.rows.long().numpy()[kept], codes.n_rows, codes.n_atoms
    first, candidates = screened(offsets, rows, n)
    found = np.zeros(len(candidates))
    share(fit_each, n_atoms, offsets, rows, n, first, candidates, penalty, found)
    one_way = csr_matrix((found, candidates, first), shape=(n_atoms, n_atoms))
    other = one_way.T.tocsr()
    # a product is there where both are: each needs the other
    both = one_way.multiply(other).tocsr()
    both.data = (both.data > 0).astype(float)
    j = both.multiply((one_way + other) / 2).tocsr()
    j.eliminate_zeros()
    return j


def screened(
    offsets: Int[np.ndarray, " n_atoms_and_one"], rows: Int[np.ndarray, " nnz"], n: int
) -> tuple[Int[np.ndarray, " n_atoms_and_one"], Int[np.ndarray, " pairs"]]:
    """Return the candidates of each atom, as offsets and atoms: whom it meets more or less than by chance."""
    from scipy.sparse import csc_matrix
    from scipy.special import xlogy

    counts = np.diff(offsets)
    known = np.flatnonzero((counts >= LEAST_ROWS) & (counts <= MOST_OFTEN * n))
    fires = csc_matrix((np.ones(len(rows), np.float32), rows, offsets), shape=(n, len(counts)))[
        :, known
    ]
    together, p = (fires.T @ fires).tocsr(), counts[known] / n
    first = np.zeros(len(counts) + 1, np.int64)
    chosen = []
    for i, atom in enumerate(known):
        met = np.zeros(len(known))
        at = slice(together.indptr[i], together.indptr[i + 1])
        met[together.indices[at]] = together.data[at]
        usual = n * p[i] * p
        surprise = xlogy(met, met / usual) - (met - usual)
        z = np.sign(met - usual) * np.sqrt(2 * surprise.clip(0))
        z[i] = 0
        order = np.argsort(z, kind="stable")
        ends = np.concatenate([order[:CANDIDATES], order[CANDIDATES:][-CANDIDATES:]])
        ends = ends[np.abs(z[ends]) >= SCORE]
        chosen.append(np.sort(known[ends]))
        first[atom + 1] = len(ends)
    return np.cumsum(first), np.concatenate([*chosen, np.zeros(0, np.int64)]).astype(np.int64)


@checked
def communities(
    weights: Any, *, at_most: Count = MOST, seed: Seed = 0
) -> list[Int[np.ndarray, " m"]]:
    """Return groups of two atoms or more that weights tie, largest first: Louvain's, by networkx.

    A community of more than `at_most` atoms is divided by its own weights, and left out where these have no
    communities.

    Parameters
    ----------
    weights
        A sparse symmetric matrix of scipy, such as `couplings` returns.
    at_most
        Atoms of a group.
    seed
        Of the order in which atoms are tried.

    Raises
    ------
    TypeError: If it is no such matrix.

    Source
    ------
    Blondel et al., "Fast unfolding of communities in large networks", arXiv 0803.0476.

    Example
    -------
    >>> from scipy.sparse import csr_matrix
    >>> pairs = csr_matrix(np.kron(np.eye(2), [[0.0, 1.0], [1.0, 0.0]]))
    >>> [group.tolist() for group in communities(pairs)]
    [[0, 1], [2, 3]]
    """
    import networkx as nx
    from scipy.sparse import issparse

    if not issparse(weights) or weights.shape[0] != weights.shape[1]:
        raise TypeError(
            "`weights` must be a square sparse matrix of scipy, as sn.geometry.couplings returns it, got "
            f"{type(weights).__name__}."
        )
    graph = nx.from_scipy_sparse_array(abs(weights))
    waiting, found = [graph], []
    while waiting:
        part = waiting.pop()
        groups = nx.community.louvain_communities(part, weight="weight", seed=seed)
        for group in groups:
            if len(group) <= at_most:
                found.append(np.array(sorted(group)))
            elif len(groups) > 1:
                waiting.append(part.subgraph(sorted(group)).copy())
    several = [group for group in found if len(group) > 1]
    return sorted(several, key=lambda group: (-len(group), group[0]))


# -------------------------------------------------------------------------------------------------
# The compiled fit of one atom on its candidates: Newton steps, each by coordinate descent.


@compiled()
def fit_each(begin, end, offsets, rows, n, first, candidates, scale, found):
    """Fill `found`, beside `candidates`, with the coupling of atoms begin … end − 1 to each."""
    place = np.full(n, -1, np.int32)  # of a row among those in which a candidate fires
    for i in range(begin, end):
        m = first[i + 1] - first[i]
        if m == 0:
            continue
        chosen = candidates[first[i] : first[i + 1]]
        total = 0
        for a in range(m):
            total += offsets[chosen[a] + 1] - offsets[chosen[a]]
        touched = np.empty(min(total, n), np.int64)
        length = np.zeros(min(total, n) + 1, np.int64)
        t = 0
        for a in range(m):
            for e in range(offsets[chosen[a]], offsets[chosen[a] + 1]):
                row = rows[e]
                if place[row] < 0:
                    place[row] = t
                    touched[t] = row
                    t += 1
                length[place[row] + 1] += 1
        starts = np.cumsum(length[: t + 1])
        inside, filled = np.empty(total, np.int32), starts.copy()
        for a in range(m):
            for e in range(offsets[chosen[a]], offsets[chosen[a] + 1]):
                at = place[rows[e]]
                inside[filled[at]] = a
                filled[at] += 1
        y = np.zeros(t)
        alone = 0
        for e in range(offsets[i], offsets[i + 1]):
            if place[rows[e]] >= 0:
                y[place[rows[e]]] = 1.0
            else:
                alone += 1
        p = (offsets[i + 1] - offsets[i]) / n
        penalty = np.zeros(m + 1)  # the last is the intercept's
        for a in range(m):
            q = (offsets[chosen[a] + 1] - offsets[chosen[a]]) / n
            penalty[a] = scale * np.sqrt(n * p * (1 - p) * q * (1 - q))
        weights = newton(starts, inside, y, n - t, alone, penalty, np.log(p / (1 - p)))
        found[first[i] : first[i + 1]] = weights[:m]
        for k in range(t):
            place[touched[k]] = -1


@compiled(inner=True)
def newton(starts, inside, y, n_alone, y_alone, penalty, intercept):
    """Return weights that minimise the penalised loss; the last is the intercept."""
    m = len(penalty) - 1
    weights, slope, curvature = np.zeros(m + 1), np.zeros(m + 1), np.zeros((m + 1, m + 1))
    weights[m] = intercept
    value = loss(starts, inside, y, n_alone, y_alone, weights, slope, curvature)
    for _ in range(50):
        step = descend(weights, slope, curvature, penalty)
        before = value + np.sum(penalty * np.abs(weights))
        size = 1.0
        for _ in range(20):
            trial = weights + size * step
            value = loss(starts, inside, y, n_alone, y_alone, trial, slope, curvature)
            if value + np.sum(penalty * np.abs(trial)) <= before + 1e-9 * before:
                break
            size /= 2
        weights = trial
        if np.max(np.abs(size * step)) < 1e-3:
            break
    return weights


@compiled(inner=True)
def loss(starts, inside, y, n_alone, y_alone, weights, slope, curvature):
    """Return −log-likelihood, and fill its gradient and its Hessian."""
    m = len(weights) - 1
    slope[:] = 0
    curvature[:] = 0
    e = np.exp(-weights[m])
    p = 1 / (1 + e)
    value = (n_alone - y_alone) * weights[m] + n_alone * np.log1p(e)
    slope[m] = n_alone * p - y_alone
    curvature[m, m] = n_alone * p * (1 - p)
    for k in range(len(y)):
        first, last = starts[k], starts[k + 1]
        eta = weights[m]
        for a in range(first, last):
            eta += weights[inside[a]]
        e = np.exp(-eta)
        p = 1 / (1 + e)
        value += (1 - y[k]) * eta + np.log1p(e)
        off, curved = p - y[k], max(p * (1 - p), 1e-6)
        slope[m] += off
        curvature[m, m] += curved
        for a in range(first, last):
            i = inside[a]
            slope[i] += off
            curvature[m, i] += curved
            curvature[i, m] += curved
            for b in range(first, last):
                curvature[i, inside[b]] += curved
    return value


@compiled(inner=True)
def descend(weights, slope, curvature, penalty):
    """Return the step that minimises slope·s + ½ sᵀ curvature s + Σ penalty |weights + s|."""
    m = len(weights)
    step, pull = np.zeros(m), slope.copy()  # of the quadratic at the step
    for _ in range(200):
        most = 0.0
        for a in range(m - 1, -1, -1):
            bend = curvature[a, a]
            if bend <= 0:
                continue
            here = weights[a] + step[a]
            there = here - pull[a] / bend
            there = np.sign(there) * max(np.abs(there) - penalty[a] / bend, 0.0)
            by = there - here
            if by != 0:
                step[a] += by
                for b in range(m):
                    pull[b] += by * curvature[a, b]
                most = max(most, np.abs(by))
        if most < 1e-4:
            break
    return step

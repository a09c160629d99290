"""A coordinate that nobody has named: atoms whose co-activation closes a ring, and where each row lies on it.

Neighbours on a ring fire together, atoms across do not. Atoms are ordered by the second and third eigenvector
of their normalised co-activation, cosine and sine of a place on a ring, on one half of the rows; that the order
closes is counted on the other half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.checks import Count, Seed, check_atom, checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding, column

FEWEST, MOST = 6, 64
"""Atoms of a ring: fewer have no atoms across, more are seldom one."""

LEAST_ROWS = 10
"""Rows in each half in which an atom must fire to be counted. Ours, as for `coactivation`."""

LEAST_CLOSURE = 1.5
"""How much oftener the loosest neighbours must fire together than atoms across, and than independent ones: a
clique and independent atoms have 1, an open chain less. Ours.
"""

LEAST_SCORE = 4.0
"""Standard deviations of a chance count by which partners must fire together oftener. Ours."""

N_PARTNERS = 4
"""Closest partners of an atom by which groups are found: on a ring two on either side."""

Fires = Bool[np.ndarray, "rows atoms"]


class Ring(Finding):
    """Atoms in the order of a ring, and how well it closes on rows that it was not found on."""

    atoms: Int[np.ndarray, " m"] = field(metadata=column("atom", index=True))
    """In their order around it; where it begins and which way it runs mean nothing."""

    places: Float[np.ndarray, " m"] = field(metadata=column("coordinate"))
    """Coordinate of each, from 0 to 1, once around."""

    lift: Float[np.ndarray, " m"] = field(metadata=column("lift with the next"))
    """How much oftener each fires with the next one, the last with the first, than if they were independent."""

    across: float
    """Median lift of atoms at least a quarter of the ring apart."""

    closure: float
    """Smallest lift of neighbours, over `across` if that is above 1, on held-out rows."""

    closure_shuffled: float
    """Largest of `n_shuffled` searches among atoms whose rows were shuffled, each by itself."""

    n_groups: int
    """Groups of atoms that were tried."""

    n_shuffled: int

    @property
    def headline(self) -> str:
        """How it closes, beside chance."""
        return (
            f"a ring of {len(self.atoms)} atoms, best of {self.n_groups} groups: the loosest neighbours fire "
            f"together {self.closure:.1f} times as often as independent atoms or those across (best of "
            f"{self.n_shuffled} shuffled {self.closure_shuffled:.1f})"
        )

    @checked
    def coordinate(self, codes: SparseCodes, steps: Count = 24) -> Float[np.ndarray, " rows"]:
        """Return each row's place, 0 to 1, rounded down to so many steps; NaN where no atom of the ring fires.

        The mean place of its atoms on the circle, by |z|. Pass it to `curve(…, closed=True, period=1.0)`.
        """
        dense = codes.of_atoms(self.atoms).detach().double().abs().cpu().numpy()
        total = dense @ np.exp(2j * np.pi * self.places)
        u = np.floor(np.angle(total) / (2 * np.pi) % 1.0 * steps) / steps
        return np.where(np.abs(total) > 1e-9 * dense.sum(axis=1), u, np.nan)


@checked
def coactivation_ring(
    codes: SparseCodes,
    atoms: Sequence[int] | None = None,
    *,
    n_shuffled: Count = 20,
    seed: Seed = 0,
) -> Ring:
    """Find atoms whose co-activation closes a ring: a proposal for a coordinate where none is known.

    Parameters
    ----------
    codes
        Of rows of one kind, such as the last tokens of texts about days.
    atoms
        A group to order. None: atoms tied by their closest partners, each such group in turn; the best is
        returned.
    n_shuffled
        Control: searches among the same atoms, each fired on as many rows, but on other ones.

    Raises
    ------
    ValueError: If no group closes beyond chance: an open chain, a clique and atoms that fire by themselves do
        not.

    Source
    ------
    Ours. Second and third eigenvectors order what lies on a circle: Coifman & Lafon, "Diffusion maps", 2006.

    Example
    -------
    >>> import numpy as np, torch
    >>> from sae_nb.codes import SparseCodes
    >>> u = np.random.default_rng(0).random(600)
    >>> near = np.cos(2 * np.pi * (u[:, None] - np.arange(10) / 10)) - 0.6  # ten atoms around a circle
    >>> ring = coactivation_ring(SparseCodes.from_dense(torch.tensor(near).clamp_min(0)))
    >>> sorted(np.abs(np.diff(ring.atoms)).tolist())[:8]  # every atom is next to its neighbour
    [1, 1, 1, 1, 1, 1, 1, 1]
    """
    rng = np.random.default_rng(seed)
    first = rng.permutation(codes.n_rows) < codes.n_rows // 2
    groups = tied_groups(codes, first) if atoms is None else [_checked_group(codes, atoms)]
    fires = [fires_of(codes, group) for group in groups]
    known = [
        (f[first].sum(axis=0) >= LEAST_ROWS) & (f[~first].sum(axis=0) >= LEAST_ROWS) for f in fires
    ]
    tried = [
        (g[k], f[:, k]) for g, f, k in zip(groups, fires, known, strict=True) if k.sum() >= FEWEST
    ]
    if not tried:
        raise ValueError(
            f"`codes` must have {FEWEST} atoms or more that fire on {2 * LEAST_ROWS} rows and with each other, "
            f"got none in {codes.n_rows} rows. Pass more rows, or `atoms`."
        )
    chance = [
        max(_closed(rng.permuted(f, axis=0), first)[1] for _, f in tried) for _ in range(n_shuffled)
    ]
    found = [_closed(f, first) for _, f in tried]
    best = int(np.argmax([closure for _, closure, *_ in found]))
    places, closure, lift, across = found[best]
    if closure < max(LEAST_CLOSURE, *chance):
        raise ValueError(
            f"`codes` must have atoms whose co-activation closes a ring, got none in {len(tried)} groups: the "
            f"loosest neighbours of the best fire together {closure:.2g} times as often as independent atoms "
            f"or those across, shuffled ones up to {max(chance):.2g}, and {LEAST_CLOSURE:g} is asked for. Pass "
            "other `atoms`, or a coordinate that you know to sn.geometry.curve."
        )
    order = np.argsort(places)
    return Ring(
        atoms=tried[best][0][order],
        places=places[order],
        lift=lift,
        across=across,
        closure=closure,
        closure_shuffled=max(chance),
        n_groups=len(tried),
        n_shuffled=n_shuffled,
    )


def _checked_group(codes: SparseCodes, atoms: Sequence[int]) -> Int[np.ndarray, " m"]:
    group = np.array([check_atom(atom, codes.n_atoms, name="atoms") for atom in atoms])
    if not FEWEST <= len(set(group.tolist())) == len(group) <= MOST:
        raise ValueError(
            f"`atoms` must be {FEWEST} to {MOST} atoms, each once, got {len(group)}. A ring of fewer has no "
            "atoms across."
        )
    return group


def fires_of(codes: SparseCodes, atoms: Int[np.ndarray, " m"]) -> Bool[np.ndarray, "rows m"]:
    """Return in which rows some atoms fire."""
    return np.asarray((codes.of_atoms(atoms) != 0).cpu().numpy())


def tied_groups(
    codes: SparseCodes,
    first: Bool[np.ndarray, " rows"],
    *,
    n_partners: int = N_PARTNERS,
    least_score: float = LEAST_SCORE,
    at_most: int = MOST,
) -> list[Int[np.ndarray, " m"]]:
    """Return groups of atoms that fire together: each atom among the closest partners of its neighbours.

    Close is what fires together more often than chance; atoms on too few rows are left out.

    Parameters
    ----------
    first
        The rows that are looked at; the others are left to test what is found.
    n_partners
        Partners of each atom.
    least_score
        Standard deviations of a chance count by which partners must fire together oftener.
    at_most
        Atoms of a group; larger groups, and those of fewer than six, are left out.

    Example
    -------
    >>> import torch
    >>> apart = SparseCodes.from_dense(torch.eye(8).repeat(20, 1))  # each fires by itself
    >>> tied_groups(apart, np.ones(160, dtype=bool))
    []
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    used = np.unique(codes.atoms.cpu().numpy())
    fires = fires_of(codes, used)[first]
    often = fires.sum(axis=0) >= LEAST_ROWS
    used, fires = used[often], fires[:, often]
    if len(used) < FEWEST:
        return []
    tie = _lift(fires)
    np.fill_diagonal(tie, 0)
    closest = np.argsort(-tie, axis=1)[:, :n_partners]
    i, j = np.repeat(np.arange(len(used)), closest.shape[1]), closest.ravel()
    x = fires.astype(np.float64)
    together, usual = (x.T @ x)[i, j], np.outer(x.sum(axis=0), x.mean(axis=0))[i, j]
    above = together > usual + least_score * np.sqrt(usual)
    one_way = coo_matrix((np.ones(above.sum()), (i[above], j[above])), shape=tie.shape).tocsr()
    _, group = connected_components(one_way.minimum(one_way.T), directed=False)
    parts = (np.flatnonzero(group == k) for k in range(group.max() + 1))
    return [used[part] for part in parts if FEWEST <= len(part) <= at_most]


def _lift(fires: Fires) -> Float[np.ndarray, "m m"]:
    """p_ij / p_i p_j, with half a row more together, so that no pair has none."""
    x = fires.astype(np.float64)
    counts = x.sum(axis=0)
    return (x.T @ x + 0.5) * len(x) / np.maximum(np.outer(counts, counts), 1.0)


def _closed(
    fires: Fires, first: Bool[np.ndarray, " rows"]
) -> tuple[Float[np.ndarray, " m"], float, Float[np.ndarray, " m"], float]:
    """Places on a ring from the first rows; its closure, lifts of neighbours and lift across on the others."""
    x = fires[first].astype(np.float64)
    together = x.T @ x
    degree = np.sqrt(np.maximum(together.sum(axis=0), 1.0))
    vectors = np.linalg.eigh(together / np.outer(degree, degree))[1][:, [-2, -3]]
    places = np.arctan2(vectors[:, 1], vectors[:, 0]) / (2 * np.pi) % 1.0
    order = np.argsort(places)
    lift, m = _lift(fires[~first])[np.ix_(order, order)], len(order)
    apart = np.abs(np.arange(m)[:, None] - np.arange(m))
    across = float(np.median(lift[np.minimum(apart, m - apart) >= m / 4]))
    beside = lift[np.arange(m), (np.arange(m) + 1) % m]
    return places, float(beside.min() / max(across, 1.0)), beside, across

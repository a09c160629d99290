"""Holes of a set of points: loops and voids of its Vietoris–Rips complex, and at which scales they are open."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Simplex = tuple[int, ...]
Ranks = Int[np.ndarray, "n n"]


class Hole(NamedTuple):
    """A loop (dimension 1) or a void (2), open between two scales."""

    dimension: int
    birth: float
    death: float
    """The largest scale looked at, where it is open still."""

    @property
    def lasts(self) -> float:
        """By how often its death is its birth."""
        return self.death / max(self.birth, 1e-12)


def holes(distance: Float[np.ndarray, "n n"], at_most: float) -> list[Hole]:
    """Return loops and voids of the points at these distances, over all scales up to `at_most`.

    Persistent cohomology over two elements, latest simplices first, those that close a hole of the dimension
    below left out: de Silva, Morozov and Vejdemo-Johansson, "Dualities in persistent (co)homology", 2011;
    Bauer, "Ripser", arXiv 1908.02518. For up to a hundred points.

    Example
    -------
    >>> angle = 2 * np.pi * np.arange(12) / 12
    >>> apart = 2 * np.abs(np.sin((angle[:, None] - angle) / 2))
    >>> [(one.dimension, round(one.lasts, 1)) for one in holes(apart, 1.9) if one.lasts > 1.01]
    [(1, 3.3)]
    """
    n = len(distance)
    scales = np.unique(distance[np.triu_indices(n, 1)])
    scales = scales[scales <= at_most]
    ranks = np.where(distance <= at_most, np.searchsorted(scales, distance), len(scales))
    np.fill_diagonal(ranks, len(scales))
    edges: list[tuple[int, Simplex]] = sorted(
        (int(ranks[e]), e) for e in combinations(range(n), 2) if ranks[e] < len(scales)
    )
    closing, found = _joining(n, edges), []
    for simplices in (edges, _triangles(ranks, len(scales))):
        closing, lived = _lives(simplices, closing, ranks, len(scales))
        dimension = len(simplices[0][1]) - 1 if simplices else 0
        ends = [*scales.tolist(), at_most]
        found += [Hole(dimension, ends[first], ends[last]) for first, last in lived]
    return found


def _joining(n: int, edges: list[tuple[int, Simplex]]) -> set[Simplex]:
    """Edges that join two pieces, shortest first."""
    piece, joining = list(range(n)), set[Simplex]()
    for _, (a, b) in edges:
        if piece[a] != piece[b]:
            old, new = piece[a], piece[b]
            piece = [new if p == old else p for p in piece]
            joining.add((a, b))
    return joining


def _triangles(ranks: Ranks, end: int) -> list[tuple[int, Simplex]]:
    near, found = ranks < end, []
    for a, b in zip(*np.nonzero(np.triu(near)), strict=True):
        for c in np.flatnonzero(near[a] & near[b]).tolist():
            if c > b:
                longest = max(ranks[a, b], ranks[a, c], ranks[b, c])
                found.append((int(longest), (int(a), int(b), c)))
    return sorted(found)


def _lives(
    simplices: list[tuple[int, Simplex]], closing: set[Simplex], ranks: Ranks, end: int
) -> tuple[set[Simplex], list[tuple[int, int]]]:
    """Pair simplices that open a hole with those one dimension up that close it: the latter, and all lives."""
    paired: dict[tuple[int, Simplex], Simplex] = {}
    reduced: dict[Simplex, set[tuple[int, Simplex]]] = {}
    lived = []
    for rank, simplex in reversed(simplices):
        if simplex in closing:
            continue
        column, first = _cofaces(simplex, ranks, end), None
        while column:
            first = min(column)
            if first not in paired:
                break
            other = paired[first]
            column ^= reduced[other] if other in reduced else _cofaces(other, ranks, end)
            reduced[simplex] = column
        if first is None or not column:
            lived.append((rank, end))
            continue
        paired[first] = simplex
        if first[0] > rank:
            lived.append((rank, first[0]))
    return {simplex for _, simplex in paired}, lived


def _cofaces(simplex: Simplex, ranks: Ranks, end: int) -> set[tuple[int, Simplex]]:
    """Simplices with one corner more, each with the rank of its longest edge."""
    furthest = ranks[list(simplex)].max(axis=0)
    own = max(int(ranks[edge]) for edge in combinations(simplex, 2))
    corners = np.flatnonzero(furthest < end).tolist()
    return {(max(own, int(furthest[c])), tuple(sorted((*simplex, c)))) for c in corners}

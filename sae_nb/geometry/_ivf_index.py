"""Nearest of very many rows: rows are kept in lists of alike ones, and looked for in some lists only.

Spherical k-means of a sample makes about √n lists (an inverted file: Jégou, Douze, Schmid, "Product
Quantization for Nearest Neighbor Search", 2011). The number of lists to search is chosen by trying: the
nearest of some rows, searched among all, show which share of them is found.
"""

# mypy: disallow-untyped-calls=False
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.background import checkpoint
from sae_nb.geometry._cosines import SMALL_TILE, tile_rows, unit_rows
from sae_nb.geometry._layout import WHOLE_UP_TO, nearest_by_cosine

ROUNDS = 5
"""Passes of k-means. Ours: later ones find hardly more."""

TRIED = 256
"""Rows whose nearest are searched among all, to say which share of them is found."""

WANTED = 0.95
"""Share of the nearest that is enough."""

LISTS_LOOKED_AT = (4, 8, 16, 32, 64, 128)


class Lists:
    """Rows in lists of alike ones; `x` stays where it is, and no second copy of it is made."""

    def __init__(self, x: Float[Tensor, "n d"], *, seed: int) -> None:
        self._x, self._n = x, len(x)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(self._n, generator=generator)
        n_lists = max(1, round(math.sqrt(self._n)))
        self._centres = unit_rows(x[drawn[:n_lists]])
        sample = x[drawn[: 64 * n_lists]]
        for _ in range(ROUNDS):
            checkpoint()
            nearest, moved = self.nearest_list(sample), torch.zeros_like(self._centres)
            moved.index_add_(0, nearest, unit_rows(sample))
            empty = (moved == 0).all(dim=1, keepdim=True)
            self._centres = unit_rows(torch.where(empty, self._centres, moved))
        self.of = self.nearest_list(x)
        order = self.of.argsort(stable=True)
        self.members = order.split(torch.bincount(self.of, minlength=n_lists).tolist())

    def nearest_list(self, x: Float[Tensor, "m d"]) -> Int[Tensor, " m"]:
        """Return the list whose centre is nearest to each row, by tiles."""
        tiles = torch.split(x, tile_rows(len(self._centres), SMALL_TILE))
        return torch.cat([(unit_rows(rows) @ self._centres.T).argmax(dim=1) for rows in tiles])

    @cached_property
    def _near(self) -> Int[Tensor, "lists lists"]:
        return (self._centres @ self._centres.T).argsort(dim=1, descending=True, stable=True)

    def among(self, one: int, looked_at: int, at_least: int) -> Int[Tensor, " m"]:
        """Return the rows of the lists nearest to one, so many lists, and rows, at least."""
        chosen: list[Tensor] = []
        for place, other in enumerate(self._near[one].tolist()):
            if place >= looked_at and sum(map(len, chosen)) >= at_least:
                break
            chosen.append(self.members[other])
        return torch.cat(chosen)

    def blocks(
        self, rows: Int[Tensor, " m"], of: Int[Tensor, " m"], looked_at: int, at_least: int
    ) -> Iterator[tuple[Int[Tensor, " part"], Int[Tensor, " candidates"]]]:
        """Yield some of the rows, each in the list `of`, with those among which theirs are looked for."""
        order = of.argsort(stable=True)
        sizes = torch.bincount(of, minlength=len(self.members)).tolist()
        for one, own in enumerate(rows[order].split(sizes)):
            if len(own):
                checkpoint()
                candidates = self.among(one, looked_at, at_least)
                for part in own.split(tile_rows(len(candidates), SMALL_TILE)):
                    yield part, candidates


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class NearDistances:
    """Distances to the nearest rows of every row, and their reliability."""

    distances: Float[np.ndarray, "n k"]
    """Cosine distances 1 − cos, the nearest first; none is too small."""

    found: float
    """Share of the nearest that was found, of rows searched among all; 1 where all were."""

    n_tried: int = 0
    """Rows that this was tried with; 0 where the search is exact."""


def near_distances(
    x: Float[Tensor, "n d"], k: int, *, seed: int, whole_up_to: int = WHOLE_UP_TO
) -> NearDistances:
    """Return the distances of the k nearest rows of every row, itself left out.

    Exact up to 50 000 rows. With more rows, a row's nearest are looked for in the lists nearest to its
    own: the fewest (4 to 128 of about √n) in which 95 % of the nearest of 256 rows are found, and
    `found` is the share that was found. The result takes 4 k bytes a row; cosines are made in tiles.
    """
    if len(x) <= whole_up_to:
        return NearDistances(distances=nearest_by_cosine(x, k)[1], found=1.0)
    lists, lengths = Lists(x, seed=seed), _lengths(x)
    tried, everything = drawn_rows(len(x), seed), torch.arange(len(x))
    whole = torch.cat([_nearest(x, lengths, rows, everything, k) for rows in tried.split(32)])
    for looked_at in LISTS_LOOKED_AT:
        best = _searched(x, lengths, lists, tried, looked_at, k)
        found = float((best >= whole[:, -1:] - 1e-6).double().mean())
        if found >= WANTED:
            break
    cosines = _searched(x, lengths, lists, everything, looked_at, k)
    return NearDistances(
        distances=(1 - cosines).clamp_min_(0).numpy(), found=found, n_tried=len(tried)
    )


def drawn_rows(n: int, seed: int) -> Int[Tensor, " tried"]:
    """Return rows to try a search with.

    Not torch's draw: it would begin with those that lists are made around, whose nearest are all in them.
    """
    return torch.from_numpy(np.random.default_rng(seed).permutation(n)[:TRIED])


def _searched(
    x: Tensor, lengths: Tensor, lists: Lists, rows: Tensor, looked_at: int, k: int
) -> Float[Tensor, "m k"]:
    """Cosines of some rows with their nearest in the lists near their own."""
    made = torch.empty(len(rows), k)
    place = torch.arange(len(rows))
    for part, candidates in lists.blocks(place, lists.of[rows], looked_at, k + 1):
        made[part] = _nearest(x, lengths, rows[part], candidates, k)
    return made


def _nearest(
    x: Tensor, lengths: Tensor, own: Tensor, among: Tensor, k: int
) -> Float[Tensor, "own k"]:
    """Cosines of rows with their k nearest among some others, by tiles of these."""
    queries = x[own].float() / lengths[own, None]
    best = queries.new_empty(len(own), 0)
    for some in among.split(max(k + 1, 4 * SMALL_TILE // x.shape[1])):
        cosines = (queries @ x[some].float().T).div_(lengths[some])
        top = cosines.topk(min(k + 1, len(some)), dim=1)
        values = top.values.masked_fill_(some[top.indices] == own[:, None], -torch.inf)
        best = torch.cat([best, values], dim=1)
        best = best.topk(min(k, best.shape[1]), dim=1).values
    return best


def random_distances(shape: tuple[int, int], k: int, *, seed: int) -> Float[np.ndarray, "tried k"]:
    """Return how far the nearest of random directions are, of 1000 among `shape[0]`, by tiles."""
    n, d = shape
    rng = np.random.default_rng(seed)  # not torch's: it may have drawn the very rows from this seed

    def drawn(m: int) -> Float[Tensor, "m d"]:
        return unit_rows(torch.from_numpy(rng.standard_normal((m, d), dtype=np.float32)))

    own = drawn(min(1000, n))
    cosines = (own @ own.T).fill_diagonal_(-torch.inf)
    best = cosines.topk(min(k, len(own) - 1), dim=1).values
    tile = tile_rows(max(d, len(own)), SMALL_TILE)
    for start in range(len(own), n, tile):
        checkpoint()
        further = own @ drawn(min(tile, n - start)).T
        best = torch.cat([best, further], dim=1).topk(best.shape[1], dim=1).values
    return (1 - best).clamp_min_(0).numpy()


def _lengths(x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Lengths of rows, 1 for a zero row, whose cosines are zero."""
    lengths = torch.cat([rows.float().norm(dim=1) for rows in torch.split(x, WHOLE_UP_TO)])
    return lengths.where(lengths > 0, torch.ones(()))

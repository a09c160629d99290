"""Matching of two very large dictionaries: an auction among the atoms near each.

Of very many atoms no list of partners can be made by looking at all pairs. Partners are looked for in
lists of alike atoms (`Lists`), and which share of the best was found is measured on
some atoms. An atom that is worth less to any partner than its rivals pay has no partner, in place of
any that is left.
"""

# mypy: disallow-untyped-calls=False
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.geometry._cosines import unit_rows
from sae_nb.geometry._ivf_index import LISTS_LOOKED_AT, TRIED, Lists, drawn_rows, random_distances
from sae_nb.geometry._matching import EPSILON, bid

MATCHED_WHOLE = 20_000
"""Atoms up to which every pair is compared: 8 s at 16 384 of width 768."""

CANDIDATES = 16
"""Partners an atom's list holds; remade when prices have outgrown it."""

ROUNDS = 40
"""Number of times lists are remade."""

WANTED = 0.98
"""Share of the best partners that is enough."""

_TILE = 2**24


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class NearMatches:
    """Pairs of atoms of two very large dictionaries, and how far they can be believed."""

    atoms: Int[np.ndarray, " matched"]
    others: Int[np.ndarray, " matched"]
    cosines: Float[np.ndarray, " matched"]
    found: float
    """Share of 256 atoms whose best partner of all was among those compared."""

    floor: float
    """Mean cosine of 1000 random directions with the best of all random ones: no matching of them has more."""


def match_near(
    dictionary: Float[Tensor, "n_atoms d_in"], other: Float[Tensor, "n_other d_in"], *, seed: int
) -> NearMatches:
    """Match atoms one to one, the sum of positive cosines as large as an auction makes it."""
    if len(dictionary) > len(other):
        turned = match_near(other, dictionary, seed=seed)
        order = np.argsort(turned.others)
        return NearMatches(
            atoms=turned.others[order],
            others=turned.atoms[order],
            cosines=turned.cosines[order],
            found=turned.found,
            floor=turned.floor,
        )
    first, second = (unit_rows(d.detach().cpu()) for d in (dictionary, other))
    lists = Lists(second, seed=seed)
    of = lists.nearest_list(first)
    looked_at, found = _enough(first, second, lists, of, seed)
    match = _auction(first, second, lists, of, looked_at)
    atoms = np.flatnonzero(match >= 0)
    pairs = zip(
        torch.from_numpy(atoms).split(2**16),
        torch.from_numpy(match[atoms]).split(2**16),
        strict=True,
    )
    cosines = [(first[i] * second[j]).sum(dim=1).double() for i, j in pairs]
    nearest = random_distances((len(second) + 1, second.shape[1]), 1, seed=seed)
    return NearMatches(
        atoms=atoms,
        others=match[atoms],
        cosines=torch.cat(cosines).numpy() if cosines else np.zeros(0),
        found=found,
        floor=float(1 - nearest.mean()),
    )


def _enough(
    first: Tensor, second: Tensor, lists: Lists, of: Tensor, seed: int
) -> tuple[int, float]:
    """Return the number of lists to search, and how often the best partner is in them."""
    tried = drawn_rows(len(first), seed)
    tiles = second.split(_TILE // TRIED)
    best = torch.stack([(first[tried] @ rows.T).amax(dim=1) for rows in tiles]).amax(dim=0)
    for looked_at in LISTS_LOOKED_AT:
        seen = torch.empty(len(tried))
        place = torch.arange(len(tried))
        for part, open_ in lists.blocks(place, of[tried], looked_at, CANDIDATES):
            seen[part] = (first[tried[part]] @ second[open_].T).amax(dim=1)
        found = float((seen >= best - 1e-6).double().mean())
        if found >= WANTED:
            break
    return looked_at, found


def _auction(
    first: Tensor, second: Tensor, lists: Lists, of: Tensor, looked_at: int
) -> Int[np.ndarray, " n_atoms"]:
    """Partner of every atom of the smaller dictionary; −1 where none is worth its price."""
    n, m = len(first), len(second)
    width = min(CANDIDATES, m)
    values, columns = np.zeros((n, width), np.float32), np.zeros((n, width), np.int32)
    beyond, prices = np.zeros(n), np.zeros(m)
    owner, match = np.full(m, -1, np.int64), np.full(n, -1, np.int64)
    todo = np.arange(n)
    for _ in range(ROUNDS):
        cost = torch.from_numpy(prices).float()
        rows = torch.from_numpy(todo)
        for part, open_ in lists.blocks(rows, of[rows], looked_at, width):
            worth = first[part] @ second[open_].T
            top = (worth - cost[open_]).topk(width, dim=1)
            own = part.numpy()
            values[own] = worth.gather(1, top.indices).numpy()
            columns[own] = open_[top.indices].numpy()
            # Nothing is the alternative to everything: an atom may stay alone.
            beyond[own] = top.values[:, -1].clamp_min(0).double().numpy()
        todo = todo[(values[todo] - prices[columns[todo]]).max(axis=1) > 0]
        if len(todo) == 0:
            break
        waiting, given_up = np.empty(n, np.int64), np.empty(n, np.int64)
        waiting[: len(todo)] = todo[::-1]
        n_given_up = bid(
            values, columns, beyond, prices, owner, match, waiting, len(todo), EPSILON, given_up
        )
        todo = given_up[:n_given_up].copy()
    return match

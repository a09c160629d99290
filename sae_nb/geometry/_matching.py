"""Atoms of two dictionaries in pairs, the sum of cosines largest: exact for few, an auction for many."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._hook_point_check import warn_of_places
from sae_nb.checks import check_matrix, checked
from sae_nb.geometry._cosines import tile_rows, unit_rows
from sae_nb.kernels._compiling import compiled

HUNGARIAN_UP_TO = 4096
"""Atoms up to which the matching is exact: it is O(c³), 2 s at 4096 random atoms on one core (384
dimensions). An auction takes 0.4 s there and 8 s at 16 384 (768), its error known."""


@checked
def match_atoms(
    dictionary: Float[Tensor, "n_atoms d_in"],
    other: Float[Tensor, "n_other d_in"],
    *,
    signed: bool = False,
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"], Float[np.ndarray, " matched"]]:
    """Match each atom of the smaller dictionary with one of the other, at most once each.

    Returns atoms of `dictionary`, atoms of `other`, and the cosine of every match. Only directions
    count; with `signed`, an atom may match another's negative.

    Example
    -------
    >>> import torch
    >>> match_atoms(torch.eye(3), torch.eye(3).roll(1, dims=0))[1].tolist()
    [1, 2, 0]
    """
    first, second = unit_dictionaries([dictionary, other])
    return match_rows(first, second, signed=signed)[:3]


def matched_exactly(*dictionaries: Tensor) -> bool:
    """Return whether no matching of such dictionaries is better than the one that is found."""
    return max(map(len, dictionaries)) <= HUNGARIAN_UP_TO


def match_rows(
    first: Float[Tensor, "n_atoms d_in"], second: Float[Tensor, "n_other d_in"], *, signed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Rows of both in pairs, their cosines, and what the best matching could add on average."""
    if matched_exactly(first, second):
        from scipy.optimize import linear_sum_assignment

        cosines = (first @ second.T).double().cpu().numpy()
        cosines = np.abs(cosines) if signed else cosines
        rows, columns = linear_sum_assignment(cosines, maximize=True)
        return rows, columns, cosines[rows, columns], 0.0

    if len(first) > len(second):
        found = auction(second, first, signed=signed)
        order = np.argsort(found.partner)
        return found.partner[order], order, found.cosines[order], found.error
    found = auction(first, second, signed=signed)
    return np.arange(len(first)), found.partner, found.cosines, found.error


def unit_dictionaries(saes: Sequence[Any]) -> list[Tensor]:
    """Return unit rows on one device, in fp32; a zero row stays zero and matches nothing."""
    if isinstance(saes, Tensor) or len(saes) < 2:
        got = "a single tensor" if isinstance(saes, Tensor) else len(saes)
        raise ValueError(
            f"`saes` must be a list of at least two SAEs or dictionaries, got {got}. Train the same SAE "
            "with another seed."
        )
    for other in saes[1:]:
        warn_of_places(saes[0], other)
    rows = [getattr(s, "dictionary", s) for s in saes]
    first = check_matrix(rows[0], name="saes[0]")
    checked = (check_matrix(r, name=f"saes[{i}]", d_in=first.shape[1]) for i, r in enumerate(rows))
    return [unit_rows(r.detach().to(first.device)) for r in checked]


# -------------------------------------------------------------------------------------------------
# Matching many atoms nearly optimally: an auction on short lists of candidates, its error bounded.
#
# Each atom i bids for the partner j that maximises ⟨d_i, d'_j⟩ − p_j, raising its price p_j by what j is
# worth more than the second best, plus ε. For any prices no matching is worth more than
# Σ_i max_j (⟨d_i, d'_j⟩ − p_j) + Σ_j p_j, so what the matching found falls short of is known.


CANDIDATES = 64
"""Partners an atom's list holds. Ours: fewer lists are remade than with 16."""

EPSILON = 1e-3
"""Smallest raise, hence the most an atom's cosine can fall short by where all are resolved. Ours."""

ROUNDS = 60
"""Maximum number of remade lists before the rest is matched greedily. Ours."""

_REST = 2048  # atoms left over that are matched optimally among what is left


@dataclass(frozen=True, kw_only=True, eq=False)
class Assignment:
    """Partners of atoms, and how far from the best matching they can be."""

    partner: Int[np.ndarray, " n_atoms"]  # atom of the other dictionary, for each
    cosines: Float[np.ndarray, " n_atoms"]  # cosine of each pair
    error: float  # mean cosine that the best matching could add, at most


def auction(
    first: Float[Tensor, "n_atoms d_in"],
    second: Float[Tensor, "n_other d_in"],
    *,
    signed: bool = False,
    rounds: int = ROUNDS,
) -> Assignment:
    """Match each atom of `first` with one of `second`, which has at least as many; unit rows.

    Source: Bertsekas, "The auction algorithm", Annals of Operations Research 14 (1988). The lists,
    which are remade when prices have outgrown them, are ours.
    """
    n, m = len(first), len(second)
    width = min(CANDIDATES, m)
    values, columns = np.empty((n, width), np.float32), np.empty((n, width), np.int32)
    beyond, prices = np.empty(n, np.float64), np.zeros(m)
    owner, match = np.full(m, -1, np.int64), np.full(n, -1, np.int64)
    todo = np.arange(n)
    for _ in range(rounds):
        lists = _lists(first, second, todo, prices, width, signed=signed)
        values[todo], columns[todo], beyond[todo] = lists
        # An evicted atom waits too, so there is room for all.
        waiting, given_up = np.empty(n, np.int64), np.empty(n, np.int64)
        waiting[: len(todo)] = todo[::-1]
        n_given_up = bid(
            values, columns, beyond, prices, owner, match, waiting, len(todo), EPSILON, given_up
        )
        todo = given_up[:n_given_up].copy()
        if n_given_up == 0:
            break
    _match_rest(first, second, match, owner, signed=signed)
    partner = second[torch.from_numpy(match).to(second.device)]
    cosines = (first * partner).sum(dim=1).double().cpu().numpy()
    cosines = np.abs(cosines) if signed else cosines
    possible = np.maximum((values - prices[columns]).max(axis=1), beyond)
    bound = possible.sum() + prices.sum()
    return Assignment(
        partner=match, cosines=cosines, error=max(float(bound - cosines.sum()) / n, 0.0)
    )


def _lists(
    first: Tensor,
    second: Tensor,
    todo: Int[np.ndarray, " m"],
    prices: np.ndarray,
    width: int,
    *,
    signed: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the worth of the best partners to some atoms, their indices, and the best worth beyond them."""
    cost = torch.from_numpy(prices).to(first)
    parts: list[tuple[Tensor, ...]] = []
    for which in torch.split(torch.from_numpy(todo), tile_rows(len(second))):
        worth = first[which.to(first.device)] @ second.T
        worth = worth.abs() if signed else worth
        top = (worth - cost).topk(width, dim=1)
        # A list that holds everybody leaves nothing beyond it.
        last = top.values[:, -1].double()
        last = last if width < len(second) else torch.full_like(last, -torch.inf)
        parts.append((worth.gather(1, top.indices), top.indices, last))
    values, columns, beyond = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return values, columns, beyond


def _match_rest(
    first: Tensor, second: Tensor, match: np.ndarray, owner: np.ndarray, *, signed: bool
) -> None:
    """Give every atom without a partner one of those that are left."""
    from scipy.optimize import linear_sum_assignment

    waiting, free = np.flatnonzero(match < 0), np.flatnonzero(owner < 0)
    for start in range(0, len(waiting), _REST):
        which, open_ = waiting[start : start + _REST], free[owner[free] < 0]
        rows, others = (torch.from_numpy(index).to(first.device) for index in (which, open_))
        cosines = (first[rows] @ second[others].T).cpu().numpy()
        row, column = linear_sum_assignment(np.abs(cosines) if signed else cosines, maximize=True)
        match[which[row]] = open_[column]
        owner[open_[column]] = which[row]


# -------------------------------------------------------------------------------------------------
# The compiled loop of the auction: unassigned atoms bid for partners until each has one or gives up.


@compiled()
def bid(values, columns, beyond, prices, owner, match, waiting, n_waiting, epsilon, unresolved):
    """Let waiting atoms bid; return how many gave up, their numbers in `unresolved`.

    `beyond[i]` bounds what atom i gains from any partner that its list does not hold. An atom gives up
    if its list promises less, so that the list is remade with the prices as they are.
    """
    n_unresolved = 0
    while n_waiting > 0:
        n_waiting -= 1
        i = waiting[n_waiting]
        best, second, chosen = -1e30, beyond[i], -1
        for place in range(columns.shape[1]):
            gain = values[i, place] - prices[columns[i, place]]
            if gain > best:
                second = max(second, best)
                best, chosen = gain, columns[i, place]
            elif gain > second:
                second = gain
        if best < beyond[i]:
            unresolved[n_unresolved] = i
            n_unresolved += 1
            continue
        prices[chosen] += best - second + epsilon
        if owner[chosen] >= 0:
            match[owner[chosen]] = -1
            waiting[n_waiting] = owner[chosen]
            n_waiting += 1
        owner[chosen] = i
        match[i] = chosen
    return n_unresolved

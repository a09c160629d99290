"""Matching many atoms nearly optimally: an auction on short lists of candidates, its error bounded.

Each atom i bids for the partner j that maximises ⟨d_i, d'_j⟩ − p_j, raising its price p_j by what j is
worth more than the second best, plus ε. For any prices no matching is worth more than
Σ_i max_j (⟨d_i, d'_j⟩ − p_j) + Σ_j p_j, so what the matching found falls short of is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

CANDIDATES = 64
"""Partners an atom's list holds. Ours: fewer lists are made anew than with 16."""

EPSILON = 1e-3
"""Smallest raise, hence the most an atom's cosine can fall short by where all are resolved. Ours."""

ROUNDS = 60
"""How often lists are made anew before the rest is matched as it comes. Ours."""

_TILE = 2**24
_REST = 2048  # atoms left over that are matched optimally among what is left


@dataclass(frozen=True, kw_only=True, eq=False)
class Assignment:
    """Partners of atoms, and how far from the best matching they can be."""

    partner: Int[np.ndarray, " n_atoms"]
    """Atom of the other dictionary, for each."""

    cosines: Float[np.ndarray, " n_atoms"]
    """Cosine of each pair."""

    error: float
    """Mean cosine that the best matching could add, at most."""


def auction(
    first: Float[Tensor, "n_atoms d_in"],
    second: Float[Tensor, "n_other d_in"],
    *,
    signed: bool = False,
    epsilon: float = EPSILON,
    rounds: int = ROUNDS,
) -> Assignment:
    """Match each atom of `first` with one of `second`, which has at least as many; unit rows.

    Parameters
    ----------
    first, second
        Unit rows.
    signed
        Whether an atom may match another's negative.
    epsilon
        Smallest raise.
    rounds
        How often lists are made anew.

    Source
    ------
    Bertsekas, "The auction algorithm", Annals of Operations Research 14 (1988). The lists, which are made
    anew when prices have outgrown them, are ours.

    Example
    -------
    >>> rows = torch.eye(4)
    >>> auction(rows, rows.flip(0)).partner.tolist()
    [3, 2, 1, 0]
    """
    from sae_nb.evaluation.auction_loops import bid

    n, m = len(first), len(second)
    width = min(CANDIDATES, m)
    values, columns = np.empty((n, width), np.float32), np.empty((n, width), np.int32)
    beyond, prices = np.empty(n, np.float64), np.zeros(m)
    owner, match = np.full(m, -1, np.int64), np.full(n, -1, np.int64)
    todo = np.arange(n)
    for _ in range(rounds):
        _renew(first, second, todo, prices, values, columns, beyond, signed=signed)
        # An evicted atom waits too, so there is room for all.
        waiting, given_up = np.empty(n, np.int64), np.empty(n, np.int64)
        waiting[: len(todo)] = todo[::-1]
        left = bid(
            values, columns, beyond, prices, owner, match, waiting, len(todo), epsilon, given_up
        )
        todo = given_up[:left].copy()
        if left == 0:
            break
    _match_rest(first, second, match, owner, signed=signed)
    cosines = _cosines(first, second, match, signed=signed)
    hoped = np.maximum((values - prices[columns]).max(axis=1), beyond)
    bound = hoped.sum() + prices.sum()
    return Assignment(
        partner=match, cosines=cosines, error=max(float(bound - cosines.sum()) / n, 0.0)
    )


def _renew(
    first: Tensor,
    second: Tensor,
    todo: Int[np.ndarray, " m"],
    prices: np.ndarray,
    values: np.ndarray,
    columns: np.ndarray,
    beyond: np.ndarray,
    *,
    signed: bool,
) -> None:
    """Put the best partners at today's prices on the lists of some atoms."""
    cost = torch.from_numpy(prices).to(first)
    width = values.shape[1]
    rows = max(1, _TILE // len(second))
    for start in range(0, len(todo), rows):
        which = todo[start : start + rows]
        worth = first[torch.from_numpy(which).to(first.device)] @ second.T
        worth = worth.abs() if signed else worth
        top = (worth - cost).topk(width, dim=1)
        values[which] = worth.gather(1, top.indices).cpu().numpy()
        columns[which] = top.indices.cpu().numpy()
        last = top.values[:, -1].double().cpu().numpy()
        # A list that holds everybody leaves nothing beyond it.
        beyond[which] = last if width < len(second) else -np.inf


def _match_rest(
    first: Tensor, second: Tensor, match: np.ndarray, owner: np.ndarray, *, signed: bool
) -> None:
    """Give whoever has no partner one of those that are left."""
    from scipy.optimize import linear_sum_assignment

    waiting, free = np.flatnonzero(match < 0), np.flatnonzero(owner < 0)
    for start in range(0, len(waiting), _REST):
        which, open_ = waiting[start : start + _REST], free[owner[free] < 0]
        rows, others = (torch.from_numpy(index).to(first.device) for index in (which, open_))
        cosines = (first[rows] @ second[others].T).cpu().numpy()
        got, given = linear_sum_assignment(np.abs(cosines) if signed else cosines, maximize=True)
        match[which[got]] = open_[given]
        owner[open_[given]] = which[got]


def _cosines(first: Tensor, second: Tensor, match: np.ndarray, *, signed: bool) -> np.ndarray:
    partner = second[torch.from_numpy(match).to(second.device)]
    cosines = (first * partner).sum(dim=1).double().cpu().numpy()
    return np.abs(cosines) if signed else cosines

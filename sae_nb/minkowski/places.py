"""Where on a picture atoms fire, held against the known mask: on borders, elsewhere, on registers.

All formulas here are inferred (ours): arXiv 2510.08638 names border, elsewhere and register concepts
without saying how they are scored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.minkowski.recruitment import mean_strength

ELSEWHERE = 0.8
"""Least off-ratio, and least dependence, of an elsewhere atom (inferred)."""


def border_band(
    mask: Bool[Tensor, "n rows columns"],
) -> Bool[Tensor, "n rows columns"]:
    """Tokens on the edge of the mask, or one token beside it.

    The edge is what a one-token dilation adds and what a one-token erosion takes away, with the eight
    neighbours of a token; the picture's rim is no edge.

    Parameters
    ----------
    mask
        Tokens covered by the object, on their grid.

    Raises
    ------
    TypeError, ValueError
        If it is not a boolean tensor of three axes.

    Example
    -------
    >>> mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    >>> mask[0, 1:4, 1:4] = True
    >>> border_band(mask)[0].int()[2].tolist()
    [1, 1, 0, 1, 1]
    """
    grid = _checked(mask)
    grown = torch.nn.functional.max_pool2d(grid, 3, stride=1, padding=1)
    # max_pool pads with −∞, so an erosion (a dilation of the rest) does not start at the rim.
    shrunk = -torch.nn.functional.max_pool2d(-grid, 3, stride=1, padding=1)
    return (grown - shrunk) > 0.5


def _checked(mask: Tensor) -> Tensor:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim != 3:
        given = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask)
        raise TypeError(
            f"`mask` must be a boolean tensor of shape (n, rows, columns), got {given}. Reshape it to the "
            "grid of patches."
        )
    return mask.float()


@torch.no_grad()
def share_on(codes: SparseCodes, on: Bool[Tensor, " rows"]) -> Float[Tensor, " n_atoms"]:
    """E[z | on] / (E[z | on] + E[z | off]): 1 for atoms that fire on these rows only, 0 for never.

    With `on` a border band this is the border score: the ratio E[z | on] / E[z | off] put between 0 and
    1. Atoms that never fire have NaN.

    Parameters
    ----------
    codes
        Codes ≥ 0; the size of signed ones is taken.
    on
        Which rows.

    Raises
    ------
    ValueError
        If there is not one entry per row, or all rows or none are on.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]]))
    >>> share_on(codes, torch.tensor([True, False])).tolist()
    [1.0, 0.5, 0.0]
    """
    if on.dtype != torch.bool or on.shape != (len(codes),):
        raise ValueError(
            f"`on` must be a boolean for each of the {len(codes)} rows, got {on.dtype} of shape "
            f"{tuple(on.shape)}."
        )
    if not bool(on.any()) or bool(on.all()):
        raise ValueError("`on` must mark some rows and not all: there is nothing to compare.")
    inside, outside = (mean_size(codes.rows(part.nonzero()[:, 0])) for part in (on, ~on))
    total = inside + outside
    return torch.where(total > 0, inside / total.clamp_min(1e-30), torch.nan)


def mean_size(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """E|z_i| over rows.

    Example
    -------
    >>> mean_size(SparseCodes.from_dense(torch.tensor([[-2.0], [0.0]]))).tolist()
    [1.0]
    """
    sizes = SparseCodes(codes.values.detach().abs(), codes.atoms, codes.offsets, codes.n_atoms)
    return mean_strength(sizes)


@dataclass(frozen=True, kw_only=True, eq=False)
class ElsewhereScores:
    """Atoms that speak for an object and fire beside it."""

    off_ratio: Float[Tensor, " n_atoms"]
    """o = E[z | y, off the object] / (E[z | y, on it] + the same); NaN for atoms silent in both."""

    dependence: Float[Tensor, " n_atoms"]
    """δ = 1 − E[z | object taken out] / E[z | y, off the object], over the same tokens; at most 1, below 0
    where the object holds the atom down; NaN for atoms silent there."""

    @property
    def elsewhere(self) -> Bool[Tensor, " n_atoms"]:
        """Both o > 0.8 and δ > 0.8: fires off the object, and falls silent when it is taken out."""
        return (self.off_ratio > ELSEWHERE) & (self.dependence > ELSEWHERE)


@torch.no_grad()
def elsewhere_scores(
    codes: SparseCodes, without: SparseCodes, on: Bool[Tensor, " rows"]
) -> ElsewhereScores:
    """Score atoms by where they fire when an object is there, and whether they need it to be.

    Parameters
    ----------
    codes
        Of tokens of pictures with the object (one class, say).
    without
        Of the same tokens of the same pictures with the object painted over.
    on
        Tokens covered by the object.

    Raises
    ------
    ValueError
        If the rows do not match, or the object covers all tokens or none.

    Example
    -------
    >>> there = SparseCodes.from_dense(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
    >>> gone = SparseCodes.from_dense(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    >>> found = elsewhere_scores(there, gone, torch.tensor([True, False]))
    >>> found.elsewhere.tolist(), found.dependence.tolist()
    ([True, False], [1.0, 0.0])
    """
    if len(codes) != len(without) or codes.n_atoms != without.n_atoms:
        raise ValueError(
            f"`without` must have the rows and atoms of `codes`, {len(codes)} and {codes.n_atoms}, got "
            f"{len(without)} and {without.n_atoms}."
        )
    on_it = share_on(codes, on)
    off = (~on).nonzero()[:, 0]
    there, gone = mean_size(codes.rows(off)), mean_size(without.rows(off))
    dependence = torch.where(there > 0, 1 - gone / there.clamp_min(1e-30), torch.nan)
    return ElsewhereScores(off_ratio=1 - on_it, dependence=dependence)


@torch.no_grad()
def footprint_entropy(
    codes: SparseCodes, place: Int[Tensor, " rows"], n_places: int
) -> Float[Tensor, " n_atoms"]:
    """How evenly an atom fires over places (cls, registers, patches): 0 in one place only, 1 in all alike.

    H(p) / log n with p_a ∝ E|z| at place a, so that a place with many tokens counts no more than one with
    few. Atoms that never fire have NaN.

    Parameters
    ----------
    codes
        Codes.
    place
        Of each row, from 0.
    n_places
        How many; two at least.

    Raises
    ------
    ValueError
        If a row has no place, or a place no row.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    >>> [round(value, 3) for value in footprint_entropy(codes, torch.tensor([0, 1, 1]), 2).tolist()]
    [0.0, 1.0]
    """
    strength = place_strengths(codes, place, n_places)
    total = strength.sum(dim=0)
    p = strength / total.clamp_min(1e-30)
    entropy = (p * p.clamp_min(1e-30).log()).sum(dim=0).abs() / math.log(n_places)
    return torch.where(total > 0, entropy.clamp(0, 1), torch.nan)


def place_strengths(
    codes: SparseCodes, place: Int[Tensor, " rows"], n_places: int
) -> Float[Tensor, "n_places n_atoms"]:
    """E|z| of each atom at each place.

    Parameters
    ----------
    codes, place, n_places
        As for `footprint_entropy`.

    Raises
    ------
    ValueError
        If a row has no place, or a place no row.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[2.0], [0.0]]))
    >>> place_strengths(codes, torch.tensor([0, 1]), 2).tolist()
    [[2.0], [0.0]]
    """
    if n_places < 2 or place.shape != (len(codes),):
        raise ValueError(
            f"`place` must name one of two places or more for each of the {len(codes)} rows, got shape "
            f"{tuple(place.shape)} and n_places={n_places}."
        )
    rows = [(place == a).nonzero()[:, 0] for a in range(n_places)]
    if sum(map(len, rows)) != len(codes) or not all(map(len, rows)):
        raise ValueError(
            f"`place` must be from 0 to {n_places - 1} and use each, got {torch.unique(place).tolist()}."
        )
    return torch.stack([mean_size(codes.rows(part)) for part in rows])

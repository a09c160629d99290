"""Cosines of many directions, made in tiles: the matrix of all of them is never held."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

TILE = 2**24
"""Cosines made at a time: 64 MiB."""

SMALL_TILE = 2**22
"""The same where other arrays of that size are held with them: 16 MiB."""


def unit_rows(x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
    """Return the directions of rows in fp32; a zero row stays zero."""
    return torch.nn.functional.normalize(x.float(), dim=1)


def tile_rows(n_among: int, tile: int = TILE) -> int:
    """Return how many rows have their cosines with `n_among` others made at a time."""
    return max(1, tile // n_among)


def cosine_tiles(
    unit: Float[Tensor, "n d"], among: Float[Tensor, "m d"], tile: int = TILE
) -> Iterator[tuple[int, Float[Tensor, "some m"]]]:
    """Yield the cosines of some unit rows at a time with all of others, and the number of the first."""
    size = tile_rows(len(among), tile)
    for first in range(0, len(unit), size):
        yield first, unit[first : first + size] @ among.T


def pair_tiles(unit: Float[Tensor, "n d"]) -> Iterator[tuple[int, Float[Tensor, "some later"]]]:
    """Yield the cosines of some unit rows at a time with themselves and all after, and the first one's number.

    Every pair of rows is met once, but for pairs of one tile; at most an eighth of the rows are in a tile, so
    that little more than half of all cosines are made.
    """
    first, most = 0, max(-(-len(unit) // 8), 64)
    while first < len(unit):
        size = min(tile_rows(len(unit) - first, SMALL_TILE), most)
        yield first, unit[first : first + size] @ unit[first:].T
        first += size


def largest_cosines(
    unit: Float[Tensor, "n d"], among: Float[Tensor, "m d"], *, signed: bool = False
) -> Float[Tensor, " n"]:
    """Return the largest cosine of each unit row with any of others, made tile by tile.

    Neither side is normalised here. With `signed` both signs of a direction count, as for codes that may
    be negative: the largest |cosine|.

    Example
    -------
    >>> x, y = torch.eye(2), torch.tensor([[0.6, -0.8]])
    >>> largest_cosines(x, y).tolist()
    [0.6..., -0.8...]
    """
    tiles = cosine_tiles(unit, among)
    return torch.cat([(t.abs() if signed else t).amax(dim=1) for _, t in tiles])

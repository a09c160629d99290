"""How other libraries turn pre-codes into codes: each rule on a tile of pre-codes.

A rule sees dense pre-codes of a few rows at a time and says which entries stay; what leaves is
sparse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.codes import SparseCodes

Selection = Literal["relu", "topk", "abstopk", "jumprelu", "gated", "groupmax"]
Rule = Callable[[Float[Tensor, "rows n_atoms"]], Bool[Tensor, "rows n_atoms"]]

TILE_ENTRIES = 2048 * 16384
"""Most pre-codes at once: 128 MiB of float32."""


def tiles(n_rows: int, n_atoms: int) -> Iterator[slice]:
    """Cut rows so that the pre-codes of a tile stay below `TILE_ENTRIES`.

    Parameters
    ----------
    n_rows, n_atoms
        Size of the matrix of pre-codes.
    """
    step = max(1, TILE_ENTRIES // n_atoms)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def kept(values: Float[Tensor, "rows n_atoms"], keep: Bool[Tensor, "rows n_atoms"]) -> SparseCodes:
    """The entries of a tile that stay, as codes; entries that are zero do not.

    Parameters
    ----------
    values
        Codes where they stay.
    keep
        Where they stay.
    """
    keep = keep & (values.detach() != 0)
    rows, atoms = keep.nonzero(as_tuple=True)
    counts = keep.sum(dim=1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])
    return SparseCodes(values[rows, atoms], atoms, offsets, values.shape[1])


def largest(u: Float[Tensor, "rows n_atoms"], k: int) -> Bool[Tensor, "rows n_atoms"]:
    """The k largest entries of each row.

    Parameters
    ----------
    u
        What is compared.
    k
        How many.
    """
    places = u.detach().topk(k, dim=1).indices
    return torch.zeros_like(u, dtype=torch.bool).scatter_(1, places, value=True)


def group_maxima(u: Float[Tensor, "rows n_atoms"], k: int) -> Bool[Tensor, "rows n_atoms"]:
    """The largest entry of each of k groups of neighbouring atoms.

    Parameters
    ----------
    u
        What is compared.
    k
        Number of groups; it divides the number of atoms.
    """
    groups = u.detach().reshape(len(u), k, -1)
    best = groups.argmax(dim=2, keepdim=True)
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, best, value=True).flatten(1)

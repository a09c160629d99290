"""The same choices and sums for matrices that stay in their file: tile of atoms by tile, or row by row.

A tile is read, its pre-codes are chosen from as always, and what was chosen competes with what earlier
tiles left. So neither rows × n_atoms nor the matrix is ever whole; of equal pre-codes the lower atom wins,
as elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.codes._blocks import joined
from sae_nb.codes._support import index_dtype, ranks
from sae_nb.files import MappedMatrix
from sae_nb.kernels._autograd import chosen, primitives_of
from sae_nb.kernels._backends import Entries, PreCodes

Choose = Callable[[Tensor, Tensor | None, slice], SparseCodes]
"""(weights of a tile, their biases, which atoms) → codes of the tile."""


def topk(pre_codes: PreCodes, k: int, signed: bool, choose: Choose) -> SparseCodes:
    """Return the k largest of each row, from the largest of every tile."""
    best: SparseCodes | None = None
    for found in _by_tile(pre_codes, choose):
        best = found if best is None else joined([best, found])
        if bool((best.l0 > k).any()):
            best = best.only(ranks(best.values.abs() if signed else best.values, best.support) < k)
    return _with_gradient(pre_codes, best)


def batch_topk(pre_codes: PreCodes, n_kept: int, choose: Choose) -> SparseCodes:
    """Return the largest of all rows together, from the largest of every tile."""
    best: SparseCodes | None = None
    for found in _by_tile(pre_codes, choose):
        best = found if best is None else joined([best, found])
        kept = torch.zeros(best.nnz, dtype=torch.bool)
        # Entries lie by row and atom: of equal ones the earlier row, then the lower atom, stays.
        kept[best.values.argsort(descending=True, stable=True)[:n_kept]] = True
        best = best.only(kept)
    return _with_gradient(pre_codes, best)


def above(pre_codes: PreCodes, choose: Choose) -> SparseCodes:
    """Return the entries above their threshold, of every tile."""
    return _with_gradient(pre_codes, joined(list(_by_tile(pre_codes, choose))))


@torch.no_grad()
def _by_tile(pre_codes: PreCodes, choose: Choose) -> Iterator[SparseCodes]:
    weight = cast("MappedMatrix", pre_codes.weight)  # the caller asked
    for atoms in weight.tiles():
        bias = None if pre_codes.bias is None else pre_codes.bias[atoms]
        yield choose(weight.block(atoms), bias, atoms)


def _with_gradient(pre_codes: PreCodes, codes: SparseCodes | None) -> SparseCodes:
    """The codes, and where one is wanted a gradient through the rows that were chosen."""
    codes = cast("SparseCodes", codes)  # there is one tile at least
    if not pre_codes.trains:
        return codes
    used, place = _used(codes)
    weight = _rows(pre_codes.weight, used)
    bias = None if pre_codes.bias is None else pre_codes.bias[used]
    narrow = PreCodes(pre_codes.x, weight, bias, pre_codes.centre)
    support = SparseCodes(codes.values, place, codes.offsets, len(used)).support
    entries = Entries(codes.values, place, codes.offsets)
    return codes.with_values(chosen(primitives_of("cpu", support), narrow, entries).values)


def _used(codes: SparseCodes) -> tuple[Int[Tensor, " used"], Int[Tensor, " nnz"]]:
    used, place = torch.unique(codes.atoms.long(), return_inverse=True)
    if not len(used):
        used = used.new_zeros(1)
    return used, place.to(index_dtype(len(used)))


def _rows(weight: Tensor, atoms: Int[Tensor, " m"]) -> Float[Tensor, "m d"]:
    return cast("MappedMatrix", weight).rows(atoms)  # the caller asked


def decode(
    codes: SparseCodes,
    dictionary: MappedMatrix,
    bias: Tensor | None,
    decoded: Callable[[SparseCodes, Tensor, Tensor | None], Tensor],
) -> Float[Tensor, "rows d"]:
    """Return the sum of each row's atoms; only atoms in use are read, a bounded number at a time."""
    used, place = _used(codes)
    size = dictionary.rows_at_once
    total: Tensor | None = None
    for first in range(0, len(used), size):
        atoms = used[first : first + size]
        here = codes
        if len(used) > size:
            within = (place >= first) & (place < first + size)
            here = codes.only(within)
        local = (place if here is codes else place[within]) - first
        narrow = SparseCodes(
            here.values, local.to(index_dtype(len(atoms))), here.offsets, len(atoms)
        )
        part = decoded(narrow, dictionary.rows(atoms), bias if first == 0 else None)
        total = part if total is None else total + part
    return cast("Tensor", total)  # one atom at least is looked at

"""LargestBy: a score chooses the k entries of each row, and need not be a pre-code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sae_nb.architectures.parts._proxes import Bias, Centre, Dense, Matrix, Rows, affine, row_tiles
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype, offsets_of
from sae_nb.kernels._autograd import chosen, primitives_of
from sae_nb.kernels._backends import Entries, PreCodes, pick

Score = Callable[[Dense, slice], tuple[Dense, Dense]]
"""(pre-codes of a tile, its rows) → what competes for the k places, and the strengths of those that win."""


@dataclass(frozen=True, eq=False)
class LargestBy:
    """The k entries of each row whose score is largest, where it is positive; of equal ones either.

    It is not a prox of a penalty: scores may depend on more than the pre-codes. Scores exist for a tile
    of rows at a time, as pre-codes do; gradients flow through the strengths, to what made the
    pre-codes.
    """

    k: int
    score: Score

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        """The entries of dense pre-codes that win."""
        return self._of_tile(pre_codes, slice(0, len(pre_codes)))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        """Return the winning entries of (x − centre) weightᵀ + bias, in tiles."""
        tiles = list(row_tiles(len(x), len(weight)))
        backend = pick("auto", x)
        if backend == "reference":
            parts = (self._of_tile(affine(x[r], weight, bias, centre), r) for r in tiles)
            return SparseCodes.concatenate(parts)
        with torch.no_grad():
            parts = (self._of_tile(affine(x[r], weight, bias, centre), r) for r in tiles)
            found = SparseCodes.concatenate(parts)
        pre_codes = PreCodes(x.contiguous(), weight, bias, centre)
        entries = Entries(found.values, found.atoms, found.offsets)
        return chosen(primitives_of(backend, found.support), pre_codes, entries)

    def _of_tile(self, u: Dense, rows: slice) -> SparseCodes:
        score, strength = self.score(u, rows)
        atoms = score.detach().topk(self.k, dim=1, sorted=False).indices.sort(dim=1).values
        wins = score.detach().gather(1, atoms) > 0
        values = strength.gather(1, atoms)[wins]
        offsets = offsets_of(wins.sum(dim=1))
        return SparseCodes(values, atoms[wins].to(index_dtype(u.shape[1])), offsets, u.shape[1])

"""LargestBy: a score chooses the k entries of each row, and need not be a pre-code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sae_nb import kernels
from sae_nb.architectures.parts import Bias, Centre, Dense, Matrix, Rows, affine, row_tiles
from sae_nb.codes import SparseCodes

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
        with torch.no_grad():
            found = SparseCodes.concatenate(
                self._of_tile(affine(x[rows], weight, bias, centre), rows)
                for rows in row_tiles(len(x), len(weight))
            )
        return kernels.entries_encode(x, weight, bias, entries=found, centre=centre)

    def _of_tile(self, u: Dense, rows: slice) -> SparseCodes:
        score, strength = self.score(u, rows)
        atoms = score.detach().topk(self.k, dim=1, sorted=False).indices.sort(dim=1).values
        wins = score.detach().gather(1, atoms) > 0
        values = strength.gather(1, atoms)[wins]
        return SparseCodes.from_entries(values, wins.nonzero()[:, 0], atoms[wins], u.shape)

"""The CPU backend: Numba loops on the memory of the tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sae_nb.kernels import parallel
from sae_nb.pursuit import _loops as loops
from sae_nb.pursuit._engine import Tile

PIECES = 256
"""Parts into which the rows of a tile are split for the threads to share."""


class Cpu:
    """Greedy steps by compiled loops, parallel over rows."""

    def matching(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Steps of matching pursuit."""
        ask, out = tile.problem, tile.steps
        inputs = (tile.c, tile.r, tile.gram, ask.dictionary)
        outputs = (out.atoms, out.places, out.amounts, out.steps, out.sizes, out.state, out.norms)
        flags = (first, last, keep, not ask.nonnegative, ask.reselect)
        limits = _arrays(tile.floors, tile.limits)
        with parallel():
            loops.matching_steps(
                *_arrays(*inputs), *flags, *limits, *_arrays(*outputs), _pieces(tile)
            )

    def refit(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Steps of a pursuit that refits its coefficients."""
        ask, out = tile.problem, tile.steps
        inputs = _arrays(tile.c, tile.x, tile.r, tile.gram, ask.dictionary)
        flags = (first, last, ask.k, keep, not ask.nonnegative, ask.reselect, ask.watches)
        limits = (*_arrays(tile.floors, tile.limits), ask.threshold)
        outputs = (out.atoms, out.places, out.coefficients, *tile.systems)
        ends = (out.steps, out.sizes, out.state, out.norms, out.history)
        with parallel():
            loops.refit_steps(
                ask.mode, *inputs, *flags, *limits, *_arrays(*outputs, *ends), _pieces(tile)
            )

    def apply_rows(self, tile: Tile, rows: Tensor, slot_of: Tensor, step: int) -> None:
        """Gram rows applied to the correlations of the inputs that chose them."""
        out = tile.steps
        chosen = _arrays(out.atoms, out.places, out.amounts)
        with parallel():
            loops.apply_rows(
                *_arrays(tile.c, rows, slot_of), *chosen, step, out.steps.numpy(), _pieces(tile)
            )


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)


def _pieces(tile: Tile) -> int:
    return min(len(tile.x), PIECES)

"""The CPU primitives: matrix products by torch in tiles, everything sparse by compiled loops."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.kernels import loops
from sae_nb.kernels.dense import Dense, is_dense
from sae_nb.kernels.memory import scratch
from sae_nb.kernels.primitives import Entries, Residuals
from sae_nb.kernels.threads import parallel
from sae_nb.support import Support, offsets_of

ROWS = 2048
"""Rows encoded at once: enough for a matrix product at full rate."""

TILE_ENTRIES = 16 * 2**20
"""Pre-codes that exist at once (64 MB in fp32). Every further tile hands the cores from torch's
threads to Numba's and back, and a pool that was left spins for milliseconds on cores the other wants."""

PIECES = 256
"""Parts into which a loop is split, whatever the number of threads: sums over parts must not move."""


class Cpu:
    """Primitives by Numba loops, parallel over rows or atoms, without atomics."""

    name = "sparse"

    def __init__(self) -> None:
        self._dense = Dense()

    def topk(
        self,
        x: Float[Tensor, "rows d_in"],
        centre: Float[Tensor, " d_in"] | None,
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        k: int,
    ) -> Entries:
        """The k largest positive pre-codes of each row; of equal ones, the lower atoms."""
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        capacity = _capacity(k, len(weight))
        rows = max(1, min(ROWS, TILE_ENTRIES // capacity))
        parts = []
        for first in range(0, len(x), rows):
            chunk = x[first : first + rows]
            chunk = chunk if centre is None else chunk - centre
            parts.append(_topk_chunk(chunk, weight, bias, k, capacity))
        return parts[0] if len(parts) == 1 else _join(parts)

    def sum_atoms(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
        start: Float[Tensor, " width"] | None = None,
    ) -> Float[Tensor, "rows width"]:
        """Gather and add the atoms of each row."""
        if is_dense("sum_atoms", support):
            return self._dense.sum_atoms(values, support, table, start)
        start = table.new_zeros(table.shape[1]) if start is None else start
        return _sum_rows(values, support.atoms, support.offsets, table, start)

    def residuals(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
        start: Float[Tensor, " width"] | None,
        target: Float[Tensor, "rows width"],
    ) -> Residuals:
        """Gather, add and compare with the target in one pass over the rows."""
        if is_dense("residuals", support):
            return self._dense.residuals(values, support, table, start, target)
        start = table.new_zeros(table.shape[1]) if start is None else start
        x_hat, residual = torch.empty_like(target), torch.empty_like(target)
        entries = (_array(values), support.atoms.numpy(), support.offsets.numpy())
        pieces = _pieces(entries[2])
        squares = np.zeros(len(pieces) - 1)
        columns = np.zeros((len(pieces) - 1, table.shape[1]), dtype=target.numpy().dtype)
        outputs = (x_hat.numpy(), residual.numpy(), squares, columns)
        inputs = (_array(table), _array(start), _array(target))
        with parallel():
            loops.sum_rows_against(*entries, *inputs, pieces, *outputs)
        error = torch.tensor(squares.sum(), dtype=target.dtype)
        return Residuals(x_hat, residual, error, torch.from_numpy(columns.sum(axis=0)))

    def scaled(self, values: Float[Tensor, " nnz"], by: Float[Tensor, ""]) -> Float[Tensor, " nnz"]:
        """Values times one number, by numpy: waking torch's threads for so little costs more."""
        return torch.from_numpy(values.numpy() * by.numpy())

    def sum_inputs(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "rows width"],
    ) -> Float[Tensor, "n_atoms width"]:
        """Gather and add the inputs of each atom, in the order of the rows."""
        if is_dense("sum_inputs", support):
            return self._dense.sum_inputs(values, support, table)
        index = support.by_atom
        ordered = torch.from_numpy(values.numpy()[index.order.numpy()])
        return _sum_rows(ordered, index.rows, index.offsets, table, table.new_zeros(table.shape[1]))

    def dots(
        self,
        g: Float[Tensor, "rows width"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
    ) -> Float[Tensor, " nnz"]:
        """Dot each row with the atoms it uses."""
        if is_dense("dots", support):
            return self._dense.dots(g, support, table)
        out = torch.empty(len(support.atoms), dtype=table.dtype)
        offsets = support.offsets.numpy()
        atoms, views = support.atoms.numpy(), (_array(g), _array(table))
        with parallel():
            loops.dot_rows(views[0], atoms, offsets, views[1], _pieces(offsets), out.numpy())
        return out

    def totals(self, values: Float[Tensor, " nnz"], support: Support) -> Float[Tensor, " n_atoms"]:
        """Sums by atom."""
        totals = np.bincount(support.atoms.numpy(), values.numpy(), minlength=support.n_atoms)
        return torch.from_numpy(totals).to(values.dtype)


def _topk_chunk(x: Tensor, weight: Tensor, bias: Tensor, k: int, capacity: int) -> Entries:
    n, n_atoms = len(x), len(weight)
    values = np.empty((n, capacity), dtype=x.numpy().dtype)
    atoms = np.empty((n, capacity), dtype=np.int32 if n_atoms < 2**31 else np.int64)
    thresholds, counts = np.zeros(n, dtype=values.dtype), np.zeros(n, dtype=np.int64)
    found = (values, atoms, thresholds, counts)
    width = min(n_atoms, max(loops.BLOCK, TILE_ENTRIES // n))
    with scratch(n * width, x.dtype) as buffer:
        for first in range(0, n_atoms, width):
            part = weight[first : first + width]
            tile = buffer[: n * len(part)].view(n, len(part))
            torch.mm(x, part.T, out=tile)
            place = (_array(bias[first : first + width]), first, first + width >= n_atoms)
            with parallel():
                loops.collect(tile.numpy(), *place, k, *found, min(n, PIECES))
    return _packed(values, atoms, counts)


def _packed(values: np.ndarray, atoms: np.ndarray, counts: np.ndarray) -> Entries:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    packed_values = np.empty(offsets[-1], dtype=values.dtype)
    packed_atoms = np.empty(offsets[-1], dtype=atoms.dtype)
    loops.pack(values, atoms, offsets, packed_values, packed_atoms)
    return Entries(*(torch.from_numpy(part) for part in (packed_values, packed_atoms, offsets)))


def _join(parts: list[Entries]) -> Entries:
    counts = torch.cat([part.offsets.diff() for part in parts])
    values = torch.cat([part.values for part in parts])
    return Entries(values, torch.cat([part.atoms for part in parts]), offsets_of(counts))


def _sum_rows(
    values: Tensor, index: Tensor, offsets: Tensor, table: Tensor, start: Tensor
) -> Tensor:
    out = torch.empty(len(offsets) - 1, table.shape[1], dtype=table.dtype)
    entries = (_array(values), index.numpy(), offsets.numpy())
    with parallel():
        loops.sum_rows(*entries, _array(table), _array(start), _pieces(entries[2]), out.numpy())
    return out


def _pieces(offsets: np.ndarray) -> np.ndarray:
    """Cut the segments into pieces of about equal numbers of entries plus segments."""
    n = len(offsets) - 1
    load = offsets + np.arange(n + 1)
    n_pieces = min(n, PIECES)
    cuts = np.searchsorted(load, np.linspace(0, load[-1], n_pieces + 1)[1:-1])
    return np.concatenate([[0], cuts, [n]])


def _capacity(k: int, n_atoms: int) -> int:
    """Candidates a row can hold: room to collect for a while between two selections."""
    return min(max(2 * k, k + 128), n_atoms) + loops.BLOCK


def _array(x: Tensor) -> np.ndarray:
    return x.contiguous().numpy()

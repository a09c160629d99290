"""What is done to a matrix in its file without the whole of it; NotImplemented where that does not apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sae_nb.files._mapped import MappedMatrix

_aten = torch.ops.aten


def _itself(matrix: MappedMatrix, *_: Any, **__: Any) -> MappedMatrix:
    return MappedMatrix(matrix.held)


def _transposed(matrix: MappedMatrix, *axes: Any) -> MappedMatrix:
    axes = tuple(axes[0]) if axes and isinstance(axes[0], (list, tuple)) else axes
    if axes and [axis % 2 for axis in axes] == ([0, 1] if len(axes) == 2 else []):
        return _itself(matrix)
    return MappedMatrix(matrix.held.transposed())


def _exchanged(matrix: MappedMatrix, a: int, b: int) -> MappedMatrix:
    return _itself(matrix) if a % 2 == b % 2 else MappedMatrix(matrix.held.transposed())


def _slice(
    matrix: MappedMatrix, axis: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    if step != 1:
        return NotImplemented
    rows = slice(*slice(start, end).indices(matrix.shape[axis])[:2])
    if axis % 2 == 1:
        return MappedMatrix(matrix.held.transposed().part(rows).transposed())
    return MappedMatrix(matrix.held.part(rows))


def _split(matrix: MappedMatrix, size: int, axis: int = 0) -> list[Any]:
    firsts = range(0, matrix.shape[axis], size)
    return [_slice(matrix, axis, first, first + size) for first in firsts]


def _select(matrix: MappedMatrix, axis: int, number: int) -> Any:
    one = matrix if axis % 2 == 0 else _exchanged(matrix, 0, 1)
    return one.rows(torch.tensor([number]))[0]


def _index_select(matrix: MappedMatrix, axis: int, index: Tensor) -> Any:
    return matrix.rows(index) if axis % 2 == 0 else _exchanged(matrix, 0, 1).rows(index).T


def _index(matrix: MappedMatrix, index: list[Tensor | None]) -> Any:
    first, *rest = index
    if first is None or any(one is not None for one in rest):
        return NotImplemented
    if first.dtype == torch.bool:
        if first.ndim != 1:
            return NotImplemented
        first = first.nonzero().flatten()
    n = matrix.shape[0]
    if first.numel() and not -n <= int(first.min()) <= int(first.max()) < n:
        raise IndexError(f"index {int(first.max())} is out of bounds for {n} rows")
    return matrix.rows(first.reshape(-1)).reshape(*first.shape, matrix.shape[1])


def _mm(a: Tensor, b: Tensor) -> Any:
    # By `held` alone: torch's own views of a mapped matrix are plain tensors in here.
    if isinstance(a, MappedMatrix) and not isinstance(b, MappedMatrix):
        return _mm(b.T, _exchanged(a, 0, 1)).T
    if not isinstance(b, MappedMatrix):
        return NotImplemented
    if isinstance(a, MappedMatrix) or not b.held.turned:
        return _summed(a, b)
    # Along what lies together in the file: its rows are columns here.
    columns = _exchanged(b, 0, 1)
    out = a.new_empty(a.shape[0], columns.shape[0])
    for rows in columns.tiles():
        out[:, rows] = a @ columns.block(rows).T
    return out


def _summed(a: Tensor, b: MappedMatrix) -> Tensor:
    """A product, tile by tile of the axis that is summed over."""
    out = torch.zeros(a.shape[0], b.shape[1], dtype=b.dtype)
    for rows in b.tiles():
        if isinstance(a, MappedMatrix):
            left = _exchanged(a, 0, 1).block(rows).T
        else:
            left = a[:, rows]
        out.addmm_(left, b.block(rows))
    return out


def _addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * bias + alpha * _mm(a, b)


def _mv(matrix: Any, vector: Tensor) -> Any:
    if not isinstance(matrix, MappedMatrix):
        return NotImplemented
    return _mm(matrix, vector[:, None])[:, 0]


def _norm(
    matrix: MappedMatrix, order: Any = 2, axes: Any = None, keepdim: bool = False, **_: Any
) -> Any:
    if order not in (2, None):
        return NotImplemented
    axes = [axes] if isinstance(axes, int) else axes
    if axes is None or len(axes) in (0, 2):
        squares = [
            float(matrix.block(rows).square().sum(dtype=torch.float64)) for rows in matrix.tiles()
        ]
        norm = torch.tensor(math.sqrt(sum(squares)), dtype=matrix.dtype)
        return norm.reshape(1, 1) if keepdim else norm
    if axes[0] % 2 == 0:
        return _sum(matrix, [0], keepdim, of=torch.square).sqrt()
    return matrix.by_tiles(lambda tile: torch.linalg.vector_norm(tile, dim=1, keepdim=keepdim))


def _sum(
    matrix: MappedMatrix,
    axes: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    of: Callable[[Tensor], Tensor] = Tensor.detach,
) -> Any:
    if dtype is not None or axes is None or len(axes) != 1:
        return NotImplemented
    if axes[0] % 2 == 1:
        return matrix.by_tiles(lambda tile: of(tile).sum(dim=1, keepdim=keepdim))
    total = torch.zeros(matrix.shape[1], dtype=torch.float64)
    for rows in matrix.tiles():
        total += of(matrix.block(rows)).sum(dim=0, dtype=torch.float64)
    total = total.to(matrix.dtype)
    return total[None] if keepdim else total


def _total(matrix: MappedMatrix, *, dtype: Any = None) -> Tensor:
    sums = [matrix.block(rows).sum(dtype=torch.float64) for rows in matrix.tiles()]
    return torch.stack(sums).sum().to(dtype or matrix.dtype)


def _viewed(matrix: MappedMatrix, shape: Any, **_: Any) -> Any:
    whole = tuple(n if given == -1 else given for given, n in zip(shape, matrix.shape))
    return _itself(matrix) if len(shape) == 2 and whole == tuple(matrix.shape) else NotImplemented


def _mean(
    matrix: MappedMatrix, axes: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    total = _sum(matrix, axes, keepdim, dtype=dtype)
    return total if total is NotImplemented else total / matrix.shape[axes[0]]


def _times(matrix: Any, other: Any) -> Any:
    """A product with one number, or one per row or column; still in the file."""
    if not isinstance(matrix, MappedMatrix):
        matrix, other = other, matrix
    found = _factor(matrix, other)
    return found if found is NotImplemented else MappedMatrix(matrix.held.times(*found))


def _over(matrix: Any, other: Any) -> Any:
    found = _factor(matrix, other) if isinstance(matrix, MappedMatrix) else NotImplemented
    if found is NotImplemented:
        return found
    factor, axis = found
    return MappedMatrix(matrix.held.times(1 / factor, axis))


def _factor(matrix: MappedMatrix, other: Any) -> Any:
    """Numbers that are one for each row (0) or column (1), and which of the two."""
    if isinstance(other, MappedMatrix):
        return NotImplemented
    factor = torch.as_tensor(other, dtype=matrix.dtype)
    if factor.numel() == 1:
        return factor, 0
    spread = factor.expand(matrix.shape)
    if spread.stride(1) == 0:
        return spread[:, 0].contiguous(), 0
    if spread.stride(0) == 0:
        return spread[0].contiguous(), 1
    return NotImplemented


BY_TILES: dict[Any, Callable[..., Any]] = {
    _aten.detach.default: _itself,
    _aten.alias.default: _itself,
    _aten.clone.default: _itself,
    _aten.lift_fresh.default: _itself,
    _aten.t.default: _transposed,
    _aten.permute.default: _transposed,
    _aten.transpose.int: _exchanged,
    _aten.slice.Tensor: _slice,
    _aten.split.Tensor: _split,
    _aten.select.int: _select,
    _aten.index_select.default: _index_select,
    _aten.index.Tensor: _index,
    _aten.mm.default: _mm,
    _aten.addmm.default: _addmm,
    _aten.mv.default: _mv,
    _aten.linalg_vector_norm.default: _norm,
    _aten.norm.ScalarOpt_dim: _norm,
    _aten.sum.dim_IntList: _sum,
    _aten.sum.default: _total,
    _aten.view.default: _viewed,
    _aten._unsafe_view.default: _viewed,
    _aten.expand.default: _viewed,
    _aten.mean.dim: _mean,
    _aten.mul.Tensor: _times,
    _aten.div.Tensor: _over,
}

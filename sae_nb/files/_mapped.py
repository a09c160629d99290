"""Matrices that stay in their file: opened memory-mapped, read by tiles or by row, never whole.

Numbers in half precision stay so in the file and are float32 where they are read. After a tile its pages
are given back to the system, so that what is resident does not grow with the file.
"""

from __future__ import annotations

import math
import mmap
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import DTypeLike
from torch import Tensor

from sae_nb.files._atomic import existing

TILE_BYTES = 32 * 2**20
"""Most bytes of a tile in the precision in which it is computed. Ours: 2048 atoms of width 4096 in float32.
On two cores, larger tiles bring no further speed."""

ROWS_AT_ONCE = 32
"""Rows picked before their pages are given back: the system maps up to megabytes around each."""

WHOLE_BYTES = 128 * 2**20
"""A mapped matrix up to this size is read whole where an operation needs that; a larger one refuses."""

_MAPPING: ContextVar[bool] = ContextVar("mapping", default=False)


@contextmanager
def mapping(wanted: bool = True) -> Iterator[None]:
    """Let the readers of tensors give matrices that stay in their files, for a while."""
    before = _MAPPING.set(wanted)
    try:
        yield
    finally:
        _MAPPING.reset(before)


def is_mapping() -> bool:
    """Return whether tensors are to be opened memory-mapped."""
    return _MAPPING.get()


# -------------------------------------------------------------------------------------------------
# A file in memory, and the numbers in it.


class MappedFile:
    """A file opened memory-mapped, read-only; it notices when the file is changed in place."""

    def __init__(self, path: str | Path) -> None:
        self.path = existing(path)
        with self.path.open("rb") as file:
            self._descriptor = os.dup(file.fileno())
        self.map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        self._state = self._now()
        self._begins = self.matrix(0, torch.uint8, (1,)).data_ptr()

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._descriptor)
        return state.st_size, state.st_mtime_ns

    def check_unchanged(self) -> None:
        """Refuse a file that was written to or cut short since: reading what is gone would end Python."""
        if self._now() != self._state:
            raise ValueError(
                f"{str(self.path)!r} must stay as it is while an SAE reads from it, and was changed or cut "
                "short since it was opened. Load the SAE again."
            )

    def matrix(self, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """Return numbers of the file, in its layout."""
        with warnings.catch_warnings():
            # That it cannot be written to is what is wanted.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            flat = torch.frombuffer(self.map, dtype=dtype, count=math.prod(shape), offset=offset)
        return flat.reshape(shape)

    def give_back(self, numbers: Tensor) -> None:
        """Let the system take back the memory pages of some numbers; they are read again when needed."""
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        start = numbers.data_ptr() - self._begins
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        spans = ((n - 1) * s for n, s in zip(numbers.shape, numbers.stride(), strict=True))
        end = start + (sum(spans) + 1) * numbers.element_size()
        self.map.madvise(mmap.MADV_DONTNEED, first, min(end, len(self.map)) - first)


@dataclass(frozen=True, eq=False)
class Held:
    """The parts of a mapped matrix: numbers of a file, perhaps transposed, times a factor per row and
    column.
    """

    file: MappedFile
    stored: Tensor
    """The numbers as they lie in the file, or a part of them."""

    turned: bool = False
    row_factor: Tensor | None = None
    column_factor: Tensor | None = None
    dtype: torch.dtype = field(default=torch.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix as it is read."""
        rows, columns = self.stored.shape
        return (columns, rows) if self.turned else (rows, columns)

    @property
    def rows_at_once(self) -> int:
        """Rows of a tile."""
        return max(1, TILE_BYTES // (self.dtype.itemsize * self.shape[1]))

    def transposed(self) -> Held:
        """Return the same with rows and columns exchanged."""
        return replace(
            self,
            turned=not self.turned,
            row_factor=self.column_factor,
            column_factor=self.row_factor,
        )

    def part(self, rows: slice) -> Held:
        """Return some rows that follow each other, still in the file."""
        stored = self.stored[:, rows] if self.turned else self.stored[rows]
        factor = None if self.row_factor is None else self.row_factor[rows]
        return replace(self, stored=stored, row_factor=factor)

    def times(self, factor: Tensor, axis: int) -> Held:
        """Multiply rows (axis 0) or columns (1) by numbers of their own, or all by one."""
        factor = factor.detach().to(self.dtype).reshape(-1).expand(self.shape[axis])
        before = self.column_factor if axis else self.row_factor
        factor = factor if before is None else before * factor
        return replace(self, column_factor=factor) if axis else replace(self, row_factor=factor)

    def read(self) -> Tensor:
        """Return the numbers themselves, in memory."""
        self.file.check_unchanged()
        numbers = self.stored.T if self.turned else self.stored
        out = torch.empty(self.shape, dtype=self.dtype)
        out.copy_(numbers)
        self.file.give_back(self.stored)
        return self._scaled(out, self.row_factor)

    def picked(self, rows: Int[Tensor, " m"]) -> Tensor:
        """Return some rows, in memory."""
        self.file.check_unchanged()
        out = torch.empty(len(rows), self.shape[1], dtype=self.dtype)
        factor = None if self.row_factor is None else self.row_factor[rows]
        if not self.turned:
            for first in range(0, len(rows), ROWS_AT_ONCE):
                some = slice(first, first + ROWS_AT_ONCE)
                out[some] = self.stored.index_select(0, rows[some])
                self.file.give_back(self.stored)
            return self._scaled(out, factor)
        # A row is a column of the file: some of its lines at a time.
        size = max(1, TILE_BYTES // max(1, self.dtype.itemsize * self.shape[0]))
        for first in range(0, self.shape[1], size):
            lines = self.stored[first : first + size]
            out[:, first : first + size] = lines.index_select(1, rows).T
            self.file.give_back(lines)
        return self._scaled(out, factor)

    def _scaled(self, out: Tensor, row_factor: Tensor | None) -> Tensor:
        if row_factor is not None:
            out.mul_(row_factor[:, None])
        return out if self.column_factor is None else out.mul_(self.column_factor)


# -------------------------------------------------------------------------------------------------
# The matrix as a tensor.


class MappedMatrix(Tensor):
    """A matrix in a file that is asked like a tensor: by row, by tile, by product, never changed.

    Rows that are picked are plain tensors. Slices, transposes, copies and products with a number per
    row or column stay in the file; products with other matrices and norms go by tiles. Operations that
    need all numbers at once read them if they are few, and are refused if they are many.
    """

    held: Held

    @staticmethod
    def __new__(cls, held: Held) -> MappedMatrix:
        made: Any = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)
        made.held = held
        return made

    @property
    def rows_at_once(self) -> int:
        """Rows of a tile."""
        return self.held.rows_at_once

    def tiles(self) -> Iterator[slice]:
        """Return slices of rows that are read together."""
        n, size = self.shape[0], self.rows_at_once
        for first in range(0, n, size):
            yield slice(first, min(first + size, n))

    def block(self, rows: slice) -> Float[Tensor, "m d"]:
        """Return some rows that follow each other, in memory."""
        return self.held.part(rows).read()

    def rows(self, rows: Int[Tensor, " m"]) -> Float[Tensor, "m d"]:
        """Return some rows, in memory."""
        rows = rows.long()
        return self.held.picked(torch.where(rows < 0, rows + self.shape[0], rows))

    @property
    def is_small(self) -> bool:
        """Whether all of it may be read into memory."""
        return self.numel() * self.held.dtype.itemsize <= WHOLE_BYTES

    def whole(self) -> Float[Tensor, "n d"]:
        """Return all of it, in memory, where that is little."""
        if not self.is_small:
            raise ValueError(
                f"This needs a matrix of {self.shape[0]} × {self.shape[1]} whole in memory, "
                f"{self.numel() * self.held.dtype.itemsize / 2**20:.0f} MiB, and the SAE was loaded with "
                f"mmap=True, which leaves it in {str(self.held.file.path)!r}. Load the SAE without mmap."
            )
        return self.held.read()

    def by_tiles(self, of_tile: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a function of rows, tile by tile, end to end."""
        return torch.cat([of_tile(self.block(rows)) for rows in self.tiles()])

    def unscaled(self) -> MappedMatrix:
        """Return the numbers as the file has them, in its precision."""
        held, dtype = self.held, self.held.stored.dtype
        return MappedMatrix(replace(held, row_factor=None, column_factor=None, dtype=dtype))

    def unit_rows(self, guard: float) -> MappedMatrix:
        """Return the same with rows of norm 1."""
        norms = torch.linalg.vector_norm(self, dim=1)
        return MappedMatrix(self.held.times(1 / (norms + guard), 0))

    def numpy(self, *, force: bool = False) -> np.ndarray:  # noqa: ARG002 - as torch has it
        """Return all numbers, if they are few."""
        return self.whole().numpy()

    def tolist(self) -> list[Any]:
        """Return all numbers, if they are few."""
        return self.whole().tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.whole().numpy(), dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> MappedMatrix:
        return self  # nothing can change it

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise ValueError(
            f"A matrix that stays in its file cannot be pickled, got one of {str(self.held.file.path)!r}. "
            "Load the SAE without mmap, or load it again where it is needed."
        )

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        rows, columns = self.shape
        stored = str(self.held.stored.dtype).removeprefix("torch.")
        return f"MappedMatrix({rows} × {columns} in {stored}, {str(self.held.file.path)!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        own = BY_TILES.get(func)
        if own is not None:
            found = own(*args, **kwargs)
            if found is not None:
                return found
        if func._schema.is_mutable and any(isinstance(a, MappedMatrix) for a in args[:1]):
            path = args[0].held.file.path
            raise ValueError(
                f"A matrix that stays in its file must not be changed, got {func} on {str(path)!r}. Load "
                "the SAE without mmap."
            )
        plain = (_plain(value) for value in args)
        return func(*plain, **{name: _plain(value) for name, value in kwargs.items()})


def _plain(value: object) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(one) for one in value)
    return value.whole() if isinstance(value, MappedMatrix) else value


def in_memory(tensor: Tensor) -> Tensor:
    """Return a tensor that is no longer in a file: for the small ones among the large."""
    return tensor.held.read() if isinstance(tensor, MappedMatrix) else tensor


def row_bytes(matrix: Tensor) -> Iterator[bytes]:
    """Return the rows of a matrix in float32 as bytes; of one that stays in its file tile by tile."""
    tiles = matrix.tiles() if isinstance(matrix, MappedMatrix) else [slice(None)]
    for rows in tiles:
        part = matrix.block(rows) if isinstance(matrix, MappedMatrix) else matrix.detach().cpu()
        yield np.ascontiguousarray(part.float().numpy()).tobytes()


def all_finite(matrix: Tensor) -> bool:
    """Return whether a tensor holds no NaN and no infinity; one that stays in its file is read by tiles."""
    if not isinstance(matrix, MappedMatrix):
        return bool(torch.isfinite(matrix).all())
    # As it lies in the file, where reading along is fast.
    as_stored = MappedMatrix(
        replace(matrix.held, turned=False, row_factor=None, column_factor=None)
    )
    return all(bool(torch.isfinite(as_stored.block(rows)).all()) for rows in as_stored.tiles())


# -------------------------------------------------------------------------------------------------
# What torch does with such a matrix without the whole of it; None where that does not apply.

_aten = torch.ops.aten
Axes = int | Sequence[int] | None


def _itself(matrix: MappedMatrix, *_: object, **__: object) -> MappedMatrix:
    return MappedMatrix(matrix.held)


def _transposed(matrix: MappedMatrix, *axes: int | Sequence[int]) -> MappedMatrix:
    order = [axis % 2 for given in axes for axis in ([given] if isinstance(given, int) else given)]
    if order == [0, 1]:
        return _itself(matrix)
    return MappedMatrix(matrix.held.transposed())


def _exchanged(matrix: MappedMatrix, a: int, b: int) -> MappedMatrix:
    return _itself(matrix) if a % 2 == b % 2 else MappedMatrix(matrix.held.transposed())


def _slice(
    matrix: MappedMatrix, axis: int = 0, start: object = None, end: object = None, step: int = 1
) -> MappedMatrix | None:
    if step != 1:
        return None
    rows = slice(*slice(start, end).indices(matrix.shape[axis])[:2])
    if axis % 2 == 1:
        return MappedMatrix(matrix.held.transposed().part(rows).transposed())
    return MappedMatrix(matrix.held.part(rows))


def _split(matrix: MappedMatrix, size: int, axis: int = 0) -> list[MappedMatrix | None]:
    firsts = range(0, matrix.shape[axis], size)
    return [_slice(matrix, axis, first, first + size) for first in firsts]


def _select(matrix: MappedMatrix, axis: int, number: int) -> Tensor:
    one = matrix if axis % 2 == 0 else _exchanged(matrix, 0, 1)
    return one.rows(torch.tensor([number]))[0]


def _index_select(matrix: MappedMatrix, axis: int, index: Tensor) -> Tensor:
    return matrix.rows(index) if axis % 2 == 0 else _exchanged(matrix, 0, 1).rows(index).T


def _index(matrix: MappedMatrix, index: list[Tensor | None]) -> Tensor | None:
    first, *rest = index
    if first is None or any(one is not None for one in rest):
        return None
    if first.dtype == torch.bool:
        if first.ndim != 1:
            return None
        first = first.nonzero().flatten()
    n = matrix.shape[0]
    if first.numel() and not -n <= int(first.min()) <= int(first.max()) < n:
        raise IndexError(f"index {int(first.max())} is out of bounds for {n} rows")
    return matrix.rows(first.reshape(-1)).reshape(*first.shape, matrix.shape[1])


def _mm(a: Tensor, b: Tensor) -> Tensor | None:
    # By `held` alone: torch's own views of a mapped matrix are plain tensors in here.
    if isinstance(a, MappedMatrix) and not isinstance(b, MappedMatrix):
        product = _mm(b.T, _exchanged(a, 0, 1))
        return None if product is None else product.T
    if not isinstance(b, MappedMatrix):
        return None
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


def _addmm(
    bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor | None:
    product = _mm(a, b)
    return None if product is None else beta * bias + alpha * product


def _mv(matrix: Tensor, vector: Tensor) -> Tensor | None:
    product = _mm(matrix, vector[:, None])
    return None if product is None else product[:, 0]


def _norm(
    matrix: MappedMatrix,
    order: float | None = 2,
    axes: Axes = None,
    keepdim: bool = False,
    **_: object,
) -> Tensor | None:
    if order not in (2, None):
        return None
    axes = [axes] if isinstance(axes, int) else axes
    if axes is None or len(axes) in (0, 2):
        squares = [
            float(matrix.block(rows).square().sum(dtype=torch.float64)) for rows in matrix.tiles()
        ]
        norm = torch.tensor(math.sqrt(sum(squares)), dtype=matrix.dtype)
        return norm.reshape(1, 1) if keepdim else norm
    if axes[0] % 2 == 0:
        return _column_sums(matrix, keepdim, torch.square).sqrt()
    return matrix.by_tiles(lambda tile: torch.linalg.vector_norm(tile, dim=1, keepdim=keepdim))


def _sum(
    matrix: MappedMatrix,
    axes: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor | None:
    if dtype is not None or axes is None or len(axes) != 1:
        return None
    if axes[0] % 2 == 1:
        return matrix.by_tiles(lambda tile: tile.sum(dim=1, keepdim=keepdim))
    return _column_sums(matrix, keepdim, Tensor.detach)


def _column_sums(matrix: MappedMatrix, keepdim: bool, of: Callable[[Tensor], Tensor]) -> Tensor:
    total = torch.zeros(matrix.shape[1], dtype=torch.float64)
    for rows in matrix.tiles():
        total += of(matrix.block(rows)).sum(dim=0, dtype=torch.float64)
    total = total.to(matrix.dtype)
    return total[None] if keepdim else total


def _total(matrix: MappedMatrix, *, dtype: torch.dtype | None = None) -> Tensor:
    sums = [matrix.block(rows).sum(dtype=torch.float64) for rows in matrix.tiles()]
    return torch.stack(sums).sum().to(dtype or matrix.dtype)


def _viewed(matrix: MappedMatrix, shape: Sequence[int], **_: object) -> MappedMatrix | None:
    whole = tuple(n if given == -1 else given for given, n in zip(shape, matrix.shape))
    return _itself(matrix) if len(shape) == 2 and whole == tuple(matrix.shape) else None


def _mean(
    matrix: MappedMatrix,
    axes: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor | None:
    total = _sum(matrix, axes, keepdim, dtype=dtype)
    return None if total is None or axes is None else total / matrix.shape[axes[0]]


def _times(matrix: Tensor | float, other: Tensor | float) -> MappedMatrix | None:
    """A product with one number, or one per row or column; still in the file."""
    if not isinstance(matrix, MappedMatrix):
        matrix, other = other, matrix
    found = _factor(matrix, other)
    return None if found is None else MappedMatrix(found[0].times(*found[1:]))


def _over(matrix: Tensor, other: Tensor | float) -> MappedMatrix | None:
    found = _factor(matrix, other)
    if found is None:
        return None
    held, factor, axis = found
    return MappedMatrix(held.times(1 / factor, axis))


def _factor(matrix: Tensor | float, other: Tensor | float) -> tuple[Held, Tensor, int] | None:
    """The parts of the matrix; numbers that are one for each row (0) or column (1), and which of the two."""
    if not isinstance(matrix, MappedMatrix) or isinstance(other, MappedMatrix):
        return None
    factor = torch.as_tensor(other, dtype=matrix.dtype)
    if factor.numel() == 1:
        return matrix.held, factor, 0
    spread = factor.expand(matrix.shape)
    if spread.stride(1) == 0:
        return matrix.held, spread[:, 0].contiguous(), 0
    if spread.stride(0) == 0:
        return matrix.held, spread[0].contiguous(), 1
    return None


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

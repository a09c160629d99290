"""Sparse codes as an array: their shape, sums over axes, products, and what numpy and torch ask of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_memory, checked, is_array
from sae_nb.codes._support import Support

if TYPE_CHECKING:
    import numpy as np


Axis = int | Sequence[int] | None
"""One axis, several, or all."""


def plain(x: Tensor) -> np.ndarray:
    """The numbers in an array; numpy has no bfloat16."""
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


class ArrayOfCodes:
    """The part of `SparseCodes` that acts as an array of shape (…, n_atoms), without a dense code."""

    values: Float[Tensor, " nnz"]
    atoms: Int[Tensor, " nnz"]
    offsets: Int[Tensor, " rows_plus_1"]
    n_atoms: int
    leading_shape: tuple[int, ...]
    support: Support

    @property
    def n_rows(self) -> int:
        """Number of rows, leading axes flattened."""
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes as a matrix: the leading axes of the input, and n_atoms."""
        return (*self.leading_shape, self.n_atoms)

    @property
    def ndim(self) -> int:
        """Number of axes, that of the atoms included."""
        return len(self.leading_shape) + 1

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.values.numel()

    @property
    def device(self) -> torch.device:
        """The device of the entries."""
        return self.values.device

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number of the strengths."""
        return self.values.dtype

    def to_dense(self) -> Float[Tensor, "*batch n_atoms"]:
        """Return all codes as one dense tensor, zeros included: for tests and small examples.

        Raises
        ------
        MemoryError: If it would not fit.
        """
        needed = self.n_rows * self.n_atoms * self.values.element_size()
        check_memory(needed, f"A dense copy of {self!r}", "Use rows(…) or to_scipy() instead.")
        dense = torch.zeros(self.n_rows, self.n_atoms, dtype=self.dtype, device=self.device)
        place = (self.support.rows, self.atoms.long())
        return dense.index_put(place, self.values).reshape(self.shape)

    # Sums over axes, without a dense code

    @checked
    def sum(self, axis: Axis = None, *, dtype: None = None, out: None = None) -> Tensor:
        """Return sum of the strengths over one axis, several, or all.

        `axis=0` of codes of one leading axis gives a number per atom, `axis=-1` one per row. `dtype`
        and `out` are there for `np.sum` to pass, and must be None; so below.

        Example
        -------
        >>> from sae_nb.codes import SparseCodes
        >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))
        >>> codes.sum().item(), codes.sum(0).tolist(), codes.mean(0).tolist(), codes.max(-1).tolist()
        (6.0, [1.0, 2.0, 3.0], [0.5, 1.0, 1.5], [2.0, 3.0])
        """
        group, shape, _ = self._groups(axis, dtype, out)
        # Added in double: an atom may be in millions of rows.
        total = self.values.new_zeros(math.prod(shape), dtype=torch.float64)
        return total.index_add(0, group, self.values.double()).to(self.dtype).reshape(shape)

    @checked
    def mean(self, axis: Axis = None, *, dtype: None = None, out: None = None) -> Tensor:
        """Return mean of the strengths over one axis, several, or all; zeros count."""
        _, _, cells = self._groups(axis, dtype, out)
        return self.sum(axis) / cells

    @checked
    def max(self, axis: Axis = None, *, dtype: None = None, out: None = None) -> Tensor:
        """Return largest strength along one axis, several, or all; 0 where the others are negative."""
        group, shape, cells = self._groups(axis, dtype, out)
        zeros = self.values.new_zeros(math.prod(shape))
        largest = zeros.scatter_reduce(0, group, self.values, "amax", include_self=False)
        full = torch.bincount(group, minlength=len(zeros)) == cells
        return torch.where(full, largest, largest.clamp_min(0)).reshape(shape)

    @checked
    def count(self, axis: Axis = None) -> Int[Tensor, "..."]:
        """Return number of active entries, z ≠ 0, along one axis, several, or all."""
        group, shape, _ = self._groups(axis)
        active = group[self.values.detach() != 0]
        return torch.bincount(active, minlength=math.prod(shape)).reshape(shape)

    def _groups(
        self, axis: Axis, dtype: None = None, out: None = None
    ) -> tuple[Int[Tensor, " nnz"], tuple[int, ...], int]:
        """Return the result that each entry goes to, the shape of the results, and the cells behind each."""
        if dtype is not None or out is not None:
            raise TypeError(
                "`dtype` and `out` must be None. Convert what comes back: `.to(dtype)`."
            )
        axes = range(self.ndim) if axis is None else axis if isinstance(axis, Sequence) else [axis]
        try:
            summed = {range(self.ndim)[number] for number in axes}
        except (IndexError, TypeError):
            raise ValueError(
                f"`axis` must be a number between {-self.ndim} and {self.ndim - 1}, or several, got "
                f"{axis!r}. These codes have the shape {self.shape}."
            ) from None
        places, rest = [self.atoms.long()], self.support.rows.long()
        for size in reversed(self.leading_shape):
            places.insert(0, rest % size)
            rest = rest // size
        group, shape = torch.zeros_like(rest), []
        for number, (size, place) in enumerate(zip(self.shape, places)):
            if number not in summed:
                group = group * size + place
                shape.append(size)
        needed = math.prod(shape) * 8
        check_memory(needed, f"Results of shape {tuple(shape)}", "Sum over more axes.")
        return group, tuple(shape), math.prod(self.shape) // max(math.prod(shape), 1)

    def __matmul__(self, matrix: Tensor | np.ndarray) -> Float[Tensor, "*batch d"]:
        """`codes @ dictionary`: Σ_j z_j · matrix_j for each row, with gradients to both.

        As `sae.decode` without its bias.

        Example
        -------
        >>> from sae_nb.codes import SparseCodes
        >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 3.0]]))
        >>> (codes @ torch.eye(2)).tolist()
        [[0.0, 2.0], [1.0, 3.0]]
        """
        table = self._factor(matrix, self.n_atoms, axis=0, of="atom")
        product = self._weighted_rows(self.atoms, self.offsets[:-1], self.values, table)
        return product.reshape(*self.leading_shape, *table.shape[1:])

    def __rmatmul__(self, matrix: Tensor | np.ndarray) -> Float[Tensor, "m n_atoms"]:
        """`x.T @ codes`: sums over rows, one per atom and column of x, with gradients to both."""
        table = self._factor(matrix, self.n_rows, axis=-1, of="row")
        index, columns = self.support.by_atom, table.movedim(-1, 0)
        values = self.values[index.order]
        product = self._weighted_rows(index.rows, index.offsets[:-1], values, columns)
        return product.movedim(0, -1)

    def _no_arithmetic(self, *_: object) -> NoReturn:
        raise TypeError(
            "Codes have no arithmetic by element. Change their values, "
            "codes.with_values(codes.values * 2), or keep some, codes.only(codes.values > 1); "
            "codes.count(0) is how often each atom is on, codes.count(1) how many are on in each row."
        )

    def __setitem__(self, index: object, value: object) -> NoReturn:
        raise TypeError(
            "Codes are not changed in place. Leave out an atom with codes.only(codes.atoms != 9), change "
            "values with codes.with_values(codes.values * 2)."
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_arithmetic
    __truediv__ = __rtruediv__ = __pow__ = __neg__ = _no_arithmetic
    __lt__ = __le__ = __gt__ = __ge__ = _no_arithmetic

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | float) or is_array(other):  # else `!= 0` would be one True
            self._no_arithmetic()
        return NotImplemented

    __hash__ = object.__hash__

    def _factor(self, matrix: object, n: int, *, axis: int, of: str) -> Tensor:
        import numpy as np

        try:
            table = matrix if isinstance(matrix, Tensor) else torch.as_tensor(np.array(matrix))
        except (TypeError, ValueError):
            raise TypeError(
                f"Codes are multiplied by a tensor or an array, got {type(matrix).__name__}."
            ) from None
        if table.ndim not in (1, 2) or table.shape[axis] != n:
            raise ValueError(
                f"The matrix must have one {'row' if axis == 0 else 'column'} per {of}, {n}, got shape "
                f"{tuple(table.shape)}. Transpose it, or take the one that these codes belong to."
            )
        return table

    @staticmethod
    def _weighted_rows(
        chosen: Tensor, first: Tensor, weights: Tensor, table: Tensor
    ) -> Float[Tensor, "..."]:
        dtype = torch.promote_types(weights.dtype, table.dtype)
        columns = table.reshape(len(table), -1).to(weights.device, dtype)
        product = torch.nn.functional.embedding_bag(
            chosen.long(), columns, first.long(), mode="sum", per_sample_weights=weights.to(dtype)
        )
        return product.reshape(-1, *table.shape[1:])

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        if copy is False:
            raise ValueError("Sparse codes have no dense matrix to share. Leave out copy=False.")
        return np.asarray(plain(self.to_dense()), dtype)

    def __dlpack__(self, **options: Any) -> object:
        return self.to_dense().detach().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.values.detach().__dlpack_device__()

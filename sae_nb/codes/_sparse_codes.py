"""Sparse codes in CSR: for each input row, the atoms it uses and how strongly; never a dense matrix.

Row i owns the entries offsets[i] … offsets[i + 1] of `values` and `atoms`. `by_atom` is the same
codes read the other way (CSC): for each atom, the rows that use it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb._lazy import KnowsOtherWords, answers_wrong_calls
from sae_nb.checks import (
    Count,
    Seed,
    as_tensor,
    check_atom,
    check_device,
    check_memory,
    check_number_type,
    checked,
    is_array,
    row_numbers,
    same_length,
    shown,
)
from sae_nb.codes._files import read_codes, write_codes
from sae_nb.codes._support import (
    INT32_MAX,
    AtomIndex,
    Support,
    check_parts,
    index_dtype,
    offsets_of,
)
from sae_nb.files import MappedMatrix
from sae_nb.files._atomic import write_csv

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame
    from scipy.sparse import csr_matrix


Axis = int | Sequence[int] | None
"""One axis, several, or all."""

_JOINS = (torch.cat, torch.concat, torch.concatenate)


def _plain(x: Tensor) -> np.ndarray:
    """The numbers in an array; numpy has no bfloat16."""
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


@dataclass(frozen=True, eq=False, repr=False)
class SparseCodes(KnowsOtherWords):
    """Codes of many inputs, stored as their non-zero entries in CSR.

    Row i has strengths values[offsets[i] : offsets[i + 1]] at atoms[offsets[i] : offsets[i + 1]];
    everything else is zero. An atom occurs at most once in a row. The order within a row is
    unspecified.

    Parameters
    ----------
    values
        Strengths; may carry a gradient.
    atoms
        Row of the dictionary of each entry.
    offsets
        First entry of each row, and the number of entries at the end.
    n_atoms
        Rows of the dictionary.
    leading_shape
        Leading axes of the input the codes came from; their product is the number of rows. None
        means one axis.

    Raises
    ------
    ValueError: If the parts do not fit together.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))
    >>> codes
    SparseCodes(2 rows × 3 atoms, 3 entries, 1.5 per row)
    >>> codes.l0.tolist(), codes.atoms.tolist()
    ([1, 2], [1, 0, 2])
    >>> rows, values = codes.strengths(2)
    >>> rows.tolist(), values.tolist()
    ([1], [3.0])
    """

    values: Float[Tensor, " nnz"]
    atoms: Int[Tensor, " nnz"]
    offsets: Int[Tensor, " rows_plus_1"]
    n_atoms: int
    leading_shape: tuple[int, ...] = None  # type: ignore[assignment]
    support: Support = field(default=None, compare=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.support is None:
            # Loops hand in the support of what they chose; 20 µs for all others, and no GPU waits.
            check_parts(self.values, self.atoms, self.offsets, self.n_atoms)
            object.__setattr__(self, "support", Support(self.atoms, self.offsets, self.n_atoms))
        given = (self.n_rows,) if self.leading_shape is None else self.leading_shape
        sizes = list(given) if isinstance(given, Sequence) else [given]
        if not all(isinstance(size, int) for size in sizes) or math.prod(sizes) != self.n_rows:
            raise ValueError(
                "`leading_shape` must be sizes of axes that multiply to the number of rows, "
                f"{self.n_rows}, got {given}. Give the leading axes of the input."
            )
        object.__setattr__(self, "leading_shape", tuple(sizes))

    @classmethod
    def _made(
        cls,
        values: Float[Tensor, " nnz"],
        support: Support,
        leading_shape: tuple[int, ...] | None = None,
    ) -> SparseCodes:
        """Return codes whose parts fit because of how they were chosen; nothing is checked."""
        rows = (support.offsets.numel() - 1,)
        made = object.__new__(cls)
        vars(made).update(
            values=values,
            atoms=support.atoms,
            offsets=support.offsets,
            n_atoms=support.n_atoms,
            leading_shape=rows if leading_shape is None else leading_shape,
            support=support,
        )
        return made

    # How many, where, of what kind

    @property
    def n_rows(self) -> int:
        """Number of rows, leading axes flattened."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        if not self.leading_shape:
            raise TypeError(
                "Codes of a single row have no length. Use `nnz`, its number of entries."
            )
        return self.leading_shape[0]

    def __iter__(self) -> Iterator[SparseCodes]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        per_row = f", {self.nnz / self.n_rows:.1f} per row" if self.n_rows else ""
        return (
            f"SparseCodes({self.n_rows} rows × {self.n_atoms} atoms, {self.nnz} entries{per_row})"
        )

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
    def l0(self) -> Int[Tensor, " rows"]:
        """Entries of each row: ‖z_i‖₀ where no stored strength is zero."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def device(self) -> torch.device:
        """The device of the entries."""
        return self.values.device

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number of the strengths."""
        return self.values.dtype

    @cached_property
    def frequency(self) -> Float[Tensor, " n_atoms"]:
        """Share of rows in which each atom is active (z ≠ 0)."""
        active = self.atoms[self.values.detach() != 0]
        return torch.bincount(active, minlength=self.n_atoms) / max(self.n_rows, 1)

    # Other forms of the same codes

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

    def to_scipy(self) -> csr_matrix:
        """Return the codes as a scipy CSR matrix that shares their memory on the CPU."""
        from scipy.sparse import csr_matrix

        values = self.values.detach().cpu()
        values = values if values.dtype in (torch.float32, torch.float64) else values.float()
        atoms, offsets = self.atoms.cpu().numpy(), self.offsets.cpu().numpy()
        # scipy wants both index arrays of one type, and copies when they differ.
        narrow = max(self.nnz, self.n_atoms) < INT32_MAX
        kind = "int32" if narrow else "int64"
        parts = (values.numpy(), atoms.astype(kind, copy=False), offsets.astype(kind, copy=False))
        return csr_matrix(parts, shape=(self.n_rows, self.n_atoms))

    @classmethod
    def from_dense(cls, z: Float[Tensor, "*batch n_atoms"]) -> SparseCodes:
        """Keep the non-zero entries of a dense code, and its gradient."""
        z = as_tensor(z, name="z")
        if not z.ndim or not z.shape[-1] or z.layout != torch.strided or z.is_meta:
            raise ValueError(
                f"`z` must be a dense tensor of shape (…, n_atoms), got shape {tuple(z.shape)} and "
                f"layout {z.layout}."
            )
        rows = z.reshape(-1, z.shape[-1])
        row, atom = rows.nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=len(rows))
        return cls(
            rows[row, atom],
            atom.to(index_dtype(z.shape[-1])),
            offsets_of(counts),
            z.shape[-1],
            tuple(z.shape[:-1]),
        )

    def by_atom(self) -> AtomIndex:
        """Return the codes grouped by atom (CSC); the grouping is made once and kept."""
        index = self.support.by_atom
        return AtomIndex(index.rows, index.order, index.offsets, self.values[index.order])

    def strengths(self, atom: int) -> tuple[Int[Tensor, " uses"], Float[Tensor, " uses"]]:
        """Return rows that use an atom, ascending, and how strongly."""
        atom = check_atom(atom, self.n_atoms)
        index = self.support.by_atom
        first, last = index.offsets[atom : atom + 2].tolist()
        return index.rows[first:last].long(), self.values[index.order[first:last]]

    # Sums over axes, without a dense code

    @answers_wrong_calls
    def sum(self, axis: Axis = None, *, dtype: None = None, out: None = None) -> Tensor:
        """Return sum of the strengths over one axis, several, or all.

        `axis=0` of codes of one leading axis gives a number per atom, `axis=-1` one per row. `dtype`
        and `out` are there for `np.sum` to pass, and must be None; so below.

        Example
        -------
        >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))
        >>> codes.sum().item(), codes.sum(0).tolist(), codes.mean(0).tolist(), codes.max(-1).tolist()
        (6.0, [1.0, 2.0, 3.0], [0.5, 1.0, 1.5], [2.0, 3.0])
        """
        group, shape, _ = self._groups(axis, dtype, out)
        # Added in double: an atom may be in millions of rows.
        total = self.values.new_zeros(math.prod(shape), dtype=torch.float64)
        return total.index_add(0, group, self.values.double()).to(self.dtype).reshape(shape)

    @answers_wrong_calls
    def mean(self, axis: Axis = None, *, dtype: None = None, out: None = None) -> Tensor:
        """Return mean of the strengths over one axis, several, or all; zeros count."""
        _, _, cells = self._groups(axis, dtype, out)
        return self.sum(axis) / cells

    @answers_wrong_calls
    def max(self, axis: Axis = None, *, dtype: None = None, out: None = None) -> Tensor:
        """Return largest strength along one axis, several, or all; 0 where the others are negative."""
        group, shape, cells = self._groups(axis, dtype, out)
        zeros = self.values.new_zeros(math.prod(shape))
        largest = zeros.scatter_reduce(0, group, self.values, "amax", include_self=False)
        full = torch.bincount(group, minlength=len(zeros)) == cells
        return torch.where(full, largest, largest.clamp_min(0)).reshape(shape)

    @answers_wrong_calls
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
        group, shape = torch.zeros_like(places[-1]), []
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
        index, columns = self.by_atom(), table.movedim(-1, 0)
        return self._weighted_rows(index.rows, index.offsets[:-1], index.values, columns).movedim(
            0, -1
        )

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
        if isinstance(table, MappedMatrix):  # of which only the rows in use are read
            used, chosen = torch.unique(chosen.long(), return_inverse=True)
            table = table.rows(used if len(used) else chosen.new_zeros(1, dtype=torch.long))
        dtype = torch.promote_types(weights.dtype, table.dtype)
        columns = table.reshape(len(table), -1).to(weights.device, dtype)
        product = torch.nn.functional.embedding_bag(
            chosen.long(), columns, first.long(), mode="sum", per_sample_weights=weights.to(dtype)
        )
        return product.reshape(-1, *table.shape[1:])

    # Tables and arrays

    @checked
    def top(self, n: Count = 10) -> DataFrame:
        """Return the n strongest entries of each row, by magnitude, as a table: row, atom, value.

        Rows are numbered with the leading axes flattened; `codes[i].top(n)` are those of one.

        Example
        -------
        >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0]]))
        >>> codes.top(1).to_dict("list")
        {'row': [0, 1], 'atom': [1, 2], 'value': [2.0, 3.0]}
        """
        values = self.values.detach()
        order = torch.argsort(values.abs(), descending=True, stable=True)
        order = order[torch.argsort(self.support.rows[order], stable=True)]
        rank = torch.arange(self.nnz, device=self.device) - self.offsets[self.support.rows[order]]
        return self._table(order[(rank < n) & (values[order] != 0)])

    def to_pandas(self, acts: Any = None, labels: Any = None) -> DataFrame:
        """Return every active entry as a line of a table: row, atom, value.

        Parameters
        ----------
        acts
            The activations that were encoded: adds sample, position and token of each row.
        labels
            Texts by atom, such as `load_examples(name).labels` or a list: adds `label`, empty where
            an atom has none.

        Raises
        ------
        ValueError: If `acts` have other rows.

        Example
        -------
        >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))
        >>> codes.to_pandas(labels={2: "digit 7"})
           row  atom  value    label
        0    0     1    2.0
        1    1     0    1.0
        2    1     2    3.0  digit 7
        """
        table = self._table((self.values.detach() != 0).nonzero().flatten())
        if acts is not None:
            same_length(acts, self.n_rows, name="acts", per="row of the codes")
            where = acts.to_pandas().iloc[table["row"]].reset_index(drop=True)
            for column in reversed(where.columns):
                table.insert(1, column, where[column])
        if labels is not None:
            texts = labels if isinstance(labels, Mapping) else dict(enumerate(labels))
            table["label"] = [texts.get(atom, "") for atom in table["atom"].tolist()]
        return table

    def _table(self, entries: Int[Tensor, " chosen"]) -> DataFrame:
        import pandas as pd

        columns = {"row": self.support.rows, "atom": self.atoms, "value": self.values.detach()}
        plain = {name: _plain(column[entries]) for name, column in columns.items()}
        return pd.DataFrame(plain)

    @checked
    def to_numpy(self, dtype: object = None) -> np.ndarray:
        """Return the codes as a dense array, (…, n_atoms), of a numpy `dtype`; `to_scipy` keeps them sparse."""
        return self.__array__(check_number_type(dtype))

    @checked
    def to_csv(
        self, path: str | Path | None = None, acts: Any = None, labels: Any = None
    ) -> str | None:
        """Write every active entry as a line, row, atom and value; the arguments of `to_pandas` add more.

        Without a path its text is returned, as pandas does.

        Example
        -------
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "codes.csv"
        >>> SparseCodes.from_dense(torch.eye(2)).to_csv(place)
        >>> place.read_text().split()
        ['row,atom,value', '0,0,1.0', '1,1,1.0']
        """
        return write_csv(self.to_pandas(acts, labels), path)

    @checked
    def sample_rows(self, n: Count, seed: Seed = 0) -> SparseCodes:
        """Return the codes of n different rows drawn at random, in their own order."""
        if n > self.n_rows:
            raise ValueError(f"`n` must be at most the {self.n_rows} rows there are, got {n}.")
        drawn = torch.randperm(self.n_rows, generator=torch.Generator().manual_seed(seed))[:n]
        return self.rows(drawn.sort().values)

    @classmethod
    def __torch_function__(
        cls,
        function: object,
        _: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> SparseCodes:
        """Answer a function of torch: rows are joined by `torch.cat`."""
        parts, *rest = args or ((),)
        rows = not rest and (kwargs or {}).get("dim", 0) == 0
        if function in _JOINS and rows and all(isinstance(part, cls) for part in parts):
            return cls.concatenate(parts)
        name = getattr(function, "__name__", "a function")
        raise TypeError(
            f"torch's `{name}` needs tensors, got sparse codes. They have sum, mean, max, count and @ of "
            "their own; their strengths are the tensor `codes.values`, a dense matrix is `codes.to_dense()`."
        )

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        if copy is False:
            raise ValueError("Sparse codes have no dense matrix to share. Leave out copy=False.")
        return np.asarray(_plain(self.to_dense()), dtype)

    def __dlpack__(self, **options: Any) -> object:
        return self.to_dense().detach().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.values.detach().__dlpack_device__()

    # Parts, copies, unions

    def __getitem__(self, index: object) -> SparseCodes:
        """The codes of some rows, as numpy would choose them from a matrix of this shape.

        A number, a slice, a mask, row numbers, or several of these for several leading axes; a
        single number takes its axis away. Codes of shape (batch, time, n_atoms) give the codes of the
        first sequence, (time, n_atoms), for `codes[0]`. Gradients are kept.

        Raises
        ------
        IndexError: If a row does not exist, a mask has another shape, or an axis is not of the rows.

        Example
        -------
        >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 3.0], [0.0, 0.0]]))
        >>> codes[1].shape, codes[:2].shape, codes[codes.l0 > 0].l0.tolist(), codes[[2, 1]].l0.tolist()
        ((2,), (2, 2), [1, 2], [0, 2])
        """
        atom = (
            "One atom over all rows is `codes.to_scipy()[:, atom]`; `codes.strengths(atom)` gives its rows and "
            "values."
        )
        return self._at(row_numbers(index, self.leading_shape, self.device, beyond=atom))

    def rows(
        self, which: int | slice | Sequence[int] | np.ndarray | Int[Tensor, " chosen"] | Tensor
    ) -> SparseCodes:
        """Return the codes of some rows, leading axes flattened, in the order asked for.

        `codes[…]` keeps the leading axes; here a row has the number that it has in activations, and
        one alone stays a list of one.

        Raises
        ------
        IndexError: If a row does not exist or a mask has the wrong length.
        """
        if isinstance(which, Tensor) and which.layout != torch.strided:
            raise TypeError(
                f"`which` must be dense, got layout {which.layout}. Use which.to_dense()."
            )
        flat = which.reshape(-1) if isinstance(which, Tensor) else which
        numbers = row_numbers(
            flat, (self.n_rows,), self.device, beyond="Leading axes are flattened."
        )
        return self._at(numbers.reshape(-1))

    def _at(self, numbers: Int[Tensor, "..."]) -> SparseCodes:
        rows = numbers.reshape(-1)
        first = self.offsets[rows]
        counts = self.offsets[rows + 1] - first
        offsets = offsets_of(counts)
        total = int(offsets[-1])
        entries = torch.repeat_interleave(first - offsets[:-1], counts, output_size=total)
        entries += torch.arange(total, device=self.device)
        support = Support(self.atoms[entries], offsets, self.n_atoms)
        return self._made(self.values[entries], support, tuple(numbers.shape))

    def only(self, kept: Bool[Tensor, " nnz"]) -> SparseCodes:
        """Return the same rows with some of their entries, named by a mask, and their gradient."""
        if not isinstance(kept, Tensor) or kept.dtype != torch.bool or kept.shape != (self.nnz,):
            given = (
                f"{kept.dtype} of shape {tuple(kept.shape)}"
                if isinstance(kept, Tensor)
                else shown(kept)
            )
            raise ValueError(
                f"`kept` must be a mask with one entry per stored value, shape ({self.nnz},), got {given}."
            )
        if kept.device != self.values.device:
            raise ValueError(
                f"`kept` must be on the codes' device {self.values.device}, got {kept.device}. Move it there."
            )
        counts = torch.bincount(self.support.rows[kept], minlength=self.n_rows)
        support = Support(self.atoms[kept], offsets_of(counts), self.n_atoms)
        return self._made(self.values[kept], support, self.leading_shape)

    def reshape(self, *shape: int) -> SparseCodes:
        """Return the same codes with other leading axes, whose product is the number of rows."""
        return self.with_values(self.values, leading_shape=shape)

    def detach(self) -> SparseCodes:
        """Return the same codes without a gradient."""
        return self._made(self.values.detach(), self.support, self.leading_shape)

    def to(self, device: int | str | torch.device) -> SparseCodes:
        """Return the codes on another device; the same object if they are there already.

        Raises
        ------
        ValueError: If there is no such device, or it keeps no numbers ("meta").
        """
        if device is None:
            raise TypeError("`device` must be a torch device such as 'cpu' or 'cuda', got None.")
        wanted = check_device(device)
        if wanted.type == "meta":
            raise ValueError(
                "`device` must keep the numbers of the codes, such as 'cpu' or 'cuda', got 'meta', which "
                "keeps shapes alone. Use codes.shape for these."
            )
        if wanted == self.device:
            return self
        support = Support(self.atoms.to(wanted), self.offsets.to(wanted), self.n_atoms)
        return self._made(self.values.to(wanted), support, self.leading_shape)

    def __deepcopy__(self, _: object) -> SparseCodes:
        # As pickle does: torch copies no tensor that was computed, unless it is taken off its graph.
        support = Support(self.atoms.clone(), self.offsets.clone(), self.n_atoms)
        return self._made(self.values.detach().clone(), support, self.leading_shape)

    def with_values(
        self, values: Float[Tensor, " nnz"], leading_shape: tuple[int, ...] | None = None
    ) -> SparseCodes:
        """Return the same atoms with other strengths; grouping by atom is shared, not made again.

        `leading_shape`: Leading axes, where they change too.
        """
        shape = self.leading_shape if leading_shape is None else leading_shape
        return SparseCodes(values, self.atoms, self.offsets, self.n_atoms, shape, self.support)

    @classmethod
    @checked
    def concatenate(cls, parts: Iterable[SparseCodes]) -> SparseCodes:
        """Concatenate codes of several batches of one dictionary, rows in order.

        Axes after the first are kept where all parts agree on them.

        Raises
        ------
        ValueError: If there are no parts or their widths differ.
        """
        parts = list(parts)
        widths = sorted({part.n_atoms for part in parts})
        if len(widths) != 1:
            raise ValueError(
                "`parts` must be codes of one dictionary, "
                f"got {f'widths {widths}' if parts else 'no codes at all'}. "
                "Encode every batch with the same SAE."
            )
        tails = {part.leading_shape[1:] for part in parts}
        rows = sum(part.n_rows for part in parts)
        tail = tails.pop() if len(tails) == 1 else ()
        inner = math.prod(tail)
        shape = (rows // inner, *tail) if inner else (rows,)
        atoms, l0 = (torch.cat(of) for of in zip(*((part.atoms, part.l0) for part in parts)))
        support = Support(atoms, offsets_of(l0), widths[0])
        return cls._made(torch.cat([part.values for part in parts]), support, shape)

    # Files

    @checked
    def save(self, folder: str | Path, *, replace: bool = False) -> None:
        """Write the codes to a folder, which appears only when complete: safetensors, JSON, checksums.

        Raises
        ------
        FileExistsError: If the folder exists and may not be replaced.
        """
        write_codes(self, folder, replace=replace)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> SparseCodes:
        """Read codes written with `save`.

        Raises
        ------
        FileNotFoundError: If the folder or a file of it is missing.
        ValueError: If a file was cut short or altered, or does not hold sparse codes.
        """
        return read_codes(cls, folder)

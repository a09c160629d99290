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
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb._hints import KnowsOtherWords
from sae_nb.checks import (
    Count,
    Seed,
    as_tensor,
    check_atom,
    check_device,
    check_number_type,
    checked,
    row_numbers,
    same_length,
    shown,
)
from sae_nb.codes._array import ArrayOfCodes, plain
from sae_nb.codes._support import (
    INT32_MAX,
    AtomIndex,
    Support,
    check_parts,
    index_dtype,
    offsets_of,
)
from sae_nb.files._atomic import read_json, read_manifest, write_csv
from sae_nb.files._tensors import read_tensors, write_folder

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame
    from scipy.sparse import csr_matrix


Labels = Mapping[int, str] | Sequence[str] | None
"""Texts by atom."""


class Tabulated(Protocol):
    """Activations, as far as codes know them: rows that are a table."""

    def __len__(self) -> int: ...
    def to_pandas(self) -> DataFrame:
        """Return sample, position and token of each row."""


KIND = "sparse codes"
"""What the manifest of a folder of codes says."""

_JOINS = (torch.cat, torch.concat, torch.concatenate)


@dataclass(frozen=True, eq=False, repr=False)
class SparseCodes(ArrayOfCodes, KnowsOtherWords):
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
        made, offsets = object.__new__(cls), support.offsets
        parts = vars(made)
        parts["values"], parts["atoms"], parts["offsets"] = values, support.atoms, offsets
        parts["n_atoms"], parts["support"] = support.n_atoms, support
        parts["leading_shape"] = leading_shape
        if leading_shape is None:
            parts["leading_shape"] = (offsets.numel() - 1,)
        return made

    # How many, where, of what kind

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
    def l0(self) -> Int[Tensor, " rows"]:
        """Entries of each row: ‖z_i‖₀ where no stored strength is zero."""
        return self.offsets[1:] - self.offsets[:-1]

    @cached_property
    def frequency(self) -> Float[Tensor, " n_atoms"]:
        """Share of rows in which each atom is active (z ≠ 0)."""
        active = self.atoms[self.values.detach() != 0]
        return torch.bincount(active, minlength=self.n_atoms) / max(self.n_rows, 1)

    # Other forms of the same codes

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
        return cls.from_entries(rows[row, atom], row, atom, z.shape)

    @classmethod
    def from_entries(
        cls,
        values: Float[Tensor, " nnz"],
        rows: Int[Tensor, " nnz"],
        atoms: Int[Tensor, " nnz"],
        shape: Sequence[int],
    ) -> SparseCodes:
        """Put entries together that are known by row and atom, each pair once, and keep their gradient.

        Entries that come row by row are stored in that order; others are sorted by row first.

        Parameters
        ----------
        values
            Strengths.
        rows, atoms
            Where each of them is; leading axes are counted through as one.
        shape
            Of the codes if they were dense, (…, n_atoms).

        Raises
        ------
        ValueError: If there is no such row or atom, or lengths differ.

        Example
        -------
        >>> rows, atoms = torch.tensor([1, 0]), torch.tensor([0, 2])
        >>> SparseCodes.from_entries(torch.tensor([3.0, 5.0]), rows, atoms, (2, 3)).to_dense().tolist()
        [[0.0, 0.0, 5.0], [3.0, 0.0, 0.0]]
        """
        *leading_shape, n_atoms = shape
        n_rows = math.prod(leading_shape)
        if bool((rows[1:] < rows[:-1]).any()):
            rows, order = rows.sort(stable=True)
            values, atoms = values[order], atoms[order]
        if len(rows) and not 0 <= int(rows[0]) <= int(rows[-1]) < n_rows:
            raise ValueError(
                f"`rows` must be between 0 and {n_rows - 1}, got {int(rows[0])} … {int(rows[-1])}. Give "
                "`shape` all rows."
            )
        offsets = offsets_of(torch.bincount(rows, minlength=n_rows))
        atoms = atoms.to(index_dtype(n_atoms))
        return cls(values, atoms, offsets, n_atoms, tuple(leading_shape))

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

    def of_atoms(
        self, atoms: Sequence[int] | Int[np.ndarray, " chosen"]
    ) -> Float[Tensor, "*batch chosen"]:
        """Return the coefficients of a few atoms, row by row and with their gradient: a dense block of them.

        Example
        -------
        >>> SparseCodes.from_dense(torch.tensor([[1.0, 0, -2], [0, 4, 0]])).of_atoms([2, 0]).tolist()
        [[-2.0, 1.0], [0.0, 0.0]]
        """
        chosen = torch.as_tensor(atoms, dtype=torch.long, device=self.device)
        column = torch.full((self.n_atoms,), -1, device=self.device)
        column[chosen] = torch.arange(len(chosen), device=self.device)
        at = column[self.atoms.long()]
        here = at >= 0
        cell = self.support.rows[here].long() * len(chosen) + at[here]
        block = self.values.new_zeros(self.n_rows * len(chosen))
        block = block.index_add(0, cell, self.values[here]).reshape(self.n_rows, len(chosen))
        return block[:, column[chosen]].reshape(
            *self.leading_shape, len(chosen)
        )  # one may be asked for twice

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

    def to_pandas(self, acts: Tabulated | None = None, labels: Labels = None) -> DataFrame:
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
        return pd.DataFrame({name: plain(column[entries]) for name, column in columns.items()})

    @checked
    def to_numpy(self, dtype: object = None) -> np.ndarray:
        """Return the codes as a dense array, (…, n_atoms), of a numpy `dtype`; `to_scipy` keeps them sparse."""
        return self.__array__(check_number_type(dtype))

    @checked(leave=("acts", "labels"))
    def to_csv(
        self,
        path: str | Path | None = None,
        acts: Tabulated | None = None,
        labels: Labels = None,
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
        tensors = {"values": self.values, "atoms": self.atoms, "offsets": self.offsets}
        write_folder(
            folder,
            KIND,
            json={"config.json": {"n_atoms": self.n_atoms, "shape": list(self.leading_shape)}},
            tensors={"codes.safetensors": tensors},
            replace=replace,
        )

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> SparseCodes:
        """Read codes written with `save`.

        Raises
        ------
        FileNotFoundError: If the folder or a file of it is missing.
        ValueError: If a file was cut short or altered, or does not hold sparse codes.
        """
        folder = Path(folder)
        read_manifest(folder, KIND)
        config = read_json(folder / "config.json")
        parts = read_tensors(folder / "codes.safetensors")
        try:
            return cls(
                parts["values"],
                parts["atoms"],
                parts["offsets"],
                config["n_atoms"],
                tuple(config["shape"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{str(folder)!r} must hold sparse codes, and does not: {error} Encode again."
            ) from error

"""Sparse codes in CSR: for each input row, the atoms it uses and how strongly; never a dense matrix.

Row i owns the entries offsets[i] … offsets[i + 1] of `values` and `atoms`. `by_atom` is the same
codes read the other way (CSC): for each atom, the rows that use it. A `Support` is a sparsity pattern,
which atoms each row uses, without the strengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb._lazy import KnowsOtherWords
from sae_nb.checks import check_atom, check_memory
from sae_nb.files import (
    new_folder,
    read_json,
    read_manifest,
    read_tensors,
    write_json,
    write_manifest,
    write_tensors,
)

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix


KIND = "sparse codes"


INT32_MAX = 2**31 - 1
"""Largest number a 32-bit index holds."""


@dataclass(frozen=True, eq=False)
class Grouping:
    """Where entries go when they are grouped by atom (CSC), rows ascending within each atom.

    Entry e of atom j, with offsets[j] ≤ e < offsets[j + 1], is entry order[e] of the CSR form.
    """

    rows: Int[Tensor, " nnz"]
    """Input row of each entry."""

    order: Int[Tensor, " nnz"]
    """Place of each entry in the CSR arrays."""

    offsets: Int[Tensor, " n_atoms_plus_1"]
    """First entry of each atom, and the number of entries at the end."""


class Support:
    """Which atoms each row uses, without the strengths; its CSC view is made once, on demand.

    Codes that share a support (a batch and its detached copy) share this object.
    """

    path: Any = None
    """What made the codes, where there was a choice; decoding then goes the same way."""

    def __init__(
        self, atoms: Int[Tensor, " nnz"], offsets: Int[Tensor, " rows_plus_1"], n_atoms: int
    ) -> None:
        self.atoms, self.offsets, self.n_atoms = atoms, offsets, n_atoms

    @cached_property
    def by_atom(self) -> Grouping:
        """The entries grouped by atom."""
        if self.atoms.device.type == "cpu":
            return self._counting_sort()
        order = torch.argsort(self.atoms, stable=True)
        counts = torch.bincount(self.atoms, minlength=self.n_atoms)
        return Grouping(self.rows[order], order, offsets_of(counts))

    def _counting_sort(self) -> Grouping:
        # scipy's CSR → CSC conversion is a compiled counting sort: O(nnz), and deterministic. At
        # 65536 entries it takes 0.3 ms, a stable torch sort 4 ms (2 cores).
        import numpy as np
        from scipy.sparse import csr_matrix

        nnz = len(self.atoms)
        narrow = np.int32 if max(nnz, self.n_atoms) < INT32_MAX else np.int64
        parts = (
            np.arange(nnz, dtype=narrow),
            self.atoms.numpy().astype(narrow, copy=False),
            self.offsets.numpy().astype(narrow),
        )
        csc = csr_matrix(parts, shape=(len(self.offsets) - 1, self.n_atoms)).tocsc()
        rows, order = torch.from_numpy(csc.indices), torch.from_numpy(csc.data)
        return Grouping(rows, order, torch.from_numpy(csc.indptr.astype(np.int64)))

    @cached_property
    def rows(self) -> Int[Tensor, " nnz"]:
        """Input row of each entry, in CSR order."""
        n = len(self.offsets) - 1
        return torch.repeat_interleave(
            torch.arange(n, device=self.offsets.device),
            self.offsets[1:] - self.offsets[:-1],
            output_size=len(self.atoms),
        )


def index_dtype(n_atoms: int) -> torch.dtype:
    """Kind of integer that holds an atom's number."""
    return torch.int32 if n_atoms <= INT32_MAX else torch.int64


def offsets_of(counts: Int[Tensor, " n"]) -> Int[Tensor, " n_plus_1"]:
    """First entry of each segment, and the number of entries at the end."""
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, dim=0, out=offsets[1:])
    return offsets


@dataclass(frozen=True, eq=False)
class AtomIndex(Grouping):
    """Sparse codes grouped by atom (CSC): for each atom, the rows that use it and how strongly."""

    values: Float[Tensor, " nnz"]
    """Strength of each entry."""


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
        n = len(self.offsets) - 1
        given = self.leading_shape
        shape = (n,) if given is None else tuple(int(size) for size in given)
        if self.values.ndim != 1 or self.values.shape != self.atoms.shape:
            raise ValueError(
                "`values` and `atoms` must be two vectors of one length, got shapes "
                f"{tuple(self.values.shape)} and {tuple(self.atoms.shape)}. Flatten them."
            )
        if self.offsets.ndim != 1 or n < 0 or math.prod(shape) != n:
            raise ValueError(
                f"`offsets` must have one entry more than there are rows, got {len(self.offsets)} for "
                f"rows of shape {shape}. Give `leading_shape` the leading axes of the input."
            )
        object.__setattr__(self, "leading_shape", shape)
        if self.support is None:
            object.__setattr__(self, "support", Support(self.atoms, self.offsets, self.n_atoms))

    # How many, where, of what kind

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        per_row = f", {self.nnz / len(self):.1f} per row" if len(self) else ""
        return f"SparseCodes({len(self)} rows × {self.n_atoms} atoms, {self.nnz} entries{per_row})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes as a matrix: the leading axes of the input, and n_atoms."""
        return (*self.leading_shape, self.n_atoms)

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return len(self.values)

    @property
    def l0(self) -> Int[Tensor, " rows"]:
        """Entries of each row: ‖z_i‖₀ where no stored strength is zero."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def device(self) -> torch.device:
        """Where the entries are."""
        return self.values.device

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number of the strengths."""
        return self.values.dtype

    @cached_property
    def frequency(self) -> Float[Tensor, " n_atoms"]:
        """Share of rows in which each atom is active (z ≠ 0)."""
        active = self.atoms[self.values.detach() != 0]
        return torch.bincount(active, minlength=self.n_atoms) / max(len(self), 1)

    # Other forms of the same codes

    def to_dense(self) -> Float[Tensor, "*batch n_atoms"]:
        """All codes as one dense tensor, zeros included: for tests and small examples.

        Raises
        ------
        MemoryError: If it would not fit.
        """
        needed = len(self) * self.n_atoms * self.values.element_size()
        check_memory(needed, f"A dense copy of {self!r}", "Use rows(…) or to_scipy() instead.")
        dense = torch.zeros(len(self), self.n_atoms, dtype=self.dtype, device=self.device)
        place = (self.support.rows, self.atoms.long())
        return dense.index_put(place, self.values).reshape(self.shape)

    def to_scipy(self) -> csr_matrix:
        """The codes as a scipy CSR matrix that shares their memory on the CPU."""
        from scipy.sparse import csr_matrix

        values = self.values.detach().cpu()
        values = values if values.dtype in (torch.float32, torch.float64) else values.float()
        atoms, offsets = self.atoms.cpu().numpy(), self.offsets.cpu().numpy()
        # scipy wants both index arrays of one type, and copies when they differ.
        narrow = max(self.nnz, self.n_atoms) < INT32_MAX
        kind = "int32" if narrow else "int64"
        parts = (values.numpy(), atoms.astype(kind, copy=False), offsets.astype(kind, copy=False))
        return csr_matrix(parts, shape=(len(self), self.n_atoms))

    @classmethod
    def from_dense(cls, z: Float[Tensor, "*batch n_atoms"]) -> SparseCodes:
        """Keep the non-zero entries of a dense code, and its gradient."""
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
        """The codes grouped by atom (CSC); the grouping is made once and kept."""
        index = self.support.by_atom
        return AtomIndex(index.rows, index.order, index.offsets, self.values[index.order])

    def strengths(self, atom: int) -> tuple[Int[Tensor, " uses"], Float[Tensor, " uses"]]:
        """Rows that use an atom, ascending, and how strongly."""
        atom = check_atom(atom, self.n_atoms)
        index = self.support.by_atom
        first, last = index.offsets[atom : atom + 2].tolist()
        return index.rows[first:last].long(), self.values[index.order[first:last]]

    # Parts, copies, unions

    def rows(
        self, which: int | slice | Sequence[int] | np.ndarray | Int[Tensor, " chosen"] | Tensor
    ) -> SparseCodes:
        """The codes of some rows, in the order asked for: a row, a slice, row numbers or a mask.

        Leading axes count as flattened.

        Raises
        ------
        IndexError: If a row does not exist or a mask has the wrong length.
        """
        chosen = self._row_numbers(which)
        counts = self.l0[chosen]
        offsets = offsets_of(counts)
        total = int(offsets[-1])
        first = torch.repeat_interleave(
            self.offsets[:-1][chosen] - offsets[:-1], counts, output_size=total
        )
        entries = first + torch.arange(total, device=self.device)
        return SparseCodes(self.values[entries], self.atoms[entries], offsets, self.n_atoms)

    def only(self, kept: Bool[Tensor, " nnz"]) -> SparseCodes:
        """The same rows with some of their entries, named by a mask, and their gradient."""
        counts = torch.bincount(self.support.rows[kept], minlength=len(self))
        parts = (self.values[kept], self.atoms[kept], offsets_of(counts))
        return SparseCodes(*parts, self.n_atoms, self.leading_shape)

    def _row_numbers(self, which: object) -> Tensor:
        if isinstance(which, slice):
            return torch.arange(len(self), device=self.device)[which]
        chosen = torch.as_tensor(which, device=self.device).reshape(-1)
        if chosen.dtype == torch.bool:
            if len(chosen) != len(self):
                raise IndexError(
                    f"A mask over rows must have {len(self)} entries, got {len(chosen)}. Flatten its "
                    "leading axes as the codes do."
                )
            return chosen.nonzero().flatten()
        chosen = chosen.long()
        if len(chosen) and not (-len(self) <= int(chosen.min()) <= int(chosen.max()) < len(self)):
            raise IndexError(
                f"Rows must be between 0 and {len(self) - 1}, got {int(chosen.min())} … "
                f"{int(chosen.max())}. Index the codes of the same inputs."
            )
        return chosen % max(len(self), 1)

    def reshape(self, *shape: int) -> SparseCodes:
        """The same codes with other leading axes, whose product is the number of rows."""
        return self.with_values(self.values, leading_shape=shape)

    def detach(self) -> SparseCodes:
        """The same codes without a gradient."""
        return self.with_values(self.values.detach())

    def to(self, device: str | torch.device) -> SparseCodes:
        """The codes on another device; the same object if they are there already."""
        if torch.device(device) == self.device:
            return self
        values, atoms = self.values.to(device), self.atoms.to(device)
        return SparseCodes(values, atoms, self.offsets.to(device), self.n_atoms, self.leading_shape)

    def with_values(
        self, values: Float[Tensor, " nnz"], leading_shape: tuple[int, ...] | None = None
    ) -> SparseCodes:
        """The same atoms with other strengths; grouping by atom is shared, not made again.

        `leading_shape`: Leading axes, where they change too.
        """
        shape = self.leading_shape if leading_shape is None else leading_shape
        return SparseCodes(values, self.atoms, self.offsets, self.n_atoms, shape, self.support)

    @classmethod
    def concatenate(cls, parts: Iterable[SparseCodes]) -> SparseCodes:
        """Codes of several batches of one dictionary as one, rows in order.

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
        rows = sum(len(part) for part in parts)
        tail = tails.pop() if len(tails) == 1 else ()
        inner = math.prod(tail)
        shape = (rows // inner, *tail) if inner else (rows,)
        return cls(
            torch.cat([part.values for part in parts]),
            torch.cat([part.atoms for part in parts]),
            offsets_of(torch.cat([part.l0 for part in parts])),
            widths[0],
            shape,
        )

    # Files

    def save(self, folder: str | Path, *, replace: bool = False) -> None:
        """Write the codes to a folder, which appears only when complete: safetensors, JSON, checksums.

        Raises
        ------
        FileExistsError: If the folder exists and may not be replaced.
        """
        tensors = {"values": self.values, "atoms": self.atoms, "offsets": self.offsets}
        with new_folder(folder, replace=replace) as partial:
            write_tensors(partial / "codes.safetensors", tensors)
            config = {"n_atoms": self.n_atoms, "shape": list(self.leading_shape)}
            write_json(partial / "config.json", config)
            write_manifest(partial, KIND)

    @classmethod
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
        codes = cls(
            parts["values"],
            parts["atoms"],
            parts["offsets"],
            config["n_atoms"],
            tuple(config["shape"]),
        )
        codes.check(str(folder))
        return codes

    def check(self, where: str = "The codes") -> None:
        """Refuse indices that cannot be: offsets ascend from 0 to nnz, and atoms exist."""
        ascending = self.offsets[0] == 0 and self.offsets[-1] == self.nnz and (self.l0 >= 0).all()
        exist = not self.nnz or (self.atoms.min() >= 0 and self.atoms.max() < self.n_atoms)
        if not (bool(ascending) and bool(exist)):
            raise ValueError(
                f"{where} must have offsets that ascend from 0 to {self.nnz} and atoms below "
                f"{self.n_atoms}, and do not. Encode again."
            )

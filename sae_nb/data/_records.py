"""The common parts of all data: records that are sequences and print short; seeds; shares."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np
import torch
from torch import Tensor

from sae_nb._hints import KnowsOtherWords
from sae_nb.checks import row_numbers

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from pandas import DataFrame

LONGEST_TEXT = 40
Several = slice | Sequence[int] | Tensor | np.ndarray
"""What names several rows: a slice, numbers or a mask."""


class Record(Sequence[Any], KnowsOtherWords):
    """Base of the data records: sequences that are chosen from, iterated, split and tabulated.

    `record[2:10]`, a mask or row numbers give a smaller record of the same type, with its labels, and
    so does a single number: a record of one.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> drawn = scenes(10)
    >>> len(drawn[2:5]), len(drawn[[7, 3]]), len(drawn[-1]), len(list(drawn))
    (3, 2, 1, 10)
    >>> drawn.to_pandas().loc[0, ["colour", "texture"]].tolist()
    ['blue', 'dots']
    """

    shared: ClassVar[tuple[str, ...]] = ()
    """Fields that belong to the record as a whole; the others have an entry per element."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """The first field: images, waveforms, texts."""
        first = getattr(self, fields(self)[0].name)  # type: ignore[arg-type]
        return np.array(first.numpy() if isinstance(first, Tensor) else first, dtype=dtype)

    def __getitem__(self, index: Any) -> Self:
        return self.subset(self._numbers(index).reshape(-1))

    def subset(self, rows: object) -> Self:
        """Keep some elements: a slice, a boolean mask or row numbers."""
        chosen = self._numbers(rows).reshape(-1)
        parts = {name: _chosen(getattr(self, name), chosen) for name in self._own()}
        return replace(self, **parts)  # type: ignore[type-var]

    def to_pandas(self) -> DataFrame:
        """Return the labels as a table, a line per element; names where labels are numbers of names."""
        import pandas as pd

        columns = {}
        for name in self._own():
            values, names = getattr(self, name), getattr(self, f"{name}_names", None)
            if isinstance(values, Tensor) and values.ndim == 1:
                numbers = values.tolist()
                columns[name] = [names[i] for i in numbers] if names else numbers
            elif isinstance(values, tuple):
                columns[name] = list(values)
        return pd.DataFrame(columns, index=range(len(self)))

    def _own(self) -> list[str]:
        return [f.name for f in fields(self) if f.name not in self.shared]  # type: ignore[arg-type]

    def _numbers(self, index: object) -> Tensor:
        field = f"A field of all elements is an attribute, such as `.{self._own()[0]}`."
        return row_numbers(index, (len(self),), torch.device("cpu"), beyond=field)

    def __repr__(self) -> str:
        facts = "; ".join(_described(f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({facts})"


class Texts(Record):
    """Base of the records of texts: one element is its text; a slice is a record, with its labels."""

    texts: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: Several) -> Self: ...
    def __getitem__(self, index: int | Several) -> str | Self:
        chosen = self._numbers(index)
        return self.texts[int(chosen)] if chosen.ndim == 0 else self.subset(chosen)


def _chosen(values: Any, rows: Tensor) -> Any:
    if isinstance(values, tuple | list):
        return type(values)(values[row] for row in rows.tolist())
    return values[rows]


def _described(name: str, value: object) -> str:
    if isinstance(value, Tensor):
        shape = "×".join(map(str, value.shape))
        return f"{name} {shape} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, str | int | float | bool) or value is None:
        text = repr(value)
        return f"{name}={text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + '…'}"
    if isinstance(value, Sized):
        return f"{name}: {len(value)}"
    return f"{name}: {type(value).__name__}"


def seeded(seed: int) -> torch.Generator:
    """Return a generator of torch's that begins at a seed."""
    return torch.Generator().manual_seed(seed)

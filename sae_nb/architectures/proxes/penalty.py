"""What encoders and solvers need of a penalty g: prox_{t g}(v) = argmin_z ½‖z − v‖² + t g(z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sae_nb.codes import SparseCodes

_Numbers = TypeVar("_Numbers", float, Tensor, float | Tensor)

TILE_ENTRIES = 8 * 2**20
"""Dense entries of a tile of pre-codes: 32 MB in fp32, as in `kernels`."""


@runtime_checkable
class Prox(Protocol):
    """What a one-step encoder needs of a penalty g."""

    def __call__(self, pre_codes: Float[Tensor, "rows n_atoms"]) -> SparseCodes:
        """The proximal map of dense pre-codes."""
        ...

    def of_affine(
        self,
        x: Float[Tensor, "rows d_in"],
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        centre: Float[Tensor, " d_in"] | None,
    ) -> SparseCodes:
        """The proximal map of (x − centre) weightᵀ + bias, without keeping it."""
        ...


class Penalty(ABC):
    """A penalty g with its value, and its proximal map for any step.

    A subclass writes `dense` and `objective`; the sparse faces (`Prox`) follow.
    """

    convex: ClassVar[bool] = True
    """Whether g is convex, so that solvers find the minimum from anywhere."""

    @abstractmethod
    def dense(
        self, v: Float[Tensor, "rows n_atoms"], step: float = 1.0
    ) -> Float[Tensor, "rows n_atoms"]:
        """argmin_z ½‖z − v‖² + step · g(z), zeros included: for tiles inside a solver.

        Parameters
        ----------
        v
            Rows to be mapped.
        step
            t.
        """

    @abstractmethod
    def objective(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, " rows"]:
        """G of each row, ∞ where it is not allowed.

        Parameters
        ----------
        z
            Dense codes.
        """

    def of_rows(self, rows: slice) -> Penalty:  # noqa: ARG002
        """The penalty of a tile of rows, where it differs from row to row.

        Parameters
        ----------
        rows
            The tile.
        """
        return self

    def __call__(self, pre_codes: Float[Tensor, "rows n_atoms"]) -> SparseCodes:
        """The proximal map of dense pre-codes, sparse."""
        return SparseCodes.from_dense(self.dense(pre_codes))

    def of_affine(
        self,
        x: Float[Tensor, "rows d_in"],
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        centre: Float[Tensor, " d_in"] | None,
    ) -> SparseCodes:
        """The proximal map of (x − centre) weightᵀ + bias, in tiles.

        Parameters
        ----------
        x
            Inputs.
        weight, bias, centre
            The affine map.
        """
        tiles = row_tiles(len(x), len(weight))
        return SparseCodes.concatenate(
            self.of_rows(rows)(affine(x[rows], weight, bias, centre)) for rows in tiles
        )


def affine(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None,
    centre: Float[Tensor, " d_in"] | None,
) -> Float[Tensor, "rows n_atoms"]:
    """(x − centre) weightᵀ + bias, dense.

    Parameters
    ----------
    x
        Inputs of one tile.
    weight, bias, centre
        The affine map.
    """
    pre_codes = (x if centre is None else x - centre) @ weight.T
    return pre_codes if bias is None else pre_codes + bias


def row_tiles(n_rows: int, n_atoms: int, entries: int = TILE_ENTRIES) -> Iterator[slice]:
    """Slices of rows whose dense codes have at most `entries` entries (one row at least).

    Parameters
    ----------
    n_rows, n_atoms
        Size of the whole.
    entries
        Most entries of a tile.
    """
    size = max(1, entries // n_atoms)
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))


def tile_of(numbers: _Numbers, rows: slice) -> _Numbers:
    """Weights of a tile: their rows where they differ by row, else all of them.

    Parameters
    ----------
    numbers
        One number, one per atom, or one per row and atom.
    rows
        The tile.
    """
    if isinstance(numbers, Tensor) and numbers.ndim == 2:
        return numbers[rows]
    return numbers

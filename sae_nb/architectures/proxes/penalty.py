"""What a solver needs of a penalty g: its proximal map, on dense pre-codes and in tiles."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sae_nb.codes import SparseCodes


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

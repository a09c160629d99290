"""What a backend must be able to do; encoding, decoding and all gradients are built from these.

With entries e of row i (atom j_e, value v_e), table rows t_j and gradient rows g_i:
`sum_atoms` y_i = s + Σ_{e∈i} v_e t_{j_e};  `sum_inputs` y_j = Σ_{e: j_e = j} v_e t_{i_e};
`dots` y_e = ⟨g_i, t_{j_e}⟩;  `totals` y_j = Σ_{e: j_e = j} v_e;  `residuals` r_i = x_i − y_i with
y of `sum_atoms`, and Σ‖r_i‖².
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.support import Support


class Entries(NamedTuple):
    """Entries of sparse codes before they become `SparseCodes`: a plain CSR triple."""

    values: Float[Tensor, " nnz"]
    atoms: Int[Tensor, " nnz"]
    offsets: Int[Tensor, " rows_plus_1"]


class Residuals(NamedTuple):
    """A reconstruction against its target."""

    x_hat: Float[Tensor, "rows width"]
    residual: Float[Tensor, "rows width"]
    squared_error: Float[Tensor, ""]
    column_sums: Float[Tensor, " width"]


@runtime_checkable
class Primitives(Protocol):
    """Sparse arithmetic of one backend."""

    name: str

    def topk(
        self,
        x: Float[Tensor, "rows d_in"],
        centre: Float[Tensor, " d_in"] | None,
        weight: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " n_atoms"] | None,
        k: int,
    ) -> Entries:
        """The k largest positive of (x − centre) weightᵀ + bias in each row."""
        ...

    def sum_atoms(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
        start: Float[Tensor, " width"] | None = None,
    ) -> Float[Tensor, "rows width"]:
        """For each row, the sum of its atoms' table rows, weighted by its values."""
        ...

    def residuals(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
        start: Float[Tensor, " width"] | None,
        target: Float[Tensor, "rows width"],
    ) -> Residuals:
        """What `sum_atoms` leaves of a target: residual rows, their squared and column sums."""
        ...

    def scaled(self, values: Float[Tensor, " nnz"], by: Float[Tensor, ""]) -> Float[Tensor, " nnz"]:
        """Values times one number."""
        ...

    def sum_inputs(
        self,
        values: Float[Tensor, " nnz"],
        support: Support,
        table: Float[Tensor, "rows width"],
    ) -> Float[Tensor, "n_atoms width"]:
        """For each atom, the sum of its inputs' table rows, weighted by its values."""
        ...

    def dots(
        self,
        g: Float[Tensor, "rows width"],
        support: Support,
        table: Float[Tensor, "n_atoms width"],
    ) -> Float[Tensor, " nnz"]:
        """For each entry, the dot product of its row of `g` with its atom's table row."""
        ...

    def totals(self, values: Float[Tensor, " nnz"], support: Support) -> Float[Tensor, " n_atoms"]:
        """For each atom, the sum of its values."""
        ...

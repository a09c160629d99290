"""What a backend must be able to do; encoding, decoding and all gradients are built from these.

With entries e of row i (atom j_e, value v_e), table rows t_j and gradient rows g_i:
`sum_atoms` y_i = s + Σ_{e∈i} v_e t_{j_e};  `sum_inputs` y_j = Σ_{e: j_e = j} v_e t_{i_e};
`dots` y_e = ⟨g_i, t_{j_e}⟩;  `totals` y_j = Σ_{e: j_e = j} v_e;  `residuals` r_i = x_i − y_i with
y of `sum_atoms`, and Σ‖r_i‖². Entries are chosen by one of three selections: `topk` by row,
`batch_topk` over all rows, `above` by threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.codes import Support


@dataclass(frozen=True, eq=False)
class PreCodes:
    """Pre-codes u = (x − centre) weightᵀ + bias that are described, not computed: they exist in tiles."""

    x: Float[Tensor, "rows d_in"]
    weight: Float[Tensor, "n_atoms d_in"]
    bias: Float[Tensor, " n_atoms"] | None = None
    centre: Float[Tensor, " d_in"] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_atoms(self) -> int:
        """Width of a row."""
        return len(self.weight)

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """What they are made from."""
        return self.x, self.weight, self.bias, self.centre

    @property
    def trains(self) -> bool:
        """Whether a gradient is wanted of any of it."""
        wanted = any(part is not None and part.requires_grad for part in self.tensors)
        return torch.is_grad_enabled() and wanted

    def detach(self) -> PreCodes:
        """The same numbers without a gradient."""
        bias, centre = (None if v is None else v.detach() for v in (self.bias, self.centre))
        return PreCodes(self.x.detach(), self.weight.detach(), bias, centre)

    def centred(self, rows: slice = slice(None)) -> Float[Tensor, "some d_in"]:
        """Some rows of x − centre."""
        x = self.x[rows]
        return x if self.centre is None else x - self.centre

    def dense(self) -> Float[Tensor, "rows n_atoms"]:
        """All of them at once."""
        u = self.centred() @ self.weight.T
        return u if self.bias is None else u + self.bias


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

    def topk(self, pre_codes: PreCodes, k: int, *, signed: bool = False) -> Entries:
        """The k largest positive pre-codes of each row, or the k of largest magnitude."""
        ...

    def batch_topk(self, pre_codes: PreCodes, n_kept: int) -> Entries:
        """The `n_kept` largest positive pre-codes of all rows together."""
        ...

    def above(self, pre_codes: PreCodes, thresholds: Float[Tensor, " n_atoms"]) -> Entries:
        """The pre-codes above the threshold of their atom."""
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

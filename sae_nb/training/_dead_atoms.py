"""Which atoms have not fired for long, and how often the others do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.kernels._backends import pick

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes


# -------------------------------------------------------------------------------------------------
# Which atoms still fire: rows since each last did, and how often, from sparse codes alone.
#
# With a batch of B rows, silent_j ← 0 if any z_j ≠ 0 in the batch, else silent_j + B; atom j is dead
# when silent_j ≥ `dead_after_tokens`.


class DeadAtoms:
    """Rows since each atom last fired, and the share of recent rows on which it did.

    Source: openai/sparse_autoencoder train.py and saprmarks/dictionary_learning trainers/top_k.py;
    the former counts steps, ours counts rows, so the batch size does not change the meaning.
    """

    BY_ATOM = ("silent_tokens", "fired", "fired_before")
    """Tensors of `state` with one number per atom."""

    def __init__(
        self, n_atoms: int, dead_after_tokens: int, device: torch.device | str | None = None
    ) -> None:
        self.dead_after_tokens = dead_after_tokens
        self.silent_tokens: Int[Tensor, " n_atoms"] = torch.zeros(
            n_atoms, dtype=torch.int64, device=device
        )
        # Firings in the window under way and in the one before it, windows of dead_after_tokens
        # rows: a frequency over one to two windows, without a ring buffer.
        self._fired = torch.zeros_like(self.silent_tokens)
        self._fired_before = torch.zeros_like(self.silent_tokens)
        self._rows, self._rows_before = 0, 0

    def begin(self, rows: int) -> None:
        """Begin a batch of that many rows, and a window where one is full; the host alone knows."""
        if self._rows >= self.dead_after_tokens:
            self._fired_before.copy_(self._fired)
            self._fired.zero_()
            self._rows, self._rows_before = 0, self._rows
        self._rows += rows

    def count(self, fired: Int[Tensor, " n_atoms"], rows: int) -> None:
        """Count the batch by its `fire_counts`."""
        self._fired += fired
        self.silent_tokens += rows
        self.silent_tokens *= fired == 0

    @property
    def mask(self) -> Bool[Tensor, " n_atoms"]:
        """True at dead atoms."""
        return self.silent_tokens >= self.dead_after_tokens

    @property
    def frequency(self) -> Float[Tensor, " n_atoms"]:
        """Share of the rows of the last one to two windows on which each atom fired."""
        return (self._fired + self._fired_before) / max(self._rows + self._rows_before, 1)

    def state(self) -> dict[str, Tensor]:
        """Return everything that a resumed run needs, as tensors."""
        return {
            "silent_tokens": self.silent_tokens,
            "fired": self._fired,
            "fired_before": self._fired_before,
            "rows": torch.tensor([self._rows, self._rows_before]),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over `state` of a tracker of the same size."""
        self.silent_tokens.copy_(state["silent_tokens"])
        self._fired.copy_(state["fired"])
        self._fired_before.copy_(state["fired_before"])
        self._rows, self._rows_before = (int(n) for n in state["rows"])


def fire_counts(codes: SparseCodes, n_atoms: int) -> Int[Tensor, " n_atoms"]:
    """Return rows on which each atom fired, z ≠ 0."""
    values = codes.values.detach()
    if pick("auto", values) == "cpu" and int(torch.count_nonzero(values)) == len(values):
        return torch.bincount(codes.atoms, minlength=n_atoms)
    # A bincount weighted by z ≠ 0, without a host sync on a GPU. Integer sums do not depend on
    # their order. Picking out atoms[z ≠ 0] instead takes five times as long (CPU, 65536 entries).
    counts = torch.zeros(n_atoms, dtype=torch.int64, device=values.device)
    return counts.scatter_add_(0, codes.atoms.long(), (values != 0).long())

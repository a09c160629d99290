"""The GPU primitives: Triton's kernels where Triton runs, else torch's gathers with fp32 sums.

`embedding_bag` adds weighted table rows segment by segment without atomics, so one call each gives
decoding (segments are rows) and gradients by atom (segments are atoms), and repeats bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from sae_nb.codes._support import Support
from sae_nb.kernels._backends import (
    Atoms,
    Entries,
    PreCodes,
    Primitives,
    Row,
    Rows,
    Values,
    card_decoding,
    card_encoding,
    card_topk_among,
    is_exact,
    kept_pre_codes,
    takes_triton,
)
from sae_nb.kernels._dense import Dense, is_dense, note


class Sparse(Dense):
    """Primitives by gathers, in the precision of the inputs; selections go through dense tiles."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "sparse"

    def sum_atoms(
        self, values: Values, support: Support, table: Atoms, start: Row | None = None
    ) -> Rows:
        """Gather and add the atoms of each row."""
        if is_dense("sum_atoms", support):
            return super().sum_atoms(values, support, table, start)
        out = _bags(values, support.atoms, support.offsets, table)
        return out if start is None else out.add_(start)

    def sum_inputs(self, values: Values, support: Support, table: Rows) -> Atoms:
        """Gather and add the inputs of each atom."""
        if is_dense("sum_inputs", support):
            return super().sum_inputs(values, support, table)
        index = support.by_atom
        return _bags(values[index.order], index.rows, index.offsets, table)

    def dots(self, g: Rows, support: Support, table: Atoms) -> Values:
        """Return the dot product of each row with each atom it uses: what `embedding_bag` calls the gradient
        of its weights. Both are read where they lie; gathering them first would move them four times.
        """
        if is_dense("dots", support):
            return super().dots(g, support, table)
        entries = (support.atoms.long(), support.offsets[:-1].long(), support.rows.long())
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(g, table, *entries, 0, -1)


def _bags(values: Tensor, index: Tensor, offsets: Tensor, table: Tensor) -> Tensor:
    return embedding_bag(
        index.long(),
        table,
        offsets,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )


@card_decoding.answer
def of(values: Values) -> Primitives:
    """Return the primitives for codes that no selection here has made."""
    if takes_triton(values):
        from sae_nb.kernels._triton_primitives import Triton

        return Triton()
    return Sparse()


@card_encoding.answer
def primitives(pre_codes: PreCodes, name: str) -> Primitives:
    """Return the path of an encoding, and note it.

    bf16 is for training steps alone, and only where `precision("float32")` does not hold: codes that are
    kept are made in the precision of the SAE. Batches whose pre-codes do not fit at once take torch's path.
    """
    x = pre_codes.x
    chosen: Primitives = Sparse()
    if takes_triton(x):
        from sae_nb.kernels._triton_primitives import Triton, fits

        if name.startswith(("topk", "abs-topk")) or fits(pre_codes):
            chosen = Triton(half=kept_pre_codes() is not None and not is_exact())
    shape = f"{len(x)} × {x.shape[1]}, {pre_codes.n_atoms} atoms, {name}"
    note(f"{name.split()[0]} step", chosen.name, f"{shape} on {x.device}")
    return chosen


@card_topk_among.answer
def topk_among(pre_codes: PreCodes, k: int, among: Tensor) -> tuple[Primitives, Entries]:
    """Return Triton's primitives and the entries that they choose from some atoms."""
    from sae_nb.kernels._triton_primitives import Triton

    triton = Triton(half=not is_exact())
    return triton, triton.topk(pre_codes, k, among=among)

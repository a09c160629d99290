"""Codes of several dictionaries as one, and back."""

from __future__ import annotations

import torch

from sae_nb.codes import SparseCodes
from sae_nb.codes._blocks import blocks, joined


def drawn(n_atoms: int, seed: int, rows: int = 6) -> SparseCodes:
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(rows, n_atoms, generator=generator).relu()
    dense[seed] = 0  # a row without entries
    return SparseCodes.from_dense(dense).reshape(2, rows // 2)


def test_joined_codes_are_dense_codes_side_by_side_and_come_apart_again() -> None:
    """With the leading axes and the order of atoms, and a gradient to every part."""
    parts = [drawn(4, 0), drawn(1, 1), drawn(3, 2)]
    leaves = [part.values.clone().requires_grad_() for part in parts]
    whole = joined([p.with_values(v) for p, v in zip(parts, leaves, strict=True)])
    assert whole.shape == (2, 3, 8)
    assert torch.equal(whole.to_dense(), torch.cat([part.to_dense() for part in parts], dim=-1))
    again = blocks(whole, (4, 1, 3))
    for part, one in zip(parts, again, strict=True):
        assert one.leading_shape == (2, 3)
        assert torch.equal(one.to_dense(), part.to_dense())
    again[1].values.sum().backward()
    assert [None if v.grad is None else float(v.grad.sum()) for v in leaves] == [
        0,
        leaves[1].numel(),
        0,
    ]

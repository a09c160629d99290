"""Choices and sums tile by tile of atoms are those of the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.kernels import (
    _reference as reference,
    _tiles as tiles,
    batch_topk_encode,
    decode,
    threshold_encode,
    topk_encode,
)
from sae_nb.kernels._backends import PreCodes


class InParts:
    """A matrix of which three rows are read at a time."""

    rows_at_once, requires_grad = 3, False

    def __init__(self, whole: Tensor) -> None:
        self.whole, self.asked = whole, []

    def __len__(self) -> int:
        return len(self.whole)

    def tiles(self) -> Iterator[slice]:
        return (slice(i, min(i + 3, len(self))) for i in range(0, len(self), 3))

    def block(self, rows: slice) -> Tensor:
        return self.whole[rows]

    def rows(self, atoms: Tensor) -> Tensor:
        self.asked.append(len(atoms))
        return self.whole[atoms]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Few different numbers, so that there are equal ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator).double()


@pytest.mark.parametrize("kind", ["topk", "signed", "batch", "above"])
def test_entries_are_those_of_one_piece_with_their_gradient(kind: str) -> None:
    """Of equal ones the lower atom, over the batch the earlier row."""
    x, weight, bias = drawn(7, 4).requires_grad_(), drawn(11, 4, seed=1), drawn(11, seed=2)
    limits = torch.linspace(-1, 2, 11).double()
    pre_codes = PreCodes(x, InParts(weight), bias)  # type: ignore[arg-type]
    whole = PreCodes(x, weight, bias).dense()

    def signed_or_not(w: Tensor, b: Tensor, _: slice) -> SparseCodes:
        return topk_encode(x.detach(), w, b, k=min(4, len(w)), signed=kind == "signed")

    if kind in ("topk", "signed"):
        found = tiles.topk(pre_codes, 4, kind == "signed", signed_or_not)
        expected = reference.topk(whole, 4, signed=kind == "signed")
    elif kind == "batch":
        found = tiles.batch_topk(
            pre_codes,
            20,
            lambda w, b, _: batch_topk_encode(x.detach(), w, b, k=min(20 / 7, len(w))),
        )
        expected = reference.batch_topk(whole, 20)
    else:
        found = tiles.above(
            pre_codes,
            lambda w, b, at: threshold_encode(x.detach(), w, b, thresholds=limits[at]),
        )
        expected = reference.above(whole, limits)
    assert torch.equal(found.to_dense().detach(), expected.to_dense().detach())
    gradients = [torch.autograd.grad((c.values.cumsum(0)).sum(), x)[0] for c in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("n_used", "asked"), [(0, [1]), (2, [2]), (3, [3]), (7, [3, 3, 1])])
def test_decoding_reads_the_atoms_in_use_a_few_at_a_time(n_used: int, asked: list[int]) -> None:
    z = drawn(5, 11, seed=3)
    z[:, torch.arange(11) * 4 % 11 >= n_used] = 0
    z[0, torch.arange(11) * 4 % 11 < n_used] = 1
    dictionary, bias = InParts(drawn(11, 4, seed=4)), drawn(4, seed=5)
    codes: Any = SparseCodes.from_dense(z)
    found = tiles.decode(codes, dictionary, bias, decode)  # type: ignore[arg-type]
    assert torch.equal(found, z @ dictionary.whole + bias)
    assert dictionary.asked == asked

"""Rows with a massive norm have no part in a training."""

from __future__ import annotations

import torch
from torch import Tensor

import sae_nb as sn


def rows(scale: float) -> Tensor:
    """1 000 rows around a mean, of which ten are `scale` times as long."""
    x = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0)) + 1
    x[::100] *= scale
    return x


def trained(x: Tensor) -> sn.training.TrainResult:
    torch.manual_seed(0)
    sae = sn.TopK(16, 32, 4)
    return sn.train(sae, x, steps=60, batch_size=256, log_every=1, progress=False)


def test_how_long_a_massive_row_is_changes_no_bit() -> None:
    """A hundred times or ten thousand times the others: the weights are the same, and both are counted."""
    one, other = trained(rows(100)), trained(rows(10_000))
    assert torch.equal(one.sae.dictionary, other.sae.dictionary)
    assert torch.equal(one.sae.bias, other.sae.bias)
    assert one.n_massive == other.n_massive > 60
    assert f"n_massive={one.n_massive}" in repr(one)


def test_no_record_is_about_a_massive_row() -> None:
    """R² of a batch with one would be near 1 or far below 0; without it rises as on usual rows."""
    r2 = [record.r2 for record in trained(rows(1000)).history]
    usual = [record.r2 for record in trained(rows(1)).history]
    assert max(abs(a - b) for a, b in zip(r2, usual)) < 0.1


def test_usual_rows_are_all_trained_on() -> None:
    assert trained(rows(1)).n_massive == 0
    spread = rows(1) * torch.logspace(-2, 2, 1000)[:, None]
    assert trained(spread).n_massive == 0

"""MaskedSAE: BatchTopK that must also reconstruct with a random part of its atoms hidden."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import BatchTopK
from sae_nb_studies.architectures import MaskedSAE

D, N, K = 12, 40, 3


def made(kind: Any = MaskedSAE, **settings: Any) -> Any:
    return kind(D, N, K, generator=torch.Generator().manual_seed(0), **settings)


def loss_of(sae: Any, x: Tensor) -> Any:
    return sae.training_loss(x, torch.zeros(N, dtype=torch.long), 100, 0.5)


@pytest.fixture
def x() -> Tensor:
    return 5 + 2 * torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def test_hidden_atoms_are_not_used_and_others_take_their_places(x: Tensor) -> None:
    sae = made()
    sae.initialise(x)
    hidden = torch.arange(N) % 3 == 0
    codes = sae.masked_codes(x, hidden)
    dense = codes.to_dense()
    assert bool((dense[:, hidden] == 0).all())
    assert codes.nnz == K * len(x)
    u = (x - sae.bias) @ sae.encoder.weight.T + sae.encoder.bias / sae.scaling.scale
    left = u.masked_fill(hidden, 0.0)
    kept = left.flatten().topk(K * len(x)).values.min()
    assert torch.allclose(dense, torch.where(left >= kept, left, 0.0), atol=1e-4)


def test_the_term_is_the_unexplained_share_without_them(x: Tensor) -> None:
    sae = made(masked_weight=0.7)
    sae.initialise(x)
    codes = sae.masked_codes(x, sae.hidden_now())
    x_hat = sae.decode(codes)
    by_hand = (x - x_hat).square().sum() / (x - sae.scaling.mean).square().sum()
    loss = loss_of(sae, x)
    assert torch.allclose(loss.parts["masked"], by_hand.detach(), rtol=1e-4)
    plain = made(masked_weight=0.0)
    plain.initialise(x)
    without = loss_of(plain, x)
    assert torch.allclose(loss.total, without.total + 0.7 * loss.parts["masked"], rtol=1e-5)
    assert torch.equal(loss.codes.to_dense(), without.codes.to_dense())


def test_each_step_hides_others_in_the_share_that_was_asked() -> None:
    """The same mask within a step; over two hundred steps a share of 0.2, five standard errors around."""
    sae = made(masked=0.2)
    assert torch.equal(sae.hidden_now(), sae.hidden_now())
    shares = []
    for _ in range(200):
        shares.append(float(sae.hidden_now().float().mean()))
        sae.after_optimiser_step()
    assert len(set(shares)) > 3
    assert abs(sum(shares) / 200 - 0.2) < 5 * (0.2 * 0.8 / 200 / N) ** 0.5


def test_without_its_weight_it_is_batch_topk(x: Tensor) -> None:
    found = []
    for sae in (made(masked_weight=0.0), made(BatchTopK)):
        sae.initialise(x)
        loss = loss_of(sae, x)
        loss.total.backward()
        found.append([loss.total.detach(), sae.encoder.weight.grad])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)

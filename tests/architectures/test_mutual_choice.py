"""MutualChoice: BatchTopK with a wider auxiliary loss; the law it fits is the one that was planted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import BatchTopK
from sae_nb_studies.architectures import FeatureChoice, MutualChoice
from sae_nb_studies.architectures._zipf import fit_zipf, zipf_rates

D, N, K = 12, 60, 3


def made(kind: Any = MutualChoice, **settings: Any) -> Any:
    return kind(D, N, K, generator=torch.Generator().manual_seed(0), **settings)


@pytest.fixture
def rows() -> Tensor:
    return 5 + 2 * torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def loss_of(sae: Any, x: Tensor, silent: Tensor | None = None) -> Any:
    silent = torch.zeros(N, dtype=torch.long) if silent is None else silent
    return sae.training_loss(x, silent, 100, 0.5)


@pytest.mark.parametrize(("exponent", "offset"), [(0.5, 0.0), (1.0, 4.0), (2.0, 16.0)])
def test_a_planted_law_is_found(exponent: float, offset: float) -> None:
    rates = zipf_rates(400, 4.0, exponent, offset)
    rates[250:] *= 0.01
    law = fit_zipf(rates[torch.randperm(400, generator=torch.Generator().manual_seed(0))])
    assert law is not None
    assert law.offset == offset
    assert law.exponent == pytest.approx(exponent, abs=1e-3)
    assert float(law.at(torch.tensor([300]))) == pytest.approx(100 * float(rates[299]), rel=1e-2)


def test_atoms_below_half_of_their_rank_are_under_used() -> None:
    """Those that were pulled below the law, once enough was counted; none with aux_zipf 0."""
    rates = zipf_rates(N, K, 0.5, 2.0)
    seldom = torch.tensor([7, 30, 55])
    order = torch.cat([torch.arange(N)[~torch.isin(torch.arange(N), seldom)], seldom])
    laid = torch.empty(N)
    laid[order] = rates.float()
    laid[seldom] *= 0.3
    sae = made()
    sae.fired.copy_(0.9 * laid)
    for seen, expected in ((0.9, [7, 30, 55]), (0.2, [])):
        sae.seen.fill_(seen)
        assert sae.under_used().nonzero().flatten().tolist() == expected
    sae.aux_zipf = 0.0
    sae.seen.fill_(0.9)
    assert not bool(sae.under_used().any())


def test_rates_are_shares_of_rows(rows: Tensor) -> None:
    """After one batch those of the batch, without a bias towards 0; at rest in eval mode."""
    sae = made()
    sae.initialise(rows)
    frequency = loss_of(sae, rows).codes.frequency
    assert torch.allclose(sae.rates, frequency, atol=1e-6)
    assert float(frequency.sum()) == pytest.approx(K)
    before = sae.fired.clone()
    with torch.no_grad():
        loss_of(sae, rows)
    loss_of(sae.eval(), rows)
    assert torch.equal(sae.fired, before)


def test_without_aux_zipf_it_is_batch_topk(rows: Tensor) -> None:
    silent = torch.zeros(N, dtype=torch.long)
    silent[:9] = 1000
    found = []
    for sae in (made(aux_zipf=0.0), made(BatchTopK)):
        sae.initialise(rows)
        loss = loss_of(sae, rows, silent)
        loss.total.backward()
        found.append([loss.codes.to_dense(), loss.total.detach(), sae.encoder.weight.grad])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_the_auxiliary_loss_is_for_under_used_atoms_too(rows: Tensor) -> None:
    seldom = torch.tensor([3, 20])
    silent = torch.zeros(N, dtype=torch.long)
    silent[seldom] = 1000
    parts = []
    for zipf in (False, True):
        sae = made(aux_zipf=0.5 if zipf else 0.0)
        sae.initialise(rows)
        if zipf:
            sae.fired.copy_(torch.full((N,), K / N).index_fill(0, seldom, 0.001))
            sae.seen.fill_(1.0)
        parts.append(loss_of(sae, rows, None if zipf else silent).parts["auxiliary"])
    assert float(parts[0]) > 0
    assert torch.equal(*parts)


def test_its_law_makes_a_feature_choice(rows: Tensor) -> None:
    sae = made()
    sae.fired.copy_(zipf_rates(N, K, 0.5, 2.0))
    sae.seen.fill_(1.0)
    law = sae.law()
    assert law is not None
    other = made(FeatureChoice, exponent=law.exponent, offset=law.offset)
    assert torch.allclose(other.target_rates, sae.rates, rtol=1e-2)

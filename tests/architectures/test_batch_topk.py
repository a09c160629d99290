"""BatchTopK: a batch shares its entries in training, a threshold stands in for it at inference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import BatchTopK, TopK
from sae_nb.data import planted_dictionary
from sae_nb.training import TrainConfig, train


def batch_topk(k: float = 3, seed: int = 0, **settings: Any) -> BatchTopK:
    return BatchTopK(16, 40, k, generator=torch.Generator().manual_seed(seed), **settings)


def test_in_training_the_batch_shares_its_entries(rows: Tensor) -> None:
    """Exactly B·k of them, unequally spread, and each stronger than any that was left out."""
    sae = batch_topk().train()
    sae.initialise(rows, None)
    codes = sae.encode(rows)
    assert codes.nnz == 3 * len(rows)
    assert len(set(codes.l0.tolist())) > 2
    pre_codes = sae.encoder(rows - sae.bias, sae.scaling.scale)
    left_out = pre_codes[codes.to_dense() == 0].detach()
    assert float(codes.values.detach().min()) >= float(left_out.max())


def test_one_input_is_encoded_as_by_topk(rows: Tensor) -> None:
    sae = batch_topk()
    topk = TopK(16, 40, 3, generator=torch.Generator().manual_seed(0))
    for row in rows[:5]:
        codes, expected = (one.encode(row, k=3).to_dense() for one in (sae, topk))
        torch.testing.assert_close(codes, expected)


def test_a_k_that_is_asked_for_counts_the_rows_of_that_call(rows: Tensor) -> None:
    sae = batch_topk()
    sae.initialise(rows, None)
    for mode in (True, False):
        sae.train(mode)
        assert sae.encode(rows, k=2).nnz == 2 * len(rows)
    alone = torch.cat([sae.encode(row).to_dense()[None] for row in rows])
    assert torch.equal(alone != 0, sae.encode(rows).to_dense() != 0)


def test_the_first_threshold_is_that_of_the_first_rows(rows: Tensor) -> None:
    sae = batch_topk().eval()
    assert sae.encode(rows).l0.max() == 3  # a plain TopK until then
    sae.initialise(rows, None)
    assert sae.encode(rows).nnz == 3 * len(rows)
    theta = float(sae.threshold)
    assert sae.fit_threshold(rows, k=1.5) > theta
    assert sae.encode(rows).nnz == 300


def test_the_threshold_follows_the_batches(rows: Tensor) -> None:
    """A running mean of the smallest kept pre-code; without a gradient, or in eval mode, it rests."""
    sae, silent = batch_topk(), torch.zeros(40, dtype=torch.long)
    sae.initialise(rows, None)
    start = float(sae.threshold)
    codes = sae.training_loss(2 * rows, silent, 1, 0.0).codes
    expected = 0.9 * start + 0.1 * float(codes.values.min())
    assert float(sae.threshold) == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        sae.training_loss(2 * rows, silent, 1, 0.0)
    sae.eval().training_loss(2 * rows, silent, 1, 0.0)
    assert float(sae.threshold) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_inputs_seen_alone_use_as_many_atoms_as_asked() -> None:
    """Held-out L0 by threshold within a tenth of k, and more explained than by TopK at equal L0."""
    for seed in range(2):
        data = planted_dictionary(64, 32, 8192, 3, noise=0.02, seed=seed, support="bernoulli")
        config = TrainConfig(steps=400, batch_size=512, seed=seed)
        explained = {}
        for kind in (BatchTopK, TopK):
            sae = kind(32, 64, 3, generator=torch.Generator().manual_seed(seed))
            train(sae, data.x[:6144], config, progress=False)
            test = data.x[6144:]
            codes = sae.encode(test).detach()
            left = (test - sae.decode(codes).detach()).square().sum()
            explained[kind] = 1 - float(left / (test - test.mean(dim=0)).square().sum())
            if kind is BatchTopK:
                assert codes.nnz / len(test) == pytest.approx(3, rel=0.1)
        assert explained[BatchTopK] >= explained[TopK] + 0.02

"""AbsTopK: one atom for a concept and its opposite."""

from __future__ import annotations

import pytest
import torch

from sae_nb.architectures import AbsTopK, TopK
from sae_nb.data import planted_dictionary
from sae_nb.training import TrainConfig, train


def abs_topk(k: int = 3, seed: int = 0) -> AbsTopK:
    return AbsTopK(16, 40, k, generator=torch.Generator().manual_seed(seed))


def test_with_every_atom_it_is_the_identity_on_pre_codes() -> None:
    sae, x = abs_topk(40), torch.randn(30, 16)
    pre_codes = sae.encoder(x - sae.bias, sae.scaling.scale)
    assert torch.allclose(sae.encode(x).to_dense(), pre_codes, atol=1e-6)


def test_it_is_odd() -> None:
    sae, x = abs_topk(), torch.randn(30, 16)
    ours, opposite = sae.encode(x), sae.encode(2 * sae.bias - x)
    assert torch.allclose(ours.to_dense(), -opposite.to_dense(), atol=1e-5)
    assert bool((ours.values > 0).any())
    assert bool((ours.values < 0).any())


@pytest.mark.slow
def test_signed_concepts_are_found_where_positive_codes_fail() -> None:
    """Planted atoms with random signs: matched up to sign, and more explained than by TopK."""
    data = planted_dictionary(64, 32, 8192, 3, noise=0.02, nonnegative=False, seed=0)
    config = TrainConfig(steps=400, batch_size=512)
    explained = {}
    for kind in (AbsTopK, TopK):
        sae = kind(32, 64, 3, generator=torch.Generator().manual_seed(0))
        train(sae, data.x[:6144], config, progress=False)
        test = data.x[6144:]
        left = (test - sae(test).detach()).square().sum()
        explained[kind] = 1 - float(left / (test - test.mean(dim=0)).square().sum())
        if kind is AbsTopK:
            cosine = (data.dictionary @ sae.dictionary.T).abs().amax(dim=1).mean()
            assert float(cosine) >= 0.93
    # Measured (seed 0): 0.90 against 0.70.
    assert explained[AbsTopK] >= explained[TopK] + 0.1

"""Sparse features are as rare and as strong as promised."""

from __future__ import annotations

import pytest

import sae_nb as sn


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.97])
def test_features_are_off_with_the_chance_asked_for(sparsity: float) -> None:
    x = sn.data.sparse_features(100_000, 4, sparsity, seed=3)
    on = x > 0
    error = 5 * (max(sparsity * (1 - sparsity), 1e-6) / on.numel()) ** 0.5
    assert abs(1 - float(on.float().mean()) - sparsity) < error + 1e-6
    assert abs(float(x[on].mean()) - 0.5) < 0.01
    assert float(x.max()) <= 1
    both = float((on[:, 0] & on[:, 1]).float().mean())
    assert abs(both - (1 - sparsity) ** 2) < 0.01

"""Planted families: siblings are as alike as asked, strangers are not, and x is Z D."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import planted_families


@pytest.mark.parametrize("within", [0.0, 0.4, 0.8])
def test_siblings_are_as_alike_as_asked(within: float) -> None:
    """Mean cosine within a family is `within`, between families it is zero."""
    data = planted_families(40, 8, 64, 5, 3, within=within, seed=1)
    cosine = (data.dictionary @ data.dictionary.T).reshape(40, 8, 40, 8)
    own = cosine[torch.arange(40), :, torch.arange(40)]
    siblings = own[:, ~torch.eye(8, dtype=torch.bool)]
    assert float(siblings.mean()) == pytest.approx(within, abs=0.02)
    others = (cosine.sum() - own.sum()) / (40 * 39 * 64)
    assert abs(float(others)) < 0.02
    assert torch.allclose(data.dictionary.norm(dim=1), torch.ones(320), atol=1e-6)


def test_inputs_are_their_codes() -> None:
    """Without noise x = Z D; with noise the rest has the deviation asked for."""
    clean = planted_families(4, 4, 32, 50, 3, seed=2)
    assert torch.allclose(clean.x, clean.codes.to_dense() @ clean.dictionary, atol=1e-6)
    noisy = planted_families(4, 4, 32, 500, 3, noise=0.1, seed=2)
    rest = noisy.x - noisy.codes.to_dense() @ noisy.dictionary
    assert float(rest.std()) == pytest.approx(0.1, rel=0.03)

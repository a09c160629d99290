"""Heads put out mixtures of their values: exactly so, trained or not."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.minkowski import head_mixtures
from tests.models.small_models import small_vit


@pytest.fixture(scope="module")
def model() -> sn.LiveModel:
    return sn.load_model("tiny-vit")


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 11])
def test_attention_is_rebuilt_from_its_mixtures(model: sn.LiveModel, layer: int) -> None:
    found = head_mixtures(model, sn.data.scenes(3), layer)
    assert found.rest < 1e-4
    assert found.off_simplex < 1e-5
    assert ((found.n_used >= 1) & (found.n_used <= found.n_tokens + 1e-3)).all()


def test_it_holds_without_any_training() -> None:
    module = small_vit(n_blocks=1)
    with torch.no_grad():
        module.blocks[0].attn.qkv.weight[:64] = 0  # type: ignore[index, union-attr]
    model = sn.wrap(module, prefix_tokens=5, patch_grid=(8, 8))
    found = head_mixtures(model, sn.data.scenes(2), 0)
    assert found.rest < 1e-4
    assert torch.allclose(found.n_used, torch.full((4,), 69.0), atol=0.01)

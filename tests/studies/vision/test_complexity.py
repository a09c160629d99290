"""Promises of feature complexity: what is computed later is more complex, and nothing readable costs 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn


def _planted(n: int = 600) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Four layers; feature i appears in layer i, as a product of the inputs that no line can read."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator).double()
    features = torch.stack(
        [x[:, 0], x[:, 0] * x[:, 1], x[:, 1] * x[:, 2], x[:, 2] * x[:, 3]], dim=1
    )
    layers = [torch.cat((x, features[:, : i + 1]), dim=1) for i in range(4)]
    return layers, features


def test_complexity_is_the_share_of_layers_that_lack_a_feature() -> None:
    """0, 1/4, 2/4, 3/4, each within its interval's reach; the same rows shuffled have 1."""
    layers, features = _planted()
    found = sn.vision.complexity_of(layers, features)
    assert np.allclose(found.complexity, [0, 0.25, 0.5, 0.75], atol=0.03)
    assert found.shuffled > 0.97
    assert (found.interval[:, 0] <= found.complexity + 1e-9).all()


def test_rows_of_one_sample_stay_on_one_side() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20, 60, generator=generator).repeat_interleave(10, 0)
    target = torch.randn(20, 1, generator=generator).repeat_interleave(10, 0)
    groups = torch.arange(20).repeat_interleave(10)
    leaked = sn.vision.complexity_of([noise], target, ridge=1e-6)
    honest = sn.vision.complexity_of([noise], target, groups=groups, ridge=1e-6)
    assert leaked.complexity[0] < 0.1
    assert honest.complexity[0] > 0.5


@pytest.mark.slow
def test_importance_is_what_the_gradient_says() -> None:
    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    images = sn.data.scenes(6).images
    found = sn.vision.feature_complexity(model, sae, images, "resid_post.6", n_bootstrap=5)
    atom = found.atoms[0]
    acts = sn.capture(
        model, images, "resid_post.6", gradient_of=lambda y: y.amax(dim=1).sum(), progress=False
    )
    z = torch.from_numpy(sae.encode(acts).to_scipy()[:, [atom]].toarray())[:, 0]
    effect = torch.zeros(6).index_add_(0, acts.sample, z * (acts.gradient @ sae.dictionary[atom]))
    assert found.importance[0] == pytest.approx(float(effect.abs().mean()), rel=1e-4)
    assert set(found.relation) == {"spearman", "low", "high", "n"}
    assert len(found.plot_layers(3).data) == 3

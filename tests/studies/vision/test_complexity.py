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


def test_one_factor_for_all_features_is_a_fit_for_each() -> None:
    """A feature's complexity does not depend on its neighbours."""
    layers, features = _planted(60)
    together = sn.vision.complexity_of(layers, features, n_bootstrap=0)
    alone = sn.vision.complexity_of(layers, features[:, 2:3], n_bootstrap=0)
    assert together.complexity[2] == pytest.approx(alone.complexity[0], abs=1e-9)


def test_rows_of_one_sample_stay_on_one_side() -> None:
    """Copies of a sample cannot be learned by heart: noise stays unreadable."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20, 60, generator=generator).repeat_interleave(10, 0)
    target = torch.randn(20, 1, generator=generator).repeat_interleave(10, 0)
    groups = torch.arange(20).repeat_interleave(10)
    leaked = sn.vision.complexity_of([noise], target, ridge=1e-6)
    honest = sn.vision.complexity_of([noise], target, groups=groups, ridge=1e-6)
    assert leaked.complexity[0] < 0.1
    assert honest.complexity[0] > 0.5


def test_a_constant_feature_has_no_complexity() -> None:
    """NaN, and the others are as they were."""
    layers, features = _planted(60)
    features[:, 1] = 2.0
    found = sn.vision.complexity_of(layers, features, n_bootstrap=0)
    assert np.isnan(found.complexity[1])
    assert np.isfinite(found.complexity[[0, 2, 3]]).all()


def test_importance_is_what_the_gradient_says() -> None:
    """|Σ_t z_t ⟨∂y/∂x_t, d⟩| by hand for one image and one atom."""
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


def test_a_hook_point_without_a_layer_before_is_refused() -> None:
    """The embedding has nothing to be read from."""
    model = sn.load_model("tiny-vit")
    sae = sn.TopK(64, 8, 2)
    with pytest.raises(ValueError, match="behind some layer"):
        sn.vision.feature_complexity(model, sae, sn.data.scenes(4).images, "embed")

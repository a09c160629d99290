"""One activation is drawn as the sum that the SAE makes of it: every term, and what is left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn


@pytest.fixture(scope="module")
def patch() -> sn.atoms.SumOfAtoms:
    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    acts = sn.capture(model, sn.data.scenes(2, seed=0), "resid_post.6", progress=False)
    labels = sn.load_examples("tiny-vit/resid_post.6").labels
    return sn.atoms.sum_of_atoms(sae, acts, model.prefix_tokens + 9, labels=labels)


@pytest.mark.parametrize("make", [sn.TopK, sn.MatchingPursuit, sn.ReLU, sn.SpaDE, sn.Gated])
def test_the_terms_add_up_to_what_the_sae_returns(make: type[sn.SparseAutoencoder]) -> None:
    torch.manual_seed(0)
    k = {"k": 6} if make in (sn.TopK, sn.MatchingPursuit) else {}
    sae = make(d_in=16, n_atoms=32, **k)
    x = torch.randn(10, 16)
    whole = sn.atoms.sum_of_atoms(sae, x, -1, n=2)
    np.testing.assert_allclose(whole.x_hat, sae(x)[-1].detach().numpy(), atol=2e-6)
    np.testing.assert_array_equal(whole.x, x[-1].numpy())


@pytest.mark.slow
def test_the_strongest_come_first_and_the_rest_is_counted(patch: sn.atoms.SumOfAtoms) -> None:
    assert len(patch.atoms) == 5
    assert patch.n_rest == 11
    assert (np.diff(patch.strengths) <= 0).all()
    np.testing.assert_allclose(np.linalg.norm(patch.parts, axis=1), patch.strengths, rtol=1e-4)
    assert 0 < patch.left < 0.5

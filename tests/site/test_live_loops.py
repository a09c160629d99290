"""A page of a looped network runs one application of its block."""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb.site._live import _Live


def test_a_layer_of_a_looped_network_is_edited_where_it_is() -> None:
    """The same answer as `steer` at the same layer, and codes of that layer."""
    model = sn.wrap(
        sn.load_model("tiny-vit-tied").module.looped(),
        preprocess=sn.load_model("tiny-vit-tied").preprocess,
    )
    sae, images = sn.TopK(64, 32, k=4).eval(), sn.data.scenes(1, seed=0).images
    strengths = torch.zeros(32)
    strengths[3] = 2.0
    with torch.no_grad():
        logits, codes = _Live(model, sae, "resid_post.6")(255.0 * images, strengths)
    with sn.steer(model, "resid_post.6", sae, atom=3, by=2.0):
        torch.testing.assert_close(logits, model(images).logits[0], atol=1e-4, rtol=1e-4)
    acts = sn.capture(model, images, "resid_post.6", progress=False)
    torch.testing.assert_close(codes, sae.encode(acts.x).to_dense(), atol=1e-4, rtol=1e-4)

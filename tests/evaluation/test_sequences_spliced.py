"""Loss recovered of a temporal SAE: spliced sequence by sequence, as capture would keep them."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn


@pytest.fixture(scope="module")
def model() -> sn.LiveModel:
    return sn.load_model("tiny-gpt")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return list(sn.data.stories(3, seed=7).texts)


@pytest.mark.slow
def test_a_text_is_spliced_alike_alone_and_in_a_padded_batch(
    model: sn.LiveModel, texts: list[str]
) -> None:
    acts = sn.capture(model, texts, "resid_post.1", progress=False)
    sae = sn.Temporal(acts.d_in, 64, 8, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, sn.TrainConfig(steps=10, batch_size=256), progress=False)
    found = [
        sn.evaluate(sae, acts, model, model_batch_size=size, n_bootstrap=0)["ce"].value
        for size in (1, 3)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_the_spliced_activations_are_the_full_forward(
    model: sn.LiveModel, texts: list[str]
) -> None:
    """What later layers see of a text is sae(x) of its own tokens, the first one untouched."""
    before = sn.capture(model, texts[:1], "resid_post.1", drop_first=False, progress=False)
    sae = sn.Temporal(before.d_in, 64, 8, generator=torch.Generator().manual_seed(0)).eval()
    with sn.splice(model, "resid_post.1", sae, "not_first"):
        after = sn.capture(model, texts[:1], "resid_post.1", drop_first=False, progress=False)
    assert torch.equal(after.x[0], before.x[0])
    assert torch.allclose(after.x[1:], sae(before.x[1:]), atol=1e-2)

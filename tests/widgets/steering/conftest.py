"""Two models that nobody trained, and a steering panel of each."""

from __future__ import annotations

from typing import Any

import pytest
import sae_nb_widgets as sw
import torch
from torch import nn

import sae_nb as sn
from tests.models.small_models import PlainSae, small_gpt, small_vit
from tests.widgets.steering.small import PICTURES, SAE


@pytest.fixture(scope="module")
def vit() -> Any:
    module = small_vit(d_model=32, n_blocks=3, n_heads=2)
    return sn.wrap(module, class_names=[str(i) for i in range(10)], name="small vit")


@pytest.fixture(scope="module")
def gpt() -> Any:
    """A GPT-2 of two blocks that nobody trained; one of its words is markup."""
    return small_gpt(["<end>", "the", "cat", "sat", "<script>alert(1)</script>", "dog"])


@pytest.fixture(scope="module")
def acts(vit: Any) -> Any:
    return sn.capture(vit, PICTURES, "resid_post.1", progress=False)


@pytest.fixture
def panel(vit: Any) -> sw.SteeringPanel:
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES, atom=5, strength=4.0)
    made.wait()
    return made


@pytest.fixture
def talking(gpt: Any) -> sw.SteeringPanel:
    made = sw.SteeringPanel(
        gpt, "resid_post.0", PlainSae(16, 32), ["the cat", "the dog sat"], atom=3, strength=5.0
    )
    made.wait()
    return made


@pytest.fixture
def planted() -> sw.SteeringPanel:
    sae = PlainSae(16, 8)
    linear = nn.Linear(16, 3, bias=False)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[1] = sae.dictionary[0]
    model = sn.wrap(nn.Sequential(nn.Identity(), linear), class_names=["a", "b", "c"])
    made = sw.SteeringPanel(model, "0", sae, torch.zeros(2, 16), strength=3.0)
    made.wait()
    return made

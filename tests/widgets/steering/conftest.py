"""Two models that nobody trained, and a steering panel of each."""

from __future__ import annotations

from typing import Any

import pytest
import sae_nb_widgets as sw
import torch
from torch import nn

import sae_nb as sn
from sae_nb.models._vision_transformer import VisionTransformer, VisionTransformerConfig
from tests.widgets.steering.small import PICTURES, SAE, PlainSae


@pytest.fixture(scope="module")
def vit() -> Any:
    config = VisionTransformerConfig(d_model=32, n_blocks=3, n_heads=2)
    module = VisionTransformer(config, generator=torch.Generator().manual_seed(0))
    return sn.wrap(module.eval(), class_names=[str(i) for i in range(10)], name="small vit")


@pytest.fixture(scope="module")
def gpt() -> Any:
    """A GPT-2 of two blocks that nobody trained; one of its words is markup."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["<end>", "the", "cat", "sat", "<script>alert(1)</script>", "dog"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<end>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=6, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    return sn.wrap(GPT2LMHeadModel(config).eval(), tokenizer=tokenizer, name="small gpt")


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

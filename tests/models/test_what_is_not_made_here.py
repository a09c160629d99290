"""Models that need, or add, what inputs are not made into are refused by name before their numbers are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, Siglip2VisionConfig, Siglip2VisionModel

import sae_nb as sn

IDS = torch.arange(6)[None]
ASKED: dict[str, Callable[[sn.LiveModel], Any]] = {
    "capture": lambda model: sn.capture(model, IDS, "resid_post.0", progress=False),
    "call": lambda model: model(IDS),
    "direct effects": lambda model: sn.circuits.direct_effects(model, IDS, 3),
}


class Prompted(nn.Module):
    """Three virtual tokens in front of every text, as prompt tuning has them."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 12, "n_positions": 16}
        self.base_model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
        self.config = self.base_model.config
        self.prompt = nn.Parameter(torch.randn(3, 8))

    def forward(self, input_ids: Tensor, **kwargs: Any) -> Any:
        own = self.base_model.transformer.wte(input_ids)
        whole = torch.cat([self.prompt.expand(len(own), -1, -1), own], dim=1)
        return self.base_model(inputs_embeds=whole)


@pytest.mark.parametrize("asked", ASKED)
def test_virtual_tokens_are_counted_and_the_model_inside_is_named(asked: str) -> None:
    model = sn.wrap(Prompted().eval())
    with pytest.raises(ValueError, match=r"6 tokens .* 9: it puts 3 of its own.*base_model"):
        ASKED[asked](model)
    ASKED[asked](sn.wrap(model.module.base_model))


def test_arguments_that_images_are_not_made_into_are_named() -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = Siglip2VisionConfig(**sizes, num_attention_heads=2, patch_size=8, num_patches=16)
    model = sn.wrap(Siglip2VisionModel(config).eval())
    for given in (torch.rand(1, 3, 32, 32), {"pixel_values": torch.randn(1, 16, 192)}):
        with pytest.raises(TypeError, match="pixel_attention_mask and spatial_shapes"):
            sn.capture(model, given, "resid_post.0", progress=False)

"""`wrap` takes any module as it is, decides what it reads, and leaves it unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sae_nb.models import LiveModel, Preprocess, wrap
from sae_nb.models._token_layout import TokenLayout


def test_the_module_is_used_and_left_as_it_is(build) -> None:
    """No copy, no change of mode or of requires_grad."""
    module = build("gpt2").train()
    for index, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    before = [parameter.requires_grad for parameter in module.parameters()]
    model = wrap(module)
    model([[3, 4]])
    assert model.module is module
    assert module.training
    assert [parameter.requires_grad for parameter in module.parameters()] == before
    assert not any(p._forward_hooks or p._forward_pre_hooks for p in module.modules())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "plain"),
        ({"preprocess": lambda x: x}, "vision"),
        ({"patch_grid": (2, 2)}, "vision"),
        ({"prefix_tokens": 1}, "vision"),
        ({"tokenizer": object()}, "language"),
    ],
)
def test_what_is_given_decides_what_is_read(options, kind) -> None:
    """A tokenizer means text; preprocess or a layout means pictures; nothing means tensors."""
    assert wrap(nn.Linear(2, 2), **options).kind == kind


@pytest.mark.parametrize(
    ("family", "kind", "causal"),
    [
        ("gpt2", "language", True),
        ("llama", "language", True),
        ("bert", "language", False),
        ("roberta", "language", False),
        ("vit", "vision", False),
        ("clip_vision_model", "vision", False),
        ("dinov2_with_registers", "vision", False),
    ],
)
def test_hugging_face_modules_tell_what_they_are(build, family, kind, causal) -> None:
    """From their configuration; a decoder without its head is causal too."""
    model = wrap(build(family))
    assert (model.kind, model.causal) == (kind, causal)
    if causal:
        assert wrap(model.module.base_model).causal


def test_layout_is_told_by_the_module_and_overridden_by_the_user(build) -> None:
    """A preprocessor's output size decides the grid; explicit arguments win."""
    module = build("dinov2_with_registers")
    assert (wrap(module).prefix_tokens, wrap(module).patch_grid) == (4, (4, 4))
    larger = wrap(module, preprocess=Preprocess(height=48, width=64))
    assert larger.patch_grid == (6, 8)
    assert larger(torch.rand(1, 3, 20, 20)).shape == (1, 16)
    forced = wrap(module, prefix_tokens=0, patch_grid=(2, 3))
    assert (forced.prefix_tokens, forced.patch_grid) == (0, (2, 3))
    assert forced.layout == TokenLayout(0, (2, 3))


def test_a_hugging_face_image_processor_is_understood(build) -> None:
    """Its settings, not its code, are used."""
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3])
    model = wrap(build("vit"), preprocess=processor)
    assert model.preprocess.mean == (0.1, 0.2, 0.3)
    assert model.preprocess.output_size == (32, 32)


def test_an_nnsight_object_is_unwrapped_and_kept(build) -> None:
    """The torch module underneath is run; model.nnsight is the very object that was given."""
    from nnsight import NNsight

    module = build("gpt2")
    expected = wrap(module)([[3, 4, 5]])
    theirs = NNsight(module)
    model = wrap(theirs)
    assert model.module is module
    assert model.nnsight is theirs
    assert torch.equal(model([[3, 4, 5]]), expected)
    assert model.hook_points() == wrap(module).hook_points()
    assert model.generate([3, 4], max_new_tokens=2).shape == (4,)


def test_an_nnsight_language_model_brings_its_tokenizer(build, tokenizer) -> None:
    """Text can be given at once."""
    from nnsight import TransformersModel

    names = tokenizer()
    theirs = TransformersModel(build("gpt2"), tokenizer=names, task="text-generation")
    model = wrap(theirs)
    assert model.tokenizer is not None
    assert model("the cat").shape == (1, 2, 64)


def test_a_submodule_of_an_nnsight_object_can_be_wrapped(build) -> None:
    """An envoy of a part is a module too."""
    from nnsight import NNsight

    module = build("clip_vision_model")
    assert wrap(NNsight(module).encoder).module is module.encoder


def test_a_model_of_two_kinds_is_refused(tmp_path) -> None:
    """CLIP reads text and pictures: its parts are wrapped one by one."""
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision))
    with pytest.raises(ValueError, match=r"wrap\(module\.vision_model\)"):
        wrap(clip)
    assert wrap(clip.vision_model).kind == "vision"
    assert isinstance(wrap(clip.text_model), LiveModel)

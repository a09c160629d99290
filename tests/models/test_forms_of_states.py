"""States of other forms than (batch, time, d) are read as rows of tokens or cells, and edited in their own form."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import LiveModel

IDS = torch.arange(5, 17).view(2, 6)
TEXT: dict[str, Any] = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
STAGES: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [1, 1],
    "num_labels": 3,
}


def _module(name: str) -> nn.Module:
    import transformers as t

    if name == "time first":
        return t.XLNetLMHeadModel(
            t.XLNetConfig(d_model=32, n_layer=2, n_head=4, d_inner=64, **TEXT)
        )
    if name == "streams":
        config = t.Gemma3nTextConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            intermediate_size=[64, 64], layer_types=["sliding_attention", "full_attention"], laurel_rank=8,
            hidden_size_per_layer_input=8, vocab_size_per_layer_input=64, num_kv_shared_layers=0,
            activation_sparsity_pattern=[0.0, 0.0], **TEXT,
        )  # fmt: skip
        return t.Gemma3nForCausalLM(config)
    if name == "padded to windows":
        config = t.LongformerConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, attention_window=[4, 4],
            max_position_embeddings=64, **TEXT,
        )  # fmt: skip
        return t.LongformerForMaskedLM(config)
    if name == "a prompt before":
        config = t.CpmAntConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, dim_head=8, dim_ff=64, prompt_length=3,
            vocab_size=64,
        )  # fmt: skip
        return t.CpmAntForCausalLM(config)
    if name == "lists side by side":
        config = t.XLMConfig(emb_dim=32, n_layers=2, n_heads=4, **TEXT)
        return t.XLMWithLMHeadModel(config)
    return t.SwinForImageClassification(t.SwinConfig(num_heads=[2, 2], window_size=4, **STAGES))


FORMS = (
    "time first",
    "streams",
    "padded to windows",
    "a prompt before",
    "lists side by side",
    "a stage",
)


@cache
def made(name: str) -> LiveModel:
    torch.manual_seed(0)
    return sn.wrap(_module(name).eval())


def given(name: str) -> Tensor:
    return (
        torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        if name == "a stage"
        else IDS
    )


def by_hook(name: str) -> Tensor:
    """The first block's output as a plain hook sees it, as rows."""
    model, seen = made(name), []
    point = model.hook_point("resid_post.0")
    handle = model.get_module(point.path).register_forward_hook(
        lambda _m, _a, out: seen.append(out)
    )
    if name == "a stage":
        model.module(pixel_values=given(name))
    else:
        model.module(input_ids=IDS, attention_mask=torch.ones_like(IDS), use_cache=False)
    handle.remove()
    x: Tensor = seen[0] if isinstance(seen[0], Tensor) else seen[0][0]
    turned = {
        "time first": lambda: x.transpose(0, 1),
        "streams": lambda: x.permute(1, 2, 0, 3).flatten(2),
        "padded to windows": lambda: x[:, :6],
        "a prompt before": lambda: x[:, 3:],
    }
    return turned.get(name, lambda: x)().flatten(0, 1).detach()


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_rows_are_those_of_a_plain_hook(name: str, backend: Any) -> None:
    """A row per token, or per cell of a stage, of every sample in its order."""
    acts = sn.capture(
        made(name), given(name), "resid_post.0", drop_first=False, progress=False, backend=backend
    )
    own = by_hook(name)
    assert acts.x.shape == own.shape
    assert torch.allclose(acts.x, own, atol=1e-6)
    assert acts.sample.tolist() == [0] * (len(own) // 2) + [1] * (len(own) // 2)


@pytest.mark.parametrize("name", FORMS)
def test_an_edit_is_made_in_the_form_of_the_module(name: str) -> None:
    """A direction is added at every row, by both backends alike, and the answer hears of it."""
    model, x = made(name), given(name)
    before = sn.capture(model, x, "resid_post.0", drop_first=False, progress=False).x
    direction = torch.randn(before.shape[1], generator=torch.Generator().manual_seed(2))
    plain, answers = model(x), []
    for backend in ("hooks", "nnsight"):
        with sn.steer(
            model, "resid_post.0", direction=direction, by=2.0, unit="coefficient", backend=backend
        ):
            after = sn.capture(model, x, "resid_post.0", drop_first=False, progress=False).x
            answers.append(model(x))
        added = after - before
        assert float((added - added.mean(dim=0)).abs().max()) < 1e-3
        assert float(added.norm(dim=1).min()) > 0.1
    assert torch.allclose(answers[0], answers[1], atol=1e-6)
    assert float((answers[0] - plain).abs().max()) > 1e-4


def test_a_stage_has_its_own_grid_and_width() -> None:
    """Cells row by row, 8 patches a side before the stage and 4 behind it."""
    model = made("a stage")
    acts = sn.capture(model, given("a stage"), "resid_post.0", progress=False)
    assert acts.context.patch_grid == (4, 4)
    assert acts.position.max() == 15
    assert model.width("resid_post.0") is None
    assert acts.x.shape == (32, 32)


def test_frames_that_are_read_one_by_one_are_parts_of_their_video() -> None:
    """VideoPrism's first blocks get (videos · frames, patches, d): rows are tubelets of each video in order."""
    import transformers as t

    if not hasattr(t, "VideoPrismVisionConfig"):
        pytest.skip("this transformers has no VideoPrism")
    config = t.VideoPrismVisionConfig(
        hidden_size=32, intermediate_size=64, num_attention_heads=4, num_spatial_layers=2, num_temporal_layers=1,
        num_frames=4, image_size=32, tubelet_size=[1, 8, 8],
    )  # fmt: skip
    module = t.VideoPrismForVideoClassification(config).eval()
    model, seen = sn.wrap(module), []
    videos = torch.rand(2, 4, 3, 32, 32)
    handle = model.get_module(model.hook_point("resid_post.0").path).register_forward_hook(
        lambda _m, _a, out: seen.append(out if isinstance(out, Tensor) else out[0])
    )
    plain = model(videos)
    handle.remove()
    acts = sn.capture(model, videos, "resid_post.0", progress=False)
    assert seen[0].shape == (8, 16, 32)
    assert torch.allclose(acts.x, seen[0].flatten(0, 1), atol=1e-6)
    assert acts.sample.tolist() == [0] * 64 + [1] * 64
    with sn.steer(model, "resid_post.0", direction=torch.ones(32), by=2.0, unit="coefficient"):
        moved = sn.capture(model, videos, "resid_post.0", progress=False).x - acts.x
        assert float((moved - moved[0]).abs().max()) < 1e-3
        assert not torch.allclose(model(videos), plain)


def test_streams_of_a_token_are_side_by_side() -> None:
    assert made("streams").width("resid_post.0") == 4 * 32


def test_a_network_of_several_towers_has_the_blocks_that_run() -> None:
    """GIT reads texts; its encoder of images has blocks, too, which run only if there is one."""
    import transformers as t

    vision = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    config = t.GitConfig(
        vision_config=vision, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, **TEXT
    )  # fmt: skip
    module = t.GitForCausalLM(config).eval()
    model = sn.wrap(module)
    assert model.n_layers == 2
    images = torch.rand(2, 3, 32, 32)
    both = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "pixel_values": images}
    with torch.no_grad():
        states = module(**both, output_hidden_states=True, use_cache=False).hidden_states
    acts = sn.capture(model, both, "resid_post.0", drop_first=False, progress=False)
    assert torch.allclose(acts.x, states[1][:, -6:].flatten(0, 1), atol=1e-6)


def test_a_decoder_may_read_an_encoder_of_images() -> None:
    """Rows of the encoder are patches, those of the decoder tokens."""
    import transformers as t

    vision = t.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8
    )  # fmt: skip
    text = t.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=32, **TEXT)
    config = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.decoder_start_token_id, config.pad_token_id = 3, 0
    module = t.VisionEncoderDecoderModel(config).eval()
    images, ids = torch.rand(2, 3, 32, 32), torch.tensor([[5, 6], [7, 8]])
    model = sn.wrap(module)
    points = ["encoder.resid_post.0", "decoder.resid_post.0"]
    acts = sn.capture(
        model, [(one, row) for one, row in zip(images, ids, strict=True)], points, progress=False
    )
    with torch.no_grad():
        raw = module(
            pixel_values=images,
            decoder_input_ids=torch.cat([torch.full((2, 1), 3), ids], dim=1),
            output_hidden_states=True,
        )
    for point, states in zip(
        points, (raw.encoder_hidden_states, raw.decoder_hidden_states), strict=True
    ):
        assert torch.allclose(acts[point].x, states[1].flatten(0, 1), atol=1e-6)


def test_features_of_a_models_own_extractor_are_read() -> None:
    """Frames that the mask leaves out are cut off, and waveforms are refused."""
    import transformers as t

    config = t.Wav2Vec2BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        feature_projection_input_dim=16, conv_depthwise_kernel_size=3,
    )  # fmt: skip
    module = t.Wav2Vec2BertForSequenceClassification(config).eval()
    model = sn.wrap(module)
    features = torch.randn(2, 9, 16)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    given = {"input_features": features, "attention_mask": mask}
    acts = sn.capture(model, given, "resid_post.0", progress=False)
    assert acts.sample.tolist() == [0] * 9 + [1] * 6
    with torch.no_grad():
        alone = module(input_features=features[1:, :6], output_hidden_states=True).hidden_states
    assert torch.allclose(acts[acts.sample == 1].x, alone[1][0], atol=1e-5)
    with pytest.raises(ValueError, match="extractor"):
        sn.capture(model, [torch.randn(16_000)], "resid_post.0", progress=False)
    with pytest.raises(ValueError, match="finite"):
        sn.capture(model, {"input_features": features * torch.nan}, "resid_post.0", progress=False)

"""Texts with images in them: one stream, whose rows are text tokens or image patches."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.models import LiveModel
from tests.small_llava import pairs, small_llava

NAMES = ("Llava", "Qwen2VL", "SmolVLM", "Idefics3")
PATCH = 50  # the placeholder
N_PATCHES = {"Llava": 16}  # per image; 4 in the others, which merge 2 × 2


@cache
def made(name: str) -> LiveModel:
    import transformers

    torch.manual_seed(0)
    text: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": 64, "vocab_size": 60, "max_position_embeddings": 128, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    vision: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    llama = transformers.LlamaConfig(**text)
    if name == "Llava":
        vision = transformers.CLIPVisionConfig(**vision)
        more = {"text_config": llama, "vision_config": vision, "image_token_index": PATCH}
        more |= {"vision_feature_layer": -1}
    elif name == "Qwen2VL":
        vision = {
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 8,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
        }  # fmt: skip
        turns = {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
        ids = {"image_token_id": PATCH, "video_token_id": 51, "vision_start_token_id": 52}
        ids |= {"vision_end_token_id": 53, "bos_token_id": 1, "eos_token_id": 2}
        more = {"text_config": text | turns, "vision_config": vision, **ids}
    else:
        more = {"text_config": llama, "vision_config": vision, "image_token_id": PATCH}
        more |= {"scale_factor": 2, "pad_token_id": 0}
    config = getattr(transformers, f"{name}Config")(**more)
    return sn.wrap(getattr(transformers, f"{name}ForConditionalGeneration")(config).eval())


def texts(name: str) -> list[dict[str, Tensor]]:
    """Seven texts of different length with an image each, as a processor returns them."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for i in range(7):
        patches = torch.full((N_PATCHES.get(name, 4),), PATCH)
        ids = [torch.arange(4, 6 + i % 3), patches, torch.arange(20, 23 + i % 2)]
        shape = {"Llava": (1, 3, 32, 32), "Qwen2VL": (16, 384)}.get(name, (1, 1, 3, 32, 32))
        given = {"input_ids": torch.cat(ids)[None]}
        given["pixel_values"] = torch.rand(shape, generator=generator)
        if name == "Qwen2VL":
            given["image_grid_thw"] = torch.tensor([[1, 4, 4]])
            given["mm_token_type_ids"] = (given["input_ids"] == PATCH).long()
        found.append(given)
    return found


def padded(ones: list[dict[str, Tensor]], side: str) -> dict[str, Tensor]:
    """All texts in one batch, padded on a side."""
    width = max(one["input_ids"].shape[1] for one in ones)
    whole = {name: torch.cat([one[name] for one in ones]) for name in ones[0] if "ids" not in name}
    for name in [name for name in ones[0] if "ids" in name] + ["attention_mask"]:
        rows = torch.zeros(len(ones), width, dtype=torch.long)
        for i, one in enumerate(ones):
            n = one["input_ids"].shape[1]
            part = slice(0, n) if side == "right" else slice(width - n, width)
            rows[i, part] = one[name][0] if name in one else 1
        whole[name] = rows
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_each_text_alone(name: str) -> None:
    """Of batches of 1 and 7, padded on the left or on the right."""
    model, ones, points = made(name), texts(name), ["resid_post.0", "resid_post.1"]
    assert model.kind == "multimodal"
    for given in (ones, padded(ones, "left"), padded(ones, "right")):
        acts = sn.capture(model, given, points, drop_first=False, progress=False)
        for i, one in enumerate(ones):
            with torch.no_grad():
                states = model.module(**one, output_hidden_states=True).hidden_states
            for layer, point in enumerate(points):
                rows = acts[point].x[acts[point].sample == i]
                torch.testing.assert_close(rows, states[layer + 1][0], atol=1e-5, rtol=0)


def test_a_row_is_a_token_or_a_patch(tmp_path: Path) -> None:
    """Patches by row and column where all images have one grid, else by number; also of what is saved."""
    acts = sn.capture(
        made("Llava"), texts("Llava")[:2], "resid_post.1", drop_first=False, progress=False
    )
    acts.save(tmp_path / "acts")
    for one in (acts, sn.load_activations(tmp_path / "acts")):
        assert one.modality.tolist() == (["text"] * 2 + ["image"] * 16 + ["text"] * 3) + (
            ["text"] * 3 + ["image"] * 16 + ["text"] * 4
        )
        assert one.tokens[1:4] == ["<id 5>", "patch 0,0", "patch 0,1"]
        assert one[one.modality == "image"].tokens[17] == "patch 0,1"
    other = sn.capture(made("Qwen2VL"), texts("Qwen2VL")[:1], "resid_post.1", progress=False)
    assert other.tokens[:3] == ["<id 5>", "patch 0", "patch 1"]


def test_rows_of_one_kind_have_one_modality() -> None:
    acts = sn.capture(
        sn.load_model("tiny-vit"), torch.rand(1, 3, 32, 32), "resid_post.1", progress=False
    )
    assert set(acts.modality) == {"image"}


@pytest.mark.parametrize("name", NAMES)
def test_a_text_with_an_image_continues_as_in_plain_transformers(name: str) -> None:
    """With and without a cache; steered, both agree and differ from the clean text."""
    model, one = made(name), texts(name)[0]
    wanted = model.module.generate(**one, max_new_tokens=5, do_sample=False)[0]
    for cached in (True, False):
        assert torch.equal(model.generate(one, 5, return_ids=True, use_cache=cached)[0], wanted)
    with sn.steer(model, "resid_post.1", direction=torch.randn(32), by=9.0):
        steered = [model.generate(one, 5, return_ids=True, use_cache=c)[0] for c in (True, False)]
    assert torch.equal(*steered)
    assert not torch.equal(steered[0], wanted)


def test_an_edit_reaches_patches_and_text() -> None:
    model, one = made("SmolVLM"), texts("SmolVLM")[0]
    hook = model.get_module(model.hook_point("resid_post.1").path).register_forward_hook(
        lambda _m, _a, out: (out[0] + 2, *out[1:]) if isinstance(out, tuple) else out + 2
    )
    with torch.no_grad():
        wanted = model.module(**one).logits
    hook.remove()
    with sn.steer(model, "resid_post.1", direction=torch.ones(32), by=2.0):
        torch.testing.assert_close(model(one).logits, wanted, atol=1e-5, rtol=0)


def test_images_and_placeholders_come_together() -> None:
    model, one = made("Llava"), texts("Llava")[0]
    without = {"input_ids": one["input_ids"]}
    for bad in (without, one["input_ids"]):
        with pytest.raises(ValueError, match="placeholder must come with its image"):
            sn.capture(model, bad, "resid_post.1", progress=False)
    with pytest.raises(ValueError, match="must have placeholders"):
        sn.capture(
            model, one | {"input_ids": torch.tensor([[5, 6]])}, "resid_post.1", progress=False
        )
    with pytest.raises(TypeError, match="has no processor"):
        sn.capture(model, [("a text", torch.rand(3, 4, 4))], "resid_post.1", progress=False)
    with pytest.raises(ValueError, match="at least one text"):
        sn.capture(model, [], "resid_post.1", progress=False)
    plain = sn.capture(model, torch.tensor([[5, 6, 7]]), "resid_post.1", progress=False)
    assert plain.modality.tolist() == ["text", "text"]  # the first token is dropped


@pytest.mark.parametrize("name", NAMES)
def test_images_are_kept_with_the_places_of_their_patches(name: str, tmp_path: Path) -> None:
    """As displayed, also of what is saved, of batches, and of parts put together."""
    model, ones = made(name), texts(name)
    acts = sn.capture(model, ones, "resid_post.1", progress=False)
    acts.save(tmp_path / "acts")
    batched = sn.capture(model, padded(ones, "left"), "resid_post.1", progress=False)
    halves = [
        sn.capture(model, part, "resid_post.1", progress=False) for part in (ones[:3], ones[3:])
    ]
    for one in (acts, sn.load_activations(tmp_path / "acts"), batched, sn.concatenate(halves)):
        images = one.context.images
        assert len(images.pictures) == 7
        for sample in range(7):
            (image,) = images.of_sample(sample)
            run = images.patches(image)
            ids = one.context.token_ids.sample(sample)
            assert torch.equal(
                (ids == PATCH).nonzero().flatten(), torch.arange(run.start, run.stop)
            )
        assert torch.equal(images.pictures, acts.context.images.pictures)


def test_an_image_is_unfolded_from_its_patches() -> None:
    """Of Qwen2-VL, whose processor cuts images into patches: bright where the patch is."""
    model, one = made("Qwen2VL"), dict(texts("Qwen2VL")[0])
    pixels = torch.zeros(16, 384)
    pixels[4 + 1] = (
        1.0  # the second group of 2 × 2 that is merged, in it the first row's second patch
    )
    acts = sn.capture(model, one | {"pixel_values": pixels}, "resid_post.1", progress=False)
    shown = acts.context.images.pictures[0, 0].float().reshape(4, 32, 4, 32).mean(dim=(1, 3))
    assert int(shown.flatten().argmax()) == 3  # row 0, column 3
    assert acts.context.images.grid(0) == (2, 2)


def test_a_processor_puts_images_into_texts() -> None:
    """Pairs give what its output gives; the image is shown as it was, not normalised."""
    model = small_llava()
    given = pairs()
    acts = sn.capture(model, given, "resid_post.1", drop_first=False, progress=False)
    words, images = [text for text, _ in given], [[image] for _, image in given]
    made_by = model.preprocess(text=words, images=images, padding=True, return_tensors="pt")
    same = sn.capture(model, made_by, "resid_post.1", drop_first=False, progress=False)
    torch.testing.assert_close(acts.x, same.x, atol=1e-5, rtol=0)
    rows = {"text": given[0][0], "image": given[0][1]}
    alone = sn.capture(model, [rows], "resid_post.1", drop_first=False, progress=False)
    torch.testing.assert_close(alone.x, acts.x[: len(alone)], atol=1e-5, rtol=0)
    shown = acts.context.images.pictures
    assert shown.shape == (6, 3, 32, 32)
    for i, (_, image) in enumerate(given):
        assert (shown[i, :, 16, 16].int() - torch.tensor(image.getpixel((20, 20)))).abs().max() <= 1
    assert acts.tokens[:5] == ["what", "is", "this", "patch 0,0", "patch 0,1"]
    assert acts.where(4) == "text 0, patch 0,1"
    with pytest.raises(ValueError, match="placeholder must come with its image"):
        sn.capture(model, ["what is this <image> ?"], "resid_post.1", progress=False)
    with pytest.raises(ValueError, match="placeholder must come with its image"):
        model.generate("what is this <image> ?", 2)

"""Checkpoint folders: the right class, exact outputs, safe weights only, clear failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sae_nb.models import load_model

PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
    },
    "dinov2": {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 56},
        "crop_size": {"height": 48, "width": 48},
        "do_center_crop": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
    },
    "clip": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "resample": 3,
    },
}
PROCESSORS["dinov2_with_registers"] = PROCESSORS["dinov2"]
PROCESSORS["clip_vision_model"] = PROCESSORS["clip"]


def saved(module: Any, folder: Path, tokenizer: Any = None, processor: Any = None) -> Path:
    module.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "style", "causal"),
    [
        ("gpt2", "plain", True),
        ("llama", "bos", True),
        ("gemma3_text", "bos", True),
        ("opt", "plain", True),
        ("bert", "cls", False),
        ("roberta", "cls", False),
        ("distilbert", "cls", False),
        ("modernbert", "cls", False),
    ],
)
def test_language_checkpoints_answer_as_the_module_that_was_saved(
    build, tokenizer, tmp_path, family, style, causal
) -> None:
    """Bit-equal logits or states, the tokenizer's own ids, the right kind."""
    module = build(family)
    model = load_model(saved(module, tmp_path / family, tokenizer(style)), device="cpu")
    assert (model.kind, model.causal, model.name) == ("language", causal, family)
    assert type(model.module) is type(module)
    assert not model.module.training
    ids = tokenizer(style)("the cat sat", return_tensors="pt")
    raw = module(**{k: v for k, v in ids.items() if k != "token_type_ids"})
    expected = raw.logits if hasattr(raw, "logits") else raw.last_hidden_state
    assert torch.equal(model("the cat sat"), expected)
    assert model("the cat sat").shape[-1] == (64 if hasattr(raw, "logits") else 16)


@pytest.mark.parametrize(
    ("family", "prefix", "grid"),
    [
        ("vit", 1, (4, 4)),
        ("dinov2", 1, (6, 6)),
        ("dinov2_with_registers", 4, (6, 6)),
        ("clip_vision_model", 1, (4, 4)),
    ],
)
def test_vision_checkpoints_lay_out_their_tokens_as_told(
    build, tmp_path, family, prefix, grid
) -> None:
    """cls, registers, then patches row by row: a change in one patch starts at its own token.

    DINOv2's grid is that of the crop (48 pixels), not of the configuration's image size.
    """
    folder = saved(build(family), tmp_path / "v", processor=PROCESSORS[family])
    model = load_model(folder, device="cpu")
    assert (model.kind, model.prefix_tokens, model.patch_grid) == ("vision", prefix, grid)
    height, width = 8 * grid[0], 8 * grid[1]
    values = torch.zeros(2, 3, height, width)
    row, column = 2, 3
    values[1, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
    seen: list[torch.Tensor] = []
    embed = model.get_module(model.hook_point("embed").path)
    handle = embed.register_forward_hook(lambda _m, _a, out: seen.append(out))
    (batch,) = model.batches({"pixel_values": values})
    model.forward(batch)
    handle.remove()
    assert seen[0].shape[1] == prefix + grid[0] * grid[1] == batch.sample.shape[1]
    changed = (seen[0][0] != seen[0][1]).any(dim=-1).nonzero().flatten().tolist()
    assert changed == [prefix + row * grid[1] + column]


@pytest.mark.parametrize("family", ["vit", "dinov2", "clip_vision_model"])
def test_vision_checkpoints_prepare_pictures_as_their_processor_does(
    build, tmp_path, family
) -> None:
    """The folder's processor, loaded by transformers' PIL backend, gives the same answer."""
    module = build(family)
    model = load_model(saved(module, tmp_path / "v", processor=PROCESSORS[family]), device="cpu")
    kind = {"vit": "ViT", "dinov2": "Bit", "clip_vision_model": "CLIP"}[family]
    place = f"transformers.models.{kind.lower()}.image_processing_pil_{kind.lower()}"
    processor = getattr(__import__(place, fromlist=["x"]), f"{kind}ImageProcessorPil")
    processor = processor.from_pretrained(tmp_path / "v")
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.rand(60, 75, 3, generator=generator) * 255).to(torch.uint8)
    picture = Image.fromarray(pixels.numpy())
    values = processor(images=picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        raw = module(pixel_values=values)
    expected = raw.logits if family == "vit" else raw.pooler_output
    torch.testing.assert_close(model(picture), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "prefix"), [("CLIP", 1), ("Siglip", 0)])
def test_a_checkpoint_of_two_towers_gives_the_one_for_pictures(tmp_path, kind, prefix) -> None:
    """Folders of CLIP and SigLIP hold a text tower too; weights of the other are exact."""
    import transformers

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8, "intermediate_size": 32}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision)
    both = getattr(transformers, f"{kind}Model")(config).eval()
    model = load_model(saved(both, tmp_path / "m", processor=PROCESSORS["clip"]), device="cpu")
    assert (model.kind, model.prefix_tokens, model.patch_grid) == ("vision", prefix, (4, 4))
    assert model.structure.n_blocks == 2
    pictures = torch.rand(2, 3, 32, 32)
    expected = both.vision_model(pixel_values=model.preprocess(pictures)).pooler_output
    torch.testing.assert_close(model(pictures), expected.detach())


def test_a_folder_without_tokenizer_reads_ids(build, tmp_path) -> None:
    """Text is refused with the way out."""
    model = load_model(saved(build("llama"), tmp_path / "m"), device="cpu")
    assert model.tokenizer is None
    assert model([[3, 4]]).shape == (1, 2, 64)
    with pytest.raises(TypeError, match="no tokenizer"):
        model("text")


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float64, "torch.float16"])
def test_the_number_format_is_as_asked(build, tmp_path, dtype) -> None:
    """By name or torch dtype; None is float32 on a CPU whatever was stored."""
    folder = saved(build("llama").half(), tmp_path / "m")
    expected = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype.split(".")[-1])
    assert load_model(folder, device="cpu", dtype=dtype).dtype == expected
    assert load_model(folder, device="cpu").dtype == torch.float32


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.ckpt", "tf_model.h5"])
def test_pickled_weights_are_refused(build, tmp_path, name) -> None:
    """Nothing is unpickled; the file is named, and what to do."""
    folder = saved(build("llama"), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / name)
    with pytest.raises(ValueError, match=rf"must be safetensors.*{name}.*save_pretrained"):
        load_model(folder)


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-100])

    return change


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": ')


def changed_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def a_shard_missing(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_config, r"config\.json.*mine"),
        (without_weights, r"model\.safetensors.*mine"),
        (cut("model.safetensors"), r"'model\.safetensors' of 'mine' must be whole"),
        (changed_config(num_hidden_layers=5), r"'mine' must be complete.*layers\.3"),
        (changed_config(intermediate_size=24), r"'mine'.*config\.json"),
        (cut("config.json"), r"mine/config\.json' must be a JSON file"),
        (broken_tokenizer, r"mine/tokenizer\.json' must be a JSON file"),
        (a_shard_missing, r"all 2 shards.*model-2"),
    ],
)
def test_damaged_folders_are_refused_by_name(build, tmp_path, damage, message) -> None:
    """No config, no weights, cut files, another config's weights, a missing shard: the file is named."""
    folder = saved(build("llama"), tmp_path / "mine")
    damage(folder)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


def test_code_in_a_checkpoint_is_never_run(build, tmp_path) -> None:
    """A folder with its own architecture is refused, its file untouched."""
    folder = saved(build("llama"), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "my_own", "auto_map": {"AutoConfig": "evil.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(ValueError, match="never run.*wrap"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_an_encoder_decoder_loads_with_both_halves(tmp_path) -> None:
    """As its own class, with its head."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=64)
    folder = saved(T5ForConditionalGeneration(config), tmp_path / "t5")
    model = load_model(folder, device="cpu")
    assert set(model.streams) == {"encoder", "decoder"}
    assert model.generates

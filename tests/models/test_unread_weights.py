"""A checkpoint whose config.json describes another model than its weights is refused; heads left out are not."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import sae_nb as sn

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
TEXT = {"vocab_size": 60, **SMALL}
GQA = {**TEXT, "num_key_value_heads": 2}


def _gpt2(head: bool) -> Any:
    config = hf.GPT2Config(n_embd=16, n_layer=4, n_head=2, vocab_size=60, n_positions=16)
    return hf.GPT2LMHeadModel(config) if head else hf.GPT2Model(config)


def _t5() -> Any:
    layers = {"num_layers": 4, "num_decoder_layers": 4, "num_heads": 2}
    config = hf.T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, **layers)
    return hf.T5ForConditionalGeneration(config)


def _whisper() -> Any:
    halves = {f"{half}_{what}": n for half in ("encoder", "decoder")
              for what, n in (("layers", 4), ("attention_heads", 2), ("ffn_dim", 32))}  # fmt: skip
    ids = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    config = hf.WhisperConfig(
        vocab_size=60, d_model=16, num_mel_bins=8, max_source_positions=20, **halves, **ids
    )
    return hf.WhisperForConditionalGeneration(config)


def _clip() -> Any:
    # The text tower is longer than that of images, which alone is loaded.
    text = {**TEXT, "num_hidden_layers": 6}
    vision = {"image_size": 16, "patch_size": 8, **SMALL}
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def _patches(config: Any) -> Any:
    return config(image_size=16, patch_size=8, vocab_size=60, encoder_stride=8, **SMALL)


def _vit() -> Any:
    return hf.ViTForImageClassification(hf.ViTConfig(image_size=16, patch_size=8, **SMALL))


MADE: dict[str, Any] = {
    "gpt2": lambda: _gpt2(True),
    "gpt2 without head": lambda: _gpt2(False),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**GQA)),
    "tied llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(tie_word_embeddings=True, **GQA)),
    "neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**TEXT)),
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT)),
    "bert as trained": lambda: hf.BertForPreTraining(hf.BertConfig(**TEXT)),
    "bert's base": lambda: hf.BertModel(hf.BertConfig(**TEXT)),
    "vit": _vit,
    "vit of hidden patches": lambda: hf.ViTForMaskedImageModeling(_patches(hf.ViTConfig)),
    "clip": _clip,
    "t5": _t5,
    "whisper": _whisper,
}
DEPTH = ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers", "encoder_layers",
         "decoder_layers")  # fmt: skip


def saved(folder: Path, name: str) -> Path:
    MADE[name]().save_pretrained(folder)
    return folder


def altered(folder: Path, **fields: Any) -> Path:
    """The folder with other facts in its config.json, also of its vision tower."""
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config.get("vision_config", {})):
        part.update({name: value for name, value in fields.items() if name in part})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", MADE)
def test_a_checkpoint_as_it_was_saved_loads_without_a_word_on_weights(
    tmp_path: Path, name: str
) -> None:
    """Heads, towers and buffers that are left out are no part of what is read."""
    folder = saved(tmp_path / "m", name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sn.load_model(folder)
    assert not [one for one in caught if "weights" in str(one.message)]


def test_a_head_by_the_name_of_an_empty_place_may_be_left_out(tmp_path: Path) -> None:
    """BEiT's, of hidden patches, begins with a norm where the model alone has none."""
    hf.BeitForMaskedImageModeling(_patches(hf.BeitConfig)).save_pretrained(tmp_path / "m")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert isinstance(sn.load_model(tmp_path / "m").module, hf.BeitModel)
    assert not [one for one in caught if "weights" in str(one.message)]


@pytest.mark.parametrize("name", MADE)
def test_fewer_blocks_in_the_configuration_than_in_the_weights_are_refused(
    tmp_path: Path, name: str
) -> None:
    """Transformers drops the others."""
    folder = altered(saved(tmp_path / "m", name), **dict.fromkeys(DEPTH, 2))
    with pytest.raises(ValueError, match=r"config\.json .*\.2\."):
        sn.load_model(folder)


def test_a_bias_that_the_configuration_leaves_out_is_refused(tmp_path: Path) -> None:
    """It is part of every query."""
    hf.LlamaForCausalLM(hf.LlamaConfig(attention_bias=True, **GQA)).save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match=r"k_proj\.bias"):
        sn.load_model(altered(tmp_path / "m", attention_bias=False))


def test_parts_of_blocks_that_the_configuration_does_not_have_are_told(tmp_path: Path) -> None:
    """Norms of queries and keys, under the name of a family without them."""
    qwen = hf.Qwen3ForCausalLM(hf.Qwen3Config(head_dim=8, **GQA))
    qwen.save_pretrained(tmp_path / "m")
    config = hf.LlamaConfig(head_dim=8, **GQA)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(tmp_path / "m")
    with pytest.warns(UserWarning, match=r"q_norm"):
        sn.load_model(tmp_path / "m")


def stored(folder: Path, change: Any) -> Path:
    """The folder with other tensors in its file."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def test_a_weight_before_the_blocks_that_the_configuration_does_not_have_is_told(
    tmp_path: Path,
) -> None:
    """A norm of the embedding."""
    norm = {"model.embed_norm.weight": torch.ones(16)}
    with pytest.warns(UserWarning, match=r"embed_norm"):
        sn.load_model(stored(saved(tmp_path / "m", "llama"), lambda held: held | norm))


def test_an_adapter_beside_a_model_is_refused(tmp_path: Path) -> None:
    """Whether it is meant to be in is not known."""
    folder = saved(tmp_path / "m", "llama")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    with pytest.raises(ValueError, match="adapter"):
        sn.load_model(folder)


def test_whole_numbers_in_place_of_weights_are_refused(tmp_path: Path) -> None:
    """Those of a quantisation whose scales are elsewhere; masks of booleans are no weights."""
    name = "model.layers.0.mlp.up_proj.weight"

    def quantised(held: Any) -> Any:
        return held | {name: (100 * held[name]).to(torch.int8)}

    with pytest.raises(ValueError, match=r"up_proj"):
        sn.load_model(stored(saved(tmp_path / "m", "llama"), quantised))
    masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16, dtype=torch.uint8)}
    sn.load_model(stored(saved(tmp_path / "g", "gpt2"), lambda held: held | masks))


def test_a_quantisation_that_is_not_applied_is_told(tmp_path: Path) -> None:
    """Of a method that transformers does not know."""
    folder = saved(tmp_path / "m", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "of-their-own"}})
    )
    with pytest.warns(UserWarning, match="quantization_config"):
        sn.load_model(folder)

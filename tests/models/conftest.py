"""Small random models of every family, built from configurations: no weights, no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sae_nb.models import LiveModel

TEXT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
TEXT |= {"vocab_size": 64, "intermediate_size": 32, "max_position_embeddings": 48}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GROUPED = {**TEXT, **IDS, "num_key_value_heads": 1, "head_dim": 8}
SMALL = {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 64, "n_positions": 48, **IDS}
PICTURES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
PICTURES |= {"intermediate_size": 32, "image_size": 32, "patch_size": 8}
DINO = {"layerscale_value": 0.7, "drop_path_rate": 0.1}

# name: (class, configuration class, settings)
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", SMALL),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            **IDS,
            "vocab_size": 64,
            "hidden_size": 16,
            "num_layers": 3,
            "num_heads": 2,
            "attention_types": [[["global", "local", "global"], 1]],
            "max_position_embeddings": 48,
            "window_size": 4,
        },
    ),
    "gptj": ("GPTJForCausalLM", "GPTJConfig", {**SMALL, "rotary_dim": 4}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {**TEXT, **IDS}),
    "gpt_neox_sequential": (
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        {**TEXT, **IDS, "use_parallel_residual": False},
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "mistral": ("MistralForCausalLM", "MistralConfig", GROUPED),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**GROUPED, "num_local_experts": 2}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", GROUPED),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", GROUPED),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", GROUPED),
    "gemma3_text": ("Gemma3ForCausalLM", "Gemma3TextConfig", GROUPED),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", {**TEXT, **IDS}),
    "phi": ("PhiForCausalLM", "PhiConfig", {**TEXT, **IDS}),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**TEXT, **IDS}),
    "stablelm": (
        "StableLmForCausalLM",
        "StableLmConfig",
        {**TEXT, **IDS, "num_key_value_heads": 2},
    ),
    "starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", GROUPED),
    "falcon": ("FalconForCausalLM", "FalconConfig", {**TEXT, **IDS}),
    "falcon_sequential": (
        "FalconForCausalLM",
        "FalconConfig",
        {**TEXT, **IDS, "parallel_attn": False, "multi_query": False},
    ),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        {**IDS, "vocab_size": 64, "hidden_size": 16, "n_layer": 3, "n_head": 2},
    ),
    "mpt": (
        "MptForCausalLM",
        "MptConfig",
        {**IDS, "vocab_size": 64, "d_model": 16, "n_layers": 3, "n_heads": 2, "max_seq_len": 48},
    ),
    "cohere": ("CohereForCausalLM", "CohereConfig", {**TEXT, **IDS}),
    "granite": (
        "GraniteForCausalLM",
        "GraniteConfig",
        {**TEXT, **IDS, "residual_multiplier": 0.5},
    ),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            **IDS,
            "vocab_size": 64,
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "word_embed_proj_dim": 16,
            "max_position_embeddings": 48,
        },
    ),
    "bert": ("BertModel", "BertConfig", TEXT),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {**TEXT, "pad_token_id": 1}),
    "electra": ("ElectraModel", "ElectraConfig", {**TEXT, "embedding_size": 16}),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {
            "vocab_size": 64,
            "dim": 16,
            "n_layers": 3,
            "n_heads": 2,
            "hidden_dim": 32,
            "max_position_embeddings": 48,
        },
    ),
    "modernbert": (
        "ModernBertModel",
        "ModernBertConfig",
        {**TEXT, **IDS, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", {**PICTURES, "num_labels": 5}),
    "dinov2": ("Dinov2Model", "Dinov2Config", {**PICTURES, **DINO, "mlp_ratio": 2}),
    "dinov2_with_registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**PICTURES, **DINO, "mlp_ratio": 2, "num_register_tokens": 3},
    ),
    "clip_vision_model": ("CLIPVisionModel", "CLIPVisionConfig", PICTURES),
    "siglip_vision_model": ("SiglipVisionModel", "SiglipVisionConfig", PICTURES),
    "dinov3_vit": (
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        {**PICTURES, "num_register_tokens": 3},
    ),
    "deit": ("DeiTModel", "DeiTConfig", PICTURES),
}

Build = Callable[..., nn.Module]


def build_model(name: str, **changes: Any) -> nn.Module:
    """Build one family's model with weights large enough that every part matters."""
    import transformers

    transformers.logging.set_verbosity_error()
    model_class, config_class, settings = FAMILIES[name]
    config = getattr(transformers, config_class)(**{**settings, **changes})
    module: nn.Module = getattr(transformers, model_class)(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            # Norm weights stay near what they were, so that activations keep their size.
            parameter.add_(noise, alpha=0.05 if parameter.ndim == 1 or "norm" in path else 0.2)
    return module.eval()


def inputs_for(model: LiveModel, n: int = 2) -> Tensor:
    """Images, or texts of nine tokens."""
    return torch.rand(n, 3, 32, 32) if model.modality.is_image else torch.randint(3, 64, (n, 9))


@pytest.fixture(scope="session")
def build() -> Build:
    """Return a function from a family's name to a small random model of it."""
    return build_model


WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "[CLS]", "[SEP]"]
WORDS += ["the", "cat", "dog", "sat", "on", "a", "mat", "ran", "far", "."]


def build_tokenizer(style: str = "plain") -> Any:
    """Build a word-level tokenizer. "plain": nothing added; "bos": as Llama; "cls": as BERT."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if style == "bos":
        words.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 1)]
        )
    elif style == "cls":
        words.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 4), ("[SEP]", 5)]
        )
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>"}
    if style == "cls":
        named |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    else:
        named |= {"bos_token": "<bos>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **named)


@pytest.fixture(scope="session")
def tokenizer() -> Callable[..., Any]:
    """Return a function that builds a small word-level tokenizer."""
    return build_tokenizer

"""Tiny random models of transformers' classes: one generic configuration, and what some families need besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

LARGEST = 40_000_000
"""Parameters above which the generic configuration has not made a model tiny."""

WIDTH, HEADS, LAYERS, VOCABULARY = 32, 4, 2, 64

SETTINGS: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "dim", "embed_dim", "embedding_size", "d_embed", "word_embed_proj_dim",
         "vision_embed_dim", "projection_dim", "adapter_hidden_dim", "mm_hidden_size", "out_hidden_size"),
        WIDTH,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers",
         "num_decoder_layers", "num_encoder_layers", "encoder_num_hidden_layers", "decoder_num_hidden_layers",
         "depth", "vision_layers", "resampler_depth", "adapter_layers"),
        LAYERS,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads", "encoder_attention_heads",
         "decoder_attention_heads", "encoder_num_attention_heads", "decoder_num_attention_heads",
         "cross_num_attention_heads", "cross_num_key_value_heads", "resampler_n_heads"),
        HEADS,
    ),
    **dict.fromkeys(
        ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "d_inner", "ffn_hidden_size", "encoder_ffn_dim",
         "decoder_ffn_dim", "moe_intermediate_size", "shared_expert_intermediate_size", "hidden_dim", "mlp_dim",
         "shared_experts_intermediate_size"),
        2 * WIDTH,
    ),
    **dict.fromkeys(
        ("head_dim", "d_kv", "rotary_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "index_head_dim",
         "cross_head_dim", "indexer_head_dim", "resampler_head_dim"),
        WIDTH // HEADS,
    ),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank"), 16),
    **dict.fromkeys(("global_head_dim", "swa_head_dim"), WIDTH // HEADS),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions"), 64
    ),
    "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "n_group", "topk_group", "top_k_experts"), 1),
    "image_size": 32, "patch_size": 8, "num_frames": 4, "frames_per_clip": 4, "crop_size": 32,
    "tubelet_size": 2, "num_channels": 3, "spatial_patch_size": 8, "temporal_patch_size": 2,
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "mask_time_prob": 0.0,
    "num_mel_bins": 32, "max_length": 64, "max_source_positions": 50,
    "attention_dropout": 0.0, "layer_types": None,
    "image_token_id": 60, "image_token_index": 60, "video_token_id": 61, "video_token_index": 61,
    "audio_token_id": 62, "audio_token_index": 62, "vision_start_token_id": 58, "vision_end_token_id": 59,
    "image_start_token_id": 58, "image_end_token_id": 59, "video_start_token_id": 56, "video_end_token_id": 57,
    "media_placeholder_token_id": 60,
}  # fmt: skip

_STAGES = ("depths", "num_blocks", "layers", "num_conv_layers", "encoder_num_layers", "depth")
"""Lists of numbers of blocks per stage."""

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_MROPE = {**_ROPE, "mrope_section": [1, 1, 2]}

OF_FAMILY: dict[str, dict[str, Any]] = {
    "bamba": {
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "attn_layer_indices": [1],
    },
    "blt": {"encoder_hash_byte_group_vocab": 64, "vocab_size": 260},
    "blt_global_transformer": {"hidden_size": 64, "num_attention_heads": 8},
    "blt_local_encoder": {"hidden_size_global": 64, "vocab_size": 260},
    "blt_local_decoder": {"hidden_size_global": 64, "vocab_size": 260},
    "blt_patcher": {"vocab_size": 260},
    "chameleon": {"vocabulary_map": {"<image>": 60}},
    "cohere_compass_text": {
        "rope_parameters": {"sliding_attention": _ROPE, "full_attention": _ROPE}
    },
    "convnext": {"num_hidden_layers": ..., "num_stages": 4, "hidden_sizes": [8, 16, 32, 64]},
    "convnextv2": {"num_hidden_layers": ..., "num_stages": 4, "hidden_sizes": [8, 16, 32, 64]},
    "mobilevitv2": {"patch_size": 2},
    "cvt": {
        "num_hidden_layers": ...,
        "num_attention_heads": ...,
        "num_stages": 3,
        "depth": [1, 2, 3],
        "embed_dim": [16, 32, 64],
        "num_heads": [1, 2, 4],
    },
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 1, "clip_qkv": 8.0}},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"], "n_group": 1, "topk_group": 1},
    "dia": {"delay_pattern": [0, 1, 2]},
    "dots1": {"n_shared_experts": 1},
    "efficientnet": {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
    "ernie4_5_vl_moe_text": {
        "moe_intermediate_size": [64, 32],
        "head_dim": 32,
        "hidden_size": 128,
        "rope_parameters": {
            "rope_theta": 500_000.0,
            "rope_type": "default",
            "mrope_section": [6, 6, 4],
        },
    },
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 8}},
    "nemo_speechlm": {"head_config": {"audio_hidden_size": 32}},
    "step3p5": {"sliding_window": 4},
    "videoprism_vision_model": {"tubelet_size": [1, 8, 8]},
    "mistral4": {
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "qk_head_dim": 16,
        "head_dim": 8,
        "rope_parameters": _ROPE,
    },
    "shieldgemma2": {"yes_token_index": 7, "no_token_index": 9},
    "emu3_vqgan": {"base_channels": 32, "channel_multiplier": [1, 1], "attn_resolutions": []},
    "emu3": {"vocabulary_map": {"<image>": 60, "<|extra_200|>": 55}},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "intermediate_size": [64, 64],
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gemma4_assistant": {
        "text_config": {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 2}
    },
    "gemma4_unified_assistant": {"text_config": {"num_kv_shared_layers": 0}},
    "granite4_vision": {"deepstack_layer_map": [[0, 0]], "downsample_rate": "1/2"},
    "inkling2_vision": {"text_hidden_size": 32, "projection_hidden_dim": 64},
    "janus_vqgan": {"base_channels": 32, "channel_multiplier": [1, 1], "num_embeddings": 64},
    "janus_vision_model": {"projection_dim": 32},
    "kyutai_speech_to_text": {
        "codebook_vocab_size": 17,
        "audio_pad_token_id": 16,
        "audio_bos_token_id": 15,
    },
    "glm5_next_text": {"qk_rope_head_dim": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {
        "layer_types": ["linear_attention", "full_attention"],
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "molmo2_adapter": {"vision_feature_layer": [1, 0], "text_hidden_size": 32},
    "molmo2_text": {"additional_vocab_size": 8},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "muse_spark_audio": {
        "num_hidden_layers": 4,
        "patch_sizes": [16, 6, 5, 4],
        "hidden_sizes": [16, 16, 32, 32],
        "depths": [1, 1, 1, 1],
    },
    "muse_spark": {"projector_hidden_size": 32},
    "nemotron_h_omni": {
        "projector_hidden_size": 64,
        "vision_hidden_size": 32,
        "image_token_id": 60,
    },
    "radio": {"video_temporal_patch_size": 2},
    "neomme": {"head_dim": 16},
    "perceiver": {
        "d_latents": 32,
        "num_latents": 8,
        "d_model": 32,
        "qk_channels": 32,
        "v_channels": 32,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 1,
    },
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
        "hc_lowrank": 8,
        "ple_embed_dim": 8,
        "ngram_vocab_size_base": 64,
        "split_ngram_parts": 2,
        "heads_per_ngram": 2,
    },
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 8],
        "is_decoder": True,
        "num_hidden_layers": ...,
        "attn_layers": ["local", "lsh"],
    },
    **{
        key: {
            "embed_dim": 32,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "patch_size": 4,
            "window_size": 4,
        }
        for key in ("swin", "swinv2", "donut-swin")
    },
    "xlnet": {"max_position_embeddings": ...},
    "xmod": {"default_language": "en_XX"},
    **{key: {"attention_window": [4, 4]} for key in ("longformer", "led")},
    "pegasus_x": {"block_size": 4},
    **{
        key: {"rope_parameters": _MROPE}
        for key in (
            "qwen2_vl_text",
            "qwen2_5_vl_text",
            "glm4v_text",
            "glm46v_text",
            "paddleocr_vl_text",
            "qwen2_5_omni_text",
        )
    },
    **{
        key: {"rope_parameters": {**_MROPE, "partial_rotary_factor": 1.0}}
        for key in ("glm4v_moe_text", "glm_ocr_text")
    },
    **{
        key: {"rope_parameters": {**_MROPE, "mrope_section": [1, 1, 1, 1]}}
        for key in ("hunyuan_vl_text",)
    },
    "qwen2_5_omni_thinker": {"vision_start_token_id": 58},
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 58},
    **{
        key: {"image_grid_pinpoints": [[32, 32]]}
        for key in ("llava_next", "llava_next_video", "llava_onevision", "granite4_vision")
    },
    "gemma3": {"mm_tokens_per_image": 4},
    "aria": {"projector_patch_to_query_dict": {16: 4}},
    "vipllava": {"vision_feature_layers": [-1, -2]},
    "llama4_vision_model": {
        "intermediate_size": 128,
        "vision_output_dim": 32,
        "projector_input_dim": 32,
        "projector_output_dim": 32,
        "pixel_shuffle_ratio": 0.5,
    },
    "kosmos-2": {"latent_query_num": 4},
    "mllama_vision_model": {
        "intermediate_layers_indices": [0, 1],
        "vision_output_dim": 96,
        "supported_aspect_ratios": [[1, 1]],
        "max_num_tiles": 4,
        "num_global_layers": 1,
    },
    "vjepa2": {"num_pooler_layers": 1, "pred_num_hidden_layers": 1},
    "luke": {"entity_vocab_size": 16, "entity_emb_size": 16},
}
"""Settings that a family needs besides, by its `model_type`; ... leaves the family's default."""


class Unbuilt(Exception):
    """No settings make a model that runs; the text is the reason."""


def candidates(name: str) -> Iterator[nn.Module]:
    """Yield a class's tiny models, the likeliest settings first.

    Raises
    ------
    Unbuilt: If none of them can be made.
    """
    import transformers

    kind = getattr(transformers, name)
    reasons: list[str] = []
    n = 0
    for shape in ("generic", "without widths", "without kinds of layers"):
        try:
            config = (
                composed(name)
                if kind.config_class in _composed()
                else small(kind.config_class, shape)
            )
            module = _built(kind, config)
        except Exception as error:  # noqa: BLE001  (whatever a configuration does not fit)
            reasons.append(short(error))
            continue
        n += 1
        yield module
    if not n:
        raise Unbuilt(reasons[0])


def short(error: BaseException) -> str:
    """Return an error in one line."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("'validate_architecture':"):
        return lines[1].replace("|", "/")[:200]
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "" if frame is None else f"in {frame.tb_frame.f_code.co_name}"
    said = lines[0] if lines else f"without a word, {where}"
    return f"{type(error).__name__}: {said}".replace("|", "/")[:200]


def _built(kind: Any, config: Any) -> nn.Module:
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size / 1e6:.0f} M parameters by these settings")
    torch.manual_seed(0)
    module: nn.Module = kind(config)
    for parameter in module.parameters():  # zeros and empty memory would make all states equal
        if parameter.ndim > 1 and float(parameter.detach().abs().sum()) in (0.0, float("nan")):
            nn.init.normal_(parameter, std=0.02)
        if not bool(torch.isfinite(parameter).all()):
            nn.init.normal_(parameter, std=0.02)
    return module.eval()


def _has(config: Any, name: str) -> bool:
    try:
        getattr(config, name)
    except AttributeError:
        return False
    except Exception:  # noqa: BLE001  (an attribute that differs from layer to layer)
        return True
    return True


def _value(config: Any, name: str) -> Any:
    return vars(config).get(name, None)


def small(config_class: Any, shape: str = "generic", given: Mapping[str, Any] | None = None) -> Any:
    """Return a configuration with the generic settings, as far as its class has them, and those given."""
    default = config_class()
    family = {**OF_FAMILY.get(getattr(default, "model_type", ""), {}), **(given or {})}
    settings = {key: value for key, value in SETTINGS.items() if _has(default, key)}
    for key in list(settings):
        value = _value(default, getattr(config_class, "attribute_map", {}).get(key, key))
        if isinstance(value, list | tuple) and not isinstance(settings[key], list | tuple):
            del settings[key]  # one number per stage or layer
    for key in ("conv_dim", "conv_kernel", "conv_stride"):
        if not isinstance(_value(default, key), list | tuple):
            settings.pop(key, None)
    if isinstance(_value(default, "tubelet_size"), list | tuple):
        settings["tubelet_size"] = [2, 8, 8]
    kinds = _value(default, "layer_types")
    settings.pop("layer_types", None)
    if isinstance(kinds, list | tuple) and kinds and shape != "without kinds of layers":
        others = [one for one in kinds if one != kinds[0]]  # one block of each kind
        settings["layer_types"] = [kinds[0], (others or kinds)[0]]
    for key in _STAGES:
        value = _value(default, key)
        if isinstance(value, list | tuple) and value and all(isinstance(n, int) for n in value):
            settings[key] = type(value)(min(n, 1) for n in value)
    if shape == "without widths":
        settings = {
            k: v for k, v in settings.items() if k not in ("embed_dim", "hidden_size", "hidden_dim")
        }
    for part in getattr(config_class, "sub_configs", {}) or {}:
        inner = _value(default, part)
        if inner is not None and hasattr(type(inner), "model_type"):
            settings[part] = small(type(inner), shape, family.pop(part, None))
    rope = _value(default, "rope_parameters")
    if isinstance(rope, Mapping) and "mrope_section" in rope:
        settings["rope_parameters"] = {**rope, "mrope_section": [1, 1, 2]}
    settings |= family
    settings = {key: value for key, value in settings.items() if value is not ...}
    while True:  # without what a configuration does not let be set
        try:
            return config_class(**settings)
        except Exception as error:
            said = str(error).replace("layers_block_type", "layer_types")
            name = next((key for key in settings if f"'{key}'" in said or f"`{key}`" in said), None)
            if name is None:
                raise
            del settings[name]


# -------------------------------------------------------------------------------------------------
# Classes whose configuration is made of two others.


def _composed() -> tuple[Any, ...]:
    import transformers

    return (
        transformers.VisionEncoderDecoderConfig,
        transformers.SpeechEncoderDecoderConfig,
    )


def composed(name: str) -> Any:
    """Return the configuration of an encoder of one family and a decoder of another."""
    import transformers

    decoder = small(transformers.GPT2Config)
    if name.startswith("Vision"):
        encoder, whole = small(transformers.ViTConfig), transformers.VisionEncoderDecoderConfig
    else:
        encoder, whole = small(transformers.Wav2Vec2Config), transformers.SpeechEncoderDecoderConfig
    made = whole.from_encoder_decoder_configs(encoder, decoder)
    made.decoder_start_token_id, made.pad_token_id = 3, 0
    return made

"""Tiny random models of transformers' classes, by one generic configuration, and what is read of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import LiveModel

LARGEST = 6_000_000
"""Parameters above which the generic configuration has not made a model tiny."""

CLOSE = 1e-4
"""Largest difference between a captured state and transformers' own that counts as equal, float32. Ours."""

KINDS = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "encoder–decoder": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "vision": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "video": "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "speech": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "vision-language": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
}
"""Kinds of classes, and transformers' list of each."""

_WIDTH, _HEADS, _LAYERS, _VOCABULARY = 32, 4, 2, 64
_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "dim", "embed_dim", "embedding_size", "d_embed", "word_embed_proj_dim"),
        _WIDTH,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers",
         "num_decoder_layers", "num_encoder_layers", "encoder_num_hidden_layers", "decoder_num_hidden_layers",
         "depth"),
        _LAYERS,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads", "encoder_attention_heads",
         "decoder_attention_heads", "encoder_num_attention_heads", "decoder_num_attention_heads"),
        _HEADS,
    ),
    **dict.fromkeys(
        ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "d_inner", "ffn_hidden_size", "encoder_ffn_dim",
         "decoder_ffn_dim", "moe_intermediate_size", "shared_expert_intermediate_size", "hidden_dim"),
        2 * _WIDTH,
    ),
    **dict.fromkeys(
        ("head_dim", "d_kv", "rotary_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "index_head_dim"),
        _WIDTH // _HEADS,
    ),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank"), 16),
    **dict.fromkeys(("global_head_dim", "swa_head_dim"), _WIDTH // _HEADS),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions"), 64
    ),
    "vocab_size": _VOCABULARY, "vocab_size_per_layer_input": _VOCABULARY, "hidden_size_per_layer_input": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "n_group", "topk_group"), 1),
    "image_size": 32, "patch_size": 8, "num_frames": 4, "tubelet_size": 2, "num_channels": 3,
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "mask_time_prob": 0.0,
    "num_mel_bins": 32, "max_length": 64, "max_source_positions": 50,
    "attention_dropout": 0.0, "layer_types": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the sweep found of one class."""

    kind: str
    name: str
    built: bool = False
    """Whether the generic configuration builds it."""

    points: int = 0
    """Hook points."""

    difference: float | None = None
    """Largest difference between a captured block's output and transformers' hidden state."""

    note: str = ""
    """Reason why a number is missing, or another than expected."""

    @property
    def right(self) -> bool:
        """Whether states are transformers' own, to the line above."""
        return self.difference is not None and self.difference <= CLOSE


def class_names(kind: str) -> list[str]:
    """Return the names of transformers' classes of a kind, once each."""
    from transformers.models.auto import modeling_auto as auto

    found: list[str] = []
    for names in getattr(auto, KINDS[kind]).values():
        found.extend([names] if isinstance(names, str) else names)
    return sorted(set(found))


def rows(kind: str) -> Iterator[Row]:
    """Yield the row of every class of a kind."""
    for name in class_names(kind):
        yield row_of(kind, name)


def row_of(kind: str, name: str) -> Row:
    """Build, wrap, capture and compare one class."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = tiny(name)
        except Exception as error:  # noqa: BLE001  (whatever a configuration does not fit)
            return Row(kind=kind, name=name, note=_short(error))
        try:
            model = sn.wrap(module)
            return _measured(kind, name, model)
        except Exception as error:  # noqa: BLE001  (the row says what went wrong)
            return Row(kind=kind, name=name, built=True, note=_short(error))


def _short(error: Exception) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return f"{type(error).__name__}: {line}"[:110].replace("|", "/")


def tiny(name: str) -> nn.Module:
    """Return a class's model by the generic configuration.

    Raises
    ------
    ValueError: If it stays large.
    """
    import transformers

    kind = getattr(transformers, name)
    config = _small(kind.config_class)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size / 1e6:.0f} M parameters by this configuration")
    module: nn.Module = kind(config)
    for parameter in module.parameters():  # zeros and empty memory would make all states equal
        if parameter.ndim > 1 and float(parameter.detach().abs().sum()) == 0:
            nn.init.normal_(parameter, std=0.02)
    return module.eval()


def _small(config_class: Any) -> Any:
    parts = getattr(config_class, "sub_configs", {}) or {}
    default = config_class()
    settings = {key: value for key, value in _SETTINGS.items() if hasattr(default, key)}
    for key in ("layer_types", "conv_dim", "conv_kernel", "conv_stride", "tubelet_size"):
        value = getattr(default, key, None)
        if key == "layer_types":
            settings.pop(key, None)
            if isinstance(value, list | tuple) and value:  # one block of each kind
                others = [one for one in value if one != value[0]]
                settings[key] = [value[0], (others or value)[0]]
        elif not isinstance(value, list | tuple) and key != "tubelet_size":
            settings.pop(key, None)
        elif isinstance(value, list | tuple) and key == "tubelet_size":
            settings[key] = [2, 8, 8]
    for part in parts:
        inner = getattr(default, part, None)
        if inner is not None and hasattr(type(inner), "model_type"):
            settings[part] = _small(type(inner))
    rope = getattr(default, "rope_parameters", None)
    if isinstance(rope, dict) and "mrope_section" in rope:
        settings["rope_parameters"] = {**rope, "mrope_section": [1, 1, 2]}
    while True:  # without what a configuration does not let be set
        try:
            return config_class(**settings)
        except Exception as error:
            name = next((key for key in settings if f"'{key}'" in str(error)), None)
            if name is None:
                raise
            del settings[name]


def _measured(kind: str, name: str, model: LiveModel) -> Row:
    points = model.hook_points()
    given, arguments = _inputs(model)
    try:
        with torch.no_grad():
            raw = model.module(**arguments, output_hidden_states=True)
    except Exception as error:  # noqa: BLE001  (the settings do not make a model that runs)
        return Row(kind=kind, name=name, note=f"does not run by itself: {_short(error)}"[:110])
    stream = "decoder." if model.streams else ""
    states = getattr(raw, "decoder_hidden_states" if model.streams else "hidden_states", None)
    blocks = [p for p in points if p.kind == f"{stream}resid_post"]
    row = Row(kind=kind, name=name, built=True, points=len(points))
    if not blocks:
        return _with(row, "no blocks found: modules by their paths")
    kept = [str(p) for p in blocks]
    acts = sn.capture(model, given, kept, drop_first=False, progress=False)
    if not isinstance(states, tuple) or len(states) < 2:
        return _with(row, "transformers gives no hidden states", 0.0 if acts else None)
    most = 0.0
    # The last of transformers' states is after the final norm in most classes, and left out.
    for first, note in ((1, ""), (0, "transformers counts its states from the first block")):
        found = _differences([acts[point].x for point in kept[:-1] or kept], states[first:])
        if isinstance(found, str):
            return _with(row, found)
        if max(found) <= CLOSE:
            return _with(row, note, max(found))
        most = max(found) if first else most
    return _with(row, "", most)


def _differences(rows: list[Tensor], states: tuple[Any, ...]) -> list[float] | str:
    """Return the largest difference of each block's rows from its state; a sentence where they have no match."""
    found = []
    for mine, state in zip(rows, states, strict=False):
        if isinstance(state, Tensor) and state.ndim == 4:  # a map
            state = state.flatten(2).transpose(1, 2)
        if not isinstance(state, Tensor) or state.numel() != mine.numel():
            return f"hidden states of another shape, {tuple(getattr(state, 'shape', ()))}"
        found.append(float((mine - state.reshape(mine.shape)).abs().max()))
    return found


def _with(row: Row, note: str, difference: float | None = None) -> Row:
    from dataclasses import replace

    if difference is not None and difference > CLOSE:
        note = "transformers' hidden state is another quantity"
    return replace(row, note=note, difference=difference)


def _inputs(model: LiveModel) -> tuple[Any, dict[str, Any]]:
    """Return the inputs of a capture, and the same as arguments of the module."""
    module = model.module
    if model.streams:
        source, ids = _source(model)
        decoder = torch.tensor([[3, 5, 6], [3, 7, 8]])
        given = [(one, row[1:]) for one, row in zip(source, decoder, strict=True)]
        batch = next(iter(model.batches(given)))
        start = batch.token_ids
        assert start is not None
        return given, ids | {"decoder_input_ids": start}
    if model.kind == "audio":
        source, arguments = _source(model)
        return list(source), arguments
    if model.kind in ("vision", "video"):
        size = getattr(module.config, "image_size", 32)
        size = size if isinstance(size, int) else 32
        shape = (2, 3, size, size) if model.kind == "vision" else (2, 4, 3, size, size)
        values = torch.rand(shape)
        name = "pixel_values" if model.kind == "vision" else module.main_input_name
        return {name: values} if model.kind == "video" else values, {name: values}
    if module.main_input_name == "pixel_values":
        values = torch.rand(2, 3, 32, 32)
        return values, {"pixel_values": values}
    free = [i for i in range(5, _VOCABULARY) if i not in model.placeholders][:10]
    ids = torch.tensor(free).view(2, 5)
    mask = {"attention_mask": torch.ones_like(ids)} if model.takes_mask else {}
    return ids, {"input_ids": ids, **mask}


def _source(model: LiveModel) -> tuple[Any, dict[str, Any]]:
    if model.kind == "audio":
        config: Any = model.module.config
        n = 8_000
        if hasattr(model.preprocess.extractor, "sampling_rate"):  # of whole spectrograms
            places = getattr(config, "max_source_positions", None)
            n = 320 * places if places else 160 * config.max_length
        clips = torch.randn(2, n)
        batch = next(iter(model.batches(list(clips))))
        kwargs = {k: v for k, v in batch.kwargs.items() if k.startswith("input_")}
        return clips, kwargs
    ids = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
    return ids, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

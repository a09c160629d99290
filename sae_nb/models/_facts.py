"""Facts about a module, read from it: its sizes, special tokens, and the arguments it takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sae_nb.models._hook_points import Form


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Facts about a module without a configuration of its own."""

    name: str
    kind: str
    n_layers: int | None
    """Blocks; None for a network without blocks."""

    width: int | None
    """Of the residual stream."""

    n_parameters: int
    vocabulary_size: int | None
    """Token ids; None if it reads no tokens."""

    context_length: int | None
    """Longest text, tokens; None if unlimited or unknown."""


_HEAD_COUNTS = ("num_attention_heads", "n_head", "n_heads", "num_heads")


def head_count(module: nn.Module, half: Literal["encoder", "decoder"] | None = None) -> int | None:
    """Return how many attention heads a layer has, of an encoder–decoder a layer of one half.

    None where the configuration does not say.
    """
    path = None
    if half is not None:
        path = encoder_of(module) if half == "encoder" else decoder_of(module)
    part = module if path is None else module.get_submodule(path)
    words = ("{}_attention_heads", "{}_num_attention_heads", "num_{}_attention_heads")
    own = [word.format(half) for word in words if path]
    # A module of one half states it where the configuration of both has one number for the other.
    sources = [*(part.modules() if path else ()), config_of(part) or config_of(module)]
    counts = (_stated(source, *own, *_HEAD_COUNTS) for source in sources)
    return next((n for n in counts if n is not None), None)


def _stated(config: object, *names: str, above: int = 0) -> int | None:
    """Return the first whole number above `above` that a configuration states under one of the names.

    None where there is none, or one for each layer.
    """
    for name in names:
        try:
            value = getattr(config, name, None)
        except (RuntimeError, ValueError, TypeError):  # transformers' own, of layers that differ
            continue
        if isinstance(value, int) and not isinstance(value, bool) and value > above:
            return value
    return None


_NO_LIMIT = 10**9  # tokenizers write about 1e30 for "unlimited"
_CONTEXT_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "max_target_positions",
)


def config_of(module: nn.Module) -> PretrainedConfig:
    """Return the module's configuration (of its text part, if it has several); None without one."""
    config = getattr(module, "config", None)
    get = getattr(config, "get_text_config", None)
    return get() if callable(get) else config


def model_type(module: nn.Module) -> str:
    """Return ``config.model_type``, or "" for modules that are not Hugging Face's."""
    return str(getattr(getattr(module, "config", None), "model_type", ""))


def forward_names(module: nn.Module) -> frozenset[str]:
    """Return the names that a module's forward takes, of the class: nnsight replaces that of instances.

    Those of the model inside too, where a wrapper such as an adapter's hands on what it does not name.
    """
    names = _parameters(type(module).forward)
    if not takes_more(module) or is_of_transformers(module):
        return names
    inner = next((part for part in module.modules() if is_of_transformers(part)), None)
    return names if inner is None else names | forward_names(inner)


def writer_in(module: nn.Module) -> nn.Module | None:
    """Return the module, or the model inside of a wrapper, that has settings of generation; None without."""
    parts = (part for part in module.modules() if is_of_transformers(part))
    return next((one for one in parts if getattr(one, "generation_config", None) is not None), None)


def is_of_transformers(module: nn.Module) -> bool:
    """Return whether the module's class is one of a pretrained model, by what all of them name."""
    return hasattr(type(module), "main_input_name") and hasattr(type(module), "config_class")


@lru_cache(maxsize=256)
def _parameters(forward: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(forward).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


def needs_besides_pixels(module: nn.Module) -> list[str]:
    """Return the arguments without which a forward pass over images fails, pixels left out."""
    _, *parameters = inspect.signature(type(module).forward).parameters.values()  # not `self`
    named = "pixel_values" in {p.name for p in parameters}
    rest = [p for p in parameters if p.name != "pixel_values"] if named else parameters[1:]
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in rest if p.default is p.empty and p.kind not in kinds]


def takes_more(module: nn.Module) -> bool:
    """Return whether the module's forward takes arguments besides those that it names."""
    parameters = inspect.signature(type(module).forward).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def takes_mask(module: nn.Module) -> bool:
    """Return whether the module's forward takes an attention mask, so that padding is never read."""
    return "attention_mask" in forward_names(module)


CACHE_NAMES = ("cache", "past_key_values")
"""Of the argument and the output that hold what a model has read: since transformers 5.24, and before."""


def cache_argument(module: nn.Module) -> str | None:
    """Return the name of the argument by which the module's forward takes a cache; None if it takes none."""
    names = forward_names(module)
    return next((name for name in CACHE_NAMES if name in names), None)


def cache_of(held: object) -> Any:
    """Return the cache among arguments by name, or in a module's output; None without one."""
    if isinstance(held, Tensor):  # torch.compile cannot trace the attributes of one
        return None
    # Not by getattr: an output of transformers 5.24 answers to the old name too, but warns.
    named = held if type(held) is dict else getattr(held, "__dict__", {})
    return next((named[name] for name in CACHE_NAMES if named.get(name) is not None), None)


Arguments = tuple[tuple[Tensor, ...], dict[str, Any]]
"""Of a forward pass, by position and by name."""


def text_arguments(module: nn.Module, ids: Tensor, keep: Tensor, *, causal: bool) -> Arguments:
    """Return the arguments of a forward pass over token ids."""
    names = forward_names(module)
    args: tuple[Tensor, ...] = () if "input_ids" in names else (ids,)
    kwargs: dict[str, Any] = {} if args else {"input_ids": ids}
    if takes_mask(module):
        kwargs["attention_mask"] = keep.long()
    if causal and "use_cache" in names:
        kwargs["use_cache"] = False
    return args, kwargs


def picture_arguments(module: nn.Module, values: Tensor) -> Arguments:
    """Return the arguments of a forward pass over pixel values."""
    named = "pixel_values" in forward_names(module)
    return ((), {"pixel_values": values}) if named else ((values,), {})


def vocabulary_size(module: nn.Module) -> int | None:
    """Return how many token ids the module knows; None if it has no token embedding."""
    size = _stated(config_of(module), "vocab_size")
    if size is not None:
        return size
    embeddings = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    sizes = [part.num_embeddings for part in embeddings]
    return sizes[0] if len(sizes) == 1 else None


def context_length(module: nn.Module, tokenizer: object) -> int | None:
    """Return the longest text the module can read, tokens; None if unlimited or unknown."""
    config = config_of(module)
    own, longest = _stated(config, *_CONTEXT_NAMES), _stated(tokenizer, "model_max_length")
    if own is not None:
        own -= _rows_left_out(module)
    limits = [n for n in (own, longest) if n is not None and n < _NO_LIMIT]
    return min(limits, default=None)


def _rows_left_out(module: nn.Module) -> int:
    """Return how many positions no token has: RoBERTa and its kin number them from the padding's id + 1."""
    parts = (
        (path, part) for path, part in module.named_modules() if isinstance(part, nn.Embedding)
    )
    first = [part.padding_idx for path, part in parts if path.endswith("position_embeddings")]
    return max((row + 1 for row in first if row is not None), default=0)


def special_token_ids(module: nn.Module, tokenizer: object) -> frozenset[int]:
    """Return the ids of special tokens: BOS, end-of-text, CLS, SEP, padding and added ones."""
    ids = {i for i in getattr(tokenizer, "all_special_ids", ()) if i is not None}
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id"):
        ids.update(_ids(getattr(config_of(module), name, None)))
    size = vocabulary_size(module)
    return frozenset(i for i in ids if i >= 0 and (size is None or i < size))


def token_id(module: nn.Module, tokenizer: object, name: str) -> int | None:
    """Return one special token's id, from the tokenizer or else the configuration."""
    size = vocabulary_size(module)
    for source in (tokenizer, config_of(module)):
        # A configuration cut to fewer tokens often keeps the default ids of the full one.
        ids = [
            i for i in _ids(getattr(source, name, None)) if i >= 0 and (size is None or i < size)
        ]
        if ids:
            return ids[0]
    return None


def end_token_ids(module: nn.Module, tokenizer: object) -> frozenset[int]:
    """Return every token that ends a generated text."""
    settings = getattr(writer_in(module), "generation_config", None)
    sources = (settings, config_of(module), tokenizer)
    return frozenset(i for source in sources for i in _ids(getattr(source, "eos_token_id", None)))


def is_causal(module: nn.Module) -> bool:
    """Return whether the module predicts the next token from the tokens before it."""
    config = config_of(module)
    if getattr(config, "is_encoder_decoder", False) and not encoder_of(module):
        return False
    if _writes(module):
        return True
    if not hasattr(config, "model_type"):
        return hasattr(module, "generate")
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    causal = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return causal and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _writes(module: nn.Module) -> bool:
    can = getattr(module, "can_generate", None)
    return callable(can) and bool(can())


def encoder_of(module: nn.Module) -> str | None:
    """Return the path of the encoder of a Hugging Face encoder–decoder; None for other modules."""
    config = getattr(module, "config", None)
    if not getattr(config, "is_encoder_decoder", False):
        return None
    return _path_of(module, "encoder") if "decoder_input_ids" in forward_names(module) else None


def decoder_of(module: nn.Module) -> str | None:
    """Return the path of the decoder of a Hugging Face encoder–decoder; None for other modules."""
    return _path_of(module, "decoder") if encoder_of(module) else None


def _part(module: nn.Module, which: Literal["encoder", "decoder"]) -> nn.Module | None:
    """Return the half that a module of transformers names; None where it names none."""
    get = getattr(module, f"get_{which}", None)
    return get() if callable(get) else None


def _path_of(module: nn.Module, which: Literal["encoder", "decoder"]) -> str | None:
    part = _part(module, which)
    return next((path for path, one in module.named_modules() if one is part and path), None)


def decoder_start(module: nn.Module) -> int:
    """Return the id that a decoder's text begins with."""
    sources = (getattr(writer_in(module), "generation_config", None), config_of(module))
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        for source in sources:
            for found in _ids(getattr(source, name, None)):
                return found
    return 0


_FAMILIES: dict[str, dict[str, Any]] = {
    "cpmant": {"tokens_from": -1},
    "fsmt": {"time_first": r"\.layers\.\d+(\.|$)"},
    "git": {"tokens_from": -1},
    "led": {"tokens_from": 0},
    "longformer": {"tokens_from": 0},
    "pegasus_x": {"tokens_from": 0},
    "prophetnet": {"tokens_from": 0},
    "videoprism": {"frames_are_samples": "spatial_layers"},
    "videoprism_vision_model": {"frames_are_samples": "spatial_layers"},
    "xlm-prophetnet": {"tokens_from": 0},
    "xlnet": {"time_first": r"\.layer\.\d+(\.|$)"},
}
"""What a family does otherwise and no setting of it says, by `config.model_type`.

`time_first`: a pattern of the paths whose states are (time, batch, d). `tokens_from`: where a text's tokens are
in blocks that see more places than it has; 0, before padding to whole windows or further tokens predicted at
once; −1, behind a prompt of the model's own or an image. `frames_are_samples`: a part of the paths at which
each frame of a video is a sample.
"""


def _otherwise(module: nn.Module, what: str) -> Any:
    return _FAMILIES.get(model_type(module), {}).get(what)


_BLOCK = re.compile(r"(^|\.)layers\.\d+$")
_STREAMS = ("hc_mult", "hc_count", "altup_num_inputs")
"""Settings of hyper-connections (arXiv 2409.19606) and AltUp that count the streams of a token."""


def stream_count(module: nn.Module) -> int:
    """Return how many streams of a token run side by side through the blocks; 1 for most models."""
    return _stated(config_of(module), *_STREAMS, above=1) or 1


_PER_STAGE = ("depths", "hidden_sizes", "embed_dims", "num_blocks")


def has_stages(config: object) -> bool:
    """Return whether a configuration is of a network in stages, of which each has its own width."""
    lists = (getattr(config, name, None) for name in _PER_STAGE)
    return any(isinstance(one, list | tuple) and len(one) > 1 for one in lists)


def form_at(module: nn.Module, path: str) -> Form | None:
    """Return the form of states at a module's path, a `Form`; None for (batch, time, d)."""
    pattern = _otherwise(module, "time_first")
    if pattern is not None and re.search(pattern, path):
        return "time first"
    if not _BLOCK.search(path) or stream_count(module) == 1:
        return None
    return "streams first" if _stated(config_of(module), "altup_num_inputs") else "streams"


def parts_of_sample(module: nn.Module, path: str) -> int:
    """Return how many parts of a sample a module sees as samples: 1, or the frames of a video."""
    by_frame = _otherwise(module, "frames_are_samples")
    found = tubelets(module) if by_frame and by_frame in path else None
    return 1 if found is None else found[0]


def tokens_from(module: nn.Module, path: str) -> int | None:
    """Return the place of the first token where a state has more places, −1: tokens are last; else None."""
    inside = re.search(r"(^|\.)(layers?)\.\d+(\.|$)", path)
    return _otherwise(module, "tokens_from") if inside else None


def _kinds(module: nn.Module) -> tuple[str, ...]:
    """Return the kinds of input that a class of transformers states."""
    kinds = getattr(type(module), "input_modalities", ())
    return (kinds,) if isinstance(kinds, str) else tuple(kinds)


def placeholders(module: nn.Module) -> dict[int, str]:
    """Return the token ids at which a text holds patches of an image or a video, or frames of a sound."""
    config, found = getattr(module, "config", None), {}
    if not hasattr(config, "text_config"):
        return {}
    for kind in ("image", "video", "audio"):
        for name in (f"{kind}_token_id", f"{kind}_token_index"):
            token = getattr(config, name, None)
            if isinstance(token, int) and token not in found:
                found[token] = kind
    return found


def text_part(module: nn.Module) -> str | None:
    """Return the path of the language model inside a model of texts with images; None for other models."""
    if encoder_of(module) or not (placeholders(module) or reads_unmarked_images(module)):
        return None
    ends = ("language_model", "text_model", "text_decoder")
    named = (path for path, _ in module.named_modules() if path.endswith(ends))
    return _path_of(module, "decoder") or next(named, None)


def reads_mixture(module: nn.Module) -> bool:
    """Return whether the module reads texts with images, or sounds, in them."""
    return bool(model_type(module)) and (
        text_part(module) is not None or reads_unmarked_images(module)
    )


def reads_unmarked_images(module: nn.Module) -> bool:
    """Return whether the module writes texts, and reads images that no placeholder marks."""
    names = forward_names(module)
    takes = "input_ids" in names and bool(names & {"pixel_values", "flattened_patches"})
    has_parts = hasattr(getattr(module, "config", None), "vision_config")
    writes = _writes(module) and not encoder_of(module)
    return takes and writes and has_parts and not placeholders(module)


def video_frames(module: nn.Module) -> int | None:
    """Return how many frames a video must have for a model of videos; None for other models."""
    return _stated(getattr(module, "config", None), "num_frames", "frames_per_clip")


def video_size(module: nn.Module) -> int | Sequence[int] | None:
    """Return the size of a video's frames, pixels, as its configuration has it."""
    config = getattr(module, "config", None)
    return getattr(config, "image_size", None) or getattr(config, "crop_size", None)


def reads_video(module: nn.Module) -> bool:
    """Return whether the module is a Hugging Face model of videos alone."""
    name = str(getattr(type(module), "main_input_name", ""))
    pixels = name in ("pixel_values", "pixel_values_videos") and "text" not in _kinds(module)
    return pixels and bool(model_type(module)) and video_frames(module) is not None


def tubelets(module: nn.Module) -> tuple[int, int, int] | None:
    """Return steps in time, rows and columns of a video model's tubelets; None for other models."""
    config, frames = getattr(module, "config", None), video_frames(module)
    if not reads_video(module) or frames is None:
        return None
    size, patch, long = video_size(module), getattr(config, "patch_size", None), 1
    tubelet = getattr(config, "tubelet_size", None)
    if isinstance(tubelet, list | tuple) and len(tubelet) == 3:
        long, patch = int(tubelet[0]), tubelet[1]
    elif isinstance(tubelet, int):
        long = tubelet
    patch = patch[0] if isinstance(patch, list | tuple) else patch
    size = size[0] if isinstance(size, list | tuple) else size
    if not isinstance(size, int) or not isinstance(patch, int):
        return None
    return frames // long, size // patch, size // patch


def _tower(module: nn.Module) -> str:
    """Return the path of a part of two that can be wrapped by itself: the one for images, if it is named so."""
    parts = [path for path, part in module.named_modules() if path and model_type(part)]
    return next((path for path in parts if "vis" in path), (parts or ["vision_model"])[0])


def reads_pictures(module: nn.Module) -> bool:
    """Return whether the module is ours for images, or a Hugging Face vision model."""
    config = getattr(module, "config", None)
    images_alone = getattr(type(module), "main_input_name", "") == "pixel_values" and (
        "text" not in _kinds(module) or "input_ids" not in forward_names(module)
    )
    if hasattr(config, "text_config") and hasattr(config, "vision_config") and not images_alone:
        raise ValueError(
            f"`wrap` needs a model of one kind, got {type(module).__name__} with a text and a vision "
            f"part. Wrap one, e.g. wrap(module.{_tower(module)})."
        )
    if hasattr(config, "n_prefix_tokens") and hasattr(config, "patch_grid"):
        return not reads_sound(module)
    return bool(model_type(module)) and (images_alone or hasattr(config, "image_size"))


def sample_rate(module: nn.Module) -> float | None:
    """Return the sample rate of the traces a module reads, as it or its configuration states; else None."""
    config = getattr(module, "config", None)
    for rate in (getattr(module, "sample_rate", None), getattr(config, "sampling_rate", None)):
        if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
            return float(rate)
    return None


_SOUND_TO_TEXT = "speech-encoder-decoder"


def sound_argument(module: nn.Module) -> str | None:
    """Return the argument that takes sounds in a module's forward; None if it is none of the usual ones."""
    names = forward_names(module) & {"input_values", "input_features"}
    if len(names) < 2:
        return next(iter(names), None)
    return str(getattr(_part(module, "encoder"), "main_input_name", "input_values"))


def reads_sound(module: nn.Module) -> bool:
    """Return whether the module reads waveforms or their spectrograms alone: ours, or Hugging Face's."""
    if getattr(module, "modality", None) == "audio" or model_type(module) == _SOUND_TO_TEXT:
        return True
    name = getattr(type(module), "main_input_name", "")
    return (
        "audio" in _kinds(module)
        and name in ("input_values", "input_features")
        and bool(model_type(module))
    )


def reads_series(module: nn.Module) -> bool:
    """Return whether the module reads time series (n, time, channels), as those of Hugging Face do."""
    return "past_values" in forward_names(module)


def series_stride(module: nn.Module) -> int | None:
    """Return how many values of a series lie between two of its patches; None where it has none."""
    # Patches of TimesFM, which state no stride, lie side by side.
    names = ("patch_stride", "patch_length")
    return _stated(getattr(module, "config", None), *names) if reads_series(module) else None


def fills_series(module: nn.Module) -> bool:
    """Return whether the module fills up shorter series by zeros before their beginning, as TimesFM does."""
    return reads_series(module) and "forecast_context_len" in forward_names(module)


def reads_spectrograms(module: nn.Module) -> bool:
    """Return whether the module reads spectrograms, not waveforms."""
    config = getattr(module, "config", None)
    counted = all(_stated(config, name) for name in ("num_mel_bins", "max_source_positions"))
    frames = "input_features" in forward_names(module) and counted
    return spectrogram_grid(module) is not None or frames


def folded_frames(module: nn.Module) -> int | None:
    """Return the frames of spectrograms that are folded into square images, as CLAP does; None for others."""
    config = getattr(module, "config", None)
    side, bins = _stated(config, "spec_size"), _stated(config, "num_mel_bins")
    takes = "input_features" in forward_names(module)
    return side * (side // bins) if takes and side and bins else None


def masks_frames(module: nn.Module) -> bool:
    """Return whether clips of different length may share a batch, the padding of the shorter masked.

    A group norm over time (Wav2Vec2 base, HuBERT base) would mix padding into all frames.
    """
    if reads_spectrograms(module):
        return True
    config = getattr(module, "config", None)
    takes = "attention_mask" in forward_names(module)
    norms = [part for part in module.modules() if isinstance(part, nn.GroupNorm)]
    return takes and getattr(config, "feat_extract_norm", "layer") == "layer" and not norms


def _strided(module: nn.Module) -> list[tuple[int, int]]:
    """Return kernel and stride of each convolution that makes frames of a waveform."""
    config = getattr(module, "config", None)
    if model_type(module) == _SOUND_TO_TEXT:
        config = getattr(config, "encoder", config)
    kernels, strides = (getattr(config, name, None) for name in ("conv_kernel", "conv_stride"))
    if isinstance(kernels, list | tuple) and isinstance(strides, list | tuple):
        return list(zip(kernels, strides, strict=True))
    encoder = (_part(module, "encoder") if reads_sound(module) else None) or module
    convolutions = [part for part in encoder.children() if isinstance(part, nn.Conv1d)]
    return [(part.kernel_size[0], part.stride[0]) for part in convolutions]


HOP = 160
"""Values between two columns of the spectrograms of Whisper and AST, at 16 kHz 10 ms."""


def longest_clip(module: nn.Module) -> int | None:
    """Return how many values a model of spectrograms can read; None where it has no limit."""
    config = getattr(module, "config", None)
    if places := _stated(config, "max_source_positions"):
        return places * 2 * HOP
    longest = _stated(config, "max_length")
    return None if spectrogram_grid(module) is None or longest is None else longest * HOP


def spectrogram_grid(module: nn.Module) -> tuple[int, int] | None:
    """Return rows (bands) and columns (time) of a spectrogram transformer's patches; None for others."""
    config = getattr(module, "config", None)
    names = ("num_mel_bins", "max_length", "frequency_stride", "time_stride", "patch_size")
    known = [n for name in names if (n := _stated(config, name)) is not None]
    if len(known) < len(names):
        return None
    bins, length, by_bands, by_time, patch = known
    return (bins - patch) // by_bands + 1, (length - patch) // by_time + 1


def column_seconds(module: nn.Module, rate: float | None) -> float | None:
    """Return the time from one column of a spectrogram's or a series' patches to the next; None of others."""
    own = getattr(module, "column_seconds", None)
    if isinstance(own, float):
        return own
    if rate is None:
        return None
    stride, config = series_stride(module), config_of(module)
    if stride is None and spectrogram_grid(module) is not None:
        stride = int(config.time_stride) * HOP
    return None if stride is None else stride / rate


def first_values(module: nn.Module) -> Tensor | None:
    """Return the first value of a clip that each column of places reads; None where it is not known."""
    config: PretrainedConfig = getattr(module, "config", None)
    if (grid := spectrogram_grid(module)) is not None:
        return torch.arange(grid[1]) * int(config.time_stride) * HOP
    places = _stated(config, "max_source_positions")
    return None if places is None else torch.arange(places) * 2 * HOP


def n_frames(module: nn.Module, n_values: int) -> int | None:
    """Return how many frames a waveform gives, ⌊(n − kernel) / stride⌋ + 1 per convolution; None: unknown."""
    layers = _strided(module)
    if not layers:
        return None
    for kernel, stride in layers:
        n_values = (n_values - kernel) // stride + 1
    return max(n_values, 0)


def shortest_clip(module: nn.Module) -> int:
    """Return how many values of a waveform give one frame."""
    n = 1
    for kernel, stride in reversed(_strided(module)):
        n = (n - 1) * stride + kernel
    return n


def class_names(module: nn.Module) -> tuple[str, ...] | None:
    """Return the class names in the configuration; None if they are only numbered."""
    labels = getattr(getattr(module, "config", None), "id2label", None)
    if not isinstance(labels, dict) or not labels:
        return None
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    return None if all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names


def _ids(value: object) -> tuple[int, ...]:
    if isinstance(value, bool) or value is None:
        return ()
    if isinstance(value, int):
        return (value,)
    return tuple(int(v) for v in value) if isinstance(value, Iterable) else ()

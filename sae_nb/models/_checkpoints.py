"""Checkpoint folders in Hugging Face's layout made live models: which class, its weights, its tokenizer."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from sae_nb.activations._modality import AUDIO, MULTIMODAL, VIDEO, VISION
from sae_nb.checks import warn_caller
from sae_nb.files._atomic import json_object
from sae_nb.models import _facts as facts
from sae_nb.models._checkpoint_files import (
    check_weight_files,
    first_line,
    read_config,
    stored_tensors,
    whole_numbers,
)
from sae_nb.models._devices import give_back_memory, keep_no_memory
from sae_nb.models._kinds import kind_of_texts
from sae_nb.models._live_model import LiveModel
from sae_nb.models._memory import check_room, memory_needed
from sae_nb.models._preprocessing import PREPROCESSOR_FILE, family_preprocess, read_preprocess
from sae_nb.models._sound_inputs import SoundPreprocess
from sae_nb.models._token_layout import pair, vision_layout
from sae_nb.progress import note

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from sae_nb.models._devices import Placing

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
ADAPTER_FILE = "adapter_config.json"
_LONG_TO_LOAD = 1_000_000_000  # bytes
_HEADS = ("ForCausalLM", "ForMaskedLM", "ForSequenceClassification", "ForImageClassification")
# Full checkpoints of two towers whose vision part loads by itself.
_VISION_TOWERS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel"}


def load_folder(
    folder: Path,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype | None,
    placing: Placing | None = None,
) -> LiveModel:
    """Load a local checkpoint folder; nothing is fetched."""
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"A checkpoint folder must hold config.json, got {str(folder)!r} without one. Save the "
            "model with save_pretrained, or load it yourself and use wrap(module)."
        )
    if (folder / ADAPTER_FILE).is_file():
        raise ValueError(
            f"A checkpoint folder must hold one model, got {str(folder)!r} with {ADAPTER_FILE} of an adapter, "
            "which is not read. Merge the two with peft (merge_and_unload) and save that, or move the "
            "adapter's files elsewhere."
        )
    check_weight_files(folder, name)
    wanted = torch.float32 if dtype is None and device.type == "cpu" else dtype
    bits = None if placing is None else placing.bits
    if placing is None or placing.device_map is None:
        check_room(folder, name, wanted, device, bits)
    _say_memory(folder, name, wanted, placing)
    config = read_config(folder, name)
    options = {} if placing is None else placing.options(device, wanted)
    if bits is not None:
        keep_no_memory()
    module = _weights(folder, name, config, wanted, options)
    module = (module.to(device) if not options or "device_map" not in options else module).eval()
    if bits is not None:
        give_back_memory()
    if facts.reads_mixture(module):
        return _mixed(folder, name, module)
    if facts.reads_sound(module):
        return _audio(folder, name, module)
    if facts.reads_video(module):
        return _pictures(folder, name, module, VIDEO.name)
    if facts.reads_pictures(module):
        return _pictures(folder, name, module, VISION.name)
    tokenizer = read_tokenizer(folder, name)
    return LiveModel(
        module,
        name=name,
        kind=kind_of_texts(tokenizer),
        causal=facts.is_causal(module),
        tokenizer=tokenizer,
        class_names=facts.class_names(module),
    )


def _say_memory(
    folder: Path, name: str, dtype: torch.dtype | None, placing: Placing | None
) -> None:
    """Say what a model will take before it is loaded, where that takes long or was made to fit."""
    plain = placing is None or placing.plain
    if plain and sum(size for _, _, size in stored_tensors(folder)) < _LONG_TO_LOAD:
        return
    bits, places = (None, None) if placing is None else (placing.bits, placing.device_map)
    known = places if isinstance(places, Mapping) else None
    needed = memory_needed(folder, dtype=dtype, bits=bits, device_map=known)
    note(str(replace(needed, name=name)))


def _model_class(config: PretrainedConfig) -> type[PreTrainedModel]:
    """Choose the class by the checkpoint's configuration, never by running its code."""
    import transformers

    tower = _VISION_TOWERS.get(config.model_type)
    if tower is not None:
        return getattr(transformers, tower)
    named = (getattr(config, "architectures", None) or [""])[0]
    stated = getattr(transformers, named, None) if named else None
    by_sound = getattr(stated, "main_input_name", "input_ids") in ("input_values", "input_features")
    mixed = hasattr(config, "text_config") and named.endswith("ForConditionalGeneration")
    is_pair = getattr(config, "is_encoder_decoder", False)
    if stated is not None and (mixed or by_sound or is_pair):
        return stated
    if named.endswith("LMHeadModel"):
        return transformers.AutoModelForCausalLM
    for head in _HEADS:
        if named.endswith(head):
            return getattr(transformers, f"AutoModel{head}")
    if hasattr(transformers, named) and named.endswith(("VisionModel", "ModelWithProjection")):
        return getattr(transformers, named)
    return transformers.AutoModel


def _weights(
    folder: Path, name: str, config: object, dtype: torch.dtype | None, more: dict[str, Any]
) -> nn.Module:
    from safetensors import SafetensorError

    factory = _model_class(config)
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    if factory.__name__.startswith("Auto"):
        options |= {"config": config, "trust_remote_code": False}
    # Mismatches are let through here so that _check_complete can name them.
    options |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        with _without_report(), _bar_if_long(folder):
            module, notes = factory.from_pretrained(
                folder, dtype="auto" if dtype is None else dtype, **options, **more
            )
    except (SafetensorError, OSError, RuntimeError, ImportError) as error:
        if more and not isinstance(error, SafetensorError | OSError):
            raise ValueError(
                f"{name!r} must load with {', '.join(more)}, but: {first_line(error)} Load it without, or do "
                "it yourself and use wrap(module)."
            ) from error
        raise ValueError(
            f"The weights of {name!r} must be whole and belong to its config.json, but: "
            f"{first_line(error)} Copy or download them again."
        ) from error
    _check_complete(name, notes)
    _check_all_read(name, module, notes.get("unexpected_keys", ()))
    if getattr(module, "hf_quantizer", None) is None:
        _check_not_quantised(folder, name, config)
    return cast(nn.Module, module)


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers' table of loaded and absent weights quiet: absence is an error here."""

    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@contextmanager
def _bar_if_long(folder: Path) -> Iterator[None]:
    """Keep transformers' progress bar for weights that take long; elsewhere it is noise in a notebook."""
    from transformers.utils import logging as theirs

    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if size >= _LONG_TO_LOAD or not theirs.is_progress_bar_enabled():
        yield
        return
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.enable_progress_bar()


def _check_complete(name: str, notes: dict[str, Any]) -> None:
    # A pooler on top of an encoder is often not saved and never read here; anything else that is
    # missing would silently be random.
    missing = sorted(k for k in notes.get("missing_keys", ()) if "pooler" not in k)
    unlike = [str(entry[0]) for entry in notes.get("mismatched_keys", ())]
    if missing or unlike:
        shown = ", ".join([*missing, *unlike][:4])
        raise ValueError(
            f"The weights of {name!r} must be complete, but {len(missing) + len(unlike)} are "
            f"absent or of another shape: {shown}. Is this the right config.json for them?"
        )


def _check_not_quantised(folder: Path, name: str, config: object) -> None:
    """Refuse integers taken for weights, and warn of a quantisation that was not applied."""
    if whole := whole_numbers(folder):
        raise ValueError(
            f"The weights of {name!r} must be floating-point numbers, but {len(whole)} are whole numbers of "
            f"unknown scale: {', '.join(whole[:4])}. Load it where it was quantised, and save it without."
        )
    if stated := getattr(config, "quantization_config", None):
        warn_caller(
            f"The config.json of {name!r} states quantization_config={stated!r:.80}, which is not applied: its "
            "weights are read as they are stored."
        )


_BUFFERS = re.compile(
    r".*(inv_freq|masked_bias|position_ids|relative_position_index|attn\.bias|attention\.bias|mask_token)"
)
"""Tensors of checkpoints besides weights: masks, positions and frequencies, computed again; and what stands in
for patches that a training hid."""


def _check_all_read(name: str, module: nn.Module, unread: Iterable[str]) -> None:
    """Refuse stored weights of the network itself that its config.json makes no use of.

    Other weights between input and head are warned of; heads and towers may be left out.
    """
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    own = dict(module.named_parameters())
    kinds = {_NUMBER.sub(".#.", one) for one in own}
    blocks = {found[0] for one in own if (found := _BLOCK.match(one))}
    leaves = {
        path
        for path, part in module.named_modules()
        if not isinstance(part, nn.Identity) and not any(True for _ in part.children())
    }
    lost, other = [], []
    for key in sorted(map(str, unread)):
        names = {key, key.removeprefix(prefix), prefix + key}
        if _BUFFERS.fullmatch(key):
            continue
        if any(
            _NUMBER.sub(".#.", one) in kinds or one.rpartition(".")[0] in leaves for one in names
        ):
            lost.append(key)
        elif "pooler" not in key and (
            key.startswith(prefix)
            or any(one.startswith(block) for one in names for block in blocks)
        ):
            other.append(key)
    if lost:
        raise ValueError(
            f"The config.json of {name!r} must be that of its weights, but {len(lost)} of them have no place "
            f"in the model that it describes: {', '.join(lost[:4])}. With another number of blocks or without "
            "a bias it is another model. Copy or download both again."
        )
    if other:
        warn_caller(
            f"The weights of {name!r} hold {len(other)} that the model of its config.json does not have: "
            f"{', '.join(other[:4])}. Is this the right config.json for them?"
        )


_NUMBER = re.compile(r"\.\d+\.")
_BLOCK = re.compile(r".*?\.\d+\.")


def read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a checkpoint; None if it has none."""
    from transformers import AutoTokenizer

    files = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    if not files:
        return None
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises Exception itself where a file is damaged
        for file in files:
            if file.suffix == ".json":
                json_object(file)
        raise ValueError(
            f"The tokenizer of {name!r} must load, but: {first_line(error)} Load the model yourself "
            "and use wrap(module, tokenizer=…)."
        ) from error


def _audio(folder: Path, name: str, module: nn.Module) -> LiveModel:
    from transformers import AutoFeatureExtractor

    extractor = None
    if (folder / PREPROCESSOR_FILE).is_file():
        try:
            extractor = AutoFeatureExtractor.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ValueError(
                f"The feature extractor of {name!r} must load, but: {first_line(error)} Load the model "
                "yourself and use wrap(module, preprocess=…)."
            ) from error
    else:
        warn_caller(
            f"{name!r} has no {PREPROCESSOR_FILE}: sounds are read at the family's usual rate, "
            "without bringing them to mean 0 and variance 1."
        )
    preprocess = SoundPreprocess.of(module, extractor)
    return LiveModel(
        module,
        name=name,
        kind=AUDIO.name,
        tokenizer=read_tokenizer(folder, name),
        preprocess=preprocess,
        layout=vision_layout(module, None),
        class_names=facts.class_names(module),
        sample_rate=preprocess.sample_rate,
    )


def _mixed(folder: Path, name: str, module: nn.Module) -> LiveModel:
    from transformers import AutoProcessor

    processor = None
    try:
        processor = AutoProcessor.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        warn_caller(
            f"{name!r} has no processor that loads ({first_line(error)}): texts with images must be passed as "
            "one made them, with input_ids and pixel_values."
        )
    if not hasattr(processor, "image_processor"):
        processor = None
    return LiveModel(
        module,
        name=name,
        kind=MULTIMODAL.name,
        causal=facts.is_causal(module),
        tokenizer=read_tokenizer(folder, name),
        preprocess=processor,
        layout=vision_layout(module, None),
    )


def _pictures(folder: Path, name: str, module: nn.Module, kind: str) -> LiveModel:
    """A model of images, or of videos."""
    preprocess = read_preprocess(folder)
    if preprocess is None:
        family = facts.model_type(module)
        preprocess = family_preprocess(family, pair(facts.video_size(module)) or (224, 224))
        usual = f"images are prepared as usual for {family}"
        if kind == VIDEO.name:
            usual = "frames are prepared as usual for images"
        warn_caller(f"{name!r} has no {PREPROCESSOR_FILE}: {usual}, {preprocess}.")
    return LiveModel(
        module,
        name=name,
        kind=kind,
        preprocess=preprocess,
        layout=vision_layout(module, preprocess.output_size),
        class_names=facts.class_names(module),
    )

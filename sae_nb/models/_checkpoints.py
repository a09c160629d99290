"""Checkpoint folders in Hugging Face's layout: which class, safe weights, clear failures."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from sae_nb.models import _facts as facts
from sae_nb.models._hub import first_line
from sae_nb.models._inputs import pair, vision_layout
from sae_nb.models._live_model import LiveModel
from sae_nb.models._preprocessing import family_preprocess, read_preprocess
from sae_nb.models._weight_files import check_room, check_weight_files
from sae_nb.models._wrapping import reads_pictures

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
# Full checkpoints of two towers whose vision part loads by itself.
_VISION_TOWERS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel"}


def load_folder(
    folder: Path, *, name: str, device: torch.device, dtype: torch.dtype | None
) -> LiveModel:
    """Load a local checkpoint folder; nothing is fetched."""
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"A checkpoint folder must hold config.json, got {str(folder)!r} without one. Save the "
            "model with save_pretrained, or load it yourself and use wrap(module)."
        )
    check_weight_files(folder, name)
    wanted = torch.float32 if dtype is None and device.type == "cpu" else dtype
    check_room(folder, name, wanted, device)
    config = read_config(folder, name)
    module = _weights(folder, name, config, wanted).to(device).eval()
    if reads_pictures(module):
        return _vision(folder, name, module)
    return LiveModel(
        module,
        name=name,
        kind="language",
        causal=facts.is_causal(module),
        tokenizer=read_tokenizer(folder, name),
        class_names=facts.class_names(module),
    )


def read_config(folder: Path, name: str) -> Any:
    """Read the configuration of a checkpoint."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{name!r} must be of an architecture this version of transformers knows (code that "
            f"comes with a checkpoint is never run), but: {first_line(error)} Load it yourself and "
            "use wrap(module)."
        ) from error


def _model_class(config: Any) -> Any:
    """Choose the class by what the checkpoint says it holds, never by running its code."""
    import transformers

    tower = _VISION_TOWERS.get(config.model_type)
    if tower is not None:
        return getattr(transformers, tower)
    named = (getattr(config, "architectures", None) or [""])[0]
    if named.endswith(("ForCausalLM", "LMHeadModel")):
        return transformers.AutoModelForCausalLM
    if named.endswith("ForMaskedLM"):
        return transformers.AutoModelForMaskedLM
    if named.endswith("ForSequenceClassification"):
        return transformers.AutoModelForSequenceClassification
    if named.endswith("ForImageClassification"):
        return transformers.AutoModelForImageClassification
    if hasattr(transformers, named) and named.endswith("VisionModel"):
        return getattr(transformers, named)
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"`load_model` needs a decoder, an encoder or a vision model, got {named or 'a model'} "
            "with encoder and decoder. Load it yourself and wrap one half: wrap(module.encoder)."
        )
    return transformers.AutoModel


def _weights(folder: Path, name: str, config: Any, dtype: torch.dtype | None) -> nn.Module:
    from safetensors import SafetensorError

    factory = _model_class(config)
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    if factory.__name__.startswith("Auto"):
        options |= {"config": config, "trust_remote_code": False}
    # Mismatches are let through here so that _check_complete can name them.
    options |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        with _without_report():
            module, notes = factory.from_pretrained(
                folder, dtype="auto" if dtype is None else dtype, **options
            )
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(
            f"The weights of {name!r} must be whole and belong to its config.json, but: "
            f"{first_line(error)} Copy or download them again."
        ) from error
    _check_complete(name, notes)
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


def read_tokenizer(folder: Path, name: str) -> Any:
    """Read the tokenizer of a checkpoint; None if it has none."""
    from transformers import AutoTokenizer

    if not any((folder / file_name).is_file() for file_name in _TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ValueError(
            f"The tokenizer of {name!r} must load, but: {first_line(error)} Load the model yourself "
            "and use wrap(module, tokenizer=…)."
        ) from error


def _vision(folder: Path, name: str, module: nn.Module) -> LiveModel:
    config: Any = module.config
    preprocess = read_preprocess(folder)
    if preprocess is None:
        preprocess = family_preprocess(config.model_type, pair(config.image_size) or (224, 224))
        warnings.warn(
            f"{name!r} has no preprocessor_config.json: pictures are prepared as usual for "
            f"{config.model_type}, {preprocess}.",
            stacklevel=4,
        )
    return LiveModel(
        module,
        name=name,
        kind="vision",
        preprocess=preprocess,
        layout=vision_layout(module, preprocess.output_size),
        class_names=facts.class_names(module),
    )

"""Checkpoint folders and hub ids in Hugging Face's layout: which class, safe weights, clear failures."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from sae_nb.models import facts
from sae_nb.models.live_model import LiveModel
from sae_nb.models.preprocessing import family_preprocess, read_preprocess
from sae_nb.models.token_layout import pair, vision_layout
from sae_nb.models.weight_files import check_room, check_weight_files, pickles_refused
from sae_nb.models.wrapping import reads_pictures

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


class _Source(NamedTuple):
    """A folder or hub id, as given, and how Hugging Face should find it."""

    name: str
    place: str
    options: dict[str, Any]


def load_folder(folder: Path, *, device: torch.device, dtype: torch.dtype | None) -> LiveModel:
    """Load a local checkpoint folder; nothing is fetched.

    Parameters
    ----------
    folder
        Holds ``config.json`` and ``*.safetensors``; for text a tokenizer, for pictures
        ``preprocessor_config.json``.
    device, dtype
        Where and in which format it runs; dtype None: float32 on a CPU, else as stored.

    Raises
    ------
    ValueError
        If the folder is not such a checkpoint, is cut short, or holds only pickled weights.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"A checkpoint folder must hold config.json, got {str(folder)!r} without one. Save the "
            "model with save_pretrained, or load it yourself and use wrap(module)."
        )
    check_weight_files(folder)
    wanted = torch.float32 if dtype is None and device.type == "cpu" else dtype
    check_room(folder, wanted, device)
    source = _Source(folder.name, str(folder), {"local_files_only": True})
    return _load(source, device=device, dtype=dtype, folder=folder)


def load_from_hub(
    name: str, *, device: torch.device, dtype: torch.dtype | None, revision: str | None
) -> LiveModel:
    """Load a model of the Hugging Face hub by its id, from the cache if it is there.

    Parameters
    ----------
    name
        "owner/model".
    device, dtype
        As for `load_folder`.
    revision
        Branch, tag or commit.

    Raises
    ------
    FileNotFoundError
        If it cannot be reached, or there is no such id.
    """
    source = _Source(name, name, {"revision": revision})
    return _load(source, device=device, dtype=dtype, folder=None)


def _load(
    source: _Source, *, device: torch.device, dtype: torch.dtype | None, folder: Path | None
) -> LiveModel:
    config = _config(source)
    factory = _model_class(config)
    wanted: Any = dtype if dtype is not None else "auto"
    if dtype is None and device.type == "cpu":
        wanted = torch.float32
    module = _weights(source, factory, config, wanted).to(device).eval()
    if reads_pictures(module):
        return _vision(source, module, folder)
    return LiveModel(
        module,
        name=source.name,
        kind="language",
        causal=facts.is_causal(module),
        tokenizer=_tokenizer(source, folder),
        class_names=facts.class_names(module),
    )


def _config(source: _Source) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.place, trust_remote_code=False, **source.options)
    except OSError as error:
        raise FileNotFoundError(_unreachable(source, error)) from error
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{source.name!r} must be of an architecture this version of transformers knows (code "
            f"that comes with a checkpoint is never run), but: {_first_line(error)} Load it yourself "
            "and use wrap(module)."
        ) from error


def _unreachable(source: _Source, error: Exception) -> str:
    from sae_nb.models.bundled import bundled_names

    offline = any(os.environ.get(v) in ("1", "true", "ON", "YES") for v in _OFFLINE)
    why = "the hub is switched off by HF_HUB_OFFLINE" if offline else _first_line(error)
    return (
        f"`name` must be a bundled model ({', '.join(bundled_names()) or 'none here'}), a checkpoint "
        f"folder, or a Hugging Face id in the cache or within reach, got {source.name!r}: {why} "
        "Check the spelling, go online, or pass a folder."
    )


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0].strip() if lines else type(error).__name__
    return line if line.endswith((".", "!")) else f"{line}."


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


def _weights(source: _Source, factory: Any, config: Any, dtype: Any) -> nn.Module:
    from safetensors import SafetensorError

    options: dict[str, Any] = dict(source.options, trust_remote_code=False)
    if not factory.__name__.startswith("Auto"):
        options.pop("trust_remote_code")
    else:
        options["config"] = config
    # Mismatches are let through here so that _check_complete can name them.
    options |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        with _without_report():
            module, notes = factory.from_pretrained(
                source.place, dtype=dtype, use_safetensors=True, **options
            )
    except SafetensorError as error:
        raise ValueError(
            f"The weights of {source.name!r} must be whole safetensors files, but: "
            f"{_first_line(error)} Copy or download them again."
        ) from error
    except OSError as error:
        if "safetensors" in str(error) or ".bin" in str(error):
            raise ValueError(pickles_refused(source.name, str(error))) from error
        raise FileNotFoundError(_unreachable(source, error)) from error
    _check_complete(source, notes)
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


def _check_complete(source: _Source, notes: dict[str, Any]) -> None:
    # A pooler on top of an encoder is often not saved and never read here; anything else that is
    # missing would silently be random.
    missing = sorted(k for k in notes.get("missing_keys", ()) if "pooler" not in k)
    unlike = [str(entry[0]) for entry in notes.get("mismatched_keys", ())]
    if missing or unlike:
        shown = ", ".join([*missing, *unlike][:4])
        raise ValueError(
            f"The weights of {source.name!r} must be complete, but {len(missing) + len(unlike)} are "
            f"absent or of another shape: {shown}. Is this the right config.json for them?"
        )


def _tokenizer(source: _Source, folder: Path | None) -> Any:
    from transformers import AutoTokenizer

    if folder is not None and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(
            source.place, trust_remote_code=False, **source.options
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ValueError(
            f"The tokenizer of {source.name!r} must load, but: {_first_line(error)} Load the model "
            "yourself and use wrap(module, tokenizer=…)."
        ) from error


def _vision(source: _Source, module: nn.Module, folder: Path | None) -> LiveModel:
    config: Any = module.config
    preprocess = read_preprocess(folder if folder is not None else _fetched(source))
    size = pair(config.image_size) or (224, 224)
    if preprocess is None:
        preprocess = family_preprocess(config.model_type, size)
        warnings.warn(
            f"{source.name!r} has no preprocessor_config.json: pictures are prepared as usual for "
            f"{config.model_type}, {preprocess}.",
            stacklevel=5,
        )
    layout = vision_layout(module, preprocess.output_size)
    return LiveModel(
        module,
        name=source.name,
        kind="vision",
        preprocess=preprocess,
        layout=layout,
        class_names=facts.class_names(module),
    )


def _fetched(source: _Source) -> Path:
    """Return the folder of the hub cache that holds the preprocessor's file, or an empty place."""
    from transformers.utils import cached_file

    for name in ("preprocessor_config.json", "processor_config.json"):
        found = cached_file(
            source.place,
            name,
            revision=source.options.get("revision"),
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is not None:
            return Path(found).parent
    return Path(os.devnull)

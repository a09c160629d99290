"""Checkpoint folders in Hugging Face's layout: from the hub's cache, safe weights, which class."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from sae_nb.checks import check_memory, warn_caller
from sae_nb.models import _facts as facts
from sae_nb.models._hook_points import near_names
from sae_nb.models._inputs import pair, vision_layout
from sae_nb.models._live_model import LiveModel
from sae_nb.models._preprocessing import family_preprocess, read_preprocess
from sae_nb.progress import note

if TYPE_CHECKING:
    from sae_nb.models._placing import Placing

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
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
    check_weight_files(folder, name)
    wanted = torch.float32 if dtype is None and device.type == "cpu" else dtype
    bits = None if placing is None else placing.bits
    if placing is None or placing.device_map is None:
        check_room(folder, name, wanted, device, bits)
    _say_memory(folder, name, wanted, placing)
    config = read_config(folder, name)
    options = {} if placing is None else placing.options(device, wanted)
    if bits is not None:
        from sae_nb.models._placing import give_back_memory, keep_no_memory

        keep_no_memory()
    module = _weights(folder, name, config, wanted, options)
    module = (module.to(device) if not options or "device_map" not in options else module).eval()
    if bits is not None:
        give_back_memory()
    if facts.reads_pictures(module):
        return _vision(folder, name, module)
    return LiveModel(
        module,
        name=name,
        kind="language",
        causal=facts.is_causal(module),
        tokenizer=read_tokenizer(folder, name),
        class_names=facts.class_names(module),
    )


def _say_memory(
    folder: Path, name: str, dtype: torch.dtype | None, placing: Placing | None
) -> None:
    """Say what a model will take before it is loaded, where that takes long or was made to fit."""
    from sae_nb.models._memory import memory_needed

    plain = placing is None or placing.plain
    if plain and sum(size for _, _, size in stored_tensors(folder)) < _LONG_TO_LOAD:
        return
    bits, places = (None, None) if placing is None else (placing.bits, placing.device_map)
    known = places if isinstance(places, Mapping) else None
    needed = memory_needed(folder, dtype=dtype, bits=bits, device_map=known)
    note(str(replace(needed, name=name)))


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
    if named.endswith("LMHeadModel"):
        return transformers.AutoModelForCausalLM
    for head in _HEADS:
        if named.endswith(head):
            return getattr(transformers, f"AutoModel{head}")
    if hasattr(transformers, named) and named.endswith(("VisionModel", "ModelWithProjection")):
        return getattr(transformers, named)
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"`load_model` needs a decoder, an encoder or a vision model, got {named or 'a model'} "
            "with encoder and decoder. Load it yourself and wrap one half: wrap(module.encoder)."
        )
    return transformers.AutoModel


def _weights(
    folder: Path, name: str, config: Any, dtype: torch.dtype | None, more: dict[str, Any]
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
        warn_caller(
            f"{name!r} has no preprocessor_config.json: images are prepared as usual for "
            f"{config.model_type}, {preprocess}."
        )
    return LiveModel(
        module,
        name=name,
        kind="vision",
        preprocess=preprocess,
        layout=vision_layout(module, preprocess.output_size),
        class_names=facts.class_names(module),
    )


# -------------------------------------------------------------------------------------------------
# Weight files: safetensors only, all there, and how much they need.

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
_LONGEST_HEADER = 100_000_000  # bytes; the format's own limit


def check_weight_files(folder: Path, name: str) -> None:
    """Refuse a folder without safetensors, or with some of them missing."""
    needed = weight_names(folder)
    absent = [n for n in needed if not (folder / n).is_file()]
    if absent:
        raise ValueError(
            f"{str(folder)!r} must hold all {len(needed)} shards of its index, but {absent[0]} is "
            "missing. Copy or download it again."
        )
    if needed:
        return
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    unsafe = [file_name for file_name in names if file_name.endswith(UNSAFE)]
    if unsafe:
        raise ValueError(
            "Weights must be safetensors, because unpickling a file can run code in it, got "
            f"{name!r} with {', '.join(unsafe[:3])}. Choose a revision with safetensors, or convert "
            "it: load it in a place you trust and call save_pretrained."
        )
    raise ValueError(
        f"A checkpoint folder must hold {WEIGHTS_FILE} or {INDEX_FILE} with its shards, got "
        f"{str(folder)!r} without. Save the model with save_pretrained, or choose a revision that "
        "has safetensors."
    )


def weight_names(folder: Path) -> list[str]:
    """Return the names of the weight files a folder must hold; none if it has no safetensors."""
    index = folder / INDEX_FILE
    if not index.is_file():
        return [WEIGHTS_FILE] if (folder / WEIGHTS_FILE).is_file() else []
    try:
        return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_broken(index)) from error


def check_room(
    folder: Path,
    name: str,
    dtype: torch.dtype | None,
    device: torch.device,
    bits: int | None = None,
) -> None:
    """Refuse to load weights that would not fit where they are to run."""
    from sae_nb.models._memory import weight_bytes

    count, stored = count_parameters(folder)
    needed = stored if dtype is None else count * dtype.itemsize
    if bits is not None:
        needed = weight_bytes(folder, dtype, bits)
    smaller = dtype is None or dtype.itemsize > 2
    instead = "Use dtype='bfloat16', which halves it." if smaller else "Use a smaller model."
    what = f"{name!r} with {count / 1e6:.4g} M parameters"
    if device.type != "cuda":
        check_memory(needed, what, instead)
        return
    free = torch.cuda.mem_get_info(device)[0]
    if needed > 0.95 * free:
        raise MemoryError(
            f"{what} must fit on {device}: it needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} "
            f"GiB are free. {instead}"
        )


def count_parameters(folder: Path) -> tuple[int, int]:
    """Return how many numbers the safetensors of a folder hold, and their bytes; reads headers only."""
    tensors = list(stored_tensors(folder))
    return sum(math.prod(shape) for _, shape, _ in tensors), sum(size for _, _, size in tensors)


def stored_tensors(folder: Path) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Name, shape and bytes of each tensor in the safetensors of a folder; reads headers only."""
    for file_name in weight_names(folder):
        for name, entry in _header(folder / file_name).items():
            if name != "__metadata__":
                first, end = entry["data_offsets"]
                yield name, tuple(entry["shape"]), end - first


def _header(path: Path) -> dict[str, dict[str, list[int]]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= _LONGEST_HEADER else b""
    try:
        header = json.loads(text)
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max(entry["data_offsets"][1] for entry in tensors)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_broken(path)) from error
    if path.stat().st_size < 8 + length + end:
        raise ValueError(_broken(path))
    return dict(header)


def _broken(path: Path) -> str:
    return (
        f"{path.name!r} of {path.parent.name!r} must be whole, but it is cut short or something "
        "else. Copy or download it again."
    )


# -------------------------------------------------------------------------------------------------
# Hub ids: a folder from the cache, or fetched once.

# Everything small: configuration, tokenizer, preprocessing, the index of shards.
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
_SUBFOLDERS = ["*/*"]
_CACHED_SHOWN = 8
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def hub_folder(name: str, revision: str | None) -> Path:
    """Return the local folder of a hub id, fetching it only if the cache does not hold it all.

    A cached branch is used as it is; name a commit, or clear the cache, to get a newer one. Only
    safetensors weights and small text files are fetched.
    """
    cached = snapshot(name, revision, local_files_only=True)
    if isinstance(cached, Path):
        needed = ["config.json", *(weight_names(cached) or [WEIGHTS_FILE])]
        if is_offline() or all((cached / file).is_file() for file in needed):
            return cached
    folder = _fetched(name, revision, allow_patterns=_SMALL_FILES, ignore_patterns=_SUBFOLDERS)
    return _fetched(name, revision, allow_patterns=weight_names(folder) or [WEIGHTS_FILE])


def hub_small_files(name: str, revision: str | None) -> Path:
    """Return the local folder of a hub id with its configuration and tokenizer; no weights are fetched."""
    cached = snapshot(name, revision, local_files_only=True)
    if isinstance(cached, Path) and (cached / "config.json").is_file():
        return cached
    return _fetched(name, revision, allow_patterns=_SMALL_FILES, ignore_patterns=_SUBFOLDERS)


def _fetched(name: str, revision: str | None, **options: Any) -> Path:
    if is_offline():
        raise FileNotFoundError(_unreachable(name, "the hub is switched off by HF_HUB_OFFLINE."))
    folder = snapshot(name, revision, **options)
    if isinstance(folder, Path):
        return folder
    raise FileNotFoundError(_unreachable(name, first_line(folder))) from folder


def is_offline() -> bool:
    """Whether the environment, now or at import, forbids the hub."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    now = any(os.environ.get(v, "").upper() in ("1", "TRUE", "ON", "YES") for v in _OFFLINE)
    return bool(now or HF_HUB_OFFLINE)


def first_line(error: BaseException) -> str:
    """Return the first line of an error as a sentence."""
    lines = str(error).strip().splitlines()
    line = lines[0].strip() if lines else type(error).__name__
    return line if line.endswith((".", "!")) else f"{line}."


def snapshot(name: str, revision: str | None, **options: Any) -> Path | Exception:
    """Return the local folder of a repository, or why there is none."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, revision=revision, **options))
    except (OSError, HFValidationError, HfHubHTTPError, httpx.HTTPError) as error:
        return error


def _unreachable(name: str, why: str) -> str:
    from sae_nb.models._loading import bundled_names

    cached = cached_names()
    near = near_names(name, cached)
    shown = [*near, *(other for other in cached if other not in near)][:_CACHED_SHOWN]
    more = f" and {len(cached) - len(shown)} more" * (len(cached) > len(shown))
    return (
        f"`name` must be a bundled model ({', '.join(bundled_names()) or 'none here'}), a checkpoint "
        f"folder, or a Hugging Face id in the cache or within reach, got {name!r}: {why} "
        "Check the spelling, go online, or pass a folder. The cache holds "
        f"{', '.join(shown) or 'no model'}{more}."
    )


def cached_names() -> list[str]:
    """Return the hub ids of the models in the cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    configs = Path(HF_HUB_CACHE).glob("models--*/snapshots/*/config.json")
    folders = {config.parents[2].name for config in configs}
    return sorted("/".join(folder.split("--")[1:]) for folder in folders)

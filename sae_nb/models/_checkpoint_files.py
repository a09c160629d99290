"""Files of a checkpoint in Hugging Face's layout: safe weights, configuration; bundled, or of the hub."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.checks import checked
from sae_nb.files._atomic import existing, json_object, parsed_json
from sae_nb.models._hook_points import near_names

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WEIGHTS = Path(__file__).parent / "weights"


@checked
def bundled_names() -> list[str]:
    """Return the names of the models that ship with the toolkit, checkpoints as "name@step-N"."""
    if not WEIGHTS.is_dir():
        return []
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/config.json"))


def bundled_folder(name: str) -> Path:
    """Return where the weights of a bundled model lie."""
    return WEIGHTS / name


def read_config(folder: Path, name: str) -> PretrainedConfig:
    """Read the configuration of a checkpoint."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    json_object(folder / "config.json")  # a damaged one is named
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except StrictDataclassError as error:
        raise ValueError(
            f"The config.json of {name!r} must agree with itself, but: {' '.join(str(error).split())}. Copy or "
            "download it again."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{name!r} must be of an architecture this version of transformers knows (code that "
            f"comes with a checkpoint is never run), but: {first_line(error)} Load it yourself and "
            "use wrap(module)."
        ) from error


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
    for one in needed:
        existing(folder / one)
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
        return sorted(set(parsed_json(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_broken(index)) from error


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


def whole_numbers(folder: Path) -> list[str]:
    """Return the weights that the safetensors of a folder hold as integers; reads headers only."""
    return sorted(
        name
        for file_name in weight_names(folder)
        for name, entry in _header(folder / file_name).items()
        if name.endswith(".weight") and str(entry["dtype"])[0] in "IU"
    )


def _header(path: Path) -> dict[str, dict[str, list[int]]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= _LONGEST_HEADER else b""
    try:
        header = parsed_json(text)
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

    A cached branch is used as it is. Only safetensors weights and small text files are fetched.
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
    # The configuration comes last: where it is, an interrupted download has left the others too.
    others = [*_SUBFOLDERS, "config.json"]
    _fetched(name, revision, allow_patterns=_SMALL_FILES, ignore_patterns=others)
    return _fetched(name, revision, allow_patterns=["config.json"])


def _fetched(name: str, revision: str | None, **options: Any) -> Path:
    if is_offline():
        raise FileNotFoundError(_unreachable(name, "the hub is switched off by HF_HUB_OFFLINE."))
    folder = snapshot(name, revision, **options)
    if isinstance(folder, Path):
        return folder
    raise FileNotFoundError(_unreachable(name, first_line(folder))) from folder


def is_offline() -> bool:
    """Return whether the environment, now or at import, forbids the hub."""
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
    except json.JSONDecodeError:
        return ValueError(
            "the hub did not answer, but another page did, such as that of a proxy or of a network's login."
        )
    except (OSError, HFValidationError, HfHubHTTPError, httpx.HTTPError) as error:
        return error


def _unreachable(name: str, why: str) -> str:
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

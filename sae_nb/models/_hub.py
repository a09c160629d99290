"""Hugging Face hub ids: a checkpoint folder from the cache, or fetched once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sae_nb.models._weight_files import INDEX_FILE, WEIGHTS_FILE, weight_names

# Everything small: configuration, tokenizer, preprocessing, the index of shards.
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
_SUBFOLDERS = ["*/*"]
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def hub_folder(name: str, revision: str | None) -> Path:
    """Return the local folder of a hub id, fetching it only if the cache does not hold it all.

    A cached branch is used as it is; name a commit, or clear the cache, to get a newer one. Only
    safetensors weights and small text files are fetched.
    """
    cached = snapshot(name, revision, local_files_only=True)
    if isinstance(cached, Path) and (_is_complete(cached) or is_offline()):
        return cached
    if is_offline():
        raise FileNotFoundError(_unreachable(name, "the hub is switched off by HF_HUB_OFFLINE."))
    fetched = snapshot(name, revision, allow_patterns=_SMALL_FILES, ignore_patterns=_SUBFOLDERS)
    if isinstance(fetched, Path):
        fetched = snapshot(name, revision, allow_patterns=_weights_of(fetched))
    if isinstance(fetched, Path):
        return fetched
    raise FileNotFoundError(_unreachable(name, first_line(fetched))) from fetched


def hub_small_files(name: str, revision: str | None) -> Path:
    """Return the local folder of a hub id with its configuration and tokenizer; no weights are fetched."""
    cached = snapshot(name, revision, local_files_only=True)
    if isinstance(cached, Path) and (cached / "config.json").is_file():
        return cached
    if is_offline():
        raise FileNotFoundError(_unreachable(name, "the hub is switched off by HF_HUB_OFFLINE."))
    fetched = snapshot(name, revision, allow_patterns=_SMALL_FILES, ignore_patterns=_SUBFOLDERS)
    if isinstance(fetched, Path):
        return fetched
    raise FileNotFoundError(_unreachable(name, first_line(fetched))) from fetched


def is_offline() -> bool:
    """Whether the environment, now or at import, forbids the hub."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    said = any(os.environ.get(v, "").upper() in ("1", "TRUE", "ON", "YES") for v in _OFFLINE)
    return bool(said or HF_HUB_OFFLINE)


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


def _is_complete(folder: Path) -> bool:
    if not (folder / "config.json").is_file():
        return False
    names = weight_names(folder)
    return bool(names) and all((folder / name).is_file() for name in names)


def _weights_of(folder: Path) -> list[str]:
    if (folder / INDEX_FILE).is_file():
        index = json.loads((folder / INDEX_FILE).read_text("utf-8"))
        return sorted(set(index["weight_map"].values()))
    return [WEIGHTS_FILE]


def _unreachable(name: str, why: str) -> str:
    from sae_nb.models._bundled import bundled_names

    return (
        f"`name` must be a bundled model ({', '.join(bundled_names()) or 'none here'}), a checkpoint "
        f"folder, or a Hugging Face id in the cache or within reach, got {name!r}: {why} "
        "Check the spelling, go online, or pass a folder."
    )

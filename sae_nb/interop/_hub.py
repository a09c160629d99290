"""SAEs on the Hugging Face hub: a folder of a repository, from the cache or fetched once."""

from __future__ import annotations

from pathlib import Path

from sae_nb.interop._detection import reader_of
from sae_nb.models import first_line, is_offline, snapshot

PREFIX = "hf:"


def hub_sae(name: str) -> Path:
    """Return the local folder of an SAE on the hub, fetching it only if the cache has it not."""
    owner, repository, revision, inside = _parts(name)
    patterns = [f"{inside}/*" if inside else "*"]
    repo = f"{owner}/{repository}"
    found = snapshot(repo, revision, local_files_only=True, allow_patterns=patterns)
    if isinstance(found, Path) and _is_sae(found / inside):
        return found / inside
    if is_offline():
        raise FileNotFoundError(
            f"{name!r} must be in the cache while the hub is switched off by HF_HUB_OFFLINE, and is "
            "not. Go online once, or pass a folder."
        )
    found = snapshot(repo, revision, allow_patterns=patterns)
    if not isinstance(found, Path):
        raise FileNotFoundError(
            f"{name!r} must be a folder of a repository within reach: {first_line(found)} Check the "
            "spelling, go online, or pass a folder."
        ) from found
    if not (found / inside).is_dir():
        raise FileNotFoundError(
            f"{repo!r} has no folder {inside!r}. Look at its files on the hub and name the folder that "
            "holds the SAE."
        )
    return found / inside


def _parts(name: str) -> tuple[str, str, str | None, str]:
    owner, _, rest = name.removeprefix(PREFIX).partition("/")
    repository, _, inside = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not owner or not repository or ".." in inside.split("/"):
        raise ValueError(
            f'`folder_or_name` must look like "hf:owner/repository/path", got {name!r}. Name the '
            "repository and the folder in it."
        )
    return owner, repository, revision or None, inside.strip("/")


def _is_sae(folder: Path) -> bool:
    ours = folder / "manifest.json"
    return folder.is_dir() and (ours.is_file() or reader_of(folder) is not None)

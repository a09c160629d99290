"""Files you can trust: atomic writes, checksummed folders, and readers that refuse what is damaged.

A file appears under its final name only when it is complete on disk, so a killed process leaves the old
version or none. Its content is bytes or JSON here; tensors are written in `_tensors.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sae_nb.files._exchange import is_partial, named_write_errors, place, recover, swap_in, tidy_old
from sae_nb.files._locks import Lock

if TYPE_CHECKING:
    from pandas import DataFrame

MANIFEST = "manifest.json"
SEAL = "checksum"

CACHE = "SAE_NB_CACHE"
"""Environment variable: a folder in place of the toolkit's part of the user's cache."""

UNPACKED_TIMES = 32
"""Largest size of an archive's content, in sizes of the archive. Weights and photographs shrink to a half at
best, fp32 rounded to bf16 to a quarter; zeros to a thousandth. Ours."""

UNPACKED_ALWAYS = 64 << 20
"""Bytes of content that are never too many."""


def cache_folder(kind: str) -> Path:
    """Return where what can be had again is kept: fetched `models`, layouts of `umap`. It need not exist."""
    import platformdirs

    named = os.environ.get(CACHE)
    return (Path(named).expanduser() if named else platformdirs.user_cache_path("sae_nb")) / kind


def _sync_folder(folder: Path) -> None:
    # A rename is durable only once the folder that holds the name is flushed. Windows cannot open
    # folders, and does not need to.
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new_partial(path: Path, *, folder: bool = False) -> tuple[Path, Lock]:
    """A temporary sibling of `path`, held so that others can tell it from what a killed process left."""
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        if folder:
            partial.mkdir()
        else:
            # Opened as any new file, so that the umask decides who may read it (mkstemp: the owner
            # alone).
            partial.open("xb").close()
        try:
            lock = Lock(partial)
        except (BlockingIOError, FileNotFoundError):
            continue  # tidied away by somebody in the instant before it was held
        if not lock.is_held or lock.holds(partial):
            return partial, lock


def _tidy_partials(path: Path) -> None:
    """Remove partial files that killed processes left next to `path`; those of a running process stay."""
    ours = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.partial")
    for name in os.listdir(path.parent):
        if ours.fullmatch(name):
            _remove_if_left(path.with_name(name))


def _remove_if_left(partial: Path) -> None:
    try:
        lock = Lock(partial)
    except OSError:  # at work, or just gone
        return
    try:
        if lock.is_held and partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        elif lock.is_held:
            partial.unlink(missing_ok=True)
    finally:
        lock.release()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of `path`; flush and rename it on success, remove it on error."""
    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy_partials(path)
        partial, lock = _new_partial(path)
        try:
            yield partial
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            lock.release()


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` under `path` atomically."""
    with replacing(place(path)) as partial:
        partial.write_bytes(content)


def write_csv(table: DataFrame, path: str | Path | None) -> str | None:
    """Write a pandas table without its index under `path`, atomically; return its text where there is none."""
    text = str(table.to_csv(index=False))
    if path is None:
        return text
    write_bytes(path, text.encode())
    return None


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as JSON under `path`, atomically and with sorted keys (stable diffs)."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


_POINTER = b"version https://git-lfs"
"""Beginning of what Git keeps in place of a file of Git LFS."""


def existing(path: str | Path) -> Path:
    """Return the path of a file that is there itself, not only Git LFS's pointer to it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {str(path)!r}. Check the folder's name and contents.")
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError(
                f"{str(path)!r} must be the file itself, and is a pointer to it of Git LFS: the repository was "
                'cloned without it. Run "git lfs pull" in its folder, or download it from the hub.'
            )
    return path


def check_archive(path: str | Path) -> None:
    """Refuse a zip archive, such as an `.npz` or a `.pt`, that would fill the memory when it is unpacked.

    A file that is not an archive passes, and its reader refuses it. Readers stop at the sizes in its list.
    """
    path = Path(path)
    stated = 0
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        stated = sum(entry.file_size for entry in archive.infolist())
    most = max(UNPACKED_ALWAYS, UNPACKED_TIMES * path.stat().st_size) if stated else UNPACKED_ALWAYS
    if stated > most:
        raise ValueError(
            f"{str(path)!r} must unpack to at most {most >> 20} MiB, got {stated >> 20} MiB in an archive of "
            f"{path.stat().st_size >> 10} KiB. Nothing was unpacked. Weights do not shrink like this: download "
            "it again from a source that you trust."
        )


def existing_folder(path: str | Path, *, listed: bool = False) -> Path:
    """Return the path of a folder that is there, and whose files may be opened; `listed`: found, too."""
    path = Path(path)
    try:
        if not path.is_dir():
            raise FileNotFoundError(f"No folder {str(path)!r}. Check the path.")
        os.stat(os.path.join(path, "."))  # as a Path it would be the folder itself
        if listed:
            os.scandir(path).close()
    except PermissionError as error:
        raise PermissionError(
            f"{str(path)!r} must be a folder that you may read, but permission was refused. Ask for the "
            "right to read it, or pass another folder."
        ) from error
    return path


def parsed_json(text: str | bytes) -> Any:
    """Return what a JSON text says; a ValueError too where it is nested too deeply or a number too long."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def read_json(path: str | Path) -> Any:
    """Read one JSON file."""
    path = existing(path)
    try:
        return parsed_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} must be a JSON file, but it cannot be parsed ({error}). It may have been "
            "cut short; write or download it again."
        ) from error


def json_object(path: str | Path) -> dict[str, Any]:
    """Read one JSON file that must hold an object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{str(path)!r} must hold a JSON object, got {type(content).__name__}. It was altered, or "
            "is another file; make or download it again."
        )
    return content


def checksum_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON file's content, independent of its layout."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same facts with their own checksum, which `check_seal` compares."""
    # Through JSON: what is read again has strings for keys and lists for tuples.
    return {**content, SEAL: checksum_of(json.loads(json.dumps(content)))}


def check_seal(path: Path, content: dict[str, Any], *, needed: bool = True) -> dict[str, Any]:
    """Return the facts of a sealed JSON file, without their checksum.

    Where it is not `needed`, a file without one passes: manifests of the first versions have none.
    """
    facts = {name: value for name, value in content.items() if name != SEAL}
    if SEAL not in content and not needed:
        return facts
    if content.get(SEAL) != checksum_of(facts):
        raise ValueError(
            f"{str(path)!r} does not have the checksum it was written with: it was altered or mixed "
            "up. Put back a copy, or make or download it again."
        )
    return facts


def sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_folder(path: str | Path, *, replace: bool = False, kind: str | None = None) -> Path:
    """Return the place of `new_folder`, or refuse it: long work asks before it begins.

    With `kind` only a folder whose manifest has that kind is replaced.
    """
    path = place(path)
    if path.name in ("", ".."):
        raise ValueError(
            f"A file to be written must have a name of its own, got {str(path)!r}. Use a folder in it."
        )
    recover(path)
    if path.exists():
        if not replace:
            raise FileExistsError(
                f"{str(path)!r} must not exist yet. Choose another name or remove it first."
            )
        if not path.is_dir() or (not (path / MANIFEST).is_file() and any(path.iterdir())):
            raise FileExistsError(
                f"{str(path)!r} holds files that are not ours (no {MANIFEST}), so it is not "
                "replaced. Choose another name."
            )
        if kind is not None and (path / MANIFEST).is_file():
            found = json_object(path / MANIFEST).get("kind")
            if found != kind:
                raise FileExistsError(
                    f"{str(path)!r} must be a folder of kind {kind!r} to be replaced, got {found!r}. "
                    "Choose another name."
                )
    return path


@contextmanager
def new_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` when the block ends well, and vanishes otherwise.

    With `replace` an existing folder of that name is replaced, if it holds a manifest of ours. Files in it
    that the manifest does not list were put there by others (CNAME, .git, notes, labels) and are kept.
    """
    path = free_folder(path, replace=replace)
    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy_partials(path)
        partial, lock = _new_partial(path, folder=True)
    try:
        with named_write_errors(path, only_room=True):
            yield partial
        with named_write_errors(path):
            if replace:
                _keep_what_others_wrote(path, partial)
            _sync_folder(partial)
            swap_in(partial, path, replace=replace)
            tidy_old(path)
            _sync_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


def _keep_what_others_wrote(old: Path, new: Path) -> None:
    """Copy the files of a folder that its manifest does not list into the one that takes its place.

    Folders without files as well: we leave none, and a `.git` without its own is not a repository.
    """
    if not (old / MANIFEST).is_file():
        return
    ours = {MANIFEST, *json_object(old / MANIFEST).get("files", ())}
    for file in sorted(old.rglob("*")):
        name = file.relative_to(old)
        kept = str(name) not in ours and not is_partial(file) and not (new / name).exists()
        if kept and (file.is_file() or file.is_symlink()):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, new / name, follow_symlinks=False)
        elif kept and file.is_dir() and not any(file.iterdir()):
            (new / name).mkdir(parents=True)


def write_manifest(
    folder: str | Path,
    kind: str,
    version: int = 1,
    *,
    known: Mapping[str, Mapping[str, Any]] | None = None,
    **facts: Any,
) -> None:
    """Write `manifest.json`: what the folder is, each file's size and checksum, and further facts.

    `known`: size and checksum of files that were computed as they were written.
    """
    folder, known = Path(folder), known or {}
    files = {
        (name := str(file.relative_to(folder))): known.get(name)
        or {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    write_json(
        folder / MANIFEST, sealed({"kind": kind, "version": version, "files": files, **facts})
    )


def read_manifest(
    folder: str | Path,
    kind: str,
    *,
    version: int = 1,
    verify: Literal["full", "sizes", "none"] = "full",
) -> dict[str, Any]:
    """Read and verify a folder's manifest.

    `full` compares checksums, `sizes` only lengths (for stores too large to hash on opening).
    """
    recover(folder)
    folder = existing_folder(folder)
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        other = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        raise ValueError(
            f"{str(folder / MANIFEST)!r} must describe a folder of kind {kind!r}, got {other!r}. Pass "
            "another folder."
        )
    if manifest.get("version") != version:
        raise ValueError(
            f"{str(folder / MANIFEST)!r} must have format version {version}, got "
            f"{manifest.get('version')!r}. "
            "It was written by another version of sae_nb; write it again with this one."
        )
    manifest = check_seal(folder / MANIFEST, manifest, needed=False)
    files = _listed(folder / MANIFEST, manifest)
    if verify != "none":
        for name, expected in files.items():
            _verify(folder, name, expected, full=verify == "full")
    return manifest


def _listed(path: Path, manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each file's size and checksum, as the manifest states them."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(facts, dict) and facts.keys() >= {"bytes", "sha256"} for facts in files.values()
    ):
        raise ValueError(
            f"{str(path)!r} must state size and checksum of each file, and does not. It was altered; "
            "make or download the folder again."
        )
    return files


def _verify(folder: Path, name: str, expected: dict[str, Any], *, full: bool) -> None:
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"The manifest of {str(folder)!r} names a file outside it: {name!r}.")
    if not file.is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is incomplete: {name!r} is missing. Make it again."
        )
    size = file.stat().st_size
    if size != expected["bytes"]:
        raise ValueError(
            f"{str(file)!r} must have {expected['bytes']} bytes, got {size}. It was cut short or "
            "altered; make or download it again."
        )
    if full and sha256(file) != expected["sha256"]:
        raise ValueError(
            f"{str(file)!r} does not have the checksum in its manifest: it was altered after it was "
            "written. Make or download it again."
        )

"""Detects the library a folder is from, by the names of its files; and folders of the hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_nb import plugins
from sae_nb.architectures import SparseAutoencoder
from sae_nb.files._atomic import MANIFEST, json_object
from sae_nb.interop import (
    _circuit_tracer as circuit_tracer,
    _dictionary_learning as dictionary_learning,
    _gemma_scope as gemma_scope,
    _openai as openai,
    _overcomplete as overcomplete,
    _saelens as saelens,
    _sparsify as sparsify,
    _temporal as temporal,
    _vision as vision,
)
from sae_nb.interop._imported import Imported
from sae_nb.interop._several import ImportedCrosscoder, ImportedCrossLayerTranscoder
from sae_nb.models._checkpoint_files import first_line, is_offline, snapshot

IMPORTED: dict[str, type[SparseAutoencoder]] = {
    "Imported": Imported,
    "ImportedTemporal": temporal.ImportedTemporal,
    "ImportedCrosscoder": ImportedCrosscoder,
    "ImportedCrossLayerTranscoder": ImportedCrossLayerTranscoder,
}
"""Classes of imported SAEs by their saved name."""

Reader = Callable[[Path], SparseAutoencoder]


@dataclass(frozen=True)
class FolderFormat:
    """A library's folders: the files by which one is recognised, and the function that reads it.

    A package of your own offers one as an entry point of the group ``sae_nb.readers``; `sn.load_sae` then
    opens its folders.

    Parameters
    ----------
    library
        Its name, in messages.
    files
        Names of files that a folder of it has, all of them.
    read
        (folder) → the SAE, usually an `Imported`.

    Example
    -------
    >>> from pathlib import Path
    >>> import sae_nb as sn
    >>> own = FolderFormat("theirs", ("theirs.json",), sn.interop.read_saelens)
    >>> own.fits(Path("."))
    False
    """

    library: str
    files: tuple[str, ...]
    read: Reader

    def fits(self, folder: Path) -> bool:
        """Return whether a folder has all its files."""
        return all((folder / name).is_file() for name in self.files)


Layout = FolderFormat
"""Its name until 0.2."""

_FORMATS: list[FolderFormat] = [
    FolderFormat(saelens.LIBRARY, (saelens.CONFIG, saelens.WEIGHTS), saelens.read_saelens),
    FolderFormat(sparsify.LIBRARY, (sparsify.CONFIG, sparsify.WEIGHTS), sparsify.read_sparsify),
    FolderFormat(
        dictionary_learning.LIBRARY,
        (dictionary_learning.CONFIG, dictionary_learning.WEIGHTS),
        dictionary_learning.read_dictionary_learning,
    ),
    FolderFormat(
        dictionary_learning.LIBRARY,
        (dictionary_learning.CONFIG, dictionary_learning.HUB_WEIGHTS),
        dictionary_learning.read_dictionary_learning,
    ),
    FolderFormat(gemma_scope.LIBRARY, (gemma_scope.ARRAYS,), gemma_scope.read_gemma_scope),
    FolderFormat(gemma_scope.LIBRARY, (gemma_scope.TENSORS,), gemma_scope.read_gemma_scope),
    FolderFormat(
        gemma_scope.LIBRARY, (gemma_scope.LAYERS.format(0),), gemma_scope.read_gemma_scope
    ),
    FolderFormat(circuit_tracer.LIBRARY, circuit_tracer.FIRST, circuit_tracer.read_circuit_tracer),
    FolderFormat(temporal.LIBRARY, (temporal.CONFIG, temporal.WEIGHTS), temporal.read_temporal),
    FolderFormat(overcomplete.LIBRARY, (overcomplete.WEIGHTS,), overcomplete.read_overcomplete),
    FolderFormat(
        vision.VISAEBENCH, (vision.CONFIG, vision.VISAEBENCH_WEIGHTS), vision.read_visaebench
    ),
    FolderFormat(vision.PRISMA, (vision.CONFIG, vision.PRISMA_WEIGHTS), vision.read_prisma),
]


def _accept(_: str, value: object) -> None:
    """Keep a layout of another package, after ours: a folder that we know is read as before."""
    if not isinstance(value, FolderFormat):
        raise TypeError(f"it must be a sae_nb.interop.FolderFormat, got {value!r}")
    if not value.files:
        raise ValueError("its `files` must name at least one file, or it would fit every folder")
    _FORMATS.append(value)


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a folder or file of another library; None if it is of none."""
    if path.is_file():
        if circuit_tracer.is_transcoder(path):
            return circuit_tracer.read_circuit_tracer
        return openai.read_openai if path.suffix == ".pt" else None
    return next((layout.read for layout in _FORMATS if layout.fits(path)), None)


def known_layouts() -> str:
    """Return a sentence part that lists the layouts, for messages."""
    folders = ", ".join(f"{one.library} ({' and '.join(one.files)})" for one in _FORMATS)
    return f"{folders}; of {circuit_tracer.LIBRARY} a file, layer_0.safetensors"


def hub_sae(name: str) -> Path:
    """Return the local folder of an SAE on the hub, fetching it only if the cache has it not."""
    owner, repository, revision, inside = _parts(name)
    patterns = [f"{inside}/*" if inside else "*"]
    repo = f"{owner}/{repository}"

    def is_whole(snapshot_folder: Path) -> bool:
        folder = snapshot_folder / inside
        return folder.is_dir() and _holds_an_sae(folder)

    fetched = local_copy(name, repo, revision, patterns, is_whole=is_whole)
    if not (fetched / inside).is_dir():
        raise FileNotFoundError(
            f"{repo!r} has no folder {inside!r}. Look at its files on the hub and name the folder that "
            "holds the SAE."
        )
    return fetched / inside


def _holds_an_sae(folder: Path) -> bool:
    """Return whether all files of an SAE are there; an interrupted download may leave its manifest alone."""
    if not (folder / MANIFEST).is_file():
        return reader_of(folder) is not None
    listed = json_object(folder / MANIFEST).get("files")
    return not isinstance(listed, dict) or all((folder / name).is_file() for name in listed)


def local_copy(
    name: str,
    repository: str,
    revision: str | None,
    patterns: list[str],
    *,
    is_whole: Callable[[Path], bool],
    first: Sequence[str] = (),
    holds: Callable[[str], str] | None = None,
) -> Path:
    """Return the local folder of a repository with some of its files: the cache's if it is complete,
    else fetched.

    `first` are files that `is_whole` cannot ask for, because a repository may have none: they are fetched
    before the others, so that a download that was interrupted never looks complete without them.
    `holds` describes the cache in a sentence, for offline use.
    """
    cached = snapshot(repository, revision, local_files_only=True, allow_patterns=patterns)
    if isinstance(cached, Path) and is_whole(cached):
        return cached
    if is_offline():
        also = f" {holds(name)}" if holds is not None else ""
        raise FileNotFoundError(
            f"{name!r} must be in the cache while the hub is switched off by HF_HUB_OFFLINE, and is "
            f"not. Go online once, or pass a folder.{also}"
        )
    if first:
        snapshot(repository, revision, allow_patterns=list(first))
    fetched = snapshot(repository, revision, allow_patterns=patterns)
    if not isinstance(fetched, Path):
        raise FileNotFoundError(
            f"{name!r} must be a folder of a repository within reach: {first_line(fetched)} Check the "
            "spelling, go online, or pass a folder."
        ) from fetched
    return fetched


def _parts(name: str) -> tuple[str, str, str | None, str]:
    owner, _, rest = name.removeprefix("hf:").partition("/")
    repository, _, inside = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not owner or not repository or ".." in inside.split("/"):
        raise ValueError(
            f'`folder_or_name` must look like "hf:owner/repository/path", got {name!r}. Name the '
            "repository and the folder in it."
        )
    return owner, repository, revision or None, inside.strip("/")


# Last: a part may itself read from this package.
plugins.take("readers", _accept)

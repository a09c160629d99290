"""Which library a folder is from, by the names of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sae_nb.architectures import SparseAutoencoder
from sae_nb.interop import (
    _dictionary_learning as dictionary_learning,
    _gemma_scope as gemma_scope,
    _openai as openai,
    _overcomplete as overcomplete,
    _saelens as saelens,
    _sparsify as sparsify,
    _temporal as temporal,
)
from sae_nb.interop._imported import Imported

IMPORTED: dict[str, type[SparseAutoencoder]] = {
    "Imported": Imported,
    "ImportedTemporal": temporal.ImportedTemporal,
}
"""Classes of imported SAEs by their saved name."""

Reader = Callable[[Path], SparseAutoencoder]

_LAYOUTS: tuple[tuple[str, tuple[str, ...], Reader], ...] = (
    (saelens.LIBRARY, (saelens.CONFIG, saelens.WEIGHTS), saelens.read_saelens),
    (sparsify.LIBRARY, (sparsify.CONFIG, sparsify.WEIGHTS), sparsify.read_sparsify),
    (
        dictionary_learning.LIBRARY,
        (dictionary_learning.CONFIG, dictionary_learning.WEIGHTS),
        dictionary_learning.read_dictionary_learning,
    ),
    (gemma_scope.LIBRARY, (gemma_scope.ARRAYS,), gemma_scope.read_gemma_scope),
    (gemma_scope.LIBRARY, (gemma_scope.TENSORS,), gemma_scope.read_gemma_scope),
    (temporal.LIBRARY, (temporal.CONFIG, temporal.WEIGHTS), temporal.read_temporal),
    (overcomplete.LIBRARY, (overcomplete.WEIGHTS,), overcomplete.read_overcomplete),
)


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a folder or file of another library; None if it is of none."""
    if path.is_file():
        return openai.read_openai if path.suffix == ".pt" else None
    for _, names, reader in _LAYOUTS:
        if all((path / name).is_file() for name in names):
            return reader
    return None


def known_layouts() -> str:
    """Return a sentence part that lists the layouts, for messages."""
    return ", ".join(f"{library} ({' and '.join(names)})" for library, names, _ in _LAYOUTS)

"""Originals: what a reader found in a file, so that its writer can put the same bits back.

Reading changes numbers: norms are divided out, logarithms taken, maps merged. None of it can be undone to
the last bit, and some of it not at all (which data points an archetypal dictionary mixes). So an SAE read
from a file remembers the file's own tensors, as long as nobody changes the SAE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.files import new_folder

S = TypeVar("S", bound=SparseAutoencoder)
ATTRIBUTE = "_original"


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """The contents of one library's files."""

    library: str
    """Whose files they are."""

    tensors: dict[str, Tensor]
    """By that library's names, in its shapes and dtypes; views of the SAE's own where they are the same."""

    config: dict[str, Any]
    """What its JSON file says."""

    place: tuple[str | None, str | None] = field(default=(None, None))
    """Hook point and model when it was read: a file names them, so they must not have changed."""


def remember(sae: S, library: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> S:
    """Let an SAE remember the file it was read from; returns the SAE."""
    own = [tensor.detach() for tensor in (*sae.parameters(), *sae.buffers())]
    shared = {name: _shared(tensor, own) for name, tensor in tensors.items()}
    place = (sae.hook_point, sae.model_name)
    original = Original(library=library, tensors=shared, config=dict(config), place=place)
    setattr(sae, ATTRIBUTE, original)
    return sae


def write_folder(
    sae: SparseAutoencoder,
    folder: str | Path,
    library: str,
    *,
    translate: Callable[[SparseAutoencoder], tuple[dict[str, Tensor], dict[str, Any]]],
    store: Callable[[Path, dict[str, Tensor], dict[str, Any]], None],
    read: Callable[[Path], SparseAutoencoder],
) -> Path:
    """Write a new folder of another library: what was read, if the SAE is still that, else a translation.

    `translate` gives tensors and configuration by that library's names, `store` writes its two files,
    and `read` is its reader.
    """
    folder = Path(folder)
    original = getattr(sae, ATTRIBUTE, None)
    now = (library, (sae.hook_point, sae.model_name))
    with new_folder(folder) as partial:
        if isinstance(original, Original) and (original.library, original.place) == now:
            store(partial, original.tensors, original.config)
            if _same(read(partial), sae):
                return folder
            for file in partial.iterdir():
                file.unlink()
        store(partial, *translate(sae))
    return folder


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each with memory of its own, as `torch.save` needs them to store no more."""
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}


def _shared(tensor: Tensor, own: list[Tensor]) -> Tensor:
    """The SAE's own memory where it holds the same bits, as they are or transposed."""
    for mine in own:
        views = (mine, mine.T) if mine.ndim == 2 else (mine,)
        for view in views:
            if _equal_bits(view, tensor):
                return view
    return tensor


def _same(a: SparseAutoencoder, b: SparseAutoencoder) -> bool:
    if type(a) is not type(b) or _facts(a) != _facts(b):
        return False
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(
        _equal_bits(tensor, second[name]) for name, tensor in first.items()
    )


def _facts(sae: SparseAutoencoder) -> dict[str, Any]:
    # Where it is from is compared as `place`: a folder that is being written has another name.
    return {name: value for name, value in sae.settings().items() if name != "origin"}


def _equal_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    raw = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(*raw)

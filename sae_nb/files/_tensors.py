"""Named tensors in one file: safetensors, or an .npz of numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from sae_nb.files._atomic import (
    existing,
    new_folder,
    replacing,
    write_bytes,
    write_json,
    write_manifest,
)
from sae_nb.files._exchange import place

_PART = ".part"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def write_tensors(
    path: str | Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str] | None = None,
    *,
    part_bytes: int | None = None,
) -> None:
    """Write named tensors as one safetensors file under `path`, atomically.

    With `part_bytes`, a longer file is cut into parts of that length, `path` with .part1, .part2 … after it,
    which `read_tensors(path)` puts together again.
    """
    # One storage may back several tensors (tied weights, views); safetensors stores each apart.
    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = save(ready, metadata=metadata)
    if part_bytes is None or len(content) <= part_bytes:
        write_bytes(path, content)
        return
    for i, start in enumerate(range(0, len(content), part_bytes), start=1):
        write_bytes(f"{path}{_PART}{i}", content[start : start + part_bytes])


def write_folder(
    folder: str | Path,
    kind: str,
    *,
    json: Mapping[str, Any],
    tensors: Mapping[str, dict[str, Tensor]],
    replace: bool = True,
    **facts: Any,
) -> None:
    """Write a folder of a kind, whole or not at all: JSON files and tensor files by name, and the manifest."""
    with new_folder(folder, replace=replace) as partial:
        for name, content in json.items():
            write_json(partial / name, content)
        for name, held in tensors.items():
            write_tensors(partial / name, held)
        write_manifest(partial, kind, **facts)


def write_arrays(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as one .npz of numpy under `path`, not compressed and by rows, atomically."""
    arrays = {n: np.ascontiguousarray(t.detach().cpu().numpy()) for n, t in tensors.items()}
    with replacing(place(path)) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its own keywords are no names of arrays


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU. Where it is one file, the system reads what is used of it."""
    parts = _parts_of(Path(path))
    path = parts[0] if parts else existing(path)
    try:
        if parts:
            return load(b"".join(part.read_bytes() for part in parts))
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if not path.is_file():
            raise FileNotFoundError(
                f"No file {str(path)!r} any more: it was replaced or removed while it was read. Read it again."
            ) from error
        with path.open("rb") as file:
            pickled = file.read(4).startswith(_PICKLES)
        look = "looks like a pickle, which could run code and is never opened"
        raise ValueError(
            f"{str(path)!r} must be a complete safetensors file, but it cannot be read ({error}). "
            f"It {look if pickled else 'may have been cut short or altered'}. Write or download it again."
        ) from error


def _parts_of(path: Path) -> list[Path]:
    """Return the parts of a file that was written in parts, in their order."""
    if path.is_file():
        return []
    return sorted(
        path.parent.glob(f"{path.name}{_PART}*"),
        key=lambda part: int(part.name.rpartition(_PART)[2]),
    )

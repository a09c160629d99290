"""Safetensors and `.npz` files whose matrices stay in them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.files._mapped import Held, MappedFile, MappedMatrix

_ST_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def mapped_safetensors(path: Path) -> dict[str, Tensor]:
    """Return tensors of a safetensors file; matrices stay in it."""
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as plain:  # which checks lengths and offsets
        file = MappedFile(path)
        length = int.from_bytes(file.map[:8], "little")
        entries: dict[str, Any] = json.loads(file.map[8 : 8 + length])
        entries.pop("__metadata__", None)
        for name, entry in entries.items():
            dtype, shape = _ST_DTYPES.get(entry["dtype"]), tuple(entry["shape"])
            if len(shape) == 2 and 0 not in shape and dtype is not None:
                start = 8 + length + entry["data_offsets"][0]
                tensors[name] = _matrix(file, file.matrix(start, dtype, shape))
            else:
                tensors[name] = plain.get_tensor(name).clone()
    return tensors


def mapped_arrays(path: Path) -> dict[str, Tensor]:
    """Return arrays of an `.npz`; matrices stay in it, which needs an uncompressed file."""
    file = MappedFile(path)
    tensors: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged!r} is wrong")
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as member:
                form = np.lib.format
                old = form.read_magic(member) == (1, 0)
                read = form.read_array_header_1_0 if old else form.read_array_header_2_0
                shape, fortran, kind = read(member)
                begins = member.tell()
                if len(shape) != 2 or 0 in shape:
                    member.seek(0)
                    array = np.lib.format.read_array(member, allow_pickle=False)
                    tensors[name] = torch.from_numpy(array)
                    continue
            tensors[name] = _of_archive(file, entry, begins, shape, fortran, kind)
    return tensors


def _of_archive(
    file: MappedFile,
    entry: zipfile.ZipInfo,
    begins: int,
    shape: tuple[int, ...],
    fortran: bool,
    kind: np.dtype[Any],
) -> Tensor:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise CompressedError(
            f"Arrays of {str(file.path)!r} must lie uncompressed to be memory-mapped, got "
            f"{entry.filename!r} compressed. Write it with np.savez, or load it without mmap."
        )
    # A member begins after its local header, whose lengths may differ from those of the directory.
    header = entry.header_offset
    name, extra = (
        int.from_bytes(file.map[header + at : header + at + 2], "little") for at in (26, 28)
    )
    dtype = torch.from_numpy(np.zeros(1, kind)).dtype
    stored = file.matrix(
        header + 30 + name + extra + begins, dtype, shape[::-1] if fortran else shape
    )
    return _matrix(file, stored, turned=fortran)


class CompressedError(ValueError):
    """An archive that cannot be mapped, as its message explains."""


def _matrix(file: MappedFile, stored: Tensor, *, turned: bool = False) -> MappedMatrix:
    dtype = torch.promote_types(stored.dtype, torch.float32)
    return MappedMatrix(Held(file, stored, turned=turned, dtype=dtype))

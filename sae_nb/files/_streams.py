"""Tensors too large to hold: written to a safetensors file as they come, and read from it in part."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from sae_nb.files._atomic import existing, replacing
from sae_nb.files._exchange import place

_NAMES = {
    "int64": "I64", "float64": "F64", "float32": "F32", "int32": "I32", "bfloat16": "BF16",
    "float16": "F16", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""The format's name of a dtype, the widest first: in this order they lie in a file, so all are aligned."""

PORTION_BYTES = 2**24
"""Of a tensor that are on their way at once."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A tensor that is not here: its shape and dtype, and its rows portion by portion."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    portions: Callable[[], Iterator[Tensor]]
    """Consecutive rows, when they are asked for."""


def in_portions(tensor: Tensor) -> Iterator[Tensor]:
    """Yield consecutive rows of a tensor: as many at a time as `portion_rows` returns."""
    yield from torch.split(tensor, portion_rows(tensor)) if tensor.ndim else (tensor,)


def portion_rows(tensor: Tensor) -> int:
    """Return rows of a tensor that take at most `PORTION_BYTES`, or one."""
    row_bytes = math.prod(tensor.shape[1:]) * tensor.element_size()
    return max(1, PORTION_BYTES // max(row_bytes, 1))


def write_streams(
    path: str | Path,
    tensors: Mapping[str, Tensor | Stream],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write tensors as one safetensors file, atomically, with one portion in memory at a time.

    Byte for byte what `write_tensors` writes of the same tensors.
    """
    order = file_order(tensors)
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name in order:
        kind, shape = tensors[name].dtype, list(tensors[name].shape)
        start, end = end, end + kind.itemsize * math.prod(shape)
        dtype = _NAMES[_kind(tensors[name])]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(place(path)) as partial, partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            tensor = tensors[name]
            portions = tensor.portions() if isinstance(tensor, Stream) else in_portions(tensor)
            for portion in portions:
                file.write(_bytes(portion))


def file_order(tensors: Mapping[str, Tensor | Stream]) -> list[str]:
    """Return names in the order in which `write_streams` asks for the tensors."""
    ranks = list(_NAMES)
    return sorted(tensors, key=lambda name: (ranks.index(_kind(tensors[name])), name))


def read_parts(path: str | Path, rows_of: Callable[[str], slice | None]) -> dict[str, Tensor]:
    """Read some rows of each tensor of a safetensors file; None: all of it."""
    found = {}
    with safe_open(existing(path), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            rows = rows_of(name)
            found[name] = (
                file.get_tensor(name)
                if rows is None
                else file.get_slice(name)[rows.start : rows.stop]
            )
    return found


def _kind(tensor: Tensor | Stream) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bytes(portion: Tensor) -> memoryview:
    flat = portion.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return flat.numpy().data

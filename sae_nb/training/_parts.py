"""Tensors that are spread over workers, on disk: one safetensors file for each worker, read by any number.

    part-00001-of-00004.safetensors     rows that one worker has; where they belong, in the file's header

A process alone writes one file and reads it. Several go through torch.distributed.checkpoint
(`_distributed_parts`), which decides who writes what all of them have, and which rows of which files are
read; `_checkpoint` asks for it, as it takes seconds to import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from sae_nb.files._streams import Stream, in_portions, write_streams

PLACES = "DCP_SHARDING_INFO"
"""Entry of the header, as torch's HuggingFaceStorageReader reads it: first row and column of each tensor."""


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a tensor that this worker has; by default all of them."""

    tensor: Tensor
    first: int = 0
    n: int | None = None
    """Rows in all workers; None: every worker has all."""

    @property
    def rows(self) -> Tensor:
        """The tensor, one number as one row: torch's reader takes no tensor without axes."""
        return self.tensor.detach().reshape(1) if self.tensor.ndim == 0 else self.tensor.detach()

    @property
    def shape(self) -> torch.Size:
        """Shape of the rows of all workers."""
        here = self.rows.shape
        return here if self.n is None else torch.Size([self.n, *here[1:]])

    @property
    def place(self) -> torch.Size:
        """Row and column where these begin."""
        return torch.Size([self.first] + [0] * (self.rows.ndim - 1))


def file_name(rank: int, size: int) -> str:
    """Return the name of a worker's file."""
    return f"part-{rank + 1:05d}-of-{size:05d}.safetensors"


def write_file(path: Path, parts: Mapping[str, Part]) -> None:
    """Write one file, portion by portion."""
    places = {name: {"saved_offsets": list(parts[name].place)} for name in sorted(parts)}
    tensors = {name: part.rows for name, part in parts.items()}
    write_streams(path, tensors, {PLACES: json.dumps(places)})


def stored(folder: Path) -> dict[str, tuple[torch.dtype, list[int]]]:
    """Return dtype of each tensor in a folder, and the shape of its first part."""
    found: dict[str, tuple[torch.dtype, list[int]]] = {}
    for path in part_files(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if name not in found:
                    rows = file.get_slice(name)
                    found[name] = (rows[:1].dtype, rows.get_shape())
    return found


def part_files(folder: Path) -> list[Path]:
    """Return the files of all workers, in their order."""
    return sorted(folder.glob("part-*-of-*.safetensors"))


def streams(folder: Path, parts: Mapping[str, Part]) -> dict[str, Tensor | Stream]:
    """Return whole tensors of parts that all workers have written, read when they are asked for."""
    files = part_files(folder)

    def portions(name: str) -> Iterator[Tensor]:
        for path in files:  # workers have their rows in their order
            with safe_open(path, framework="pt") as file:
                yield from in_portions(file.get_tensor(name))

    return {
        name: part.tensor
        if part.n is None
        else Stream(tuple(part.shape), part.tensor.dtype, lambda name=name: portions(name))  # type: ignore[misc]
        for name, part in parts.items()
    }

"""Parts by torch.distributed.checkpoint: its planners and its reader, and a writer without pickles.

Of the storages that torch brings, `FileSystemWriter` keeps what it wrote in a pickle (`.metadata`), which
runs code when it is read, and `HuggingFaceStorageWriter` makes a whole file in memory before it writes it.
So files are written as `_parts` does; `HuggingFaceStorageReader` reads their headers and rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from sae_nb.training._parts import Part, file_name, write_file


def save(folder: Path, parts: Mapping[str, Part], size: int) -> None:
    """Write the parts of all workers; what several have, one of them writes."""
    with _as_they_are():
        writer = _Writer(folder, size)
        state_dict_saver.save(dict(parts), storage_writer=writer, planner=_SavePlanner())


def load(folder: Path, parts: Mapping[str, Part], *, alone: bool) -> None:
    """Read parts into their tensors, from files of any number of workers."""
    reader = HuggingFaceStorageReader(str(folder))
    with _as_they_are():
        state_dict_loader.load(
            dict(parts), storage_reader=reader, planner=_LoadPlanner(), no_dist=alone
        )


@contextmanager
def _as_they_are() -> Iterator[None]:
    """Raise what was wrong in a worker, in all of them, in place of torch's wrapping of it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            yield
    except CheckpointException as error:
        rank, (cause, _) = min(error.failures.items())
        if rank > 0 and isinstance(cause, OSError):
            raise type(cause)(f"Worker {rank}: {cause}") from None
        raise cause from None


def _chunk(part: Part) -> ChunkStorageMetadata:
    return ChunkStorageMetadata(offsets=part.place, sizes=part.rows.shape)


def _item(name: str, part: Part) -> WriteItem:
    return WriteItem(
        index=MetadataIndex(name, part.place),
        type=WriteItemType.TENSOR if part.n is None else WriteItemType.SHARD,
        tensor_data=TensorWriteData(
            chunk=_chunk(part),
            properties=TensorProperties.create_from_tensor(part.rows),
            size=part.shape,
        ),
    )


class _SavePlanner(DefaultSavePlanner):
    """Plans to write the rows that a worker has."""

    state_dict: dict[str, Part]

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def create_local_plan(self) -> SavePlan:
        self.plan = SavePlan([_item(name, part) for name, part in self.state_dict.items()])
        return self.plan

    def lookup_object(self, index: MetadataIndex) -> Part:
        return self.state_dict[index.fqn]


class _Writer(HuggingFaceStorageWriter):
    """Writes a worker's file as `_parts` does."""

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(str(folder), save_distributed=True)
        self.folder, self.size = folder, size

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        parts: dict[str, Any] = {item.index.fqn: planner.resolve_data(item) for item in plan.items}
        write_file(self.folder / file_name(plan.storage_data["shard_index"] - 1, self.size), parts)
        done: Future[list[WriteResult]] = Future()
        done.set_result(
            [
                WriteResult(item.index, parts[item.index.fqn].rows.nbytes, storage_data=None)
                for item in plan.items
            ]
        )
        return done


class _LoadPlanner(DefaultLoadPlanner):
    """Plans to read the rows that a worker has; all of them must be there."""

    state_dict: dict[str, Part]

    def set_up_planner(
        self, state_dict: Any, metadata: Any = None, is_coordinator: bool = False
    ) -> None:
        self.state_dict, self.metadata, self.is_coordinator = state_dict, metadata, is_coordinator

    def create_local_plan(self) -> LoadPlan:
        items = []
        for name, part in self.state_dict.items():
            stored: Any = self.metadata.state_dict_metadata.get(name) if self.metadata else None
            found = create_read_items_for_chunk_list(name, stored, [_chunk(part)]) if stored else []
            if sum(math.prod(item.lengths) for item in found) != part.rows.numel():
                raise ValueError(
                    f"The files of a checkpoint must hold all rows of {name!r}, and do not. One is "
                    "missing, or was altered; put it back, or use `resume=False` to start afresh."
                )
            items += found
        return LoadPlan(items)

    def lookup_tensor(self, index: MetadataIndex) -> Tensor:
        return self.state_dict[index.fqn].rows

"""Capture to a folder, shard by shard, so that a kill at any moment costs one shard at most.

A folder under way holds `capture.json`: the call, and the shards that are complete. Shards end at
batch borders, so the same call goes on with the batch after the last shard and writes what it would
have written. `activation_store` seals the finished folder and reads it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from sae_nb.activation_store import (
    KIND,
    PROGRESS,
    SHARD_BYTES,
    StoredPoint,
    join_samples,
    open_store,
    row_tensors,
    seal,
    size_and_checksum,
)
from sae_nb.activations import Activations
from sae_nb.capture_identity import (
    BatchDigest,
    call_facts,
    check_finished,
    check_same,
    other_inputs,
)
from sae_nb.checks import check_count
from sae_nb.files import (
    MANIFEST,
    check_seal,
    json_object,
    sealed,
    write_json,
    write_tensors,
)
from sae_nb.folder_locks import holding_folder
from sae_nb.harvesting import (
    CaptureRecord,
    ContextBuilder,
    Harvest,
    reporting,
)
from sae_nb.hook_points import HookPoint
from sae_nb.row_policy import BatchRows
from sae_nb.write_errors import is_partial, place

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch, Batches

_PART = re.compile(r"samples-\d{5}\.safetensors")
"""Samples of one shard, joined at the end."""


def capture_to_store(
    harvest: Harvest,
    inputs: Any,
    store: str | Path,
    shard_rows: int | None,
    several: bool,
    progress: bool | Callable[[CaptureRecord], Any],
) -> dict[str, Activations]:
    """Capture to a folder, going on where the same call was killed; see `capture`.

    Raises
    ------
    ValueError
        If the folder holds another capture, is written to by another process, or is not ours.
    """
    if shard_rows is not None:
        check_count(shard_rows, name="shard_rows")
    folder = place(store)
    call = call_facts(harvest, inputs, shard_rows, several)
    batches = harvest.batches(inputs)
    with _alone(folder):
        if (folder / MANIFEST).is_file():
            check_finished(folder, call, batches)
            _tidy_finished(folder)
        else:
            writer = StoreWriter(folder, call, harvest.points, shard_rows)
            _fill(harvest, batches, writer, progress)
    # Checksums were just computed from these very files.
    found = open_store(folder, verify="sizes")
    return found if isinstance(found, dict) else {next(iter(harvest.points)): found}


def _fill(
    harvest: Harvest,
    batches: Batches,
    writer: StoreWriter,
    progress: bool | Callable[[CaptureRecord], Any],
) -> None:
    builder, max_rows = ContextBuilder(harvest.model), harvest.settings.max_rows
    with reporting(progress, batches.n_samples) as report:
        for batch in batches:
            builder.add(batch)
            if writer.has(batch):
                builder.take()
            else:
                writer.add(harvest.rows(batch, writer.counts), builder, max_rows)
            report(max(writer.counts.values()), builder.n_samples)
            if writer.complete(max_rows):
                break
    policies = {
        name: harvest.policy(batches, builder, dropped) for name, dropped in writer.dropped.items()
    }
    writer.finish(harvest.model.name, builder, policies)


class StoreWriter:
    """Writes shards of rows, remembers what is written, and finishes with a manifest.

    Parameters
    ----------
    folder
        Where to write; begun again or gone on with.
    call
        Everything that decides the rows; a folder begun by another call is refused.
    points
        From the name as given to each hook point.
    shard_rows
        Rows per shard, at least; None: 32 MiB worth.
    """

    def __init__(
        self,
        folder: Path,
        call: Mapping[str, Any],
        points: Mapping[str, HookPoint],
        shard_rows: int | None,
    ) -> None:
        self.folder, self.points, self.shard_rows = folder, dict(points), shard_rows
        self.call = dict(call)
        self.shards: list[dict[str, Any]] = self._begun()
        self.counts = dict.fromkeys(points, 0)
        self.dropped: dict[str, Counter[str]] = {name: Counter() for name in points}
        for shard in self.shards:
            for name, n, dropped in zip(points, shard["rows"], shard["dropped"]):
                self.counts[name] += n
                self.dropped[name].update(dropped)
        self._to_check = list(self.shards)
        self.n_to_skip = self._to_check[0]["batches"] if self._to_check else 0
        self._digest = BatchDigest()
        self._pending: dict[str, list[BatchRows]] = {name: [] for name in points}
        self._pending_batches = 0

    def _begun(self) -> list[dict[str, Any]]:
        for left in self.folder.glob(".*.partial"):
            left.unlink()
        if not (self.folder / PROGRESS).is_file():
            if any(self.folder.iterdir()):
                raise ValueError(
                    f"`store` must be a new folder or one of ours, but {str(self.folder)!r} holds "
                    "other files. Choose another name."
                )
            # Before the first shard: a kill then leaves a folder that is known to be ours.
            self.shards = []
            self._write_progress()
            return []
        progress = self.folder / PROGRESS
        begun = check_seal(progress, json_object(progress), needed=False)
        check_same(self.folder, begun["call"], self.call, "half-done")
        for shard in begun["shards"]:
            for name, size in shard["files"].items():
                file = self.folder / name
                if not file.is_file() or file.stat().st_size != size["bytes"]:
                    raise ValueError(
                        f"{str(file)!r} must have {size['bytes']} bytes, but it was cut short, altered "
                        f"or removed. Delete the folder {str(self.folder)!r} and capture again."
                    )
        return cast("list[dict[str, Any]]", begun["shards"])

    def has(self, batch: Batch) -> bool:
        """Whether a complete shard holds this batch; checks that it is the same batch.

        Raises
        ------
        ValueError
            If the inputs are not those the shard was captured from.
        """
        self._digest.add(batch)
        if not self.n_to_skip:
            return False
        self.n_to_skip -= 1
        if self.n_to_skip == 0:
            done = self._to_check.pop(0)
            if self._digest.take() != done["digest"]:
                raise other_inputs(self.folder, batch)
            self.n_to_skip = self._to_check[0]["batches"] if self._to_check else 0
        return True

    def add(
        self,
        rows: Mapping[str, BatchRows],
        builder: ContextBuilder,
        max_rows: int | None,
    ) -> None:
        """Take in the rows of the batch just asked about; writes a shard when there are enough."""
        for name, found in rows.items():
            if max_rows is not None:
                found = found.first(max_rows - self.counts[name])
            self._pending[name].append(found)
            self.counts[name] += len(found.x)
            self.dropped[name].update(found.dropped)
        self._pending_batches += 1
        if self._enough():
            self._flush(builder)

    def complete(self, max_rows: int | None) -> bool:
        """Whether all rows asked for are there."""
        if self.n_to_skip or max_rows is None:
            return False
        return min(self.counts.values()) >= max_rows

    def _enough(self) -> bool:
        for parts in self._pending.values():
            n = sum(len(part.x) for part in parts)
            width = parts[0].x.shape[1] * parts[0].x.element_size()
            if n >= (self.shard_rows or max(1, SHARD_BYTES // width)):
                return True
        return False

    def _flush(self, builder: ContextBuilder) -> None:
        number = len(self.shards)
        files: dict[str, dict[str, Tensor]] = {}
        for index, parts in enumerate(self._pending.values()):
            files[_rows_file(number, index)] = row_tensors(
                torch.cat([part.x for part in parts]),
                torch.cat([part.sample for part in parts]),
                torch.cat([part.position for part in parts]),
            )
        samples = builder.take()
        if samples:
            files[f"samples-{number:05d}.safetensors"] = samples
        for name, tensors in files.items():
            write_tensors(self.folder / name, tensors)
        self.shards.append(
            {
                "batches": self._pending_batches,
                "digest": self._digest.take(),
                "rows": [sum(len(p.x) for p in parts) for parts in self._pending.values()],
                "dropped": [_sum(part.dropped for part in p) for p in self._pending.values()],
                "grids": [parts[-1].layout.grid for parts in self._pending.values()],
                "files": {name: size_and_checksum(self.folder / name) for name in files},
            }
        )
        self._write_progress()
        self._pending = {name: [] for name in self.points}
        self._pending_batches = 0

    def _write_progress(self) -> None:
        facts = {"kind": KIND, "version": 1, "call": self.call, "shards": self.shards}
        write_json(self.folder / PROGRESS, sealed(facts))

    def finish(
        self,
        model_name: str,
        builder: ContextBuilder,
        policies: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Write the last shard, join the samples, and seal the folder with a manifest.

        Raises
        ------
        ValueError
            If the inputs ended before all complete shards were seen again, or no row was kept.
        """
        if self.n_to_skip:
            raise other_inputs(self.folder, None)
        if self._pending_batches:
            self._flush(builder)
        for name, n in self.counts.items():
            if not n:
                raise ValueError(
                    f"Capture must keep at least one row at `{self.points[name]}`, but all were "
                    f"dropped ({dict(self.dropped[name])}). Pass longer inputs, or drop_first=False."
                )
        self._seal(model_name, builder, policies)

    def _seal(
        self,
        model_name: str,
        builder: ContextBuilder,
        policies: Mapping[str, Mapping[str, Any]],
    ) -> None:
        files = {name: facts for shard in self.shards for name, facts in shard["files"].items()}
        parts = [name for name in files if name.startswith("samples-")]
        kept = {name: facts for name, facts in files.items() if name not in parts}
        kept |= join_samples(self.folder, parts, builder.n_samples)
        stored = [
            StoredPoint(
                name=name,
                hook_point=str(point),
                files=[_rows_file(number, index) for number in range(len(self.shards))],
                rows=[shard["rows"][index] for shard in self.shards],
                context=builder.build(grid and (grid[0], grid[1]), policies[name], {}),
            )
            for index, ((name, point), grid) in enumerate(
                zip(self.points.items(), self.shards[-1]["grids"], strict=True)
            )
        ]
        batches = [[shard["batches"], shard["digest"]] for shard in self.shards]
        seal(
            self.folder,
            stored,
            kept,
            model_name=model_name,
            several=self.call["several"],
            call=self.call,
            batches=batches,
        )
        for name in (*parts, PROGRESS):
            (self.folder / name).unlink(missing_ok=True)


def _rows_file(shard: int, point: int) -> str:
    return f"rows-{shard:05d}-{point}.safetensors"


def _sum(counters: Iterable[Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(total)


def _tidy_finished(folder: Path) -> None:
    """Remove what a capture that was killed after its manifest was written had not yet removed."""
    for path in folder.iterdir():
        if path.name == PROGRESS or _PART.fullmatch(path.name) or is_partial(path):
            path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, so that two captures never write into each other."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`store` must be a folder, but {str(folder)!r} is a file.")
    refusal = (
        f"`store` must be written by one capture at a time, but another one is writing to "
        f"{str(folder)!r}. Wait for it, or choose another folder."
    )
    with holding_folder(folder, refusal):
        yield

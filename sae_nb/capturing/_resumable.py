"""Capture to a folder, shard by shard, so that a kill at any moment costs one shard at most.

A folder under way holds `capture.json`: the call, and the shards that are complete. Shards end at batch
borders, so the same call continues with the batch after the last shard and writes what it would have
written. The package `activations` seals the finished folder and reads it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._store import (
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
from sae_nb.capturing._batch_rows import BatchRows, end_to_end, summed
from sae_nb.capturing._harvest import CaptureRecord, Harvest, check_any_rows
from sae_nb.files._atomic import (
    MANIFEST,
    check_seal,
    json_object,
    read_manifest,
    sealed,
    write_json,
)
from sae_nb.files._exchange import is_partial, place
from sae_nb.files._fingerprints import (
    check_same_call,
    inputs_digest,
    tensor_bytes,
    tokenizer_digest,
    weights_digest,
)
from sae_nb.files._locks import holding_folder
from sae_nb.files._tensors import write_tensors
from sae_nb.interrupts import Interrupted
from sae_nb.models._states import TokenAxes

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models._inputs import Batch, Batches


_PART = re.compile(r"samples-\d{5}\.safetensors")
"""Samples of one shard, joined at the end."""


def capture_to_store(
    harvest: Harvest,
    inputs: Inputs,
    store: str | Path,
    shard_rows: int | None,
    several: bool,
    progress: bool | Callable[[CaptureRecord], Any],
) -> dict[str, Activations]:
    """Capture to a folder, continuing where the same call was killed; see `capture`."""
    if len({point.encoder for point in harvest.points.values()}) > 1:
        raise ValueError(
            "`hook_points` of one store must be of the encoder or of the decoder, whose samples differ, "
            f"got {', '.join(harvest.points)}. Capture each half to a folder of its own."
        )
    folder = place(store)
    if harvest.settings.drop_massive == "auto" and not _drops_massive(folder):
        harvest.row_policy = replace(harvest.row_policy, drop_massive=False)
    call = call_facts(harvest, inputs, shard_rows, several)
    batches = harvest.batches(inputs)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`store` must be a folder, but {str(folder)!r} is a file.")
    refusal = (
        f"`store` must be written by one capture at a time, but another one is writing to "
        f"{str(folder)!r}. Wait for it, or choose another folder."
    )
    with holding_folder(folder, refusal):
        if (folder / MANIFEST).is_file():
            check_finished(folder, call, batches)
            # What a capture that was killed after its manifest was written had not yet removed.
            for path in folder.iterdir():
                if path.name == PROGRESS or _PART.fullmatch(path.name) or is_partial(path):
                    path.unlink()
        else:
            writer = StoreWriter(folder, call, harvest, shard_rows)
            try:
                harvest.fill(writer, batches, progress)
                writer.finish(batches)
            except KeyboardInterrupt as stop:
                raise Interrupted(
                    f"Capture was interrupted; {str(folder)!r} keeps the shards that are whole, and the same "
                    "call continues after them."
                ) from stop
    # Checksums were just computed from these very files.
    acts = open_store(folder, verify="sizes")
    return acts if isinstance(acts, dict) else {next(iter(harvest.points)): acts}


class StoreWriter:
    """Writes shards of rows, remembers what is written, and finishes with a manifest."""

    def __init__(
        self,
        folder: Path,
        call: Mapping[str, Any],
        harvest: Harvest,
        shard_rows: int | None,
    ) -> None:
        self.folder, self.points, self.shard_rows = folder, harvest.points, shard_rows
        self.call, self._harvest, self.place = dict(call), harvest, harvest.to_cpu
        self.builders, points = harvest.builders(), harvest.points
        (self._builder,) = self.builders.values()
        self.shards: list[dict[str, Any]] = self._begun()
        self.counts = dict.fromkeys(points, 0)
        self.dropped: dict[str, Counter[str]] = {name: Counter() for name in points}
        self.massive: dict[str, list[Sequence[int]]] = {name: [] for name in points}
        for shard in self.shards:
            for name, n, dropped in zip(points, shard["rows"], shard["dropped"]):
                self.counts[name] += n
                self.dropped[name].update(dropped)
            for name, places in zip(points, shard.get("massive", ())):
                self.massive[name] += places
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
        check_same_call(
            self.folder, begun["call"], self.call, work="capture", holds="a half-done one"
        )
        if "limits" in begun:
            self._harvest.limits.load(begun["limits"])
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
        """Return whether a complete shard holds this batch; checks that it is the same batch."""
        self._digest.add(batch)
        if not self.n_to_skip:
            return False
        self.n_to_skip -= 1
        if self.n_to_skip == 0:
            done = self._to_check.pop(0)
            if self._digest.take() != done["digest"]:
                raise other_inputs(self.folder, batch)
            self.n_to_skip = self._to_check[0]["batches"] if self._to_check else 0
        self._builder.take()  # its samples are there, too
        return True

    def add(self, rows: Mapping[str, BatchRows]) -> None:
        """Take in the rows of the batch just asked about; writes a shard when there are enough."""
        for name, new in rows.items():
            self._pending[name].append(new)
            self.counts[name] += len(new.x)
            self.dropped[name].update(new.dropped)
            self.massive[name] += new.massive
        self._pending_batches += 1
        for parts in self._pending.values():
            width = parts[0].x.shape[1] * parts[0].x.element_size()
            enough = self.shard_rows or max(1, SHARD_BYTES // width)
            if sum(len(part.x) for part in parts) >= enough:
                self._flush()
                return

    @property
    def complete(self) -> bool:
        """Whether all requested rows are there."""
        wanted = self._harvest.max_rows
        return not self.n_to_skip and wanted is not None and min(self.counts.values()) >= wanted

    def _flush(self) -> None:
        number = len(self.shards)
        files: dict[str, dict[str, Tensor]] = {}
        for index, parts in enumerate(self._pending.values()):
            rows: dict[str, Any] = end_to_end(parts)
            files[_rows_file(number, index)] = row_tensors(**rows)
        samples = self._builder.take()
        if samples:
            files[f"samples-{number:05d}.safetensors"] = samples
        for name, tensors in files.items():
            write_tensors(self.folder / name, tensors)
        layouts = [parts[-1].layout for parts in self._pending.values()]
        self.shards.append(
            {
                "batches": self._pending_batches,
                "digest": self._digest.take(),
                "rows": [sum(len(p.x) for p in parts) for parts in self._pending.values()],
                "dropped": [
                    dict(summed(part.dropped for part in p)) for p in self._pending.values()
                ],
                "massive": [
                    [at for part in p for at in part.massive] for p in self._pending.values()
                ],
                "grids": [one.grid for one in layouts],
                # What grids do not say of a layout.
                "layouts": [{"seconds": one.seconds, "features": one.features} for one in layouts],
                "files": {name: size_and_checksum(self.folder / name) for name in files},
            }
        )
        self._write_progress()
        self._pending = {name: [] for name in self.points}
        self._pending_batches = 0

    def _write_progress(self) -> None:
        facts = {"kind": KIND, "version": 1, "call": self.call, "shards": self.shards}
        if "drop_massive" in self.call:
            facts["limits"] = self._harvest.limits.state
        write_json(self.folder / PROGRESS, sealed(facts))

    def finish(self, read: Batches) -> None:
        """Write the last shard, join the samples, and seal the folder with a manifest."""
        builder, harvest = self._builder, self._harvest
        if self.n_to_skip:
            raise other_inputs(self.folder, None)
        if self._pending_batches:
            self._flush()
        for name, n in self.counts.items():
            check_any_rows(str(self.points[name]), n, self.dropped[name])
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
                context=builder.build(
                    layout,
                    harvest.policy(read, builder, self.dropped[name], self.massive[name]),
                    {},
                ),
            )
            for index, ((name, point), layout) in enumerate(
                zip(self.points.items(), _layouts(self.shards[-1]), strict=True)
            )
        ]
        batches = [[shard["batches"], shard["digest"]] for shard in self.shards]
        seal(
            self.folder,
            stored,
            kept,
            model_name=harvest.model.name,
            several=self.call["several"],
            call=self.call,
            batches=batches,
        )
        for name in (*parts, PROGRESS):
            (self.folder / name).unlink(missing_ok=True)


def _layouts(shard: Mapping[str, Any]) -> list[TokenAxes]:
    """The layouts of a shard's rows; those of an older one state grids alone."""
    grids = shard["grids"]
    return [
        TokenAxes(columns=None, grid=grid and (grid[0], grid[1]), **more)
        for grid, more in zip(grids, shard.get("layouts") or [{}] * len(grids), strict=True)
    ]


def _rows_file(shard: int, point: int) -> str:
    return f"rows-{shard:05d}-{point}.safetensors"


# -------------------------------------------------------------------------------------------------
# Whether a store on disk is this very capture: what decides its rows, compared by name.


def _drops_massive(folder: Path) -> bool:
    """Whether a capture that is there drops massive rows, as one of old does not; True where there is none."""
    for name in (MANIFEST, PROGRESS):
        if (folder / name).is_file():
            call = json_object(folder / name).get("call")
            return call is None or "drop_massive" in call
    return True


def call_facts(
    harvest: Harvest,
    inputs: Inputs,
    shard_rows: int | None,
    several: bool,
) -> dict[str, Any]:
    """Return everything that decides the rows; two calls with equal facts give equal bits."""
    model = harvest.model
    if model.interventions:
        edits = ", ".join(str(edit.hook_point) for edit in model.interventions)
        raise ValueError(
            f"`store` must be captured without edits, but there are some at {edits}: a store could "
            "not distinguish them when it is resumed. Capture in memory and use acts.save(folder)."
        )
    return {
        "model": model.name,
        # The weights of a remote model are the server's: a name is all there is to know them by.
        "weights": "remote" if model.remote else weights_digest(model.module),
        "model_dtype": str(model.dtype),
        "device": model.device.type,
        "tokenizer": tokenizer_digest(model.tokenizer),
        # The repr of a function holds its address, which is another in every process.
        "preprocess": str(
            getattr(model.preprocess, "__qualname__", None) or repr(model.preprocess)
        ),
        "hook_points": {name: str(point) for name, point in harvest.points.items()},
        "inputs": inputs_digest(inputs, texts=model.modality.is_text),
        **harvest.stated(),
        "shard_rows": shard_rows,
        "several": several,
    }


def other_inputs(folder: Path, batch: Batch | None) -> ValueError:
    """Return the error for inputs that are not those of a store; None: they ended too early."""
    upto = "they end earlier" if batch is None else f"up to sample {int(batch.sample.max())}"
    return ValueError(
        f"`store` must be new or hold this very capture, but {str(folder)!r} was captured from other "
        f"inputs ({upto}). Pass the same inputs in the same order, or choose another folder."
    )


def check_finished(folder: Path, call: Mapping[str, Any], batches: Batches) -> None:
    """Refuse a call that is not the one a finished store holds; the model is not run."""
    manifest = read_manifest(folder, KIND)
    if manifest.get("call") is None:
        raise ValueError(
            f"`store` must be new or hold this very capture, but {str(folder)!r} holds activations "
            "that were saved, not captured there. Choose another folder."
        )
    check_same_call(folder, manifest["call"], call, work="capture", holds="a finished one")
    if call["inputs"] is None:
        _check_batches(folder, call, manifest, batches)


def _check_batches(
    folder: Path, call: Mapping[str, Any], manifest: Mapping[str, Any], batches: Batches
) -> None:
    # Inputs that cannot be hashed as they stand are compared batch by batch.
    for n_batches, expected in manifest["batches"]:
        digest, batch = BatchDigest(), None
        for _ in range(n_batches):
            batch = next(batches, None)
            if batch is None:
                raise other_inputs(folder, None)
            digest.add(batch)
        if digest.take() != expected:
            raise other_inputs(folder, batch)
    if call["max_rows"] is None and next(batches, None) is not None:
        raise ValueError(
            f"`store` must be new or hold this very capture, but these inputs continue after the end of "
            f"those in {str(folder)!r}. Choose another folder."
        )


class BatchDigest:
    """A digest over consecutive batches: what the model was given, and where it came from."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, batch: Batch) -> None:
        """Take in one batch."""
        values: Iterable[Any] = (
            *batch.args,
            *(batch.kwargs[name] for name in sorted(batch.kwargs)),
            batch.sample,
            batch.position,
        )
        for value in values:
            if isinstance(value, Tensor):
                self._digest.update(f"{tuple(value.shape)}{value.dtype}".encode())
                self._digest.update(tensor_bytes(value))
            else:
                self._digest.update(repr(value).encode())

    def take(self) -> str:
        """Return the digest so far and start again."""
        value = self._digest.hexdigest()
        self._digest = hashlib.blake2b(digest_size=16)
        return value

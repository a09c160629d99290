"""Activations in a folder: shards of rows, the samples behind them, and a manifest with checksums.

`rows-00003-0.safetensors` holds `x`, `sample` and `position` of one shard of the first hook point, and
`gradient` where one was asked for, `step` where a module ran several times,
`samples.safetensors` the token ids, `pictures.safetensors` the pictures, `images.safetensors` those in texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor

from sae_nb.activations._activations import Activations
from sae_nb.activations._context import (
    Context,
    Ragged,
    join_columns,
    placed_images,
    ragged_sounds,
    ragged_tokens,
)
from sae_nb.activations._rows import Piece, Rows
from sae_nb.checks import checked
from sae_nb.files._atomic import (
    MANIFEST,
    existing_folder,
    new_folder,
    read_json,
    read_manifest,
    replacing,
    sealed,
    sha256,
    write_json,
)
from sae_nb.files._exchange import recover
from sae_nb.files._tensors import read_tensors, write_tensors

Verify = Literal["full", "sizes"]
PART = re.compile(r"part-(\d+)-of-(\d+)")
"""Folder of what one of several workers captured: its rank, and their number."""

KIND = "activations"
PROGRESS = "capture.json"
SAMPLES = "samples.safetensors"
PICTURES = "pictures.safetensors"
SOUNDS, SOUND_LENGTHS = "sounds.safetensors", "sound-lengths.safetensors"
IMAGES, IMAGES_AT = "images.safetensors", "images-at.safetensors"
JOINED = {
    "pictures": PICTURES,
    "sounds": SOUNDS,
    "sound_lengths": SOUND_LENGTHS,
    "images": IMAGES,
    "images_at": IMAGES_AT,
}
"""File of each kind of sample that is joined part by part, by its key in the parts."""

_DTYPES = {torch.uint8: "U8", torch.int16: "I16", torch.int64: "I64"}
SHARD_BYTES = 1 << 25
"""Rows per file by default: 32 MiB worth; four times that is the writer's peak."""


@dataclass(frozen=True, kw_only=True)
class StoredPoint:
    """One hook point of a store."""

    name: str
    """As the user wrote it: the key of the dict that comes back."""

    hook_point: str | None
    """Its standard name."""

    files: list[str]
    rows: list[int]
    """Shards, in order, and the rows in each."""

    context: Context = field(repr=False)
    """Kind, grid and policy; token ids and pictures lie in files of their own."""


def row_tensors(
    x: Tensor,
    sample: Tensor,
    position: Tensor,
    gradient: Tensor | None = None,
    step: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return what one shard holds."""
    more = {} if gradient is None else {"gradient": gradient}
    more |= {} if step is None else {"step": step}
    return {"x": x, "sample": sample, "position": position} | more


def size_and_checksum(path: Path) -> dict[str, Any]:
    """Return the manifest's entry about a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def seal(
    folder: Path,
    points: Sequence[StoredPoint],
    files: Mapping[str, Mapping[str, Any]],
    *,
    model_name: str | None,
    several: bool,
    **facts: Any,
) -> None:
    """Write the manifest, from sizes and checksums taken as the files were written."""
    described = [
        {
            "name": point.name,
            "hook_point": point.hook_point,
            "files": point.files,
            "rows": point.rows,
            **point.context.stated(),
        }
        for point in points
    ]
    context = points[0].context
    content = {
        "kind": KIND,
        "version": 1,
        "files": files,
        "model_name": model_name,
        "several": several,
        "points": described,
        "n_samples": context.n_samples,
        "vocabulary": {str(i): text for i, text in context.vocabulary.items()},
        **facts,
    }
    write_json(folder / MANIFEST, sealed(content))


def join_samples(folder: Path, parts: Sequence[str], n_samples: int) -> dict[str, dict[str, Any]]:
    """Join the samples of all shards into one file each for token ids and pictures."""
    written = []
    stored = [folder / name for name in parts]
    keys = {key for part in stored[:1] for key in read_tensors(part)}
    if "tokens" in keys:
        tokens = join_columns([read_tensors(part)["tokens"] for part in stored])
        write_tensors(folder / SAMPLES, sample_tensors(ragged_tokens(tokens, n_samples)))
        written.append(SAMPLES)
    for key, name in JOINED.items():
        if key in keys:
            _join_faces(folder / name, stored, key)
            written.append(name)
    return {name: size_and_checksum(folder / name) for name in written}


def sample_tensors(known: Mapping[str, Ragged | None]) -> dict[str, Tensor]:
    """Return a file's tokens by sample: ids, offsets, and of conversations roles and turns."""
    tokens = known["token_ids"]
    if tokens is None:
        return {}
    more = {name: known.get(name) for name in ("roles", "turns")}
    return tokens._asdict() | {name: of.ids for name, of in more.items() if of is not None}


def _join_faces(path: Path, parts: Sequence[Path], key: str) -> None:
    # Written part by part: all pictures together may be larger than memory.
    shapes = [tuple(read_tensors(part)[key].shape) for part in parts]
    if len({shape[1:] for shape in shapes}) > 1:
        raise ValueError(
            f"{key.capitalize()} of one store must have one size, got {sorted({s[1:] for s in shapes})}. "
            "Resize them to one size first."
        )
    shape = [sum(shape[0] for shape in shapes), *shapes[0][1:]]
    first = read_tensors(parts[0])[key]
    size = int(torch.tensor(shape).prod()) * first.itemsize
    entry = {"dtype": _DTYPES[first.dtype], "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({key: entry}).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for part in parts:
            file.write(read_tensors(part)[key].contiguous().numpy().data)


@overload
def load_activations(
    folder: str | Path, *, hook_point: str, verify: Verify = ...
) -> Activations: ...
@overload
def load_activations(
    folder: str | Path, *, hook_point: None = ..., verify: Verify = ...
) -> Activations | dict[str, Activations]: ...
@checked
def load_activations(
    folder: str | Path, *, hook_point: str | None = None, verify: Verify = "full"
) -> Activations | dict[str, Activations]:
    """Open activations that `capture(store=…)` or `.save` wrote; rows stay on disk.

    A dict by hook point where several were captured together and none is named. What several workers
    captured, each to `store=folder / team.part_name`, opens as one store by the name of that folder.

    Parameters
    ----------
    verify
        "full" compares every file's checksum, "sizes" only its length (for stores too large to
        read on opening).

    Raises
    ------
    FileNotFoundError: If there is no such folder, or a file of it, or a worker's part, is missing.
    ValueError: If the capture was not finished, or a file was cut short or altered.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Activations.from_tensor(torch.eye(3)).save(f"{folder}/acts")
    ...     load_activations(f"{folder}/acts").x.shape
    torch.Size([3, 3])
    """
    stored = open_store(folder, verify=verify)
    if hook_point is None:
        return stored
    by_name = stored if isinstance(stored, dict) else {str(stored.hook_point): stored}
    for name, acts in by_name.items():
        if hook_point in (name, acts.hook_point):
            return acts
    raise ValueError(
        f"`hook_point` must be one that {str(folder)!r} holds, {list(by_name)}, got {hook_point!r}."
    )


def open_store(
    folder: str | Path, *, verify: Verify = "full"
) -> Activations | dict[str, Activations]:
    """Open a finished store; see `load_activations`."""
    recover(folder)
    folder = existing_folder(folder)
    if not (folder / MANIFEST).is_file() and (parts := _parts(folder)):
        return _joined([open_store(part, verify=verify) for part in parts])
    if not (folder / MANIFEST).is_file() and (folder / PROGRESS).is_file():
        rows = [sum(shard["rows"]) for shard in read_json(folder / PROGRESS)["shards"]]
        raise ValueError(
            f"{str(folder)!r} must hold a finished capture, but this one stopped after "
            f"{sum(rows)} rows. Repeat the same `capture` call: it continues from there."
        )
    manifest = read_manifest(folder, KIND, verify=verify)
    samples = _read_samples(folder, manifest)
    points = {
        point["name"]: _read_point(folder, manifest, point, samples) for point in manifest["points"]
    }
    return points if manifest["several"] else next(iter(points.values()))


def _parts(folder: Path) -> list[Path]:
    """Return the stores in a folder that several workers have filled, in their order; none in any other."""
    found = [match for path in folder.iterdir() if (match := PART.fullmatch(path.name))]
    if not found:
        return []
    sizes = sorted({int(match[2]) for match in found})
    missing = set(range(sizes[-1])) - {int(match[1]) for match in found}
    if len(sizes) > 1 or missing:
        what = f"misses {sorted(missing)}" if missing else f"has parts of {sizes} workers"
        raise FileNotFoundError(
            f"{str(folder)!r} must hold the part of every worker of one capture, but {what}. Let all "
            "workers finish, and copy their parts here."
        )
    return [folder / match[0] for match in sorted(found, key=lambda match: int(match[1]))]


def _joined(
    parts: Sequence[Activations | dict[str, Activations]],
) -> Activations | dict[str, Activations]:
    from sae_nb.activations._sites import concatenate

    if not isinstance(parts[0], dict):
        return concatenate(cast("list[Activations]", parts))
    several = cast("list[dict[str, Activations]]", parts)
    return {name: concatenate([part[name] for part in several]) for name in several[0]}


def _read_samples(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    samples: dict[str, Any] = {
        "n_samples": manifest["n_samples"],
        "vocabulary": {int(i): text for i, text in manifest["vocabulary"].items()},
    }
    if SAMPLES in manifest["files"]:
        stored = read_tensors(folder / SAMPLES)
        named = {"token_ids": "ids", "roles": "roles", "turns": "turns"}
        samples |= {
            name: Ragged(stored[key], stored["offsets"])
            for name, key in named.items()
            if key in stored
        }
    if PICTURES in manifest["files"]:
        # Mapped, not read: pages come in when a picture is looked at.
        samples["pictures"] = read_tensors(folder / PICTURES)["pictures"]
    if SOUNDS in manifest["files"]:
        stored = {
            key: read_tensors(folder / JOINED[key])[key] for key in ("sounds", "sound_lengths")
        }
        samples["sounds"] = ragged_sounds(stored)
    if IMAGES in manifest["files"]:
        stored = {key: read_tensors(folder / JOINED[key])[key] for key in ("images", "images_at")}
        samples["images"] = placed_images(stored)
    return samples


def _read_point(
    folder: Path,
    manifest: Mapping[str, Any],
    point: Mapping[str, Any],
    samples: Mapping[str, Any],
) -> Activations:
    shards = [read_tensors(folder / name) for name in point["files"]]

    def stored(key: str) -> Rows:
        files = zip(point["files"], point["rows"], strict=True)
        pieces = [Piece(n=n, file=folder / name, key=key) for name, n in files]
        like = shards[0][key]
        return Rows(pieces, like.shape[1], like.dtype, torch.device("cpu"))

    return Activations(
        stored("x"),
        gradient=stored("gradient") if "gradient" in shards[0] else None,
        sample=torch.cat([shard["sample"] for shard in shards]),
        position=torch.cat([shard["position"] for shard in shards]),
        step=torch.cat([shard["step"] for shard in shards]) if "step" in shards[0] else None,
        hook_point=point["hook_point"],
        model_name=cast("str | None", manifest["model_name"]),
        context=Context.read(point, **samples),
    )


def save_activations(acts: Activations, folder: str | Path, *, replace: bool = False) -> None:
    """Write activations to a folder of their own; see `Activations.save`."""
    step = max(1, SHARD_BYTES // (acts.d_in * acts.dtype.itemsize))
    context = acts.context
    with new_folder(folder, replace=replace) as partial:
        names, sizes = [], []
        for number, start in enumerate(range(0, len(acts), step)):
            rows = torch.arange(start, min(start + step, len(acts)))
            names.append(f"rows-{number:05d}-0.safetensors")
            sizes.append(len(rows))
            some = acts[rows]
            tensors = row_tensors(some.x, some.sample, some.position, some.gradient, some.step)
            write_tensors(partial / names[-1], tensors)
        if context.token_ids is not None:
            columns = {
                "token_ids": context.token_ids,
                "roles": context.roles,
                "turns": context.turns,
            }
            write_tensors(partial / SAMPLES, sample_tensors(columns))
        if context.pictures is not None:
            write_tensors(partial / PICTURES, {"pictures": context.pictures})
        if context.sounds is not None:
            write_tensors(partial / SOUNDS, {"sounds": context.sounds.ids})
            lengths = {"sound_lengths": context.sounds.offsets.diff()}
            write_tensors(partial / SOUND_LENGTHS, lengths)
        if context.images is not None:
            write_tensors(partial / IMAGES, {"images": context.images.pictures})
            write_tensors(partial / IMAGES_AT, {"images_at": context.images.at})
        name = acts.hook_point or "x"
        stored = StoredPoint(
            name=name, hook_point=acts.hook_point, files=names, rows=sizes, context=context
        )
        files = {file.name: size_and_checksum(file) for file in sorted(partial.iterdir())}
        seal(partial, [stored], files, model_name=acts.model_name, several=False, call=None)

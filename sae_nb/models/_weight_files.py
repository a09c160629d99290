"""The weight files of a checkpoint folder: safetensors only, all there, and how much they need."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from sae_nb.checks import check_memory

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
_LONGEST_HEADER = 100_000_000  # bytes; the format's own limit


def check_weight_files(folder: Path, name: str) -> None:
    """Refuse a folder without safetensors, or with some of them missing."""
    needed = weight_names(folder)
    absent = [n for n in needed if not (folder / n).is_file()]
    if absent:
        raise ValueError(
            f"{str(folder)!r} must hold all {len(needed)} shards of its index, but {absent[0]} is "
            "missing. Copy or download it again."
        )
    if needed:
        return
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    unsafe = [file_name for file_name in found if file_name.endswith(UNSAFE)]
    if unsafe:
        raise ValueError(_pickles_refused(name, ", ".join(unsafe[:3])))
    raise ValueError(
        f"A checkpoint folder must hold {WEIGHTS_FILE} or {INDEX_FILE} with its shards, got "
        f"{str(folder)!r} without. Save the model with save_pretrained, or choose a revision that "
        "has safetensors."
    )


def weight_names(folder: Path) -> list[str]:
    """Return the names of the weight files a folder must hold; none if it has no safetensors."""
    index = folder / INDEX_FILE
    if not index.is_file():
        return [WEIGHTS_FILE] if (folder / WEIGHTS_FILE).is_file() else []
    try:
        return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_broken(index)) from error


def check_room(folder: Path, name: str, dtype: torch.dtype | None, device: torch.device) -> None:
    """Refuse to load weights that would not fit where they are to run."""
    count, stored = count_parameters(folder)
    needed = stored if dtype is None else count * dtype.itemsize
    smaller = dtype is None or dtype.itemsize > 2
    instead = "Use dtype='bfloat16', which halves it." if smaller else "Use a smaller model."
    what = f"{name!r} with {count / 1e6:.4g} M parameters"
    if device.type != "cuda":
        check_memory(needed, what, instead)
        return
    free = torch.cuda.mem_get_info(device)[0]
    if needed > 0.95 * free:
        raise MemoryError(
            f"{what} must fit on {device}: it needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} "
            f"GiB are free. {instead}"
        )


def count_parameters(folder: Path) -> tuple[int, int]:
    """Return how many numbers the safetensors of a folder hold, and their bytes; reads headers only."""
    count = stored = 0
    for file_name in weight_names(folder):
        for name, entry in _header(folder / file_name).items():
            if name != "__metadata__":
                count += math.prod(entry["shape"])
                stored += entry["data_offsets"][1] - entry["data_offsets"][0]
    return count, stored


def _header(path: Path) -> dict[str, dict[str, list[int]]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= _LONGEST_HEADER else b""
    try:
        header = json.loads(text)
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name[:1] != "_"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_broken(path)) from error
    if path.stat().st_size < 8 + length + end:
        raise ValueError(_broken(path))
    return dict(header)


def _broken(path: Path) -> str:
    return (
        f"{path.name!r} of {path.parent.name!r} must be whole, but it is cut short or something "
        "else. Copy or download it again."
    )


def _pickles_refused(name: str, found: str) -> str:
    return (
        f"Weights must be safetensors, because unpickling a file can run code in it, got {name!r} "
        f"with {found}. Choose a revision with safetensors, or convert it: load it in a place you "
        "trust and call save_pretrained."
    )

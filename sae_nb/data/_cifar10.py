"""CIFAR-10 from files a user has: the binary batches, class folders, or one compressed archive."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.data._images import decode_picture, pictures
from sae_nb.data._records import Record
from sae_nb.files._atomic import check_archive, existing_folder

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIZE = 32
_RECORD = 1 + 3 * SIZE * SIZE  # bytes per image in the binary version
_BINARY = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}


@dataclass(frozen=True, repr=False)
class Photos(Record):
    """Small colour photographs (red green blue, 0 to 255); `label` is an index into `class_names`."""

    pixels: UInt8[Tensor, "n 3 32 32"]
    label: Int[Tensor, " n"]
    class_names: tuple[str, ...]

    shared = ("class_names",)

    @property
    def images(self) -> Float[Tensor, "n 3 32 32"]:
        """The images between 0 and 1, recomputed at each access (12 kB each)."""
        return self.pixels.float() / 255


@checked
def cifar10(folder: str | Path, split: Literal["train", "test"] = "train") -> Photos:
    """Read CIFAR-10 in whichever of three layouts a folder holds; nothing is ever unpickled.

    The layouts, looked for in this order, also one level down: the official *binary* version
    (``data_batch_1.bin`` … ``test_batch.bin``); one ``.npz`` per split whose name holds "train" or
    "test", with the arrays ``blob``, ``offset``, ``label`` and ``classes`` (image i is the file
    ``blob[offset[i]:offset[i + 1]]``); and folders ``train`` and ``test`` with one folder of
    images per class.

    Raises
    ------
    FileNotFoundError: If the folder, or the split in it, is not there.
    ValueError: If the files are the pickled python version, cut short, or not images of CIFAR-10's size.

    Source
    ------
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    folder = existing_folder(folder)
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())]
    readers: tuple[Callable[[Path, str], Photos | None], ...] = (_binary, _archive, _folders)
    for reader in readers:
        for place in places:
            photos = reader(place, split)
            if photos is not None:
                return photos
    for place in places:
        if (place / "data_batch_1").exists() or (place / "test_batch").exists():
            raise ValueError(
                f"CIFAR-10 must not be the python version, whose files are pickles and could run"
                f" code, got {str(place)!r}. Download the binary version (cifar-10-binary.tar.gz)."
            )
    raise FileNotFoundError(
        f"No CIFAR-10 {split} images in {str(folder)!r}. It must hold {_BINARY[split][0]}, a .npz"
        f" with {split!r} in its name, or {split}/<class>/ folders of images."
    )


def _binary(folder: Path, split: str) -> Photos | None:
    present = [folder / name for name in _BINARY[split] if (folder / name).is_file()]
    if not present:
        return None
    if len(present) < len(_BINARY[split]):
        missing = sorted(set(_BINARY[split]) - {path.name for path in present})
        raise FileNotFoundError(
            f"{str(folder)!r} is incomplete: {', '.join(missing)} missing. Unpack it again."
        )
    records = np.concatenate([_records(path) for path in present])
    pixels = torch.from_numpy(records[:, 1:].reshape(-1, 3, SIZE, SIZE).copy())
    return Photos(pixels, torch.from_numpy(records[:, 0].astype(np.int64)), _class_names(folder))


def _records(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    content = np.fromfile(path, dtype=np.uint8)
    if content.size == 0 or content.size % _RECORD:
        raise ValueError(
            f"{str(path)!r} must hold whole records of {_RECORD} bytes, got {content.size} bytes."
            " It was cut short; unpack it again."
        )
    records = content.reshape(-1, _RECORD)
    if records[:, 0].max() >= len(CLASSES):
        raise ValueError(
            f"{str(path)!r} must hold labels 0 to 9, got {records[:, 0].max()}. It is not CIFAR-10's"
            " binary version (CIFAR-100 has two label bytes); check the file."
        )
    return records


def _class_names(folder: Path) -> tuple[str, ...]:
    path = folder / "batches.meta.txt"
    if not path.is_file():
        return CLASSES
    names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    return names if len(names) == len(CLASSES) else CLASSES


def _archive(folder: Path, split: str) -> Photos | None:
    paths = [path for path in sorted(folder.glob("*.npz")) if split in path.name]
    if not paths:
        return None
    parts = [_unpack(path) for path in paths]
    if any(part.class_names != parts[0].class_names for part in parts):
        raise ValueError(
            f"All archives of one split must name the same classes: {[p.name for p in paths]} do"
            " not. Keep one of them in the folder."
        )
    return Photos(
        torch.cat([part.pixels for part in parts]),
        torch.cat([part.label for part in parts]),
        parts[0].class_names,
    )


def _unpack(path: Path) -> Photos:
    check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            blob, offset = archive["blob"], archive["offset"]
            label, names = archive["label"].astype(np.int64), archive["classes"].tolist()
    except (KeyError, ValueError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{str(path)!r} must be a .npz with arrays blob, offset, label and classes, and cannot"
            f" be read as one ({error}). Make or download it again."
        ) from error
    whole = len(offset) == len(label) + 1 and len(label) > 0 and int(offset[-1]) == len(blob)
    if not whole or label.min() < 0 or label.max() >= len(names) or (np.diff(offset) <= 0).any():
        raise ValueError(
            f"The arrays in {str(path)!r} must fit together: {len(label)} labels,"
            f" {len(offset)} offsets, {len(blob)} bytes do not. Make or download it again."
        )
    pixels = torch.empty(len(label), 3, SIZE, SIZE, dtype=torch.uint8)
    for row in range(len(label)):
        file = io.BytesIO(blob[offset[row] : offset[row + 1]].tobytes())
        pixels[row] = _decoded(file, f"image {row} of {path}")
    return Photos(pixels, torch.from_numpy(label), tuple(str(name) for name in names))


def _folders(folder: Path, split: str) -> Photos | None:
    if not (folder / split).is_dir():
        return None
    images = pictures(folder / split)
    pixels = torch.empty(len(images), 3, SIZE, SIZE, dtype=torch.uint8)
    for row, path in enumerate(images.paths):
        with path.open("rb") as file:
            pixels[row] = _decoded(file, str(path))
    return Photos(pixels, images.label, images.class_names)


def _decoded(file: BinaryIO, name: str) -> Tensor:
    pixels = decode_picture(file, name)
    if tuple(pixels.shape) != (3, SIZE, SIZE):
        raise ValueError(
            f"An image of CIFAR-10 must be 32×32, got {pixels.shape[2]}×{pixels.shape[1]} in"
            f" {name}. Read others with `sae_nb.data.pictures(folder, size=32)`."
        )
    return pixels

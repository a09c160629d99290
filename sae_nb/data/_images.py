"""Your own folder of images: listed at once, decoded when viewed; class = first subfolder."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sae_nb.checks import Count, check_memory, checked
from sae_nb.data._records import Record, Several
from sae_nb.files._atomic import existing_folder

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True, repr=False)
class PictureFolder(Record):
    """Images in a folder, in the order of their paths; each is decoded when it is asked for.

    ``folder[3]`` is one image between 0 and 1, ``folder[:10]`` a smaller folder, iteration yields
    one image after the other, and `images` is all of them. `class_names` are the first-level
    subfolders that hold images; an image outside every subfolder has label −1. `size` is the
    height and width every image is brought to, pixels; None leaves them as they are.
    """

    paths: tuple[Path, ...]
    label: Int[Tensor, " n"]
    class_names: tuple[str, ...]
    size: int | None = None

    shared = ("class_names", "size")

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: Several) -> PictureFolder: ...
    def __getitem__(self, index: int | Several) -> Tensor | PictureFolder:
        chosen = self._numbers(index)
        if chosen.ndim:
            return self.subset(chosen)
        path = self.paths[int(chosen)]
        with path.open("rb") as file:
            return decode_picture(file, str(path), self.size).float() / 255

    @property
    def images(self) -> Float[Tensor, "n 3 height width"]:
        """All images at once, between 0 and 1; they must have one size."""
        first = self[0]
        needed = 2 * len(self) * first.numel() * first.element_size()
        check_memory(needed, f"`images` of {len(self)} images", "Take a slice of the folder.")
        decoded = [first, *(self[row] for row in range(1, len(self)))]
        for path, picture in zip(self.paths, decoded, strict=True):
            if picture.shape != first.shape:
                raise ValueError(
                    f"All images must have one size to be stacked, got {tuple(first.shape[1:])} and"
                    f" {tuple(picture.shape[1:])} in {str(path)!r}. Pass size=… to `pictures`."
                )
        return torch.stack(decoded)


@checked
def pictures(folder: str | Path, size: Count | None = None) -> PictureFolder:
    """Find every image below a folder; the first subfolder on the way to an image is its class.

    Hidden files and folders are skipped. Decoding happens later, one image at a time.

    Parameters
    ----------
    folder
        Searched to any depth for bmp, gif, jpeg, png, ppm, tiff and webp files.
    size
        Height and width in pixels: the shorter side is brought to it, the middle is kept. None
        leaves every image as it is.

    Raises
    ------
    FileNotFoundError: If there is no such folder.
    ValueError: If it holds no image; later, naming the file, if an image cannot be decoded.

    Example
    -------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "cats").mkdir()
    ...     Image.new("RGB", (40, 30)).save(Path(folder) / "cats" / "tom.png")
    ...     found = pictures(folder, size=32)
    ...     print(len(found), found.class_names, tuple(found.images.shape))
    1 ('cats',) (1, 3, 32, 32)
    """
    folder = existing_folder(folder, listed=True)
    files = [path.relative_to(folder) for path in visible_files(folder, IMAGE_SUFFIXES)]
    if not files:
        raise ValueError(
            f"A folder of images must hold at least one, got {str(folder)!r} with none of"
            f" {', '.join(sorted(IMAGE_SUFFIXES))}. Check the path."
        )
    files.sort(key=lambda path: path.parts)
    names = sorted({path.parts[0] for path in files if len(path.parts) > 1})
    label = [names.index(path.parts[0]) if len(path.parts) > 1 else -1 for path in files]
    paths = tuple(folder / path for path in files)
    return PictureFolder(paths, torch.tensor(label), tuple(names), size)


def decode_picture(
    file: BinaryIO, name: str, size: int | None = None
) -> UInt8[Tensor, "3 height width"]:
    """Decode one image to red green blue, turned upright according to its EXIF tag."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.has_transparency_data:
                layer = upright.convert("RGBA")
                white = Image.new("RGBA", layer.size, "white")
                upright = Image.alpha_composite(white, layer)
            picture = upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"Every image must be readable, but {name} is not ({error}). Remove it or replace it."
        ) from error
    if size is not None:
        picture = ImageOps.fit(picture, (size, size), method=Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def visible_files(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Yield the files below a folder that end so; nothing hidden, in no order."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            yield path

"""One picture in whatever form, size and mode a person has it, made fit for a vision model, and said.

Pictures of a data set are refused where they do not fit (`picture_inputs`); one picture that somebody
uploads or draws is converted, and every conversion is stated.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from sae_nb.models.preprocessing import Preprocess
from sae_nb.models.samples import described

if TYPE_CHECKING:
    from sae_nb.models.live_model import LiveModel

LARGEST = 40_000_000
"""Pixels of the largest picture that is opened: a small file may unpack to gigabytes."""


class Fitted(NamedTuple):
    """A picture a model can read, and what was done to get there."""

    picture: UInt8[Tensor, "3 height width"]
    notes: tuple[str, ...]


def fit_picture(model: LiveModel, given: Any) -> Fitted:
    """Return one picture as bytes of the size the model reads, and a note on every conversion.

    Parameters
    ----------
    model
        A vision model.
    given
        A tensor or array (bytes, or floats in [0, 1]; grey, RGB or RGBA, channels first or last), a
        PIL picture, a file, or the bytes of one.

    Returns
    -------
    Fitted
        The picture and the notes; none where it was taken as it is.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If it is no picture, several, not finite, or outside [0, 1].

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.load_model("tiny-vit")
    >>> fitted = fit_picture(model, Image.new("L", (64, 48), 200))
    >>> fitted.picture.shape, fitted.notes
    (torch.Size([3, 32, 32]), ('grey levels to RGB', '64×48 cropped to 48×48', '48×48 scaled to 32×32'))
    """
    if model.kind != "vision":
        raise TypeError(
            f"A picture must be given to a vision model, and {model.name} reads "
            f"{'text' if model.kind == 'language' else 'tensors'}. Got {described(given)}."
        )
    notes: list[str] = []
    picture = _opened(given, notes)
    picture = _as_rgb(picture, notes)
    target = _size_wanted(model)
    if target is not None and (picture.height, picture.width) != target:
        picture = _resized(picture, target, notes)
    array = np.ascontiguousarray(np.moveaxis(np.asarray(picture), -1, 0))
    return Fitted(torch.from_numpy(array.copy()), tuple(notes))


def _opened(given: Any, notes: list[str]) -> Image.Image:
    if isinstance(given, Image.Image):
        return _upright(given, notes)
    if isinstance(given, str | Path):
        return _from_file(Path(given).expanduser(), notes)
    if isinstance(given, bytes | bytearray | memoryview):
        return _decoded(io.BytesIO(bytes(given)), "the file", notes)
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        given = (given.float() if given.is_floating_point() else given).numpy()
    if isinstance(given, np.ndarray):
        return _from_array(given, notes)
    images = getattr(given, "images", None)
    if isinstance(images, Tensor):
        return _opened(images, notes)
    raise TypeError(
        "A picture must be a tensor or array of shape (3, H, W), a PIL picture or a file, got "
        f"{described(given)}."
    )


def _from_file(path: Path, notes: list[str]) -> Image.Image:
    if not path.is_file():
        raise FileNotFoundError(f"A picture must be a file that exists, got {str(path)!r}.")
    return _decoded(path, repr(path.name), notes)


def _decoded(file: Path | io.BytesIO, name: str, notes: list[str]) -> Image.Image:
    try:
        with Image.open(file) as picture:
            return _upright(picture, notes)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow names the object in memory where it cannot tell what a file is.
        why = "it is none that Pillow knows" if "cannot identify" in str(error) else str(error)
        raise ValueError(
            f"A picture must be in a file Pillow can read, but of {name}: {why}. Save it as PNG or "
            "JPEG."
        ) from error


def _upright(picture: Image.Image, notes: list[str]) -> Image.Image:
    if picture.width * picture.height > LARGEST:
        raise ValueError(
            f"A picture must have at most {LARGEST} pixels, got {picture.width}×{picture.height}. "
            "Scale it down first."
        )
    if getattr(picture, "n_frames", 1) > 1:
        notes.append("first frame taken")
    turned = ImageOps.exif_transpose(picture)
    if turned.size != picture.size:
        notes.append("turned upright")
    turned.load()
    return turned


def _from_array(array: NDArray[Any], notes: list[str]) -> Image.Image:
    shape = array.shape
    while array.ndim > 3 and len(array) == 1:
        array = array[0]
    channels = (1, 3, 4)
    if array.ndim == 3 and array.shape[0] in channels:
        # Channels first, as torch has them, also where the picture is three pixels wide.
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[-1] > 4):
        raise ValueError(
            "A picture must have shape (3, H, W), (H, W, 3) or (H, W), and there must be one at a "
            f"time; got {shape}."
        )
    return Image.fromarray(np.ascontiguousarray(_as_bytes(array, notes)))


def _as_bytes(array: NDArray[Any], notes: list[str]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        notes.append("black and white to bytes")
        return array.astype(np.uint8) * np.uint8(255)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("A picture must be finite, and this one holds NaN or infinity.")
    if np.issubdtype(array.dtype, np.floating):
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(
                f"A picture of floats must lie in [0, 1], got values from {low:.4g} to {high:.4g}. "
                "Divide by 255."
            )
        return np.round(np.clip(array, 0, 1) * 255).astype(np.uint8)
    if low < 0 or high > 255:
        raise ValueError(
            f"A picture of whole numbers must lie in 0 … 255, got {low:.0f} to {high:.0f}."
        )
    return array.astype(np.uint8)


_MODES = {
    "1": "black and white",
    "L": "grey levels",
    "LA": "grey levels on black",
    "P": "palette",
    "RGBA": "transparent parts on black",
    "CMYK": "CMYK",
    "I;16": "16-bit grey levels",
    "I": "32-bit grey levels",
    "F": "float grey levels",
}


def _as_rgb(picture: Image.Image, notes: list[str]) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    notes.append(f"{_MODES.get(picture.mode, picture.mode)} to RGB")
    if clear:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    if picture.mode.startswith("I"):
        # Pillow clips what is above 255 where it converts 16 bits.
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if picture.mode != "I" or values.max() > 255 else 255.0
        picture = Image.fromarray(np.round(np.clip(values / top, 0, 1) * 255).astype(np.uint8))
    return picture.convert("RGB")


def _size_wanted(model: LiveModel) -> tuple[int, int] | None:
    """Rows and columns of pixels the model needs; None where it resizes itself or takes any."""
    prepare = model.preprocess
    if isinstance(prepare, Preprocess):
        return prepare.required
    size = getattr(getattr(model.module, "config", None), "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, tuple | list) else None


def _resized(picture: Image.Image, target: tuple[int, int], notes: list[str]) -> Image.Image:
    """Crop to the model's proportions around the centre, then scale."""
    rows, columns = target
    scale = min(picture.height / rows, picture.width / columns)
    height, width = max(round(rows * scale), 1), max(round(columns * scale), 1)
    if (height, width) != (picture.height, picture.width):
        notes.append(f"{picture.width}×{picture.height} cropped to {width}×{height}")
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        picture = picture.crop((left, top, left + width, top + height))
    if (picture.height, picture.width) != (rows, columns):
        notes.append(f"{picture.width}×{picture.height} scaled to {columns}×{rows}")
        picture = picture.resize((columns, rows), Image.Resampling.LANCZOS)
    return picture

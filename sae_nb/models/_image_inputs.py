"""Images in every usual form, checked and prepared for a vision model.

Images of a data set are refused if they do not fit; a single uploaded or drawn image is converted
(`fit_picture`), and every conversion is stated.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from sae_nb.checks import warn_caller
from sae_nb.data._images import IMAGE_SUFFIXES, visible_files
from sae_nb.files._atomic import existing_folder
from sae_nb.models import _facts as facts
from sae_nb.models._inputs import (
    IMAGES,
    Batch,
    Batches,
    Samples,
    batched,
    chained,
    chunks,
    described,
    empty,
    first_of_pair,
    has_numbers,
    is_many,
    numbers_of,
    plain_index,
    unpacked,
    without_labels,
)
from sae_nb.models._preprocessing import Preprocess, as_bytes, as_floats
from sae_nb.models._token_layout import pair
from sae_nb.models._two_streams import Pairs, pairs_of, with_targets

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models._interface import Reads


_TOLERANCE = 1e-3  # how far outside [0, 1] rounding may have moved a float image


@dataclass(frozen=True)
class PixelValues:
    """An image that is already what the model reads, and is not prepared again."""

    values: Float[Tensor, "channels height width"]


def picture_batches(model: Reads, inputs: Inputs, *, batch_size: int) -> Batches:
    """Return batches of pixel values; of an encoder–decoder, with what its decoder reads."""
    pairs = pairs_of(inputs) if model.streams else Pairs(inputs)
    needed = [] if model.streams else facts.needs_besides_pixels(model.module)
    if needed:
        raise TypeError(
            f"{model.name} must be given {' and '.join(needed)} with its pixels, which are not made "
            "from images here, got images alone. Wrap a module that takes pixel_values and makes the rest."
        )
    samples = picture_samples(model, pairs.sources)

    def make(items: list[Any], first: int) -> Batch:
        return _batch(model, [_loaded(model, item) for item in items], first)

    parts = chunks(samples.items, batch_size)
    read = batched(samples, parts, make, preprocess=repr(model.preprocess))
    return with_targets(model, read, pairs) if model.streams else read


def picture_samples(model: Reads, inputs: Inputs, convert: list[str] | None = None) -> Samples:
    """Return the images in `inputs`: tensors of shape (3, H, W), PIL images, unopened files.

    `convert`: Where notes go on what is done to an image that does not fit; None: it is refused.
    """
    read = partial(picture_samples, model, convert=convert)
    inputs = without_labels(unpacked(inputs, IMAGES, "images"), 4)
    if isinstance(inputs, (str, Path)):
        return _files(model, inputs)
    if isinstance(inputs, Image.Image):
        if convert is None:
            _check_size(model, inputs.height, inputs.width)
        return Samples(iter([inputs]), 1)
    if isinstance(inputs, Mapping):
        return _mapping(model, inputs, read)
    if isinstance(inputs, (bytes, bytearray, memoryview)):
        return Samples(iter([bytes(inputs)]), 1)
    if callable(opened := getattr(inputs, "read", None)):  # an open file
        return read(opened())
    if isinstance(inputs, (Tensor, np.ndarray)):
        if not has_numbers(inputs):
            raise _not_pictures(model, inputs)
        if convert is not None:
            return Samples(iter([_image_of(model, inputs, convert)]), 1)
        pictures = numbers_of(inputs)
        by_rows = isinstance(inputs, np.ndarray) and inputs.ndim in (3, 4)
        if by_rows and inputs.shape[-1] == 3 and inputs.shape[-3] != 3:
            pictures = pictures.movedim(-1, -3)  # channels first
        pictures = _checked(model, pictures[None] if inputs.ndim == 3 else pictures)
        _check_size(model, *pictures.shape[2:])
        return Samples(iter(pictures), len(pictures))
    if isinstance(inputs, (list, tuple)):
        if not inputs:
            raise empty("image")
        if any(isinstance(item, (bool, int, float)) for item in inputs):
            raise _not_pictures(model, inputs)
        return Samples.joined([read(first_of_pair(item, 4)) for item in inputs])
    # A folder of images also has .images, but that would decode all of them at once.
    opens_lazily = hasattr(inputs, "paths") and is_many(inputs)
    if not opens_lazily and hasattr(inputs, "images"):
        return read(inputs.images)
    if not is_many(inputs):
        raise _not_pictures(model, inputs)
    return chained(inputs, 4, read, name="image")


def _checked(model: Reads, pictures: Tensor) -> Tensor:
    """Return images of shape (n, 3, H, W) if they are bytes or floats in [0, 1]."""
    shape = tuple(pictures.shape)
    if pictures.ndim != 4:
        raise _not_pictures(model, pictures)
    if pictures.numel() == 0:
        raise ValueError(f"`inputs` must hold at least one image, got shape {shape}.")
    if shape[1] != 3:
        raise ValueError(
            f"Images must have 3 channels, shape (n, 3, H, W), got {shape}. {_to_three_channels(shape)}"
        )
    return _in_range(model, pictures)


def _in_range(model: Reads, pictures: Tensor, *, convert: bool = False) -> Tensor:
    """Return bytes or floats in [0, 1]; other whole numbers that are bytes are converted, or refused."""
    if pictures.is_complex():
        raise _not_pictures(model, pictures)
    if pictures.is_floating_point():
        _check_floats(float(pictures.min()), float(pictures.max()))
    elif pictures.dtype != torch.uint8:
        least, most = (int(end) for end in pictures.long().aminmax())
        fits = pictures.dtype != torch.bool and least >= 0 and most <= 255
        if not (fits and convert):
            raise TypeError(
                f"`inputs` must be images in bytes (torch.uint8) or floats in [0, 1] for {model.name}, got "
                f"{pictures.dtype} from {least} to {most}. Use "
                f"{'images.to(torch.uint8)' if fits else 'images.float() / the largest possible value'}."
            )
        pictures = pictures.byte()
    return pictures.detach().cpu()


def _check_floats(low: float, high: float) -> None:
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise ValueError(
            f"Float images must lie in [0, 1], got values from {low:.4g} to {high:.4g}. "
            'Divide bytes by 255; pass pixels that are already normalised as {"pixel_values": …}.'
        )


def _image_of(model: Reads, given: Tensor | np.ndarray, convert: list[str]) -> Image.Image:
    """Return one array of any layout and kind of numbers as an image, with its own number of channels."""
    pixels = numbers_of(given)
    while pixels.ndim > 3 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and len(pixels) in (1, 3, 4):
        # Channels first, as torch has them, also where the image is three pixels wide.
        pixels = pixels.movedim(0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if (
        pixels.ndim not in (2, 3)
        or pixels.numel() == 0
        or (pixels.ndim == 3 and pixels.shape[-1] > 4)
    ):
        raise ValueError(
            "An image must have shape (3, H, W), (H, W, 3) or (H, W), and there must be one at a "
            f"time; got {tuple(given.shape)}."
        )
    if pixels.dtype == torch.bool:
        convert.append("black and white to bytes")
        pixels = pixels.byte() * 255
    pixels = as_bytes(_in_range(model, pixels, convert=True))
    return Image.fromarray(np.ascontiguousarray(pixels))


def _to_three_channels(shape: tuple[int, ...]) -> str:
    """Return what to write for images of another number of channels, or with channels last."""
    if shape[3] in (3, 4) and shape[1] != 4:
        return f"Use images{'' if shape[3] == 3 else '[..., :3]'}.permute(0, 3, 1, 2)."
    if shape[1] == 4:
        return "Leave out the fourth, transparency: images[:, :3]."
    if shape[3] == 1:
        return "Use images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)."
    if shape[1] == 1:
        return "Repeat a grey channel with images.expand(-1, 3, -1, -1)."
    return "Of grey images (n, H, W) use images[:, None].expand(-1, 3, -1, -1)."


def _files(model: Reads, path: str | Path) -> Samples:
    if not str(path).strip():
        raise _not_pictures(model, path)
    place = Path(path).expanduser()
    if place.is_dir():
        files = sorted(visible_files(existing_folder(place, listed=True), IMAGE_SUFFIXES))
        if not files:
            raise ValueError(
                f"The folder must hold images ({', '.join(sorted(IMAGE_SUFFIXES))}), got "
                f"{str(place)!r} with none."
            )
        return Samples(iter(files), len(files))
    if place.is_file():
        return Samples(iter([place]), 1)
    if isinstance(path, str) and Path(path).suffix.lower() not in IMAGE_SUFFIXES:
        raise _not_pictures(model, path)
    raise FileNotFoundError(
        f"An image must be a file that exists, got {str(path)!r}. Check the path."
    )


def _mapping(model: Reads, inputs: Mapping[str, Any], read: Callable[[Inputs], Samples]) -> Samples:
    if "pixel_values" in inputs:
        values = _pixel_values(inputs["pixel_values"])
        if values.ndim == 3:
            values = values[None]
        if values.ndim != 4 or values.numel() == 0:
            raise ValueError(
                f"`pixel_values` must have shape (n, channels, H, W), got {tuple(values.shape)}."
            )
        return Samples((PixelValues(row) for row in values), len(values))
    for name in ("images", "image", "pixels", "img"):
        if name in inputs:
            return read(inputs[name])
    if {"bytes", "path"} & set(inputs):  # an image of a Hugging Face dataset, not decoded
        held = inputs.get("bytes")
        return read(inputs.get("path") if held is None else held)
    raise _not_pictures(model, inputs)


def _pixel_values(given: object) -> Tensor:
    """Return pixel values, which are normalised floats, never bytes."""
    listed = list(given) if isinstance(given, (list, tuple)) else []
    if listed and all(isinstance(one, (Tensor, np.ndarray)) for one in listed):
        values = torch.stack([numbers_of(one) for one in listed])
    else:
        values = numbers_of(given) if isinstance(given, np.ndarray) else torch.as_tensor(given)
    if not values.is_floating_point():
        raise TypeError(
            f"`pixel_values` must be normalised floats, got {values.dtype}. Pass images themselves, which are "
            "normalised here."
        )
    return values.detach().cpu().float()


def _not_pictures(model: Reads, inputs: Inputs) -> TypeError:
    return TypeError(
        f"`inputs` must be images for the vision model {model.name}, got {described(inputs)}. "
        "Pass a tensor of shape (n, 3, H, W) with values in [0, 1], PIL images, or files."
    )


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


def rgb_of(picture: Image.Image, convert: list[str] | None = None) -> Image.Image:
    """Return a copy in red, green and blue; transparent parts are put on black, or warned of."""
    clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if convert is not None and picture.mode != "RGB":
        convert.append(f"{_MODES.get(picture.mode, picture.mode)} to RGB")
        if clear:
            layer = picture.convert("RGBA")
            ground = Image.new("RGBA", layer.size, (0, 0, 0, 255))
            return Image.alpha_composite(ground, layer).convert("RGB")
    elif convert is None and clear and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        warn_caller(
            "An image with transparent parts is read with the colours that are stored there, as "
            'image.convert("RGB") gives them. Put it on a background first.'
        )
    if picture.mode in ("La", "RGBa"):  # multiplied by their transparency
        picture = picture.convert("LA" if picture.mode == "La" else "RGBA")
    return _in_bytes(picture).convert("RGB")


def _pixels(picture: Image.Image) -> UInt8[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _in_bytes(picture: Image.Image) -> Image.Image:
    """Return an image of 16 bits or of floats in bytes, scaled: Pillow clips them to white or black."""
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    if picture.mode == "F":
        top = 1.0
        _check_floats(values.min(), values.max())
    else:
        top = 65535.0 if picture.mode != "I" or values.max() > 255 else 255.0
        if values.min() < 0 or values.max() > top:
            raise ValueError(
                "An image of whole numbers must lie in 0 … 65535, got values from "
                f"{values.min():.0f} to {values.max():.0f}. Divide by the largest possible value and pass "
                "floats."
            )
    return Image.fromarray(np.round(np.clip(values / top, 0, 1) * 255).astype(np.uint8))


UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""Errors of Pillow about a file: a ValueError if a packed text in it is too large."""


def _loaded(
    model: Reads, item: Tensor | PixelValues | Image.Image | Path | bytes
) -> Tensor | PixelValues:
    """Return the pixels of an image; a file is turned upright, as its EXIF orientation has it."""
    if isinstance(item, (Tensor, PixelValues)):
        return item
    loaded = _pixels(rgb_of(_opened(item)))
    if not isinstance(item, Image.Image):
        _check_size(model, *loaded.shape[1:])
    return loaded


LARGEST = 40_000_000
"""Pixels of the largest image that is converted: a small file may unpack to gigabytes."""

_ORIENTATION = 0x0112
"""EXIF's tag."""


def _opened(item: Image.Image | Path | bytes, convert: list[str] | None = None) -> Image.Image:
    """Return an image in memory, upright: one that is in memory already only where it is converted."""
    given = isinstance(item, Image.Image)
    name = repr(str(item)) if isinstance(item, Path) else "this one" if given else "the file"
    try:
        with (
            nullcontext(item)
            if isinstance(item, Image.Image)
            else Image.open(io.BytesIO(item) if isinstance(item, bytes) else item)
        ) as opened:
            if convert is not None and opened.width * opened.height > LARGEST:
                raise ValueError(
                    f"its {opened.width}×{opened.height} pixels are more than {LARGEST}"
                )
            opened.load()
            if getattr(opened, "n_frames", 1) > 1:
                if convert is None:
                    warn_caller(
                        "Of an image of several frames the first is read. Pass the frames as images."
                    )
                else:
                    convert.append("first frame taken")
            if given and convert is None:
                if opened.getexif().get(_ORIENTATION, 1) != 1:
                    warn_caller(
                        "A PIL image with an EXIF orientation is read as its pixels lie. Use "
                        "PIL.ImageOps.exif_transpose(image) to turn it upright, or pass its file."
                    )
                return opened
            turned = ImageOps.exif_transpose(opened)
            if convert is not None and turned.size != opened.size:
                convert.append("turned upright")
            return turned
    except UNREADABLE as error:
        # Pillow names the object in memory where it cannot tell what a file is.
        why = "it is none that Pillow knows" if "cannot identify" in str(error) else str(error)
        raise ValueError(
            f"An image must be one that Pillow can read, but of {name}: {why}. Leave it out, or save it "
            "again as PNG, scaled down if it is large."
        ) from error


def _check_size(model: Reads, rows: int, columns: int) -> None:
    if isinstance(model.preprocess, Preprocess):
        model.preprocess.check_size(rows, columns)


def _batch(model: Reads, items: list[Tensor | PixelValues], first: int) -> Batch:
    ready = [item.values for item in items if isinstance(item, PixelValues)]
    pictures = [item for item in items if isinstance(item, Tensor)]
    if ready and pictures:
        raise ValueError('A batch must hold images or {"pixel_values": …}, got both. Split them.')
    shown: Tensor | None = None
    if ready:
        values = _stacked(ready)
        if isinstance(model.preprocess, Preprocess) and values.shape[1] == 3:
            shown = model.preprocess.shown(values)
    else:
        values, shown = _prepared(model.preprocess, pictures)
    values = values.to(model.dtype) if values.is_floating_point() else values
    return image_batch(model, values, first=first, pictures=shown)


def image_batch(
    model: Reads,
    values: Float[Tensor, "n channels height width"],
    *,
    first: int = 0,
    pictures: UInt8[Tensor, "n 3 height width"] | None = None,
) -> Batch:
    """Return the batch of pixel values as the module reads them, normalised; their gradient goes through.

    `first`: Running index of the first image. `pictures`: the images as displayed.
    """
    args, kwargs = facts.picture_arguments(model.module, values)
    sample, position = plain_index(first, len(values), _n_tokens(model, values))
    return Batch(
        args=args,
        kwargs=kwargs,
        n=len(values),
        first_sample=first,
        sample=sample,
        position=position,
        pictures=pictures,
    ).to(model.device)


def _n_tokens(model: Reads, values: Tensor) -> int | None:
    """Return the tokens per image for pixel values of this size; None if unknown."""
    if model.patch_grid is None:
        return None
    patch = pair(getattr(getattr(model.module, "config", None), "patch_size", None))
    rows, columns = model.patch_grid
    if patch is not None and values.ndim == 4:
        rows, columns = values.shape[2] // patch[0], values.shape[3] // patch[1]
    return model.prefix_tokens + rows * columns


def _prepared(
    preprocess: Preprocess | Callable[[Tensor], Tensor] | None, pictures: list[Tensor]
) -> tuple[Tensor, Tensor]:
    if isinstance(preprocess, Preprocess):
        framed = _same_type([preprocess.framed(picture) for picture in pictures])
        stacked = _stacked(framed)
        return preprocess.normalised(stacked), as_bytes(stacked)
    if preprocess is None:
        stacked = _stacked(_same_type(pictures))
        return as_floats(stacked), as_bytes(stacked)
    return _prepared_by_user(preprocess, pictures)


def _prepared_by_user(
    preprocess: Callable[[Tensor], Tensor], pictures: list[Tensor]
) -> tuple[Tensor, Tensor]:
    if len({picture.shape for picture in pictures}) == 1:
        stacked = torch.stack(_same_type(pictures))
        values = preprocess(as_floats(stacked))
    else:
        rows = [preprocess(as_floats(picture[None])) for picture in pictures]
        values = _stacked([row[0] for row in rows])
        size = (int(values.shape[-2]), int(values.shape[-1]))
        frame = Preprocess(height=size[0], width=size[1])
        stacked = torch.stack([frame.framed(as_bytes(picture)) for picture in pictures])
    if not isinstance(values, Tensor) or values.shape[0] != len(pictures):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            "`preprocess` must turn images of shape (n, 3, H, W) into a tensor with n rows, got "
            f"{got} for n={len(pictures)}."
        )
    return values, as_bytes(stacked)


def _stacked(pictures: list[Tensor]) -> Tensor:
    shapes = {tuple(picture.shape) for picture in pictures}
    if len(shapes) > 1:
        raise ValueError(
            f"Images of one batch must have one size after preprocessing, got {sorted(shapes)}. "
            "Resize them to one size first."
        )
    return torch.stack(pictures)


def _same_type(pictures: list[Tensor]) -> list[Tensor]:
    if len({picture.dtype for picture in pictures}) == 1:
        return pictures
    return [as_floats(picture) for picture in pictures]


# -------------------------------------------------------------------------------------------------
# One image in whatever form, size and mode a person has it, made fit for a vision model.


class Fitted(NamedTuple):
    """An image a model can read, and what was done to get there."""

    picture: UInt8[Tensor, "3 height width"]
    notes: tuple[str, ...]


def fit_picture(model: Reads, given: object) -> Fitted:
    """Return one image as bytes of the size the model reads, and a note on every conversion."""
    if not model.modality.is_image:
        raise TypeError(
            f"An image must be given to a vision model, and {model.name} reads "
            f"{model.modality.reads}. Got {described(given)}."
        )
    notes: list[str] = []
    picture = _one(model, given, notes)
    config, prepare = getattr(model.module, "config", None), model.preprocess
    # None where the model resizes itself, or takes any size.
    is_own = isinstance(prepare, Preprocess)
    target = prepare.required if is_own else pair(getattr(config, "image_size", None))
    if target is not None and (picture.height, picture.width) != target:
        picture = fit_size(picture, target, notes)
    return Fitted(_pixels(picture), tuple(notes))


def fit_for_text(model: Reads, given: object) -> Fitted:
    """Return one image as bytes, of its own size, for a processor that puts it into a text."""
    if model.preprocess is None:
        raise TypeError(
            f"{model.name} has no processor, which puts images into texts. Pass wrap(module, processor)."
        )
    notes: list[str] = []
    return Fitted(_pixels(_one(model, given, notes)), tuple(notes))


def _one(model: Reads, given: object, convert: list[str]) -> Image.Image:
    """Return one image in whatever form it is given, upright and in colour."""
    item, *more = itertools.islice(picture_samples(model, given, convert).items, 2)
    if more or isinstance(item, PixelValues):
        raise ValueError(
            f"One image must be given at a time, not normalised, got {described(given)}. Pass one."
        )
    return rgb_of(_opened(item, convert), convert)


def fit_size(picture: Image.Image, target: tuple[int, int], notes: list[str]) -> Image.Image:
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

"""From an image to the input of a vision model: resize, crop, rescale, normalise, as its folder states.

pixel_values = (crop(resize(image)) · rescale − mean) / std, with Pillow's resampling on bytes, the
arithmetic of Hugging Face's PIL image processors; torchvision is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.files._atomic import read_json

PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"

# What a family's own checkpoints use, for folders that come without a preprocessor file.
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
}
_BY_FAMILY: dict[str, dict[str, Any]] = {
    "dinov2": {**_IMAGENET, "resample": 3},
    "dinov2_with_registers": {**_IMAGENET, "resample": 3},
    "dinov3_vit": _IMAGENET,
    "clip_vision_model": _CLIP,
}
# Image processors whose resizing keeps the proportions and is followed by a crop, unless said.
_CROPPING = ("CLIP", "Bit", "ChineseCLIP")
_CROPPING_DEFAULTS = {
    **_CLIP,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}


@checked
@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The preparation of images for one model; every field is a line of its preprocessor file."""

    height: int | None = None
    """Height after resizing, pixels; None with `shortest_edge` or without resizing."""

    width: int | None = None
    """Width after resizing, pixels."""

    shortest_edge: int | None = None
    """Length of the shorter side after resizing, pixels, the proportions kept."""

    resample: int = Image.Resampling.BILINEAR
    """Pillow's resampling filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming."""

    crop: tuple[int, int] | None = None
    """Rows and columns kept around the centre after resizing; None: all."""

    required: tuple[int, int] | None = None
    """Rows and columns an image must already have, for models that never resize."""

    rescale: float = 1 / 255
    """Factor for bytes before normalising."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Subtracted per channel."""

    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Divided by per channel."""

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                "`mean` and `std` must be three numbers each, std positive, got "
                f"mean={self.mean}, std={self.std}."
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocess:
        """Read the fields of a ``preprocessor_config.json``, old spellings (an integer size) too."""
        facts: dict[str, Any] = {}
        if _crops(config):
            config = {**_CROPPING_DEFAULTS, **config}
        if config.get("do_resize", True):
            facts |= _size(config)
            resample = config.get("resample")
            facts["resample"] = int(Image.Resampling.BILINEAR if resample is None else resample)
        if config.get("do_center_crop", False):
            facts["crop"] = _crop(config.get("crop_size", config.get("size")))
        if config.get("do_rescale", True):
            facts["rescale"] = float(config.get("rescale_factor", 1 / 255))
        else:
            facts["rescale"] = 1.0
        if config.get("do_normalize", True):
            facts["mean"] = _triple(config.get("image_mean", 0.5))
            facts["std"] = _triple(config.get("image_std", 0.5))
        return cls(**facts)

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Rows and columns of what the model gets; None if that depends on the picture."""
        if self.crop is not None:
            return self.crop
        if self.height is not None and self.width is not None:
            return self.height, self.width
        return self.required

    def framed(self, picture: UInt8[Tensor, "3 h w"] | Float[Tensor, "3 h w"]) -> Tensor:
        """Return the part and size of an image that the model sees, before normalising.

        Bytes stay bytes. A float image in [0, 1] is rounded to bytes only if it has to be
        resized, because Pillow resamples bytes.
        """
        rows, columns = picture.shape[1:]
        self.check_size(rows, columns)
        size = self._resized(rows, columns)
        if size != (rows, columns):
            picture = _resize(picture, size, self.resample)
        return picture if self.crop is None else _centre_crop(picture, self.crop)

    def check_size(self, rows: int, columns: int) -> None:
        """Refuse an image of another size than the model needs, where it never resizes."""
        if self.required is not None and (rows, columns) != self.required:
            raise ValueError(
                f"Images must have shape (3, {self.required[0]}, {self.required[1]}) for this "
                f"model, got (3, {rows}, {columns}). Resize them first, e.g. with "
                f"PIL: image.resize({self.required[::-1]})."
            )

    def normalised(self, pictures: Tensor) -> Float[Tensor, "batch 3 h w"]:
        """Return pixel values for the model, from framed images (bytes, or floats in [0, 1])."""
        mean = torch.tensor(self.mean, dtype=torch.float32).view(3, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float32).view(3, 1, 1)
        if pictures.dtype == torch.uint8:
            # Through float64, as the reference arithmetic does: 1/255 is not a float32.
            scaled = (pictures.double() * self.rescale).float()
        else:
            scaled = pictures.float() * (255 * self.rescale)
        return (scaled - mean) / std

    def shown(self, pixel_values: Float[Tensor, "batch 3 h w"]) -> UInt8[Tensor, "batch 3 h w"]:
        """Return bytes to display from pixel values: the inverse of `normalised`."""
        mean = torch.tensor(self.mean).view(3, 1, 1)
        std = torch.tensor(self.std).view(3, 1, 1)
        raw = (pixel_values.detach().float().cpu() * std + mean) / self.rescale
        return raw.round().clamp(0, 255).to(torch.uint8)

    def __call__(self, pictures: Tensor) -> Float[Tensor, "batch 3 h w"]:
        """Frame and normalise images of one size."""
        return self.normalised(torch.stack([self.framed(picture) for picture in pictures]))

    def _resized(self, rows: int, columns: int) -> tuple[int, int]:
        if self.shortest_edge is not None:
            short, long = min(rows, columns), max(rows, columns)
            other = int(self.shortest_edge * long / short)
            return (self.shortest_edge, other) if rows <= columns else (other, self.shortest_edge)
        if self.height is not None and self.width is not None:
            return self.height, self.width
        return rows, columns


def read_preprocess(folder: Path) -> Preprocess | None:
    """Return the image settings of a checkpoint folder; None if it has none."""
    if (folder / PREPROCESSOR_FILE).is_file():
        return Preprocess.from_config(read_json(folder / PREPROCESSOR_FILE))
    if (folder / PROCESSOR_FILE).is_file():
        part = read_json(folder / PROCESSOR_FILE).get("image_processor")
        return Preprocess.from_config(part) if part else None
    return None


def family_preprocess(model_type: str, image_size: tuple[int, int]) -> Preprocess:
    """Return what the checkpoints of a family usually use, at a given size."""
    usual = _BY_FAMILY.get(model_type, {})
    size = {"height": image_size[0], "width": image_size[1]}
    return Preprocess.from_config({"size": size, **usual})


def _crops(config: Mapping[str, Any]) -> bool:
    kind = config.get("image_processor_type") or config.get("feature_extractor_type") or ""
    return str(kind).startswith(_CROPPING)


def _size(config: Mapping[str, Any]) -> dict[str, int]:
    size = config.get("size", 224)
    if isinstance(size, int):
        return {"shortest_edge": size} if _crops(config) else {"height": size, "width": size}
    if "height" in size and "width" in size:
        return {"height": int(size["height"]), "width": int(size["width"])}
    if "shortest_edge" in size and "longest_edge" not in size:
        return {"shortest_edge": int(size["shortest_edge"])}
    raise ValueError(
        "The preprocessor's `size` must give height and width, or shortest_edge, got "
        f"{dict(size)}. Use wrap(module, preprocess=…) with a function of your own."
    )


def _crop(size: int | Mapping[str, int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _triple(value: float | Sequence[float]) -> tuple[float, ...]:
    if isinstance(value, (int, float)):
        return (float(value),) * 3
    return tuple(float(v) for v in value)


def _resize(picture: Tensor, size: tuple[int, int], resample: int) -> Tensor:
    image = Image.fromarray(as_bytes(picture).permute(1, 2, 0).cpu().contiguous().numpy())
    image = image.resize((size[1], size[0]), resample=Image.Resampling(resample))
    resized = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return resized if picture.dtype == torch.uint8 else as_floats(resized)


def as_floats(pictures: Tensor) -> Tensor:
    """Return bytes as numbers in [0, 1]; floats as they are."""
    return pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures.float()


def as_bytes(pictures: Tensor) -> Tensor:
    """Return numbers in [0, 1] as bytes; bytes as they are."""
    if pictures.dtype == torch.uint8:
        return pictures
    return (pictures.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)


def _centre_crop(picture: Tensor, crop: tuple[int, int]) -> Tensor:
    rows, columns = picture.shape[1:]
    if rows < crop[0] or columns < crop[1]:
        taller, wider = max(crop[0], rows), max(crop[1], columns)
        top, left = math.ceil((taller - rows) / 2), math.ceil((wider - columns) / 2)
        padded = picture.new_zeros(3, taller, wider)
        padded[:, top : top + rows, left : left + columns] = picture
        picture, rows, columns = padded, taller, wider
    top, left = (rows - crop[0]) // 2, (columns - crop[1]) // 2
    return picture[:, top : top + crop[0], left : left + crop[1]]

"""How a vision model lays out its tokens: cls and registers first, then patches row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from sae_nb.models import _facts as facts

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class TokenLayout:
    """Tokens of one picture."""

    prefix_tokens: int
    """Tokens before the first patch: cls, registers, a distillation token."""

    patch_grid: tuple[int, int] | None
    """Rows and columns of patches; None if unknown. Of a video, of the strip of its steps in time."""

    frames: int | None = None
    """Steps in time of a video's tubelets; None for images."""

    time_last: bool = False
    """Whether the tubelets of one place follow each other, and not those of one step in time."""


_OUT_OF_ORDER = ("hiera",)
"""Families whose tokens are in the order of windows, not row by row."""


def vision_layout(module: nn.Module, picture_size: tuple[int, int] | None) -> TokenLayout | None:
    """Read a vision model's token layout; None if it is not a patch transformer."""
    config: PretrainedConfig = getattr(module, "config", None)
    grid = getattr(config, "patch_grid", None)
    if isinstance(grid, tuple) and hasattr(config, "n_prefix_tokens"):
        return TokenLayout(int(config.n_prefix_tokens), (int(grid[0]), int(grid[1])))
    if facts.reads_mixture(module):
        return _image_in_text(config)
    if (bands := facts.spectrogram_grid(module)) is not None:
        return TokenLayout(_count_prefix(module), bands)
    if (found := facts.tubelets(module)) is not None:
        steps, rows, columns = found
        prefix = _count_prefix(module)
        if facts.model_type(module) == "timesformer":
            return TokenLayout(prefix, (rows * columns, steps), steps, time_last=True)
        return TokenLayout(prefix, (steps * rows, columns), steps)
    if facts.model_type(module) in _OUT_OF_ORDER:
        return None
    # Of a model of images made of one of images and texts, its part of images.
    config = getattr(config, "vision_config", config)
    patch = pair(getattr(config, "patch_size", None))
    size = picture_size or pair(getattr(config, "image_size", None))
    if patch is None or size is None:
        return None
    return TokenLayout(_count_prefix(module), (size[0] // patch[0], size[1] // patch[1]))


def _image_in_text(config: object) -> TokenLayout | None:
    """Return the grid of an image's tokens in a text, where every image has the same."""
    vision = getattr(config, "vision_config", None)
    size, patch = (pair(getattr(vision, name, None)) for name in ("image_size", "patch_size"))
    merged = getattr(config, "scale_factor", 1)
    if size is None or patch is None or not isinstance(merged, int):
        return None
    return TokenLayout(0, (size[0] // patch[0] // merged, size[1] // patch[1] // merged))


def pair(value: object) -> tuple[int, int] | None:
    """Return (rows, columns) from an integer, a sequence or a record of height and width."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, dict) and {"height", "width"} <= value.keys():
        return int(value["height"]), int(value["width"])
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return int(value[0]), int(value[1])
    return None


def _count_prefix(module: nn.Module) -> int:
    count = 0
    for path, parameter in module.named_parameters():
        name = path.rpartition(".")[2]
        if name in ("cls_token", "class_embedding", "distillation_token", "dist_token"):
            count += 1
        elif name in ("register_tokens", "reg_token"):
            count += parameter.shape[-2]
    return count

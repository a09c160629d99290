"""How a vision model lays out its tokens: cls and registers first, then patches row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class TokenLayout:
    """Tokens of one picture."""

    prefix_tokens: int
    """Tokens before the first patch: cls, registers, a distillation token."""

    patch_grid: tuple[int, int] | None
    """Rows and columns of patches; None if unknown."""

    @property
    def n_tokens(self) -> int | None:
        """Tokens in all; None if the grid is unknown."""
        if self.patch_grid is None:
            return None
        return self.prefix_tokens + self.patch_grid[0] * self.patch_grid[1]


def vision_layout(module: nn.Module, picture_size: tuple[int, int] | None) -> TokenLayout | None:
    """Read a vision model's token layout; None if it is not a patch transformer.

    Prefix tokens are counted from the module's own parameters (``cls_token``, ``class_embedding``,
    ``register_tokens``, ``distillation_token``), the grid from picture and patch size.

    Parameters
    ----------
    module
        Ours, or a Hugging Face vision model.
    picture_size
        Rows and columns of pixels the model gets; None: those its configuration names.
    """
    config: Any = getattr(module, "config", None)
    grid = getattr(config, "patch_grid", None)
    if isinstance(grid, tuple) and hasattr(config, "n_prefix_tokens"):
        return TokenLayout(int(config.n_prefix_tokens), (int(grid[0]), int(grid[1])))
    patch = pair(getattr(config, "patch_size", None))
    size = picture_size or pair(getattr(config, "image_size", None))
    if patch is None or size is None:
        return None
    return TokenLayout(_count_prefix(module), (size[0] // patch[0], size[1] // patch[1]))


def pair(value: Any) -> tuple[int, int] | None:
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

"""A drawing made to look like `scenes`: strokes on a small canvas, an ink, a texture behind, noise.

coverage = max over segments of clamp(thickness / 2 + ½ − distance, 0, 1), pixel centres at i + ½.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float, UInt8
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.data.rendering import IMAGE_SIZE, INKS, NOISE, TEXTURES, background

TALLEST, SHORTEST = 22.4, 14.4
"""Heights in pixels between which `scenes` renders its digits: 8 pixels enlarged 1.8 to 2.8 times."""

Point = tuple[float, float]


class Drawn(NamedTuple):
    """A picture made from a drawing, and what was done to the drawing."""

    picture: UInt8[Tensor, "3 32 32"]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What a drawing is put on, and in which ink."""

    ink: str = "white"
    """One of the inks of `scenes`."""

    texture: str = "vertical"
    """One of its backgrounds."""

    seed: int = 0
    """Of the background's tint and phase, and of the noise."""

    def __post_init__(self) -> None:
        if self.ink not in INKS:
            raise ValueError(f"`ink` must be one of {list(INKS)}, got {self.ink!r}.")
        if self.texture not in TEXTURES:
            raise ValueError(f"`texture` must be one of {list(TEXTURES)}, got {self.texture!r}.")
        check_count(self.seed, name="seed", at_least=0)


def raster(
    strokes: Sequence[Sequence[Point]], thickness: float = 3.0, size: int = IMAGE_SIZE
) -> UInt8[np.ndarray, "size size"]:
    """Return how much of every pixel strokes cover, 0 to 255.

    Parameters
    ----------
    strokes
        Lists of points (x, y) in pixels from the top left; a stroke of one point is a dot.
    thickness
        Width of the brush in pixels.
    size
        Side of the canvas.

    Example
    -------
    >>> raster([[(1.5, 0.0), (1.5, 4.0)]], thickness=1.0, size=4)[1].tolist()
    [0, 255, 0, 0]
    """
    centre = np.arange(size) + 0.5
    x, y = centre[None, :], centre[:, None]
    coverage = np.zeros((size, size))
    for stroke in strokes:
        points = [*stroke, stroke[-1]] if len(stroke) == 1 else stroke
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            dx, dy = x1 - x0, y1 - y0
            length = dx * dx + dy * dy
            along = 0.0 if length == 0 else ((x - x0) * dx + (y - y0) * dy) / length
            along = np.clip(along, 0, 1)
            distance = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
            np.maximum(coverage, np.clip(thickness / 2 + 0.5 - distance, 0, 1), out=coverage)
    return np.round(255 * coverage).astype(np.uint8)


def drawn_scene(coverage: UInt8[np.ndarray, "32 32"], paper: Paper | None = None) -> Drawn:
    """Return a drawing as a picture like those of `scenes`.

    A drawing taller than the digits of `scenes`, or much smaller, is scaled to their size about its own
    centre and kept inside the picture: the bundled models have seen no others.

    Parameters
    ----------
    coverage
        How much ink each pixel has, 0 to 255.
    paper
        Ink, texture behind, seed; white on stripes when None.

    Returns
    -------
    Drawn
        The picture, and a note if the drawing was scaled.

    Raises
    ------
    ValueError
        If the drawing is empty or of another size.

    Example
    -------
    >>> seven = raster([[(9, 8), (22, 8), (14, 24)]])
    >>> drawn = drawn_scene(seven, Paper(ink="cyan"))
    >>> drawn.picture.shape, drawn.notes
    (torch.Size([3, 32, 32]), ())
    """
    paper = paper or Paper()
    if coverage.shape != (IMAGE_SIZE, IMAGE_SIZE) or coverage.dtype != np.uint8:
        raise ValueError(
            f"`coverage` must be uint8 of shape ({IMAGE_SIZE}, {IMAGE_SIZE}), got {coverage.dtype} "
            f"{coverage.shape}."
        )
    if coverage.max(initial=0) < 128:
        raise ValueError("The drawing must have some ink, and it is empty. Draw a stroke.")
    ink, notes = _fitted(torch.from_numpy(coverage.astype(np.float32) / 255))
    generator = np.random.default_rng(paper.seed)
    names = ("shift_y", "shift_x", "hue", "tone", "step")
    draws = {
        name: torch.tensor([value]) for name, value in zip(names, generator.random(5, np.float32))
    }
    picture = background(draws, torch.tensor([TEXTURES.index(paper.texture)]))
    colour = torch.tensor(INKS[paper.ink])[None, :, None, None]
    picture = picture.lerp(colour, ink[None, None])
    noise = torch.from_numpy(generator.standard_normal((1, 3, IMAGE_SIZE, IMAGE_SIZE), np.float32))
    picture = picture.add(noise, alpha=NOISE).clamp(0, 1)
    return Drawn((255 * picture[0]).round().to(torch.uint8), notes)


def _fitted(
    ink: Float[Tensor, "32 32"],
) -> tuple[Float[Tensor, "32 32"], tuple[str, ...]]:
    """Scale a drawing to a height the models know, about its centre."""
    rows, columns = (ink > 0.5).nonzero().unbind(dim=1)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    size = max(bottom - top, right - left)
    wanted = min(max(size, SHORTEST), TALLEST)
    if abs(wanted - size) < 1:
        return ink, ()
    scale = wanted / size
    half = IMAGE_SIZE / 2
    centre = torch.tensor([(left + right) / 2 - half, (top + bottom) / 2 - half])
    reach = half - torch.tensor([right - left, bottom - top]) * scale / 2
    goal = torch.minimum(torch.maximum(centre, -reach), reach)
    # affine_grid maps output to input: input = (output − goal) / scale + centre, in half-widths.
    shift = (centre - goal / scale) / half
    theta = torch.tensor([[[1 / scale, 0, float(shift[0])], [0, 1 / scale, float(shift[1])]]])
    grid = F.affine_grid(theta, [1, 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    scaled = F.grid_sample(_blurred(ink, scale)[None, None], grid, align_corners=False)[0, 0]
    return scaled.clamp(0, 1), (f"drawn {size} pixels tall, scaled to {wanted:.0f}",)


def _blurred(ink: Float[Tensor, "32 32"], scale: float) -> Float[Tensor, "32 32"]:
    """Smooth before shrinking, so that thin strokes do not fall between pixels."""
    if scale >= 1:
        return ink
    side = torch.tensor([0.5 * (1 / scale - 1), 1.0, 0.5 * (1 / scale - 1)])
    kernel = (side[:, None] * side[None, :]) / side.sum() ** 2
    return F.conv2d(ink[None, None], kernel[None, None], padding=1)[0, 0]

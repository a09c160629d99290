"""Colour images of handwritten digits in which every factor of variation is known and labelled.

image = noise + (((background over texture) under disc) under ink · digit), all factors independent;
and a person's drawing made to look like one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from sae_nb.checks import OneOf, Seed, at_least, check_count, check_memory, checked
from sae_nb.data._digits import Digits, Split, digits
from sae_nb.data._records import Record

IMAGE_SIZE = 32
PATCH_SIZE = 4
BLOCK = 256  # images drawn from one random generator, and rendered at once
NOISE = 0.02

INKS: dict[str, tuple[float, float, float]] = {
    "red": (0.96, 0.33, 0.28),
    "orange": (1.00, 0.62, 0.18),
    "yellow": (1.00, 0.93, 0.35),
    "green": (0.42, 0.86, 0.36),
    "cyan": (0.30, 0.86, 0.90),
    "blue": (0.40, 0.60, 1.00),
    "pink": (1.00, 0.56, 0.84),
    "white": (0.97, 0.97, 0.97),
}
TEXTURES = ("horizontal", "vertical", "diagonal", "checks", "dots", "grid", "waves", "speckle")
POSITIONS = (
    "top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom",
    "bottom right",
)  # fmt: skip
_SPLIT_CODE = {"train": 0, "test": 1, "all": 2}
_CELL = 6.0  # pixels between neighbouring positions
_BYTES = 2 * 3 * 4 * IMAGE_SIZE**2 + 2 * IMAGE_SIZE**2  # per image, pieces and their union


@dataclass(frozen=True, repr=False)
class Scenes(Record):
    """Rendered images and the value of every factor that made them.

    Parameters
    ----------
    images
        Colour images, red green blue, between 0 and 1.
    digit, colour, texture, position, distractor
        One label per image: which digit (0–9), and indices into `colour_names`,
        `texture_names`, `position_names` and `distractor_names`.
    handwriting
        Row of the digit in scikit-learn's ``load_digits``.
    mask
        Pixels covered by the digit.
    patch_mask
        4×4 patches, row by row, of which at least a quarter is covered by the digit.

    Example
    -------
    >>> drawn = scenes(3, seed=0)
    >>> len(drawn), len(drawn[1:]), drawn.colour_names[0]
    (3, 2, 'red')
    """

    images: Float[Tensor, "n 3 32 32"]
    digit: Int[Tensor, " n"]
    colour: Int[Tensor, " n"]
    texture: Int[Tensor, " n"]
    position: Int[Tensor, " n"]
    distractor: Int[Tensor, " n"]
    handwriting: Int[Tensor, " n"]
    mask: Bool[Tensor, "n 32 32"]
    patch_mask: Bool[Tensor, "n 64"]

    colour_names: ClassVar[tuple[str, ...]] = tuple(INKS)
    texture_names: ClassVar[tuple[str, ...]] = TEXTURES
    position_names: ClassVar[tuple[str, ...]] = POSITIONS
    distractor_names: ClassVar[tuple[str, ...]] = ("no disc", "disc")


@checked(leave=("n",))
def scenes(
    n: int, seed: Seed = 0, split: Split = "train", *, start: Annotated[int, at_least(0)] = 0
) -> Scenes:
    """Render colour images around real handwritten digits, every factor labelled.

    Digit, ink colour (8), background texture (8), position (3×3), and whether a disc lies about
    (no, yes) are drawn independently and evenly, so no factor predicts another. Inks
    are brighter than any background or disc. About 7000 images per second and core.

    Parameters
    ----------
    seed
        ≥ 0. Image i of a seed and split is always the same, however many are asked for.
    split
        Whose handwriting: ``"train"`` (1400 digits), ``"test"`` (the other 397) or ``"all"``.
    start
        Number of the first image, to read one endless stream piece by piece.

    Raises
    ------
    MemoryError: If the images would not fit.

    Source
    ------
    Handwriting: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI), as it
    comes with scikit-learn. Everything around it is ours.

    Example
    -------
    >>> drawn = scenes(4, seed=0)
    >>> drawn.images.shape, drawn.digit.shape
    (torch.Size([4, 3, 32, 32]), torch.Size([4]))
    >>> torch.equal(scenes(2, seed=0, start=2).images, drawn.images[2:])
    True
    """
    n = check_count(n, name="n")
    source = digits(split)
    check_memory(n * _BYTES, f"`scenes(n={n})`", "Ask for fewer at a time, moving `start` along.")
    return _rendered(source, n, seed, split, start)


def _rendered(source: Digits, n: int, seed: int, split: str, start: int) -> Scenes:
    parts = []
    for block in range(start // BLOCK, -(-(start + n) // BLOCK)):
        first, last = max(start - block * BLOCK, 0), min(start + n - block * BLOCK, BLOCK)
        parts.append(_render(source, *_draw(block, first, last, seed, split)))
    names = [field.name for field in fields(Scenes)]
    return Scenes(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


_DRAWS = (
    "handwriting", "colour", "texture", "position", "distractor", "scale", "angle", "shear",
    "jitter_x", "jitter_y", "shift_x", "shift_y", "tone", "step", "hue", "disc_colour",
    "disc_corner", "disc_radius", "disc_x", "disc_y",
)  # fmt: skip


def _draw(
    block: int, first: int, last: int, seed: int, split: str
) -> tuple[dict[str, Tensor], Tensor]:
    generator = np.random.default_rng([seed, _SPLIT_CODE[split], block])
    columns = generator.random((BLOCK, len(_DRAWS)), dtype=np.float32)[first:last].T
    shape = (last, 3, IMAGE_SIZE, IMAGE_SIZE)
    noise = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32)[first:])
    drawn = torch.from_numpy(np.ascontiguousarray(columns))
    return dict(zip(_DRAWS, drawn, strict=True)), noise


def _render(source: Digits, draws: dict[str, Tensor], noise: Tensor) -> Scenes:
    handwriting = _choose(draws["handwriting"], len(source))
    colour = _choose(draws["colour"], len(INKS))
    texture = _choose(draws["texture"], len(TEXTURES))
    position = _choose(draws["position"], len(POSITIONS))
    distractor = _choose(draws["distractor"], 2)
    x, y, scale = _placement(draws, position)
    coverage = _digit_coverage(source.images[handwriting], draws, x, y, scale)
    inks = torch.tensor(list(INKS.values()))
    other = (colour + 1 + _choose(draws["disc_colour"], len(INKS) - 1)) % len(INKS)
    disc = _disc_coverage(draws, distractor, x, y)
    picture = background(draws, texture)
    # A disc is dimmer than the dimmest ink (luminance .41 against .51): a digit on it stays legible.
    picture = picture.lerp(0.42 * inks[other][:, :, None, None], disc[:, None])
    picture = picture.lerp(inks[colour][:, :, None, None], coverage[:, None])
    mask = coverage > 0.5
    side = IMAGE_SIZE // PATCH_SIZE
    patches = mask.view(-1, side, PATCH_SIZE, side, PATCH_SIZE)
    return Scenes(
        images=picture.add_(noise, alpha=NOISE).clamp_(0, 1),
        digit=source.digit[handwriting],
        colour=colour,
        texture=texture,
        position=position,
        distractor=distractor,
        handwriting=source.handwriting[handwriting],
        mask=mask,
        patch_mask=(patches.float().mean(dim=(2, 4)) >= 0.25).flatten(1),
    )


def _choose(uniform: Tensor, n: int) -> Tensor:
    # float32 uniforms stop at 1 − 2⁻²⁴, yet times n may round up to n itself.
    return (uniform * n).long().clamp_(max=n - 1)


def _placement(draws: dict[str, Tensor], position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = 1.8 + draws["scale"]
    # The whole 8×8 square stays inside the image; 4 px off centre is still the outer cell.
    reach = (IMAGE_SIZE / 2 - 4 * scale).clamp_min(4.0)
    x = _CELL * (position % 3 - 1) + 2.4 * (draws["jitter_x"] - 0.5)
    y = _CELL * (torch.div(position, 3, rounding_mode="floor") - 1)
    y = y + 2.4 * (draws["jitter_y"] - 0.5)
    return x.clamp(-reach, reach), y.clamp(-reach, reach), scale


def _digit_coverage(
    ink: Tensor, draws: dict[str, Tensor], centre_x: Tensor, centre_y: Tensor, scale: Tensor
) -> Tensor:
    angle = 0.4 * (draws["angle"] - 0.5)
    shear = 0.3 * (draws["shear"] - 0.5)
    zoom = IMAGE_SIZE / (8 * scale)  # from image half-widths to digit half-widths
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    rows = torch.stack((cos, sin + shear * zoom, -sin, cos), dim=1).view(-1, 2, 2)
    centre = torch.stack((centre_x, centre_y), dim=1)[:, :, None] / (IMAGE_SIZE / 2)
    theta = torch.cat((rows, -rows @ centre), dim=2)
    size = [ink.shape[0], 1, IMAGE_SIZE, IMAGE_SIZE]
    grid = F.affine_grid(theta, size, align_corners=False)
    raw = F.grid_sample(ink[:, None], grid, align_corners=False)[:, 0]
    t = ((raw - 0.28) / 0.45).clamp_(0, 1)
    return t * t * (3 - 2 * t)


def background(
    draws: dict[str, Float[Tensor, " n"]], texture: Int[Tensor, " n"]
) -> Float[Tensor, "n 3 32 32"]:
    """Return what lies behind the digit: a texture, tinted and shifted."""
    steps = torch.arange(IMAGE_SIZE)
    y = (draws["shift_y"] * IMAGE_SIZE).long()[:, None, None] + steps[:, None]
    x = (draws["shift_x"] * IMAGE_SIZE).long()[:, None, None] + steps
    pattern = _atlas()[texture[:, None, None], y, x][:, None]
    hue = 2 * np.pi * draws["hue"][:, None] + torch.tensor([0.0, 2.0944, 4.1888])
    dark = (0.08 + 0.10 * draws["tone"])[:, None] + 0.05 * hue.cos()
    step = (0.10 + 0.05 * draws["step"])[:, None] * (1 + 0.4 * hue.cos())
    return dark[:, :, None, None] + step[:, :, None, None] * pattern


def _disc_coverage(
    draws: dict[str, Tensor], distractor: Tensor, centre_x: Tensor, centre_y: Tensor
) -> Tensor:
    # One of the two or three corners farthest from the digit, so that it is seldom hidden behind.
    sign = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    away = -(sign[:, 0] * centre_x[:, None] + sign[:, 1] * centre_y[:, None])
    lottery = (draws["disc_corner"][:, None] + torch.tensor([0.0, 0.25, 0.5, 0.75])) % 1.0
    corner = sign[(away + 9 * lottery).argmax(dim=1)] * 9.5
    x = corner[:, 0] + 4 * (draws["disc_x"] - 0.5) + (IMAGE_SIZE - 1) / 2
    y = corner[:, 1] + 4 * (draws["disc_y"] - 0.5) + (IMAGE_SIZE - 1) / 2
    radius = 3.0 + 1.8 * draws["disc_radius"]
    steps = torch.arange(IMAGE_SIZE)
    dx, dy = steps - x[:, None], steps - y[:, None]
    distance = (dx.square()[:, None, :] + dy.square()[:, :, None]).sqrt_()
    edge = (radius[:, None, None] + 0.5 - distance).clamp_(0, 1)
    return edge * distractor[:, None, None]


@lru_cache(maxsize=1)
def _atlas() -> Tensor:
    y, x = np.mgrid[0 : 2 * IMAGE_SIZE, 0 : 2 * IMAGE_SIZE]
    blobs = np.random.default_rng(7).standard_normal((2 * IMAGE_SIZE, 2 * IMAGE_SIZE))
    for axis in (0, 1):
        blobs = blobs + np.roll(blobs, 1, axis) + np.roll(blobs, 2, axis)
    patterns = {
        "horizontal": y % 6 < 3,
        "vertical": x % 6 < 3,
        "diagonal": (x + y) % 8 < 4,
        "checks": (x // 4 + y // 4) % 2 == 0,
        "dots": (x % 7 - 3) ** 2 + (y % 7 - 3) ** 2 < 5,
        "grid": (x % 8 < 1) | (y % 8 < 1),
        "waves": (y + 2.5 * np.sin(2 * np.pi * x / 16)) % 8 < 4,
        "speckle": blobs > 0,
    }
    return torch.from_numpy(np.stack([patterns[name] for name in TEXTURES])).float()


@checked(leave=("n",))
def scenes_without_digit(
    n: int, seed: Seed = 0, split: Split = "train", *, start: int = 0
) -> Scenes:
    """Render the images of `scenes` again, all but the digit.

    Background, disc and noise are those of `scenes` with the same arguments; pixels that the digit does
    not touch are equal. Labels are those of the digit that was left out; the masks are empty.

    Example
    -------
    >>> shown, blank = scenes(2, seed=0), scenes_without_digit(2, seed=0)
    >>> changed = (shown.images != blank.images).any(dim=1)
    >>> bool(changed[shown.mask].all()), bool(blank.mask.any()), bool(changed.float().mean() < 0.5)
    (True, False, True)
    """
    shown = scenes(n, seed, split, start=start)
    source = digits(split)
    no_ink = replace(source, images=torch.zeros_like(source.images))
    return replace(
        shown,
        images=_rendered(no_ink, n, seed, split, start).images,
        mask=torch.zeros_like(shown.mask),
        patch_mask=torch.zeros_like(shown.patch_mask),
    )


# -------------------------------------------------------------------------------------------------
# A drawing made to look like `scenes`: strokes on a small canvas, an ink, a texture behind, noise.

TALLEST, SHORTEST = 22.4, 14.4
"""Heights in pixels between which `scenes` renders its digits: 8 pixels enlarged 1.8 to 2.8 times."""


class Drawn(NamedTuple):
    """An image made from a drawing, and what was done to the drawing."""

    picture: UInt8[Tensor, "3 32 32"]
    notes: tuple[str, ...]


@checked
@dataclass(frozen=True, kw_only=True)
class Paper:
    """The background and the ink of a drawing."""

    ink: Annotated[str, OneOf(INKS)] = "white"
    texture: Annotated[str, OneOf(TEXTURES)] = "vertical"
    seed: Seed = 0
    """One ink and one background of `scenes`; the seed is that of tint, phase and noise."""

    @property
    def rgb(self) -> tuple[float, float, float]:
        """The ink's red, green and blue, 0 to 1."""
        return INKS[self.ink]


@checked
def drawn_scene(coverage: UInt8[np.ndarray, "32 32"], paper: Paper | None = None) -> Drawn:
    """Return a drawing as an image like those of `scenes`, and a note if it was scaled.

    `coverage` is the ink of each pixel, 0 to 255; without `paper` it is white on stripes. A drawing
    taller than the digits of `scenes`, or much smaller, is scaled to their size about its own centre
    and kept inside the image: the bundled models have seen no others.

    Raises
    ------
    ValueError: If the drawing is empty or of another size.

    Example
    -------
    >>> one = np.zeros((32, 32), np.uint8)
    >>> one[7:25, 15:18] = 255
    >>> drawn = drawn_scene(one, Paper(ink="cyan"))
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
    colour = torch.tensor(paper.rgb)[None, :, None, None]
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
    ink = ink[None, None]
    if scale < 1:  # smoothed before shrinking, so that thin strokes do not fall between pixels
        side = torch.tensor([0.5 * (1 / scale - 1), 1.0, 0.5 * (1 / scale - 1)])
        kernel = (side[:, None] * side[None, :]) / side.sum() ** 2
        ink = F.conv2d(ink, kernel[None, None], padding=1)
    scaled = F.grid_sample(ink, grid, align_corners=False)[0, 0]
    return scaled.clamp(0, 1), (f"drawn {size} pixels tall, scaled to {wanted:.0f}",)

"""PatchMosaic: diffusion whose score sees patches alone, so that it makes mosaics of training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import (
    Count,
    Seed,
    Weight,
    check_count,
    check_data,
    check_integer,
    check_integers,
    check_memory,
    checked,
    warn_caller,
)
from sae_nb.findings import Finding
from sae_nb.progress import progress_bar

Place = Literal["anywhere", "same", "border"]
Images = Float[Tensor, "n channels height width"]

HALF_PERIOD = 1.008
"""Time at which nothing of an image would be left; noise at time t has variance 1 − cos²(πt / 2 · 1.008)."""

SECONDS_PER_WEIGHT, SECONDS_PER_PRODUCT = 1.2e-8, 1e-10
"""Time of one weight and one product in a distance on one core; measured, good to a factor of 3."""

LONG = 20.0
"""Seconds from which a warning announces the duration."""

BLOCK = 2**22
"""Patches whose pixels are compared at once when images are searched for known patches."""


@checked
@dataclass(frozen=True, eq=False)
class PatchMosaic:
    """A diffusion model that is not trained: its score is known, for a model that sees k × k pixels at a time.

    Images x become a x + b ε with b² = 1 − cos²(πt / 2.016), a² = 1 − b². The best guess of a clean pixel by
    its noisy neighbourhood x_i is softmax attention over the dictionary of all training patches p, with
    query x_i, keys p, the centres of the patches as values and temperature b²:

    x̂_i = Σ_p w_p p_centre, w = softmax_p(−‖x_i − a p‖² / 2b²), and the score is (a x̂ − x) / b².

    It is a soft version of the step of matching pursuit that takes the nearest atom. With whole images for
    patches it can only return its training images; with patches it puts together what never was one.

    Parameters
    ----------
    patch
        Side k, odd; one for each step, from noise to image, if it is to change; None for whole images.
    place
        Patches that compete: from "anywhere" in the training images, which wrap around (equivariant,
        ELS); from the "same" place (LS); or, with zeros around the images, those that see the same of
        the "border".
    n_steps
        Of DDIM.
    evidence
        g ≥ 0. Ours: w also grows with exp(g × the log-evidence of the whole noisy image for the training image
        that a patch is from), so that pixels agree on where they copy from; 0 is the paper's.

    Raises
    ------
    ValueError: If a patch is even, or there is not one per step.

    Source
    ------
    Equivariant local score machine of Kamb & Ganguli, arXiv 2412.20292; noise and sampler by their code
    (convolutional_diffusion, utils/idealscore.py). `evidence` is after an abstract, arXiv 2506.17324, where a
    layer of attention does what ours computes.

    Example
    -------
    >>> images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).sign()
    >>> known = PatchMosaic(3, n_steps=10).fit(images)
    >>> made = known.sample(2)
    >>> tuple(made.images.shape), tuple(made.sources.shape)
    ((2, 1, 8, 8), (2, 8, 8))
    >>> whole = PatchMosaic(None, n_steps=10).fit(images).sample(2)
    >>> bool((whole.images - images[whole.sources[:, 0, 0]]).abs().max() < 0.01)  # it remembers
    True
    """

    patch: int | Sequence[int] | None = 7
    _: KW_ONLY
    place: Place = "anywhere"
    n_steps: Count = 20
    evidence: Weight = 0.0

    def __post_init__(self) -> None:
        for side in self.sides:
            if side is not None and (side < 1 or side % 2 == 0):
                raise ValueError(
                    f"`patch` must be odd, so that a pixel is in the middle, got {side}. Use {abs(side) + 1}."
                )
        if len(self.sides) != self.n_steps:
            raise ValueError(
                f"`patch` must have one side per step, {self.n_steps}, got {len(self.sides)}."
            )

    @property
    def sides(self) -> tuple[int | None, ...]:
        """Side of the patches at each step, from noise to image; None for whole images."""
        if self.patch is None:
            return (None,) * self.n_steps
        if isinstance(self.patch, Sequence):
            return check_integers(self.patch, name="patch")
        return (check_integer(self.patch, name="patch"),) * self.n_steps

    @checked
    def fit(self, images: Float[Tensor, "n channels height width"]) -> PatchDictionary:
        """Take up training images; there is nothing to learn.

        Parameters
        ----------
        images
            Two or more of one size, of any scale; about zero mean and unit variance suits the noise.

        Raises
        ------
        TypeError, ValueError: If they are not floating-point numbers, one alone, or smaller than a
        patch.
        """
        known = check_data(images, name="images").detach()
        known = known if known.dtype == torch.float64 else known.float()
        if len(known) < 2:
            raise ValueError(
                "`images` must be two or more: a mosaic of one image has one source, got 1."
            )
        for side in self.sides:
            if side is not None and side > min(known.shape[2:]):
                raise ValueError(
                    f"`patch` must fit into images of {known.shape[2]} × {known.shape[3]}, got {side}."
                )
        return PatchDictionary(settings=self, images=known)


@dataclass(frozen=True, slots=True)
class ScoreCost:
    """The estimated cost of samples; from `PatchDictionary.cost`."""

    seconds: float
    """On one core of a processor, good to a factor of 3."""
    bytes: int

    def __str__(self) -> str:
        return f"about {self.seconds:,.0f} s on one core and {self.bytes / 2**20:,.0f} MiB"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False, slots=True)
class PatchDictionary:
    """The patches of some training images, as a score; made by `PatchMosaic.fit`."""

    settings: PatchMosaic
    images: Images

    @checked
    def cost(self, n: Count = 1) -> ScoreCost:
        """Estimate what n samples take: each pixel is compared with each patch, at each step."""
        n_images, channels, height, width = self.images.shape
        pixels = height * width
        seconds, most = 0.0, 0
        for side in self.settings.sides:
            pairs = n_images * (1 if side is None else pixels**2)
            products = channels * (pixels if side is None else side**2)
            seconds += n * pairs * (SECONDS_PER_WEIGHT + products * SECONDS_PER_PRODUCT)
            kept = n_images * pixels * products if side is not None else self.images.numel()
            most = max(most, 4 * (3 * pairs + kept))
        return ScoreCost(seconds=seconds, bytes=most)

    @checked
    def score(
        self, x: Float[Tensor, "n channels height width"], time: float, *, step: int = -1
    ) -> Images:
        """Return direction in which noisy images become likelier, ∇ log p at their noise.

        Parameters
        ----------
        x
            Noisy images, of the size of the training images.
        time
            Above 0, at most 1: all noise.
        step
            Whose patch size counts, where it changes; the last.

        Raises
        ------
        TypeError, ValueError: If the images have another size, or `time` is out of range.
        IndexError: If there is no such step.
        MemoryError: If the weights do not fit.
        """
        if x.shape[1:] != self.images.shape[1:]:
            raise ValueError(
                f"`x` must have images of shape {tuple(self.images.shape[1:])}, got {tuple(x.shape[1:])}."
            )
        if not 0 < time <= 1:
            raise ValueError(f"`time` must be above 0 and at most 1, got {time}.")
        n_steps = self.settings.n_steps
        if not -n_steps <= step < n_steps:
            raise IndexError(f"`step` must be between {-n_steps} and {n_steps - 1}, got {step}.")
        self._check_memory()
        a, b = noise_scales(time)
        guess = _Attention(self, self.settings.sides[step])(x.to(self.images), a, b)[0]
        return (a * guess - x.to(self.images)) / b**2

    @checked
    def sample(
        self, n: int = 4, *, seed: Seed = 0, max_seconds: float = 300.0, progress: bool = False
    ) -> Mosaics:
        """Make images from noise.

        Parameters
        ----------
        n
            Images.
        seed
            Draws the noise.
        max_seconds
            Work that is estimated to take longer is refused; from 20 s on, a warning announces the
            duration.
        progress
            Show a bar.

        Returns
        -------
        Mosaics
            The images, and where each of their pixels is from.

        Raises
        ------
        ValueError: If the cost of the score is above `max_seconds`.
        MemoryError: If the weights do not fit.
        """
        cost = self.cost(n)
        if not max_seconds > 0:
            raise ValueError(f"`max_seconds` must be above 0, got {max_seconds}.")
        if cost.seconds > max_seconds:
            raise ValueError(
                f"`max_seconds` must cover the score's cost, {cost}, got {max_seconds:g}. It grows with "
                "the square of the pixels: use smaller images or fewer, fewer steps, or raise it."
            )
        self._check_memory()
        if cost.seconds > LONG:
            warn_caller(f"{n} samples take {cost}.")
        x = white_noise((n, *self.images.shape[1:]), seed).to(self.images)
        sides, n_steps = self.settings.sides, self.settings.n_steps
        attention = _Attention(self, sides[0])
        with progress_bar(n_steps, "steps from noise to image", enabled=progress) as bar:
            for i, side in enumerate(sides):
                if side != attention.side:
                    attention = _Attention(self, side)
                (a, b), (a_next, b_next) = (noise_scales(1 - at / n_steps) for at in (i, i + 1))
                guess, sources, places = attention(x, a, b)
                x = a_next * guess + b_next * (x - a * guess) / b  # DDIM
                bar.update()
        return Mosaics(dictionary=self, images=x, sources=sources, places=places)

    @checked
    def found(
        self, images: Float[Tensor, "n channels height width"], size: int, *, tolerance: float = 0.5
    ) -> Float[Tensor, " n"]:
        """Return share of the patches of each image that occur in the training images, anywhere.

        Training images that were held out say what is found by chance. With `size` the side of square images, a
        share of 1 means that the image is a training image, shifted or not.

        Parameters
        ----------
        images
            Of the size of the training images.
        size
            Side of the patches compared, even or odd.
        tolerance
            Largest difference of a pixel that is none.

        Raises
        ------
        TypeError, ValueError: If the images have another size, or no such patch fits.
        MemoryError: If the patches do not fit.
        """
        shape = tuple(self.images.shape[1:])
        if tuple(images.shape[1:]) != shape:
            raise ValueError(
                f"`images` must have shape {shape} each, got {tuple(images.shape[1:])}."
            )
        check_count(size, name="size", at_most=min(shape[1:]))
        if not tolerance >= 0:
            raise ValueError(f"`tolerance` must be at least 0, got {tolerance}.")
        needed = 8 * size**2 * (self.images.numel() + images.numel())
        check_memory(needed, "All patches of the images", "Use fewer.")
        wraps = self.settings.place != "border"
        known = torch.unique(_windows(self.images, size, wraps).flatten(0, 1), dim=0)
        rows = max(BLOCK // len(known), 1)
        shares = []
        for image in _windows(images.to(self.images), size, wraps):
            parts = [torch.cdist(part, known, p=math.inf).amin(dim=1) for part in image.split(rows)]
            shares.append((torch.cat(parts) <= tolerance).float().mean())
        return torch.stack(shares)

    def _check_memory(self) -> None:
        check_memory(
            self.cost().bytes,
            "The weights of all patches for all pixels of one image",
            "Use smaller images, or fewer.",
        )

    def __repr__(self) -> str:
        n, _, height, width = self.images.shape
        return f"PatchDictionary({n} images of {height} × {width}; a sample takes {self.cost()})"


class Mosaics(Finding):
    """Images made from noise, and where their pixels are from; made by `PatchDictionary.sample`."""

    dictionary: PatchDictionary
    images: Images
    sources: Int[Tensor, "n height width"]
    """Training image whose patch had the largest weight at the last step; the first of those that are equal."""
    places: Int[Tensor, "n height width"]
    """Pixel of that image, row × width + column."""

    def n_sources(self) -> Int[Tensor, " n"]:
        """Return how many training images each image is put together from."""
        return torch.tensor([image.unique().numel() for image in self.sources])

    @checked
    def figure(self, n: Count = 4) -> Any:
        """Draw training images in a colour each, and samples with every pixel in that of its source.

        The six most used have a colour, the others are grey.
        """
        from sae_nb.figures import image_sheet, theme

        known, count = self.dictionary.images, len(self.dictionary.images)
        most = torch.bincount(self.sources.flatten(), minlength=count).argsort(
            descending=True, stable=True
        )
        used = sorted(most[: len(theme.PALETTE)].tolist())
        names = dict(zip(used, theme.PALETTE, strict=False))
        colours = torch.stack([_channels(names.get(i, theme.GREY)) for i in range(count)])
        low, high = float(known.min()), float(known.max())
        shown = list(range(min(n, len(self.images))))
        made = [(f"sample {i}, by source", self._tinted(i, colours, low, high)) for i in shown]
        plain = [(f"sample {i}", _scaled(self.images[i].cpu(), low, high)) for i in shown]
        trained = [
            (f"training {i}", _tint(_scaled(known[i].cpu(), low, high), colours[i][:, None, None]))
            for i in used
        ]
        return image_sheet([trained, plain, made])

    def _tinted(self, i: int, colours: Tensor, low: float, high: float) -> Tensor:
        by_pixel = colours[self.sources[i].cpu()].permute(2, 0, 1)
        return _tint(_scaled(self.images[i].cpu(), low, high), by_pixel)

    @property
    def headline(self) -> str:
        """Images, and how many training images each is made of."""
        n, _, height, width = self.images.shape
        several = float(self.n_sources().float().mean())
        return f"{n} images of {height} × {width}, of {several:.1f} training images each"


class _Attention:
    """Softmax attention of every pixel over the patches of a side, one noisy image at a time."""

    def __init__(self, dictionary: PatchDictionary, side: int | None) -> None:
        settings, images = dictionary.settings, dictionary.images
        self.side, self.wraps = side, settings.place != "border"
        self.evidence, self.images = settings.evidence, images
        if side is None:
            self.keys = images.flatten(1)[:, None]  # (n images, 1 place, pixels)
            self.values, self.allowed = self.keys, None
        else:
            self.keys = _centred(images, side, self.wraps)
            self.values = images.flatten(2).transpose(1, 2)
            self.allowed = _competing(images, side, settings.place)

    def __call__(self, x: Images, a: float, b: float) -> tuple[Images, Tensor, Tensor]:
        """Best guess of the clean images, and image and pixel of the heaviest patch."""
        queries = x.flatten(1)[:, None] if self.side is None else _centred(x, self.side, self.wraps)
        shape = x.shape[2:]
        guesses, sources, places = zip(*(self._one(query, a, b) for query in queries), strict=True)
        if self.side is None:
            pixels = torch.arange(math.prod(shape), device=x.device)
            images = torch.stack(sources)[..., None].expand(-1, *shape)
            return torch.stack(guesses).view_as(x), images, pixels.view(1, *shape).expand_as(images)
        guess = torch.stack(guesses).transpose(1, 2).reshape_as(x)
        return guess, torch.stack(sources).view(-1, *shape), torch.stack(places).view(-1, *shape)

    def _one(self, query: Tensor, a: float, b: float) -> tuple[Tensor, Tensor, Tensor]:
        n_images, n_places, _ = self.keys.shape
        keys = self.keys.flatten(0, 1)
        likely = (a * query @ keys.T - a**2 / 2 * keys.square().sum(dim=1)) / b**2
        likely = likely.view(-1, n_images, n_places)
        if self.allowed is not None:
            likely = likely.masked_fill(~self.allowed[:, None], -math.inf)
        if self.evidence:
            likely = likely + self.evidence * likely.logsumexp(dim=2).sum(dim=0)[:, None]
        weights = likely.flatten(1).softmax(dim=1)
        first = weights.argmax(dim=1)
        guess = weights @ self.values.flatten(0, 1)
        return guess, first // n_places, first % n_places


def noise_scales(time: float) -> tuple[float, float]:
    """Return the remaining share of the image, and the standard deviation of the noise."""
    a = math.cos(math.pi * time / (2 * HALF_PERIOD))
    return a, math.sqrt(1 - a**2)


def white_noise(shape: Sequence[int], seed: int) -> Float[Tensor, "*shape"]:
    """Draw standard Gaussian noise, independent of images drawn by torch with the same seed."""
    return torch.from_numpy(np.random.default_rng([seed, 2412]).standard_normal(tuple(shape)))


def _windows(images: Tensor, size: int, wraps: bool) -> Float[Tensor, "n places pixels"]:
    """Patches of that size, by their upper left corner."""
    if wraps:
        images = F.pad(images, (0, size - 1, 0, size - 1), mode="circular")
    return F.unfold(images, size).transpose(1, 2)


def _centred(images: Tensor, side: int, wraps: bool) -> Float[Tensor, "n places pixels"]:
    """Patches around every pixel, with what is on the other side, or zeros, beyond the edge."""
    around = (side // 2,) * 4
    padded = F.pad(images, around, mode="circular") if wraps else F.pad(images, around)
    return F.unfold(padded, side).transpose(1, 2)


def _competing(images: Tensor, side: int, place: Place) -> Tensor | None:
    """Return the places (columns) that compete for a pixel (rows); None for all."""
    if place == "anywhere":
        return None
    height, width = images.shape[2:]
    if place == "same":
        return torch.eye(height * width, dtype=torch.bool, device=images.device)
    half = side // 2
    ends = []
    for length in (height, width):  # how far it is to either edge, as far as the patch sees
        at = torch.arange(length, device=images.device)
        ends.append(at.clamp(max=half) * (half + 1) + at.flip(0).clamp(max=half))
    seen = ends[0][:, None] * (half + 1) ** 2 + ends[1]
    return seen.flatten()[:, None] == seen.flatten()


def _channels(colour: str) -> Tensor:
    from sae_nb.figures.shapes import parse_colour

    return torch.tensor(parse_colour(colour)[:3]) / 255


def _scaled(image: Tensor, low: float, high: float) -> Tensor:
    return ((image.float() - low) / max(high - low, 1e-12)).clamp(0, 1)


def _tint(image: Tensor, colour: Tensor) -> Tensor:
    """A colour, lighter where the image is."""
    return (0.25 + 0.75 * image.mean(dim=0, keepdim=True)) * colour

"""LocalDenoiser: a diffusion network that is trained and sees patches alone, to be predicted by their score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import Between, Count, Seed, check_data, checked, warn_caller
from sae_nb.figures import Chart, Points
from sae_nb.findings import Finding, Plotted, column
from sae_nb.progress import progress_bar
from sae_nb_studies.lab._patch_mosaic import PatchDictionary, noise_scales, white_noise

Images = Float[Tensor, "n channels height width"]

FREQUENCIES = 8
"""Cosines and sines, π, 2π, …, by which the network reads the time."""

TIME_UNITS, KEY_UNITS = 64, 32
"""Hidden units that read the time; width of queries and keys."""

LATEST = 0.02
"""Least time in training: below it an image is almost clean, and its guess almost itself."""

SECONDS_PER_PRODUCT = 2.5e-10
"""Time of one product in training on one core; measured, good to a factor of 3."""

LONG = 60.0
"""Seconds from which a warning announces the duration."""


@checked
@dataclass(frozen=True, eq=False)
class LocalDenoiser:
    """A small convolutional network that guesses a clean image from a noisy one, k × k pixels at a time.

    (k − 1) / 2 convolutions of 3 × 3 that wrap around, each shifted and scaled by the time, and one of 1 × 1.
    Nothing averages over the image, so a guess of a pixel depends on its k × k neighbourhood alone and moves
    with it: what `PatchMosaic(k)` has by construction. With `attention`, a layer in which every pixel reads
    all others comes last: then the guess is no longer local.

    Parameters
    ----------
    patch
        Side k of what a pixel sees, odd, 3 or more.
    width
        Channels inside.
    attention
        Add one layer of softmax attention over all pixels, and a layer of two 1 × 1 convolutions.

    Raises
    ------
    ValueError: If `patch` is even or below 3.

    Source
    ------
    Kamb & Ganguli, arXiv 2412.20292: local, equivariant networks approach the local, equivariant score. With
    attention: after Finn, Keller, Theodosis & Ba, "Origins of creativity in attention-based diffusion models",
    arXiv 2506.17324, of which we had the abstract. Ours: the sizes, and noise on the images' own schedule.

    Example
    -------
    >>> images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).sign()
    >>> model = LocalDenoiser(3, width=8).fit(images, steps=5)  # a thousand for an answer
    >>> tuple(model.sample(2, n_steps=3).shape)
    (2, 1, 8, 8)
    """

    patch: int = 7
    _: KW_ONLY
    width: Count = 32
    attention: bool = False

    def __post_init__(self) -> None:
        if self.patch < 3 or self.patch % 2 == 0:
            raise ValueError(f"`patch` must be odd, 3 or more, got {self.patch}.")

    @checked
    def fit(
        self,
        images: Float[Tensor, "n channels height width"],
        *,
        steps: Count = 1500,
        batch_size: Count = 32,
        learning_rate: Annotated[float, Between(0, 1, "()")] = 4e-3,
        seed: Seed = 0,
        progress: bool = False,
    ) -> DenoiserModel:
        """Train on noisy versions of the images, at random times, to guess the clean ones.

        Parameters
        ----------
        images
            Two or more of one size; about zero mean and unit variance suits the noise.
        steps
            Of Adam, its rate rising and falling in one cycle.
        batch_size
            Images of each.
        learning_rate
            At the height of the cycle.
        seed
            Draws first weights, images, times and noise.
        progress
            Show a bar.

        Raises
        ------
        TypeError, ValueError: If the images are not floating-point numbers, one alone, or smaller than `patch`.
        """
        known = check_data(images, name="images").detach().float()
        if len(known) < 2:
            raise ValueError("`images` must be two or more: one alone is its own answer, got 1.")
        if self.patch > min(known.shape[2:]):
            raise ValueError(
                f"`patch` must fit into images of {known.shape[2]} × {known.shape[3]}, got {self.patch}."
            )
        seconds = steps * batch_size * self._products(known) * 3 * SECONDS_PER_PRODUCT
        if seconds > LONG:
            warn_caller(f"{steps} steps take about {seconds:,.0f} s on one core.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(self, known.shape[1]).to(known.device)
        generator = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
        losses = torch.zeros(steps)
        with progress_bar(steps, "steps of training", enabled=progress) as bar:
            for step in range(steps):
                clean = known[torch.randint(len(known), (batch_size,), generator=generator)]
                time = LATEST + (1 - LATEST) * torch.rand(batch_size, generator=generator)
                noise = torch.randn(clean.shape, generator=generator)
                noisy = _noisy(clean, noise.to(known), time.to(known))
                loss = F.mse_loss(network(noisy, time.to(known)), clean)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                cycle.step()
                losses[step] = loss.detach()
                bar.update()
        return DenoiserModel(
            settings=self, network=network.eval().requires_grad_(False), images=known, losses=losses
        )

    def _products(self, images: Images) -> int:
        """Multiplications of one image, forward."""
        pixels, channels = images[0, 0].numel(), images.shape[1]
        layers = (self.patch - 1) // 2
        local = 9 * self.width * (channels + (layers - 1) * self.width) * pixels
        joined = pixels**2 * (KEY_UNITS + self.width) + 7 * self.width**2 * pixels
        return local + (joined if self.attention else 0)


class DenoiserModel(Finding):
    """A trained diffusion network; made by `LocalDenoiser.fit`."""

    settings: LocalDenoiser
    network: nn.Module
    images: Images
    """That it was trained on."""
    losses: Float[Tensor, " steps"]
    """Mean squared error of every step."""

    @torch.no_grad()
    @checked
    def guess(self, x: Float[Tensor, "n channels height width"], time: float) -> Images:
        """Return the clean images that it guesses from noisy ones.

        Parameters
        ----------
        x
            a times an image plus b times noise, a and b those of `PatchMosaic` at this time.
        time
            Above 0, at most 1: all noise.

        Raises
        ------
        ValueError: If channels differ from those of training, an image is smaller than a patch, or `time` is
        out of range.
        """
        if x.shape[1] != self.images.shape[1] or min(x.shape[2:]) < self.settings.patch:
            raise ValueError(
                f"`x` must have {self.images.shape[1]} channels and sides of {self.settings.patch} or more, "
                f"got {tuple(x.shape[1:])}."
            )
        if not 0 < time <= 1:
            raise ValueError(f"`time` must be above 0 and at most 1, got {time}.")
        found: Tensor = self.network(x.to(self.images), torch.full((len(x),), time).to(self.images))
        return found

    @checked
    def sample(self, n: Count = 4, *, n_steps: Count = 20, seed: Seed = 0) -> Images:
        """Make images from noise by DDIM; the noise of a seed is that of `PatchDictionary.sample`."""
        x = white_noise((n, *self.images.shape[1:]), seed).to(self.images)
        for i in range(n_steps):
            (a, b), (a_next, b_next) = (noise_scales(1 - at / n_steps) for at in (i, i + 1))
            guess = self.guess(x, 1 - i / n_steps)
            x = a_next * guess + b_next * (x - a * guess) / b
        return x

    @checked
    def predicted_by(
        self,
        machines: Mapping[str, PatchDictionary],
        *,
        times: Sequence[float] = (0.8, 0.6, 0.4, 0.2),
        n: Count = 12,
        seed: Seed = 0,
    ) -> DenoiserPrediction:
        """Compare its guesses and samples with those of scores that are known, of the same images.

        Guesses: R² of the network's clean images by the machine's, both from the same noisy training images.
        Samples: mean correlation of images made from the same noise, and from other noise, which is the floor.

        Parameters
        ----------
        machines
            By name, such as {"7 × 7": PatchMosaic(7).fit(images)}, of images of the same size.
        times
            At which guesses are compared, above 0, at most 1.
        n
            Noisy images at each time, and samples.
        seed
            Draws images and noise.

        Raises
        ------
        ValueError: If there is no machine or no time, one is out of range, or sizes differ.
        """
        if not machines or not len(times) or not all(0 < time <= 1 for time in times):
            raise ValueError(
                "`machines` and `times` must name one or more, times above 0 and at most 1, got "
                f"{list(machines)} and {list(times)}."
            )
        for name, known in machines.items():
            if not isinstance(known, PatchDictionary):
                raise TypeError(
                    f"`machines` must hold fitted scores, got {type(known).__name__} for {name!r}. Use "
                    "PatchMosaic(k).fit(images)."
                )
            if known.images.shape[1:] != self.images.shape[1:]:
                raise ValueError(
                    f"`machines` must be of images of {tuple(self.images.shape[1:])}, got "
                    f"{tuple(known.images.shape[1:])} of {name!r}."
                )
        explained = {
            name: self._explained(known, times, n, seed) for name, known in machines.items()
        }
        made = [self.sample(n, n_steps=_steps(machines), seed=seed + more) for more in (0, 1)]
        alike = []
        for known in machines.values():
            theirs = known.sample(n, seed=seed).images
            alike.append([_correlation(theirs, own) for own in made])
        same, other = np.array(alike).T
        return DenoiserPrediction(
            machines=tuple(machines),
            times=tuple(times),
            explained=np.array(list(explained.values())),
            samples=same,
            other_noise=other,
        )

    def _explained(
        self, known: PatchDictionary, times: Sequence[float], n: int, seed: int
    ) -> list[float]:
        """R² of guesses at each time."""
        found = []
        for place, time in enumerate(times):
            generator = torch.Generator().manual_seed(1000 * seed + place)
            clean = self.images[torch.randint(len(self.images), (n,), generator=generator)]
            a, b = noise_scales(time)
            x = a * clean + b * torch.randn(clean.shape, generator=generator).to(clean)
            own = self.guess(x, time).double()
            theirs = (known.score(x, time).to(own) * b**2 + x) / a
            found.append(float(1 - (own - theirs).square().mean() / own.var(correction=0)))
        return found

    @property
    def headline(self) -> str:
        """Patch, attention, steps and the last error."""
        joined = ", attention" if self.settings.attention else ""
        last = float(self.losses[-max(len(self.losses) // 20, 1) :].mean())
        return (
            f"{self.settings.patch} × {self.settings.patch}{joined}, {len(self.losses)} steps, "
            f"mean squared error {last:.3f}"
        )


class DenoiserPrediction(Plotted):
    """The share of a trained network that known scores predict; made by `DenoiserModel.predicted_by`."""

    machines: tuple[str, ...] = field(metadata=column("machine", index=True))
    times: tuple[float, ...]
    explained: Float[np.ndarray, "n_machines n_times"]
    """R² of the network's guesses by each machine's, at each time; 1 where they are the same."""
    samples: Float[np.ndarray, " n_machines"] = field(metadata=column("samples"))
    """Mean correlation of the network's samples with a machine's from the same noise."""
    other_noise: Float[np.ndarray, " n_machines"] = field(metadata=column("other noise"))
    """The same from other noise: the floor."""

    @property
    def best(self) -> str:
        """The machine of the largest mean R²."""
        return self.machines[int(self.explained.mean(axis=1).argmax())]

    @property
    def table(self) -> Any:
        """A row per machine: R² at each time, correlation of samples and its floor."""
        import pandas as pd

        data = {f"R² at {time:g}": self.explained[:, i] for i, time in enumerate(self.times)}
        data |= {"samples": self.samples, "other noise": self.other_noise}
        return pd.DataFrame(data, index=pd.Index(self.machines, name="machine"))

    @property
    def chart(self) -> Chart:
        """R² against time, a line per machine."""
        series = [Points(m, self.times, r2) for m, r2 in zip(self.machines, self.explained)]
        return Chart(series=tuple(series), x="time (1 is noise)", y="R² of the network's guesses")

    @property
    def headline(self) -> str:
        """The machine that predicts best."""
        i = self.machines.index(self.best)
        return (
            f"best by {self.best}: mean R² {self.explained[i].mean():.2f}, samples {self.samples[i]:.2f} "
            f"(other noise {self.other_noise[i]:.2f})"
        )


def _steps(machines: Mapping[str, PatchDictionary]) -> int:
    """Steps of DDIM, those of the machines."""
    given = {known.settings.n_steps for known in machines.values()}
    if len(given) > 1:
        raise ValueError(f"`machines` must have one number of steps, got {sorted(given)}.")
    return given.pop()


def _noisy(
    clean: Images, noise: Images, time: Float[Tensor, " n"]
) -> Float[Tensor, "n channels height width"]:
    """Images with noise of each one's own time."""
    pairs = torch.tensor([noise_scales(t) for t in time.tolist()]).to(clean)
    a, b = pairs.T[..., None, None, None]
    return a * clean + b * noise


def _correlation(a: Images, b: Images) -> float:
    """Mean over images of the correlation of their pixels."""
    one, other = (
        F.normalize(x - x.mean(dim=1, keepdim=True), dim=1) for x in (a.flatten(1), b.flatten(1))
    )
    return float((one.double() * other.double()).sum(dim=1).mean())


class _Network(nn.Module):
    """Convolutions that the time shifts and scales, perhaps attention, a guess of the clean image."""

    def __init__(self, settings: LocalDenoiser, channels: int) -> None:
        super().__init__()
        layers, width = (settings.patch - 1) // 2, settings.width
        into = [channels, *[width] * (layers - 1)]
        self.time = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, TIME_UNITS),
            nn.SiLU(),
            nn.Linear(TIME_UNITS, 2 * width * layers),
        )
        self.local = nn.ModuleList(
            nn.Conv2d(n, width, 3, padding=1, padding_mode="circular") for n in into
        )
        self.joined = _Attention(width) if settings.attention else nn.Identity()
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Images, time: Float[Tensor, " n"]) -> Images:
        angles = time[:, None] * torch.arange(FREQUENCIES).to(time) * math.pi
        read = self.time(torch.cat([angles.cos(), angles.sin()], dim=1))[..., None, None]
        for layer, (scale, shift) in zip(
            self.local,
            (part.chunk(2, dim=1) for part in read.chunk(len(self.local), dim=1)),
            strict=True,
        ):
            x = F.silu(layer(x) * (1 + scale) + shift)
        guess: Tensor = self.out(self.joined(x))
        return guess


class _Attention(nn.Module):
    """Every pixel reads all others, then two convolutions of 1 × 1; both are added to what was there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (KEY_UNITS, KEY_UNITS, width)
        self.qkv = nn.Conv2d(width, sum(self.sizes), 1)
        self.mixed = nn.Conv2d(width, width, 1)
        self.each = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.SiLU(), nn.Conv2d(2 * width, width, 1)
        )

    def forward(self, x: Images) -> Images:
        q, k, v = (part.flatten(2).mT for part in self.qkv(x).split(self.sizes, dim=1))
        read = F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)
        x = x + self.mixed(read)
        every: Tensor = x + self.each(x)
        return every

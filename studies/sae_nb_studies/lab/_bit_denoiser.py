"""BitDenoiser: a diffusion network for strings of bits, to see which rules of parity it learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import Between, Count, Seed, at_least, check_data, checked
from sae_nb.figures import Chart, Points
from sae_nb.findings import Finding, Plotted, column
from sae_nb_studies.lab._parity import parity_posterior

Strings = Float[Tensor, "n n_bits"]

FREQUENCIES = 4
"""Cosines and sines of the logarithm of the noise, by which each network reads it."""

NOISIEST, LEAST = 8.0, 0.05
"""Standard deviations of the noise from which, and to which, strings are made."""

SPREAD, MIDDLE = 1.0, 0.0
"""Of the logarithm of the noise in training, a normal variable: about where bits of ±1 become unsure (ours)."""

BEND = 7.0
"""Exponent by which the levels of noise are spaced when strings are made, that of EDM."""


@checked
def even_strings(n: Count, n_bits: Count, group: Count, *, seed: Seed = 0) -> Strings:
    """Draw strings of ±1 in which every group of neighbours has an even number of −1.

    Parameters
    ----------
    n
        Strings.
    n_bits
        Bits of each.
    group
        Bits of a group; 1 puts no rule on them, so that all bits are free.
    seed
        Draws them.

    Raises
    ------
    ValueError: If groups do not fill the string.

    Example
    -------
    >>> drawn = even_strings(5, 6, 3)
    >>> drawn.shape, group_parity(drawn, 3)
    (torch.Size([5, 6]), 1.0)
    """
    _fits(n_bits, group)
    generator = torch.Generator().manual_seed(seed)
    bits = 1.0 - 2 * torch.randint(2, (n, n_bits // group, group), generator=generator).float()
    if group > 1:
        bits[..., -1] = bits[..., :-1].prod(dim=-1)
    return bits.flatten(1)


@checked
def group_parity(bits: Strings, group: Count) -> float:
    """Return the share of groups with an even number of negative bits: ½ by chance.

    Raises
    ------
    ValueError: If groups do not fill the string.
    """
    _fits(bits.shape[1], group)
    odd = (bits < 0).reshape(len(bits), -1, group).sum(dim=2) % 2
    return float((odd == 0).double().mean())


@checked
@dataclass(frozen=True, eq=False)
class BitDenoiser:
    """A diffusion model of strings of ±1, in which each bit is guessed by a small network of its own.

    A bit's network sees `field` bits, itself in the middle, and the noise. It guesses the clean bit D(y, σ) =
    y / (1 + σ²) + σ F / √(1 + σ²) as in EDM, with F of `depth` hidden layers, by the squared error with EDM's
    weight. A rule among bits that lie further apart than `field` reaches cannot be seen by any of them.

    Parameters
    ----------
    field
        Bits that a network sees, odd; None: all.
    depth
        Hidden layers.
    width
        Units of each.

    Raises
    ------
    ValueError: If `field` is even.

    Source
    ------
    Wang, Finn & Liu, "When rule learning breaks: diffusion fails to learn parity of many bits" (SPIGM at
    NeurIPS 2025; arXiv 2605.10019), of which we had the abstract: groups of bits with an even parity, EDM,
    depth. Theirs are diffusion transformers on images of 6 × 6. Ours: a network for each bit, `field`, sizes.

    Example
    -------
    >>> model = BitDenoiser(field=3, depth=1, width=8).fit(even_strings(200, 6, 2), steps=5)
    >>> made = model.sample(100)
    >>> made.shape, 0 <= group_parity(made, 2) <= 1
    (torch.Size([100, 6]), True)
    """

    field: int | None = None
    _: KW_ONLY
    depth: Count = 2
    width: Count = 48

    def __post_init__(self) -> None:
        if self.field is not None and (self.field < 1 or self.field % 2 == 0):
            raise ValueError(f"`field` must be odd, 1 or more, or None for all, got {self.field}.")

    @checked
    def fit(
        self,
        bits: Float[Tensor, "n n_bits"],
        *,
        steps: Count = 2000,
        batch_size: Count = 256,
        learning_rate: Annotated[float, Between(0, 1, "()")] = 4e-3,
        seed: Seed = 0,
    ) -> BitDenoiserModel:
        """Train on noisy versions of the strings to guess the clean ones.

        Parameters
        ----------
        bits
            Of ±1, a string per row.
        steps
            Of Adam, its rate rising and falling in one cycle.
        batch_size
            Strings of each, drawn again and again.
        learning_rate
            At the height of the cycle.
        seed
            Draws first weights, strings and noise.

        Raises
        ------
        ValueError: If an entry is neither −1 nor 1, or `field` is longer than two strings.
        """
        known = check_data(bits, name="bits").detach().float()
        n_bits = known.shape[1]
        if bool((known.abs() != 1).any()):
            raise ValueError("`bits` must be −1 or 1. Use 1 - 2 * b for bits of 0 and 1.")
        if self.field is not None and self.field > 2 * n_bits - 1:
            raise ValueError(
                f"`field` must be at most {2 * n_bits - 1}, which shows all bits to each, got {self.field}."
            )
        generator = torch.Generator().manual_seed(seed)
        network = _Networks(self, n_bits, generator).to(known.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
        losses = torch.zeros(steps)
        for step in range(steps):
            clean = known[torch.randint(len(known), (batch_size,), generator=generator)]
            sigma = (MIDDLE + SPREAD * torch.randn(batch_size, 1, generator=generator)).exp()
            noise = torch.randn(clean.shape, generator=generator)
            noisy = clean + (sigma * noise).to(known)
            weight = ((1 + sigma**2) / sigma**2).to(known)
            loss = (weight * (network(noisy, sigma.to(known)) - clean).square()).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            cycle.step()
            losses[step] = loss.detach()
        return BitDenoiserModel(
            settings=self, network=network.requires_grad_(False), n_bits=n_bits, losses=losses
        )


class BitDenoiserModel(Finding):
    """A trained diffusion model of strings; made by `BitDenoiser.fit`."""

    settings: BitDenoiser
    network: nn.Module
    n_bits: int
    losses: Float[Tensor, " steps"]
    """Weighted squared error of every step."""

    @torch.no_grad()
    @checked
    def guess(self, y: Strings, sigma: Annotated[float, Between(1e-6, 1e6)]) -> Strings:
        """Return the clean bits that it guesses from noisy ones, with noise of standard deviation `sigma`.

        Raises
        ------
        ValueError: If strings are of another length.
        """
        if y.shape[1] != self.n_bits:
            raise ValueError(f"`y` must have {self.n_bits} bits a row, got {y.shape[1]}.")
        found: Tensor = self.network(y.float(), torch.full((len(y), 1), sigma).to(y))
        return found

    @checked
    def sample(
        self, n: Count = 100, *, n_steps: Annotated[int, at_least(2)] = 32, seed: Seed = 0
    ) -> Strings:
        """Make strings from noise by EDM's deterministic steps; their signs are the bits.

        Parameters
        ----------
        n
            Strings.
        n_steps
            Levels of noise on the way.
        seed
            Draws the noise.
        """
        return strings_from(self.guess, n, self.n_bits, n_steps, seed)

    @checked
    def rule_learned(
        self,
        group: Annotated[int, at_least(2)],
        *,
        sigmas: Sequence[float] = (0.3, 0.5, 0.7, 1.0, 1.4, 2.0),
        n: Count = 2000,
        seed: Seed = 0,
    ) -> RuleLearned:
        """Compare its guesses with those of a perfect denoiser with the rule of parity and without, by noise.

        Parameters
        ----------
        group
            Bits of a group of the rule.
        sigmas
            Levels of noise, above 0.
        n
            Strings at each, which keep the rule.
        seed
            Draws strings and noise.

        Raises
        ------
        ValueError: If groups do not fill the string, or there is no level of noise.
        """
        _fits(self.n_bits, group)
        if not len(sigmas) or min(sigmas) <= 0:
            raise ValueError(f"`sigmas` must be one or more, above 0, got {list(sigmas)}.")
        clean = even_strings(n, self.n_bits, group, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        errors = []
        for sigma in sigmas:
            y = clean + sigma * torch.randn(clean.shape, generator=generator)
            known = parity_posterior(y.reshape(-1, group), float(sigma))
            guesses = (self.guess(y, float(sigma)), known.alone, known.mean)
            errors.append(
                [float((one.reshape(clean.shape) - clean).square().mean()) for one in guesses]
            )
        own, alone, ruled = np.array(errors).T
        return RuleLearned(
            group=group, sigmas=np.array(sigmas, float), error=own, without=alone, perfect=ruled
        )

    @property
    def headline(self) -> str:
        """Bits seen, depth, steps and the last error."""
        seen = "all bits" if self.settings.field is None else f"{self.settings.field} bits"
        last = float(self.losses[-max(len(self.losses) // 20, 1) :].mean())
        return (
            f"{self.n_bits} bits, each guessed from {seen} by {self.settings.depth} layers, "
            f"{len(self.losses)} steps, weighted error {last:.3f}"
        )


class RuleLearned(Plotted):
    """Errors of guesses by noise, without the rule and with it; made by `BitDenoiserModel.rule_learned`."""

    group: int
    sigmas: Float[np.ndarray, " n_levels"] = field(metadata=column("noise", index=True))
    error: Float[np.ndarray, " n_levels"] = field(metadata=column("network"))
    """Mean squared error of the network's clean bits."""
    without: Float[np.ndarray, " n_levels"] = field(metadata=column("without the rule"))
    """The least that a denoiser can reach which looks at each bit alone."""
    perfect: Float[np.ndarray, " n_levels"] = field(metadata=column("with the rule"))
    """The least that there is."""

    @property
    def share(self) -> float:
        """Part of what the rule is worth that the network has, over all levels: 0 without it, 1 all of it."""
        worth = float((self.without - self.perfect).sum())
        return float((self.without - self.error).sum()) / max(worth, 1e-300)

    @property
    def chart(self) -> Chart:
        """Errors against noise."""
        drawn = {
            "network": self.error,
            "each bit alone": self.without,
            "perfect, with the rule": self.perfect,
        }
        series = [Points(name, self.sigmas, values) for name, values in drawn.items()]
        return Chart(series=tuple(series), x="noise σ", y="mean squared error of a bit")

    @property
    def headline(self) -> str:
        """Share of the rule."""
        return f"groups of {self.group}: {self.share:.2f} of what the rule is worth"


def strings_from(
    guess: Callable[[Strings, float], Strings], n: int, n_bits: int, n_steps: int, seed: int
) -> Strings:
    """Make strings from noise with a denoiser of any kind, by EDM's deterministic steps of first order."""
    levels = np.linspace(NOISIEST ** (1 / BEND), LEAST ** (1 / BEND), n_steps) ** BEND
    y = NOISIEST * torch.randn(n, n_bits, generator=torch.Generator().manual_seed(seed))
    for now, following in zip(levels, [*levels[1:], 0.0]):
        y = y + (following - now) / now * (y - guess(y, float(now)))
    return y


def _fits(n_bits: int, group: int) -> None:
    if n_bits % group:
        raise ValueError(f"`group` must divide the string of {n_bits} bits, got {group}.")


class _Networks(nn.Module):
    """A network for each bit, run as one: weights (n_bits, inputs, outputs)."""

    def __init__(self, settings: BitDenoiser, n_bits: int, generator: torch.Generator) -> None:
        super().__init__()
        reach = n_bits - 1 if settings.field is None else (settings.field - 1) // 2
        places = torch.arange(n_bits)[:, None] + torch.arange(-reach, reach + 1)
        self.register_buffer("seen", ((places >= 0) & (places < n_bits)).float())
        self.register_buffer("places", places.clamp(0, n_bits - 1))
        sizes = [2 * reach + 1 + 2 * FREQUENCIES, *[settings.width] * settings.depth, 1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for into, out in pairwise(sizes):
            scale = 1 / math.sqrt(into)
            drawn = torch.rand(n_bits, into, out, generator=generator)
            self.weights.append(nn.Parameter((2 * drawn - 1) * scale * math.sqrt(3)))
            drawn = torch.rand(n_bits, 1, out, generator=generator)
            self.biases.append(nn.Parameter(2 * drawn - 1))

    def forward(self, y: Strings, sigma: Float[Tensor, "n 1"]) -> Strings:
        spread = (1 + sigma**2).sqrt()
        seen: Any = self.seen
        places: Any = self.places
        windows = (y / spread)[:, places] * seen
        angles = sigma.log() * torch.arange(1, FREQUENCIES + 1).to(sigma) / 2
        noise = torch.cat([angles.cos(), angles.sin()], dim=1)[:, None].expand(-1, y.shape[1], -1)
        x = torch.cat([windows, noise], dim=2).movedim(0, 1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, F.silu(x) if i else x, weight)
        guess: Tensor = y / spread**2 + sigma / spread * x[..., 0].T
        return guess

"""Recordings in which events of a few kinds are followed each by its kernel: what DUNL takes apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, at_least, check_count, checked
from sae_nb.data import Record

Recorded = Literal["gaussian", "poisson", "binomial"]

TRIES = 25
"""Time steps in a bin, each with a spike or without, where shares of them are drawn (25 ms of 1 ms)."""

_LEVELS = {"gaussian": 0.0, "poisson": math.log(0.2), "binomial": math.log(0.05 / 0.95)}
_GAINS = {"gaussian": 1.0, "poisson": 3.0, "binomial": 3.0}


@dataclass(frozen=True, repr=False)
class PlantedEvents(Record):
    """Recordings, the kernels in them, and when each began.

    Example
    -------
    >>> planted = planted_events(4)
    >>> planted.x.shape, planted.kernels.shape, planted.events.sum(dim=-1)[0].tolist()
    (torch.Size([4, 150]), torch.Size([2, 16]), [2, 2])
    """

    x: Float[Tensor, "*lead n_samples"]
    """(trials, bins), or (trials, neurons, bins) where there are several neurons."""

    events: Bool[Tensor, "*lead n_kernels places"]
    """True at the place where a kernel starts; a place is a bin from which it still fits."""

    strengths: Float[Tensor, "*lead n_kernels places"]
    """Strength of each event; 0 where there is none."""

    kernels: Float[Tensor, "n_kernels length"]
    """Of unit norm."""

    shared = ("kernels",)


@checked
def planted_events(
    n: Count,
    *,
    n_neurons: Count = 1,
    n_samples: Annotated[int, at_least(32)] = 150,
    n_events: int = 2,
    link: Recorded = "gaussian",
    noise: Annotated[float, at_least(0)] = 0.2,
    responding: Annotated[float, Between(0, 1, "(]")] = 1.0,
    seed: Seed = 0,
) -> PlantedEvents:
    """Draw trials with events of two kinds, one followed by a bump and one by a rise and a fall.

    Kernels are 16 bins long, t exp(−t / 2) and a sine under the same envelope; strengths are between 1 and 2
    (three times that where recordings are spikes). Neurons share the times of events, not the strengths.

    Parameters
    ----------
    n
        Trials.
    n_neurons
        Recorded together; 1 leaves their axis out.
    n_samples
        Bins of a trial, at least 32.
    n_events
        Of each kind in a trial, at places drawn without replacement.
    link
        "gaussian": with noise; "poisson": counts; "binomial": shares of 25 time steps with a spike.
    noise
        Standard deviation, for "gaussian".
    responding
        Chance that a neuron responds to an event of its trial.
    seed
        Draws everything.

    Source
    ------
    After the synthetic trials of btolooshams/dunl-compneuro; the numbers are ours.

    Example
    -------
    >>> spikes = planted_events(3, n_neurons=5, link="poisson", responding=0.5)
    >>> spikes.x.shape, bool((spikes.x == spikes.x.round()).all())
    (torch.Size([3, 5, 150]), True)
    """
    generator = torch.Generator().manual_seed(seed)
    kernels = _kernels()
    places = n_samples - kernels.shape[1] + 1
    check_count(n_events, name="n_events", at_most=places)
    size = (n, len(kernels), places)
    chosen = torch.rand(size, generator=generator).topk(n_events, dim=2).indices
    times = torch.zeros(size, dtype=torch.bool).scatter(2, chosen, value=True)
    shape = (n, n_neurons, *size[1:])
    events = times[:, None] & (torch.rand(shape, generator=generator) < responding)
    strengths = _GAINS[link] * events * (1 + torch.rand(shape, generator=generator))
    eta = F.conv_transpose1d(strengths.flatten(0, 1), kernels[:, None])[:, 0] + _LEVELS[link]
    x = _recorded(eta, link, noise, generator).reshape(n, n_neurons, n_samples)
    if n_neurons == 1:
        x, events, strengths = x[:, 0], events[:, 0], strengths[:, 0]
    return PlantedEvents(x, events, strengths, kernels)


def _kernels() -> Float[Tensor, "n_kernels length"]:
    """A bump, and a rise and a fall, of unit norm."""
    t = torch.arange(16.0)
    bump = t * torch.exp(-t / 2)
    both = torch.sin(2 * math.pi * t / 12) * torch.exp(-t / 6)
    return F.normalize(torch.stack([bump, both]))


def _recorded(
    eta: Tensor, link: Recorded, noise: float, generator: torch.Generator
) -> Float[Tensor, "recordings n_samples"]:
    if link == "gaussian":
        return eta + noise * torch.randn(eta.shape, generator=generator)
    if link == "poisson":
        return torch.poisson(eta.exp(), generator=generator)
    draws = torch.rand(TRIES, *eta.shape, generator=generator) < torch.sigmoid(eta)
    return draws.float().mean(dim=0)

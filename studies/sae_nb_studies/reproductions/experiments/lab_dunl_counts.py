"""Deconvolutional unrolled learning (the lab): kernels and events of spikes whose times are not known.

Planted trials as in `lab_dunl`, seen as shares of a bin with a spike (binomial) or as counts (Poisson). Two
kernels are learned by 30 or 100 unrolled steps with at most two events each; events are then read with 4 000,
as fewer have not converged for counts. Of shares learning begins at several random kernels, and the kernels
are kept with which the recordings are likeliest: from some beginnings one of two is never found. Floors: kernels
as drawn, events of another trial. The most that can be found: events read with the true kernels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import binary_cross_entropy

from sae_nb_studies.data import PlantedEvents, planted_events
from sae_nb_studies.lab import DUNL
from sae_nb_studies.reproductions.experiments.lab_dunl import fresh, worst

SHORT = {"n_trials": 16, "steps": 4, "read": 20, "starts": 2}
APART = 1000
"""Between the seeds of two starts."""

UNROLLED: dict[Literal["binomial", "poisson"], int] = {"binomial": 30, "poisson": 100}


def run(
    seed: int, *, n_trials: int = 96, steps: int = 600, read: int = 4000, starts: int = 4
) -> dict[str, float]:
    """Learn kernels from shares and from counts for `steps` (half of them for counts), and read events.

    `starts`: random kernels at which learning from shares begins.
    """
    numbers: dict[str, float] = {}
    for link, n_steps in UNROLLED.items():
        planted = planted_events(n_trials, link=link, seed=seed)
        few = link == "binomial"
        begun = [
            fresh(seed + APART * i, link=link, k=2, tail=8, n_steps=n_steps)
            for i in range(starts if few else 1)
        ]
        numbers[f"{link}, random kernels"] = worst(begun[0], planted)
        for one in begun:
            one.fit(planted.x, steps=steps if few else steps // 2, seed=seed)
        if few:
            numbers["binomial, kernels, one start"] = worst(begun[0], planted)
            begun.sort(key=lambda one: unlikely(one, planted))
        dunl = begun[0]
        numbers[f"{link}, kernels"] = worst(dunl, planted)
        found = events_found(dunl, planted, read)
        numbers |= {f"{link}, {name}": value for name, value in found.items()}
        with torch.no_grad():
            dunl.operator.weight.copy_(planted.kernels)
        found = events_found(dunl, planted, read)
        numbers |= {f"{link}, true kernels, {name}": value for name, value in found.items()}
    return numbers


def unlikely(dunl: DUNL, planted: PlantedEvents) -> float:
    """Return the mean negative log-likelihood of shares of a bin, with the events found as in training."""
    return float(binary_cross_entropy(dunl.deconvolve(planted.x).rate, planted.x))


def events_found(dunl: DUNL, planted: PlantedEvents, read: int) -> dict[str, float]:
    """Return the share of events found within two bins, of those found that are near one, and by luck."""
    dunl.n_steps = read
    found = dunl.deconvolve(planted.x)
    seen = found.compare(planted.kernels, planted.events)
    luck = found.compare(planted.kernels, planted.events.roll(1, dims=0))
    return {"hits": seen.hit_rate, "precision": seen.precision, "hits by luck": luck.hit_rate}

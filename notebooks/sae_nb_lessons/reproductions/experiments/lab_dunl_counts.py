"""Deconvolutional unrolled learning (the lab): kernels and events of spikes whose times are not known.

Planted trials as in `lab_dunl`, seen as shares of a bin with a spike (binomial) or as counts (Poisson). Two
kernels are learned by 30 or 100 unrolled steps with at most two events each; events are then read with 4 000,
as fewer have not converged for counts. Floors: kernels as drawn, events of another trial. The most that can be
found: events read with the true kernels.
"""

from __future__ import annotations

from typing import Literal

import torch

from sae_nb.studies.data import PlantedEvents, planted_events
from sae_nb.studies.lab import DUNL
from sae_nb_lessons.reproductions.experiments.lab_dunl import fresh, worst

SHORT = {"n_trials": 16, "steps": 4, "read": 20}
UNROLLED: dict[Literal["binomial", "poisson"], int] = {"binomial": 30, "poisson": 100}


def run(seed: int, *, n_trials: int = 96, steps: int = 600, read: int = 4000) -> dict[str, float]:
    """Learn kernels from shares and from counts for `steps` (half of them for counts), and read events."""
    numbers: dict[str, float] = {}
    for link, n_steps in UNROLLED.items():
        planted = planted_events(n_trials, link=link, seed=seed)
        dunl = fresh(seed, link=link, k=2, tail=8, n_steps=n_steps)
        numbers[f"{link}, random kernels"] = worst(dunl, planted)
        dunl.fit(planted.x, steps=steps if link == "binomial" else steps // 2, seed=seed)
        numbers[f"{link}, kernels"] = worst(dunl, planted)
        found = events_found(dunl, planted, read)
        numbers |= {f"{link}, {name}": value for name, value in found.items()}
        with torch.no_grad():
            dunl.operator.weight.copy_(planted.kernels)
        found = events_found(dunl, planted, read)
        numbers |= {f"{link}, true kernels, {name}": value for name, value in found.items()}
    return numbers


def events_found(dunl: DUNL, planted: PlantedEvents, read: int) -> dict[str, float]:
    """Return the share of events found within two bins, of those found that are near one, and by luck."""
    dunl.n_steps = read
    found = dunl.deconvolve(planted.x)
    seen = found.compare(planted.kernels, planted.events)
    luck = found.compare(planted.kernels, planted.events.roll(1, dims=0))
    return {"hits": seen.hit_rate, "precision": seen.precision, "hits by luck": luck.hit_rate}

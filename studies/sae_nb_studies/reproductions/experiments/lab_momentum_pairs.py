"""Induction in one layer, where letters hold no hint (the lab).

The models of `lab_momentum`, on pairs of letters that come again and again: only the letter before tells the
answer. Excluding letters that came twice, which helps in stretches, gains nothing here. The layer without
momentum is trained for twice the number of steps.
"""

from __future__ import annotations

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.lab_momentum import N_ROWS, by_distance

SHORT = {"steps": 150}


def run(seed: int, *, steps: int = 400) -> dict[str, float]:
    """Train one layer with and without momentum on pairs; return accuracies and induction scores."""
    numbers: dict[str, float] = {}
    for name, gamma, times in (("momentum", 1.0, 1), ("plain", 0.0, 2)):
        model = sn.lab.Momentum(gamma).fit(steps=times * steps, seed=seed, data="pairs")
        numbers[name] = model.accuracy(N_ROWS, seed)
        numbers[f"{name}, best head"] = float(model.scores(N_ROWS, seed).max())
    return numbers | {"by distance": by_distance(model, seed), "chance": 1 / 26}

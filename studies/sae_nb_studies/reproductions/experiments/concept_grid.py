"""Which part of a training from random atoms finds concepts that are very similar? Each is left out in turn.

The tree of `concept_starts`. The whole: free norms, a bias, k grows 1 → 2 → 4, and encoding an input
stops when it selects an atom again. Then the same without each of the four, and the published training:
free norms, no bias, up to 20 steps until the residual is small or an atom is selected again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sae_nb as sn
from sae_nb_studies.data.planted._trees import N_CONCEPTS
from sae_nb_studies.reproductions.experiments import concept_starts as starts

SHORT = {"harder": [], "steps": 60, "n": 2000}
EASY = 0.5
WHOLE: dict[str, Any] = {"norms": "free", "bias": True, "grow": True, "reselect": "stop"}
WAYS: dict[str, dict[str, Any]] = {
    "whole": WHOLE,
    "unit norms": WHOLE | {"norms": "unit"},
    "no bias": WHOLE | {"bias": False},
    "constant k": WHOLE | {"grow": False},
    "going on": WHOLE | {"reselect": True},
    "published": WHOLE | {"bias": False, "grow": False, "k": N_CONCEPTS},
}


def run(
    seed: int, *, harder: Sequence[float] = (0.8,), steps: int = 2400, n: int = 30_000
) -> dict[str, float]:
    """Train every way at ρ = 0.5, and the whole where concepts are more similar.

    `harder`: further values of ρ; `steps` of 200 rows; `n`: vectors to train on.
    """
    numbers: dict[str, float] = {}
    for rho in (EASY, *harder):
        tree = sn.studies.data.concept_tree(n + starts.TEST, rho, seed)
        for name, way in WAYS.items():
            if rho != EASY and name != "whole":
                continue
            options = {key: value for key, value in way.items() if key != "grow"}
            sae = starts._pursuit(seed, **options)
            starts._train(sae, tree.x[:n], steps, 0, seed, grow=way["grow"])
            found = starts._measured(sae, tree)
            numbers |= {f"{name} {what} at {rho}": value for what, value in found.items()}
    return numbers

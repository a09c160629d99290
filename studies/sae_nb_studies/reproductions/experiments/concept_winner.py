"""The best way of `concept_grid`, on trees it was not chosen on and at four degrees of similarity.

The tree of `concept_starts`. The best of the ways of `concept_grid` at ρ = 0.5 is the one without a bias:
free norms, k grows 1 → 2 → 4, encoding an input stops when it selects an atom again. It is compared with
the published training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sae_nb as sn
from sae_nb_studies.data.planted._trees import N_CONCEPTS
from sae_nb_studies.reproductions.experiments import concept_starts as starts

SHORT = {"rhos": [0.5], "steps": 60, "n": 2000}
FREE: dict[str, Any] = {"norms": "free", "bias": False, "reselect": "stop"}
WAYS: dict[str, tuple[dict[str, Any], bool]] = {
    "best": (FREE, True),
    "published": (FREE | {"k": N_CONCEPTS}, False),
}
"""Settings, and whether k grows."""


def run(
    seed: int,
    *,
    rhos: Sequence[float] = (0.1, 0.5, 0.8, 0.9),
    steps: int = 2400,
    n: int = 30_000,
) -> dict[str, float]:
    """Train both ways at each ρ: `steps` of 200 rows, of `n` vectors."""
    numbers: dict[str, float] = {}
    for rho in rhos:
        tree = sn.studies.data.concept_tree(n + starts.TEST, rho, seed)
        for name, (settings, grow) in WAYS.items():
            sae = starts._pursuit(seed, **settings)
            starts._train(sae, tree.x[:n], steps, 0, seed, grow=grow)
            measured = starts._measured(sae, tree).items()
            numbers |= {f"{name} {what} at {rho}": value for what, value in measured}
    return numbers

"""E5 (ii) again, trained longer: do predicted codes still move slowly when training has settled?

Text, sizes and published form are those of `temporal`; one training run for each number of steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.temporal import (
    HOOK_POINT,
    MODEL,
    makers,
    material_of,
    measured,
    trained,
)

SHORT = {"steps": [30, 60], "windows": 100}


def run(
    seed: int, *, steps: Sequence[int] = (150, 600, 2400, 9600), windows: int = 400
) -> dict[str, float]:
    """Train the published form for each number of steps and measure it on held-out text.

    `steps` of 960 tokens, in increasing order; `windows`: texts of 96 tokens to train on.
    """
    material = material_of(sn.load_model(MODEL), HOOK_POINT, windows)
    numbers: dict[str, float] = {}
    for n in steps:
        sae, began = makers(material.test.shape[2], seed)["temporal"], time.perf_counter()
        trained(sae, material.train, n, seed)
        seconds = time.perf_counter() - began
        found = measured(sae, material, seed) | {"seconds per step": seconds / n}
        numbers |= {f"{n} steps, {name}": value for name, value in found.items()}
    return numbers

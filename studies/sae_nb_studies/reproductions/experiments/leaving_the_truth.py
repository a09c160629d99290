"""E1 again, starting at the answer: does an SAE stay at the true dictionary once it is there?

The tree of `hierarchy` at ρ = 0.1, and its measures. Atoms, and an encoder's rows, start at the true
concepts; training is as published. The pursuit has no bias, since concepts start at the origin.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb_studies.data.planted._trees import N_CONCEPTS
from sae_nb_studies.reproductions.experiments.hierarchy import (
    MAKERS,
    MOST,
    TEST,
    TOLERANCE,
    _measured,
    _trained,
)

SHORT = {"steps": 600, "n": 20_000}
FIRST_ROWS = 8192
KEPT = ("R²", "L0", "PC", "least cosine")


def run(seed: int, *, steps: int = 3000, n: int = 30_000) -> dict[str, float]:
    """Start each SAE at the truth, train it, and measure how far it moved.

    `steps` of 200 rows; `n`: vectors to train on.
    """
    tree = sn.studies.data.concept_tree(n + TEST, 0.1, seed)
    numbers: dict[str, float] = {}
    for name, make in BEGUN.items():
        sae = make(seed)
        sae.initialise(tree.x[:FIRST_ROWS], torch.Generator().manual_seed(seed))
        with torch.no_grad():
            sae._start_at(tree.dictionary)
        found = {"before": _measured(sae, tree)}
        found["after"] = _measured(_trained(sae, tree.x[:n], steps, seed), tree)
        numbers |= {f"{name} {what} {when}": found[when][what] for when in found for what in KEPT}
    return numbers


def _mp(seed: int) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    return sn.MatchingPursuit(
        N_CONCEPTS, N_CONCEPTS, MOST, tolerance=TOLERANCE, bias=False, generator=generator
    )


BEGUN: dict[str, Callable[[int], SparseAutoencoder]] = {
    "mp": _mp,
    "relu": MAKERS["relu"],
    "batch_topk": MAKERS["batch_topk"],
}

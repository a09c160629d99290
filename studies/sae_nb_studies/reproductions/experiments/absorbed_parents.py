"""Count the parents that are off while a child is on, on a planted tree, with every encoder at the true L0.

The tree of `hierarchy` at ρ = 0.1. A code with more active atoms than the truth can show parent and child
whatever its dictionary is, so encoders are compared at the L0 of the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import sae_nb as sn
from sae_nb_studies.evaluation import swallowed

SHORT = {"steps": 300, "n": 10_000}
SIZE, TRUE_L0, BATCH, TEST = 20, 1.36, 200, 5000
MAKERS: dict[str, Callable[[torch.Generator], Any]] = {
    "MatchingPursuit": lambda g: sn.MatchingPursuit(SIZE, SIZE, 4, tolerance=0.05, generator=g),
    "BatchTopK": lambda g: sn.BatchTopK(SIZE, SIZE, TRUE_L0, generator=g),
    "ReLU": lambda g: sn.ReLU(SIZE, SIZE, l0=TRUE_L0, generator=g),
}


def run(seed: int, *, steps: int = 3000, n: int = 100_000) -> dict[str, float]:
    """Train a pursuit and two one-step encoders on a tree and count parents that are off.

    `steps` of 200 rows; `n`: vectors to train on.
    """
    tree = sn.studies.data.concept_tree(n + TEST, seed=seed)
    known = (tree.x[n:], tree.codes.rows(slice(n, None)), tree.dictionary, tree.parent)
    numbers = {}
    for name, make in MAKERS.items():
        sae = make(torch.Generator().manual_seed(1000 + seed))
        config = sn.TrainConfig(steps=steps, batch_size=BATCH, seed=seed)
        sn.train(sae, tree.x[:n], config, progress=False)
        found = swallowed(sae.eval(), *known, n_bootstrap=0, seed=seed)
        codes = sae.encode(tree.x[n:])
        numbers[f"swallowed by {name}"] = found.value
        numbers[f"swallowed by random atoms, {name}"] = float(found.control or 0.0)
        numbers[f"L0 {name}"] = float((codes.values != 0).sum()) / TEST
    for name in ("BatchTopK", "ReLU"):
        more = numbers[f"swallowed by {name}"] - numbers["swallowed by MatchingPursuit"]
        numbers[f"swallowed, {name} − pursuit"] = more
    return numbers

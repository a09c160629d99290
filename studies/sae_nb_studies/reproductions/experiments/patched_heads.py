"""Patching on a model whose circuit is known: does it find the heads, and does the first-order estimate?

In tiny-induction head 0.2 attends to the token before, all heads of block 1 to the token after an earlier copy,
and the MLPs do nothing (`sn.circuits.known_circuit`). In pairs of texts two letters have changed places, so
that another letter is right. Each head's output of one run is put into the other, at all positions together:
clean states into the corrupted run ("suffices"), corrupted states into the clean run ("needed"), and as control
those of other pairs. Estimates are attribution patching, one backward pass. A seed draws the pairs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

import sae_nb as sn
from sae_nb.circuits import PatchMap
from sae_nb_studies.circuits import known_circuit

SHORT = {"n_pairs": 4}
HEAD = (0, 2)
WAYS: dict[str, Literal["denoise", "noise"]] = {"suffices": "denoise", "needed": "noise"}


def run(seed: int, *, n_pairs: int = 8) -> dict[str, float]:
    """Patch the heads over `n_pairs` pairs, in both directions."""
    model = sn.load_model("tiny-induction")
    pairs = sn.data.prompt_pairs("induction", n_pairs, seed=seed, model=model)
    given = model, list(pairs.clean), list(pairs.corrupted), pairs.answers, "heads"
    circuit = known_circuit(model)
    numbers: dict[str, float] = {}
    for name, direction in WAYS.items():
        found = sn.circuits.patch(*given, direction=direction, progress=False, seed=seed)
        assert isinstance(found, PatchMap)
        others = np.delete(found.effect[0], HEAD[1])
        numbers |= {
            f"{name}, head 0.2": float(found.effect[HEAD]),
            f"{name}, head 0.2 is first": float(np.abs(found.effect).argmax() == HEAD[1]),
            f"{name}, least of block 1": float(found.effect[1].min()),
            f"{name}, most of other heads": float(np.abs(others).max()),
            f"{name}, control of head 0.2": float(found.control[HEAD]),
            f"{name}, circuit found": circuit.auc(np.abs(found.effect).ravel()),
            f"{name}, circuit found by estimates": circuit.auc(np.abs(found.estimated).ravel()),
            f"{name}, estimate of head 0.2": float(found.estimated[HEAD]),
            f"{name}, agreement": found.agreement,
        }
    return numbers

"""Phases with known truth: a network of three shared blocks, 4 + 4 + 4, and its free twin.

Do similarity and layer swaps find the cuts at 4 and 8 of ``tiny-vit-tied``, and do they claim nothing for
``tiny-vit``, whose layers are free? `depth_cuts` tests the cuts by shared blocks.
"""

from __future__ import annotations

import torch

from sae_nb.data import scenes
from sae_nb.dynamics import States, capture_states, layer_similarity, phase_evidence
from sae_nb.models import LiveModel, load_model
from sae_nb_studies.dynamics import recursive_max_cut, swap_layers

SHORT = {"pictures": 48}
TRUE = (0, 4, 8, 12)


def run(seed: int, *, pictures: int = 160) -> dict[str, float]:
    """Look for the phases of the tied network and of its twin."""
    tied, free = load_model("tiny-vit-tied"), load_model("tiny-vit")
    found = {f"tied {n}": v for n, v in looked_at(tied, seed, pictures).items()}
    return found | {f"free {n}": v for n, v in looked_at(free, seed, pictures).items()}


def states_of(model: LiveModel, seed: int, n: int) -> States:
    """Capture the states of images, in half precision."""
    return capture_states(model, scenes(n, seed=100 + seed), dtype=torch.float16)


def looked_at(model: LiveModel, seed: int, n: int) -> dict[str, float]:
    """Measure the evidence for phases: cuts by similarity, the authors' max-cut, and layer swaps."""
    similarity = layer_similarity(states_of(model, seed, n))
    numbers: dict[str, float] = {}
    for reading in ("raw", "centred"):
        for k in (2, 3):
            found = phase_evidence(similarity, k, reading=reading, seed=seed)
            numbers |= {
                f"{reading} k={k} supported": float(found.supported),
                f"{reading} k={k} contrast": found.phases.contrast,
                f"{reading} k={k} p": found.p_banded,
                f"{reading} k={k} true": float(found.phases.cuts == TRUE),
            }
    numbers["claims"] = sum(
        numbers[f"{r} k={k} supported"] for r in ("raw", "centred") for k in (2, 3)
    )
    numbers["max-cut true"] = float(recursive_max_cut(similarity.raw, eps=0.1).cuts == TRUE)
    pictures = scenes(32, seed=500 + seed, split="test")
    pairs = [(i, i + d) for d in (1, 2, 3) for i in range(1, 13 - d)]
    swap = swap_layers(model, pictures, pictures.digit, pairs=pairs).within_and_across(TRUE)
    return numbers | {
        "swap within": swap.within,
        "swap across": swap.across,
        "swap contrast": swap.at_equal_distance,
    }

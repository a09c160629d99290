"""Every admissible cut, not only the best: where do the true one and the one by similarity rank?

A cut is judged by its surrogate: one shared block fitted to each of its segments. Its R² is the share of
the layers' updates that single steps of those blocks explain, mean over layers. Blocks are fitted once to
each run of two to ten layers, and every cut into two (9) and into three (28) is assembled from them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sae_nb.dynamics import layer_similarity, segment_phases
from sae_nb.models import load_model
from sae_nb_studies.dynamics import RaptorConfig, SegmentErrors, segment_errors, sizes_of
from sae_nb_studies.reproductions.experiments.known_phases import TRUE, states_of

SHORT = {"pictures": 32, "steps": 1}
LONGEST = 10
NETWORKS = {"tied": "tiny-vit-tied", "free": "tiny-vit"}


def run(seed: int, *, pictures: int = 160, steps: int = 40) -> dict[str, float]:
    """Fit a block to every segment of both networks, and rank all cuts.

    `pictures`: number of images, a quarter of them for testing; `steps` for a segment of four layers, 8
    images each; longer segments get fewer.
    """
    numbers: dict[str, float] = {}
    for name, network in NETWORKS.items():
        model = load_model(network)
        states = states_of(model, seed, pictures)
        config = RaptorConfig(
            steps=steps, batch_size=8, learning_rate=1e-2, muon_learning_rate=0.05, seed=seed
        )
        errors = segment_errors(states, sizes_of(model), config, max_len=LONGEST)
        similarity = layer_similarity(states)
        for k in (2, 3):
            by_similarity = segment_phases(similarity, k).cuts
            found = ranked(errors, k, by_similarity)
            if k == 3:
                found |= against_the_truth(errors)
            numbers |= {f"{name} k={k} {what}": value for what, value in found.items()}
        for cut in range(2, 11):
            numbers[f"{name} R2, cut after {cut}"] = surrogate_r2(errors, (0, cut, 12))
    return numbers


def surrogate_r2(errors: SegmentErrors, cuts: tuple[int, ...]) -> float:
    """Return the share of the layers' updates that the blocks of a cut explain, mean over layers.

    `cuts`: 0 = c_0 < … < c_k = L.
    """
    missed = sum(float(errors.error[a, b]) for a, b in pairwise(cuts))
    return 1 - missed / errors.n_layers


def ranked(errors: SegmentErrors, k: int, by_similarity: tuple[int, ...]) -> dict[str, float]:
    """Describe the R² of all cuts into k, and the rank of the cut by similarity.

    `by_similarity`: the cut that leaves most similarity inside its phases.
    """
    cuts = [one for one, _ in errors.ranking(k)]
    r2 = np.array([surrogate_r2(errors, one) for one in cuts])
    return {
        "cuts": float(len(cuts)),
        "best R2": float(r2.max()),
        "median R2": float(np.median(r2)),
        "worst R2": float(r2.min()),
        "similarity R2": surrogate_r2(errors, by_similarity),
        "similarity rank": float(errors.rank_of(by_similarity)),
        "similarity - median": surrogate_r2(errors, by_similarity) - float(np.median(r2)),
    }


def against_the_truth(errors: SegmentErrors) -> dict[str, float]:
    """Rank the cut into 4 + 4 + 4 among all cuts into three."""
    true = surrogate_r2(errors, TRUE)
    others = [surrogate_r2(errors, one) for one, _ in errors.ranking(3) if one != TRUE]
    return {
        "4+4+4 R2": true,
        "4+4+4 rank": float(errors.rank_of(TRUE)),
        "4+4+4 - best other": true - max(others),
        "4+4+4 in deviations": (true - float(np.mean(others))) / float(np.std(others)),
    }

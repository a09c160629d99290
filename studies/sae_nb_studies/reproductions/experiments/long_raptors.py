"""E2 on the bundled networks by the joint schedule: 1500 steps of 16 images, 4000 scenes.

Three blocks for the network whose layers are shared, at its true cuts; two for the free one, cut evenly,
since its true cuts are unknown. Control: the same number of blocks, each applied once, trained to reach
the layers at the cuts in one step each: equal parameters, a fraction of the compute, no recurrence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sae_nb.data import scenes
from sae_nb.dynamics import States, capture_states
from sae_nb.models import LiveModel, load_model
from sae_nb_studies.dynamics import (
    Raptor,
    RaptorConfig,
    RaptorResult,
    raptor_accuracy,
    raptor_fit,
    sizes_of,
    train_raptor,
)
from sae_nb_studies.reproductions.experiments.known_phases import TRUE

SHORT = {"pictures": 32, "steps": 4}
EVEN = (0, 6, 12)
POINTS = 10
COMPARED = ("R2 at cuts", "last R2", "accuracy", "kept")


def run(seed: int, *, pictures: int = 4000, steps: int = 1500) -> dict[str, float]:
    """Approximate both networks by shared blocks, and by the same number that are applied once.

    `pictures`: images for training; testing uses 256 of digits that no network was trained on; `steps` of
    each Raptor, 16 images each.
    """
    config = RaptorConfig(
        steps=steps, log_every=max(1, steps // POINTS), test_fraction=0.0, seed=seed
    )
    found: dict[str, float] = {}
    for name, network, cuts in (("tied", "tiny-vit-tied", TRUE), ("free", "tiny-vit", EVEN)):
        model = load_model(network)
        states = capture_states(model, scenes(pictures, seed=100 + seed), dtype=torch.float16)
        deep = fitted(model, states, cuts, config)
        told = judged(deep, model, seed, cuts)
        shallow = fitted(model, only(states, cuts), range(len(cuts)), config)
        without = judged(shallow, model, seed, cuts)
        found |= {f"{name} {number}": value for number, value in told.items()}
        found |= {f"{name} {number}": value for number, value in curve(deep).items()}
        found[f"{name} seconds"] = deep.seconds
        found |= {f"{name} shallow {number}": without[number] for number in COMPARED}
        found[f"{name} kept - shallow"] = told["kept"] - without["kept"]
    return found


def curve(result: RaptorResult) -> dict[str, float]:
    """Return the batch R² at every tenth of the training; the first quarter mixes in the teacher's states."""
    return {f"batch R2, step {r.step}": r.r2 for r in result.history if r.step > 1}


def only(states: States, cuts: Sequence[int]) -> States:
    """Keep only the layers at the cuts: the targets of as many blocks that are applied once each."""
    return States(states[:, list(cuts)], token_kinds=states.token_kinds)


def fitted(
    model: LiveModel, states: States, cuts: Sequence[int], config: RaptorConfig
) -> RaptorResult:
    """Train one Raptor from random weights, with blocks of the model's sizes."""
    raptor = Raptor(sizes_of(model), cuts, seed=config.seed)
    return train_raptor(states, cuts, config, raptor=raptor, progress=False)


def judged(
    result: RaptorResult, model: LiveModel, seed: int, cuts: Sequence[int]
) -> dict[str, float]:
    """Measure R² per layer and accuracy under the teacher's heads, on digits no network was trained on."""
    pictures = scenes(256, seed=900 + seed, split="test")
    states = capture_states(model, pictures, dtype=torch.float16)
    deep = result.raptor.n_layers == states.n_layers
    fit = raptor_fit(result.raptor, states if deep else only(states, cuts))
    found = raptor_accuracy(result.raptor, model, pictures, pictures.digit)
    at_cuts = fit.r2[[cut - 1 for cut in cuts[1:]]] if deep else fit.r2
    return {
        "R2": fit.mean_r2,
        "R2 at cuts": float(at_cuts.mean()),
        "last R2": float(fit.r2[-1]),
        "cls R2": float(fit.by_kind["cls"].mean()),
        "relative error": float(fit.relative_error.mean()),
        "floor": float(fit.floor.mean()),
        "teacher": found.teacher,
        "accuracy": found.raptor,
        "kept": found.kept,
    }

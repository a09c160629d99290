"""E3: how do token states travel through depth, on small digit transformers and on the bundled models?

The digit transformers of E1 (with and without residual drop) are trained again for every seed. There is
only one of each bundled model, so a seed draws other images, texts and perturbations there.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from sae_nb.data import scenes, stories
from sae_nb.dynamics import (
    States,
    Trajectories,
    capture_states,
    depth_inputs,
    self_correction,
    trajectories,
)
from sae_nb.models import LiveModel, VisionTransformer, load_model, wrap
from sae_nb_studies.dynamics import linearise_phases
from sae_nb_studies.reproductions.experiments.block_recurrence import DROPS, coloured, teacher

SHORT = {"teacher_steps": 60, "n_pictures": 64}
BUNDLED = ("tiny-vit", "tiny-vit-plain", "tiny-vit-tied")
PUSHED_AT, PUSH = 4, 0.05
TRUE_CUTS, WRONG_CUTS = (0, 4, 8, 12), (0, 2, 7, 12)


def run(seed: int, *, teacher_steps: int = 240, n_pictures: int = 256) -> dict[str, float]:
    """Train the digit transformers, measure them and the bundled models.

    `teacher_steps` of 100 digits; `n_pictures`: images measured of each vision model.
    """
    numbers: dict[str, float] = {}
    digits, label = (part[:n_pictures] for part in coloured("test"))
    for name, drop in DROPS.items():
        model = teacher(seed, drop, teacher_steps)
        numbers |= _named(name, numbers_of_vision(model, digits, label, seed))
    config = cast(VisionTransformer, model.module).config
    untrained = VisionTransformer(config, generator=torch.Generator().manual_seed(seed))
    numbers |= _named("untrained", numbers_of_vision(wrap(untrained.eval()), digits, label, seed))
    pictures = scenes(n_pictures, seed=seed, split="test")
    for name in BUNDLED:
        bundled = load_model(name)
        numbers |= _named(name, numbers_of_vision(bundled, pictures.images, pictures.digit, seed))
        if name == "tiny-vit-tied":
            numbers |= _named(name, _linear(bundled, pictures.images, seed))
    return numbers | _named("tiny-gpt", _language(seed))


def _named(name: str, found: dict[str, float]) -> dict[str, float]:
    return {f"{name} {what}": value for what, value in found.items()}


def numbers_of_vision(
    model: LiveModel, pictures: Tensor, label: Tensor, seed: int
) -> dict[str, float]:
    """Measure one network's trajectories, basins, coherence of patches and decay of a perturbation."""
    states = capture_states(model, pictures, backend="hooks")
    paths = trajectories(states, label, seed=seed)
    gap, coherence = paths.basins.gap, paths.coherence.mean(dim=0)  # type: ignore[union-attr]
    return {
        **_shared(paths, "cls"),
        **_pushed(model, pictures, states, seed),
        "coherence first": float(coherence.min()),
        "coherence last": float(coherence[-1]),
        "coherence gained": float(coherence[-1] - coherence.min()),
        "coherence floor": paths.coherence_floor,
        "basins first": float(gap[1]),
        "basins last": float(gap[-1]),
        "basins gained": float(gap[-1] - gap[1]),
        "basins floor": float(paths.basins.floor[-1]),  # type: ignore[union-attr]
        "silhouette last": float(paths.basins.silhouette[-1]),  # type: ignore[union-attr]
        "register speed": float(paths.mean("speed", "register")[1:].mean()),
        "patch speed": float(paths.mean("speed", "patch")[1:].mean()),
    }


def _language(seed: int) -> dict[str, float]:
    model = load_model("tiny-gpt")
    texts = depth_inputs(model, list(stories(64, seed=seed).texts)).samples
    states = capture_states(model, texts, backend="hooks")
    return _shared(trajectories(states), "token")


def _shared(paths: Trajectories, kind: str) -> dict[str, float]:
    """Return the numbers that are measured for cls and for the tokens of a text."""
    gamma, speed = paths.mean("convergence", kind), paths.mean("speed", kind)
    norms, stable = paths.mean("norms", kind), paths.update_rank.stable
    effective = paths.update_rank.effective
    late, middle = speed[-2:], speed[1:-2]
    return {
        "gamma halfway": float(gamma[len(gamma) // 2]),
        "gamma before last": float(gamma[-2]),
        "smallest rise of gamma": float(gamma[1:].diff().min()),
        "norm grown": float(norms[-1] / norms[0]),
        "norm grown after block 1": float(norms[-1] / norms[1]),
        "speed": float(middle.mean()),
        "late speed over middle": float(late.max() / middle.median()),
        "late stable rank over middle": float(stable[-1] / stable[1:-1].median()),
        "late effective rank over middle": float(effective[-1] / effective[1:-1].median()),
        "last stable rank": float(stable[-1]),
    }


def _pushed(model: LiveModel, pictures: Tensor, states: States, seed: int) -> dict[str, float]:
    few = slice(0, 96)
    fading = self_correction(
        model,
        pictures[few],
        layer=PUSHED_AT,
        size=PUSH,
        seed=seed,
        states=states.take(few),
    )
    return {
        "push left": fading.ratio,
        "push left by growth alone": fading.norm_only_ratio,
        "push left beyond growth": fading.ratio - fading.norm_only_ratio,
    }


def _linear(model: LiveModel, pictures: Tensor, seed: int) -> dict[str, float]:
    """Fit one linear map per true phase of the tied model, per wrong one, and one for all depth."""
    states = capture_states(model, pictures, backend="hooks")
    true, wrong = (linearise_phases(states, cuts, seed=seed) for cuts in (TRUE_CUTS, WRONG_CUTS))
    steps = [phase.stop - phase.start for phase in true]
    both = {
        "map R2": [phase.r2 for phase in true],
        "map R2 global": [phase.r2_global for phase in true],
        "map R2 unchanged": [phase.r2_unchanged for phase in true],
    }
    found = {
        name: sum(w * v for w, v in zip(steps, values, strict=True)) / sum(steps)
        for name, values in both.items()
    }
    shifted = sum((p.stop - p.start) * p.r2 for p in wrong) / states.n_layers
    return found | {"map R2 wrong cuts": shifted}

"""Which part of the joint schedule matters? Its five changes undone, for two blocks of the free network.

Every training run is judged on scenes of digits that no network was trained on.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from sae_nb.data import scenes
from sae_nb.dynamics import capture_states
from sae_nb.models import load_model
from sae_nb_studies.dynamics import RaptorConfig, raptor_accuracy, raptor_fit
from sae_nb_studies.reproductions.experiments.long_raptors import EVEN, curve, fitted

SHORT = {"pictures": 32, "few": 16, "tested": 16, "steps": 4}
COMPARED = ("R2", "last R2", "kept")
POINTS = 10
KEPT_BACK = 0.02


def run(
    seed: int, *, pictures: int = 4000, few: int = 800, tested: int = 256, steps: int = 200
) -> dict[str, float]:
    """Train with the whole schedule, then with each of its changes undone, then as published.

    `few`: images that are left if the change undone is their number; each step takes 16 images.
    """
    model = load_model("tiny-vit")
    states = capture_states(model, scenes(pictures, seed=100 + seed), dtype=torch.float16)
    shown = scenes(tested, seed=900 + seed, split="test")
    test = capture_states(model, shown, dtype=torch.float16)
    # A few images are kept back: otherwise each training run would end by evaluating all of them.
    whole = RaptorConfig(
        steps=steps, log_every=max(1, steps // POINTS), test_fraction=KEPT_BACK, seed=seed
    )
    undone = {
        "losses mixed": replace(whole, mix="losses"),
        "two stages": replace(whole, schedule="published"),
        "AdamW": replace(whole, optimiser="adamw", learning_rate=2e-3),
        "plain squares": replace(whole, normalise=False),
        "few images": whole,
        "published": RaptorConfig(
            schedule="published", steps=steps, batch_size=16, test_fraction=KEPT_BACK, seed=seed
        ),
    }
    found: dict[str, float] = {}
    for name, config in ({"whole": whole} | undone).items():
        seen = states.take(slice(few)) if name == "few images" else states
        result = fitted(model, seen, EVEN, config)
        fit = raptor_fit(result.raptor, test)
        found |= {
            f"{name} R2": fit.mean_r2,
            f"{name} last R2": float(fit.r2[-1]),
            f"{name} kept": raptor_accuracy(result.raptor, model, shown, shown.digit).kept,
        }
        found["floor"] = float(fit.floor.mean())
        if name == "whole":
            found |= curve(result)
    return found | {
        f"{name} {what} lost": found[f"whole {what}"] - found[f"{name} {what}"]
        for name in undone
        for what in COMPARED
    }

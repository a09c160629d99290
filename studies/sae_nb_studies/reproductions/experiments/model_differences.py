"""Is a planted fine-tuning the first thing that a comparison of two models names?

Ten changes: tiny-gpt learns a phrase, a greeting, a mood (two), a refusal, a false fact (two), a format; tiny-vit
learns that a green square means a digit (two). Inputs were not trained on. "Plain" is tiny-gpt trained as long on
stories as they are: which change would be named where none was planted?
"""

from __future__ import annotations

from typing import Any

import sae_nb as sn
from sae_nb_studies.models import BEHAVIOURS, CONTROLS, Behaviour, Organism, plant_behaviour

SHORT = {"steps": 10, "behaviours": ("phrase", "exclamation"), "n_inputs": 4}
MEAN = "mean difference"


def run(
    seed: int,
    *,
    steps: int = 20,
    behaviours: tuple[Behaviour, ...] = BEHAVIOURS,
    n_inputs: int = 12,
) -> dict[str, float]:
    """Plant each change and compare the models before and after.

    `steps` of each fine-tuning; `behaviours`: some of the names; `n_inputs`: texts or images compared on.
    """
    every = {name: _judged(name, seed, steps, n_inputs) for name in behaviours}
    numbers = {
        f"{name}: {what}": value for name, one in every.items() for what, value in one.items()
    }
    for what in ("outcome first", "direction first", "simplest first", "share", "share of random"):
        numbers[what] = sum(one[what] for one in every.values()) / len(every)
    numbers["by chance"] = _by_chance(behaviours, seed, steps, n_inputs)
    gpt = sn.load_model("tiny-gpt", "cpu")
    same = sn.diff_models(
        gpt, gpt, list(sn.data.stories(n_inputs, seed=seed).texts), progress=False
    )
    return numbers | {
        "identical models, findings": float(len(same.table) + len(same.outcomes)),
        "identical models, kl": same.kl,
    }


def _difference(made: Organism, seed: int, n_inputs: int, **settings: int) -> Any:
    inputs = made.inputs(n_inputs, seed=seed)
    return sn.diff_models(made.before, made.after, inputs, seed=seed, progress=False, **settings)  # type: ignore[arg-type]


def _judged(name: Behaviour, seed: int, steps: int, n_inputs: int) -> dict[str, float]:
    """Compare the models before and after one change."""
    made = plant_behaviour(name, steps=steps, seed=seed)
    found = _difference(made, seed, n_inputs, steps=100, n_components=2)
    best, simple = found.table.iloc[0], found.table[found.table["finding"] == MEAN].iloc[0]
    return {
        "kl": found.kl,
        "outcome first": float(found.outcomes["outcome"].iloc[0] in made.planted),
        "direction first": float(best["raises"].split(", ")[0] in made.planted),
        "simplest first": float(simple["raises"].split(", ")[0] in made.planted),
        "share": float(best["share"]),
        "share of random": float(best["control"]),
    }


def _by_chance(behaviours: tuple[Behaviour, ...], seed: int, steps: int, n_inputs: int) -> float:
    """Return the share of changes that would be named after a training which plants nothing."""
    first = {}
    for is_text, control in zip((True, False), CONTROLS, strict=True):
        made = plant_behaviour(control, steps=steps, seed=seed)
        found = _difference(made, seed, n_inputs, steps=2, n_components=1)
        first[is_text] = found.outcomes["outcome"].iloc[0]
    planted = [plant_behaviour(name, steps=1, seed=seed) for name in behaviours]
    return sum(first[one.before.modality.is_text] in one.planted for one in planted) / len(planted)

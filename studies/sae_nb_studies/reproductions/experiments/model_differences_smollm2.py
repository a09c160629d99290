"""Is a planted fine-tuning the first thing that a comparison names, in a language model of 135 million parameters?

SmolLM2-135M learns, with all its weights and in a few steps, a phrase after every sentence, and that every animal is
a fox. It reads stories that it was not trained on, before and after. "Plain" is the same model trained as long on
stories as they are: would the change be named where none was planted? A short run takes tiny-gpt.
"""

from __future__ import annotations

from typing import Any

import sae_nb as sn
from sae_nb_studies.models import Behaviour, Organism, plant_behaviour

SHORT = {"model": "tiny-gpt", "steps": 10, "n_inputs": 4}
MEAN = "mean difference"
WHAT = ("outcome first", "direction first", "simplest first", "share", "share of random")


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    behaviours: tuple[Behaviour, ...] = ("phrase", "fox"),
    steps: int = 6,
    n_inputs: int = 4,
) -> dict[str, float]:
    """Plant each change and compare the models before and after.

    `model`: a name of `sn.load_model`; `steps` of each fine-tuning; `n_inputs`: texts compared on.
    """
    made: Organism = plant_behaviour("plain stories", model=model, steps=steps, seed=seed)
    texts = made.inputs(n_inputs, seed=seed)
    plain = _difference(made, texts, seed)
    same = sn.diff_models(made.before, made.before, texts, progress=False)
    numbers = {
        "plain: kl": plain.kl,
        "identical models, findings": float(len(same.table) + len(same.outcomes)),
        "identical models, kl": same.kl,
    }
    every, by_chance = {}, []
    for name in behaviours:
        made = plant_behaviour(name, model=model, steps=steps, seed=seed)
        every[name] = _judged(_difference(made, texts, seed), made.planted)
        by_chance.append(float(plain.outcomes["outcome"].iloc[0] in made.planted))
    numbers |= {
        f"{name}: {what}": value for name, one in every.items() for what, value in one.items()
    }
    numbers |= {what: sum(one[what] for one in every.values()) / len(every) for what in WHAT}
    return numbers | {"by chance": sum(by_chance) / len(by_chance)}


def _difference(made: Organism, texts: list[str], seed: int) -> Any:
    last_but_one = f"resid_post.{(made.before.n_layers or 2) - 2}"
    return sn.diff_models(
        made.before, made.after, texts, hook_points=[last_but_one], steps=100, n_components=1, seed=seed,
        progress=False,
    )  # fmt: skip


def _judged(found: Any, planted: frozenset[str]) -> dict[str, float]:
    """Return whether the planted change is first, by each reading."""
    best, simple = found.table.iloc[0], found.table[found.table["finding"] == MEAN].iloc[0]
    return {
        "kl": found.kl,
        "outcome first": float(found.outcomes["outcome"].iloc[0] in planted),
        "direction first": float(best["raises"].split(", ")[0] in planted),
        "simplest first": float(simple["raises"].split(", ")[0] in planted),
        "share": float(best["share"]),
        "share of random": float(best["control"]),
    }

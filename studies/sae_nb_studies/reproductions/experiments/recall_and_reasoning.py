"""Do recall and reasoning need different parts of SmolLM2-135M? Heads and MLPs ablated, next to random edits.

Recall: the capital of a country. Reasoning, two steps: the capital of the country that a city is in, a city that
is not the capital. Both tasks have the same answers, and ask for them in the same words. Only countries count
for which the model does both. tiny-gpt, of a short run, knows no facts: it is asked for phrases and endings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import sae_nb as sn
from sae_nb_studies.circuits import dissociate
from sae_nb_studies.reproductions.experiments.dissociation import (
    Asked,
    first_token,
    judged,
    moods,
    phrases,
    right,
    task,
)

SHORT = {"model": "tiny-gpt", "n": 16, "n_random": 4}

COUNTRIES = {
    "France": ("Paris", "Lyon"), "Spain": ("Madrid", "Barcelona"), "Italy": ("Rome", "Milan"),
    "Germany": ("Berlin", "Munich"), "Russia": ("Moscow", "Kazan"), "Japan": ("Tokyo", "Osaka"),
    "China": ("Beijing", "Shanghai"), "Egypt": ("Cairo", "Alexandria"), "Greece": ("Athens", "Thessaloniki"),
    "Poland": ("Warsaw", "Krakow"), "Portugal": ("Lisbon", "Porto"), "Austria": ("Vienna", "Salzburg"),
    "Sweden": ("Stockholm", "Gothenburg"), "Norway": ("Oslo", "Bergen"), "Ireland": ("Dublin", "Cork"),
    "Turkey": ("Ankara", "Istanbul"), "Hungary": ("Budapest", "Debrecen"), "Finland": ("Helsinki", "Tampere"),
    "India": ("New Delhi", "Mumbai"), "Thailand": ("Bangkok", "Phuket"), "Denmark": ("Copenhagen", "Aarhus"),
    "Iran": ("Tehran", "Isfahan"), "Iraq": ("Baghdad", "Basra"), "Kenya": ("Nairobi", "Mombasa"),
}  # fmt: skip
"""Of each country its capital, and another city."""

RECALL = "The capital of {country} is"
AGAIN = "The capital city of {country} is"
REASONING = "The capital of the country that {city} is in is"
CITY = "{city} is"


def run(seed: int, *, model: str = "smollm2", n: int = 10, n_random: int = 10) -> dict[str, float]:
    """Ablate on `n` inputs of each task, `n_random` random edits for each component."""
    live = sn.load_model(model, "cpu")
    rng = np.random.default_rng(seed)
    recall, again, reasoning, numbers = (stories if live.name == "tiny-gpt" else facts)(
        live, n, seed, rng
    )
    first = task(live, recall, "recall")
    found = dissociate(
        live, first, task(live, reasoning, "reasoning"), n_random=n_random, seed=seed
    )
    same = dissociate(live, first, task(live, again, "recall again"), n_random=1, seed=seed)
    numbers |= judged(found)
    return numbers | {f"same task, {name}": value for name, value in judged(same).items()}


Questions = tuple[list[Asked], list[Asked], list[Asked], dict[str, float]]
"""Recall, recall in other words, reasoning; and how often each is right."""


def facts(live: sn.LiveModel, n: int, seed: int, rng: np.random.Generator) -> Questions:
    """Draw countries of which the model knows both, each against the capital of another."""
    del seed
    names = [list(COUNTRIES)[i] for i in rng.permutation(len(COUNTRIES))]
    every = [questions(live, country, names) for country in names]
    numbers = {
        f"{name}, right": right(live, [asked[i] for asked in every])
        for i, name in enumerate(("recall", "recall again", "reasoning", "city alone"))
    }
    known = [asked for asked in every if right(live, asked[:3]) == 1.0][:n]
    recall, again, reasoning, _ = (list(part) for part in zip(*known, strict=True))
    return recall, again, reasoning, numbers | {"countries": float(len(known))}


def questions(live: sn.LiveModel, country: str, names: Sequence[str]) -> list[Asked]:
    """Ask for the capital of a country in four ways; the wrong answer is that of the next country."""
    capital, city = COUNTRIES[country]
    at = names.index(country)
    others = [COUNTRIES[names[(at + i) % len(names)]][0] for i in range(1, len(names))]
    wrong = next(one for one in others if first_token(live, one) != first_token(live, capital))
    texts = (text.format(country=country, city=city) for text in (RECALL, AGAIN, REASONING, CITY))
    return [(text, capital, wrong) for text in texts]


def stories(live: sn.LiveModel, n: int, seed: int, rng: np.random.Generator) -> Questions:
    """Ask tiny-gpt for the ends of fixed phrases, and for how stories end."""
    texts = sn.data.stories(40 * n, seed=3000 + seed).texts
    recall, again = (phrases(part, n, rng) for part in (texts[: 20 * n], texts[20 * n :]))
    reasoning = moods(texts, n, rng)
    return recall, again, reasoning, {"reasoning, right": right(live, reasoning)}

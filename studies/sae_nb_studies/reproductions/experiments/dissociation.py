"""Do recall and reasoning need different parts of tiny-gpt? Heads and MLPs ablated, compared with random edits.

Recall: the next word of a fixed phrase, which is the same in every story ("won the first" prize).
Reasoning, two steps: the events were good or bad, so the story ends well or badly ("In the end all was"
well). tiny-gpt does not know whether a person is "she" or "he", nor which animal was named before; both
are measured first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.circuits import Dissociation, Task, dissociate

SHORT = {"n": 16, "n_random": 4}

PHRASES = {
    "won the first": "prize",
    "learned a funny": "trick",
    "missed the last": "train",
    "burned the": "gate",
    "with sweet": "cakes",
    "under a": "tree",
    "in both": "hands",
    "wait in the": "rain",
    "After the long": "winter",
    "That same": "night",
    "was full of": "music",
    "a kind": "woman",
}
MOODS = {
    r"It was the (best|worst) day": ("best", "worst"),
    r"all was (well|lost)": ("well", "lost"),
    r"(?:was|were) very (happy|sad)": ("happy", "sad"),
    r"slept in (peace|misery)": ("peace", "misery"),
}
PEOPLE = {"she": ("Anna", "Clara", "Emma", "Grace", "Ida", "Lucy", "Nora", "Rose")}
PEOPLE["he"] = ("Ben", "David", "Felix", "Henry", "Jack", "Max", "Oscar", "Tom")
ANIMALS = ("dog", "cat", "horse", "bird", "goat", "rabbit", "fox", "duck", "pony")

Asked = tuple[str, str, str]
"""A text, its next word, and a wrong one."""


def run(seed: int, *, n: int = 120, n_random: int = 20) -> dict[str, float]:
    """Ablate on `n` inputs of each task, `n_random` random edits for each component."""
    model = sn.load_model("tiny-gpt", "cpu")
    rng = np.random.default_rng(seed)
    texts = sn.data.stories(40 * n, seed=3000 + seed).texts
    recall, more = (phrases(part, n, rng) for part in (texts[: 20 * n], texts[20 * n :]))
    reasoning = moods(texts, n, rng)
    found = dissociate(
        model, task(model, recall, "recall"), task(model, reasoning, "reasoning"),
        n_random=n_random, seed=seed,
    )  # fmt: skip
    same = dissociate(
        model, task(model, recall, "recall"), task(model, more, "recall again"),
        n_random=n_random, seed=seed,
    )  # fmt: skip
    numbers = {
        "names, right": right(model, pronouns(texts, n)),
        "copies, right": right(model, copies(texts, n, rng)),
        "recall, right": right(model, recall),
        "reasoning, right": right(model, reasoning),
    }
    numbers |= {f"{name}": value for name, value in judged(found).items()}
    return numbers | {f"same task, {name}": value for name, value in judged(same).items()}


def judged(found: Dissociation) -> dict[str, float]:
    """Return both chosen components' effects on held-out inputs, compared with random edits."""
    numbers: dict[str, float] = {"double": float(found.double)}
    for name, row in zip(("recall", "reasoning"), found.test.to_dict("records"), strict=True):
        numbers |= {
            f"{name}, difference": row["difference"],
            f"{name}, low": row["low"],
            f"{name}, difference, random": row["random"],
            f"{name}, beyond random": row["difference"] - row["random"],
            f"{name}, p": row["p"],
            f"{name}, selectivity": row["selectivity"],
            f"{name}, selectivity, random": row["random_selectivity"],
            f"{name}, selectivity beyond random": row["selectivity"] - row["random_selectivity"],
            f"{name}, lost of recall": row["a"],
            f"{name}, lost of reasoning": row["b"],
            f"{name}, layer": float(row["layer"]),
            f"{name}, is MLP": float(row["kind"] == "mlp"),
        }
    heads = found.components[found.components.kind == "head"]
    numbers["heads, selectivity, recall"] = float(heads.selectivity.max())
    numbers["heads, selectivity, reasoning"] = float(-heads.selectivity.min())
    numbers["needed alike"] = float(np.corrcoef(found.components.a, found.components.b)[0, 1])
    return numbers


# The questions.


def phrases(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[Asked]:
    """Cut stories before the last word of a fixed phrase; the wrong word is the last word of another."""
    asked: list[Asked] = []
    words = list(PHRASES.values())
    for text in texts:
        found = [(text.find(f"{start} {word}"), start, word) for start, word in PHRASES.items()]
        found = [one for one in found if one[0] > 0]
        if found and len(asked) < n:
            at, start, word = found[int(rng.integers(len(found)))]
            other = [some for some in words if some != word]
            asked.append((text[: at + len(start)], word, other[int(rng.integers(len(other)))]))
    return asked


def moods(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[Asked]:
    """Cut stories before the first word that tells how they ended; the wrong word is its opposite."""
    asked: list[Asked] = []
    for text in texts:
        found = [(m, pair) for pattern, pair in MOODS.items() if (m := re.search(pattern, text))]
        if found and len(asked) < n:
            match, pair = found[int(rng.integers(len(found)))]
            word = match.group(1)
            asked.append((text[: match.start(1) - 1], word, pair[1 - pair.index(word)]))
    return asked


def pronouns(texts: Sequence[str], n: int) -> list[Asked]:
    """Cut stories of one person before the first pronoun."""
    asked: list[Asked] = []
    kinds = {name: word for word, names in PEOPLE.items() for name in names}
    for text in texts:
        match = re.search(r"\b(?:she|he|her|his|him)\b", text, re.IGNORECASE)
        if match is None or match.group() not in PEOPLE or len(asked) >= n:
            continue
        named = {kinds[name] for name in kinds if re.search(rf"\b{name}\b", text[: match.start()])}
        if named == {match.group()} and match.start():
            other = "he" if match.group() == "she" else "she"
            asked.append((text[: match.start() - 1], match.group(), other))
    return asked


def copies(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[Asked]:
    """Cut stories where their animal is named again; the wrong word is another animal."""
    asked: list[Asked] = []
    for text in texts:
        matches = list(re.finditer(rf" ({'|'.join(ANIMALS)})\b", text))
        if len(matches) > 1 and len(asked) < n:
            word = matches[1].group(1)
            other = [some for some in ANIMALS if some != word]
            asked.append((text[: matches[1].start()], word, other[int(rng.integers(len(other)))]))
    return asked


def task(model: sn.LiveModel, asked: Sequence[Asked], name: str) -> Task:
    """Build a task whose answers are the words' first tokens."""
    texts, answers, wrong = zip(*asked, strict=True)
    ids = [[first_token(model, word) for word in words] for words in (answers, wrong)]
    return Task(inputs=list(texts), answers=ids[0], wrong=ids[1], name=name)


def first_token(model: sn.LiveModel, word: str) -> int:
    """Return the number of a word's first token."""
    tokenizer: Any = model.tokenizer
    return int(tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0])


def right(model: sn.LiveModel, asked: Sequence[Asked]) -> float:
    """Return the share of texts after which the right word has a larger logit than the wrong one."""
    found = []
    for text, word, wrong in asked:
        with torch.no_grad():
            logits = model(text)[0, -1]
        found.append(float(logits[first_token(model, word)] > logits[first_token(model, wrong)]))
    return float(np.mean(found))

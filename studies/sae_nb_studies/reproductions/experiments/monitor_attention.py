"""Does a probe with one learned query find what the mean loses, in texts longer than it was trained on?

Sentences of film reviews, good against bad, read by SmolLM2-135M at block 15. Trained on single sentences: a
probe of the mean row, a probe with attention (`sn.monitoring`), the same with shuffled labels, a bag of words.
Tested on other sentences, on whole reviews, and on a sentence hidden in an encyclopaedia. Both probes choose
their penalty by the same cross-validation; a seed draws all texts.

You supply the data as a folder: NLTK's sentence polarity and movie reviews as archives, WikiText-2
(validation). A short run uses tiny-gpt and sentences of its stories by feeling, longer among plain ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.corpora import drawn, pieces_of, plain, read_archive

SHORT = {
    "model": "tiny-gpt",
    "hook_point": "resid_post.3",
    "folder": "",
    "n_train": 40,
    "n_test": 25,
}
Groups = tuple[list[str], list[str]]
KINDS = ("pos", "neg")
NEUTRAL = 99
"""Texts in which there is nothing to find."""


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    hook_point: str = "resid_post.15",
    folder: str = "text",
    n_train: int = 150,
    n_test: int = 60,
) -> dict[str, float]:
    """Train on `n_train` sentences of each kind, test on `n_test` texts of each kind in three tests."""
    live, rng = sn.load_model(model, "cpu"), np.random.default_rng(seed)
    texts = real_texts if folder else bundled_texts
    train, tests, neutral = texts(Path(folder), n_train, n_test, rng)
    mixed = rng.permutation([*train[0], *train[1]]).tolist()
    probes = {
        "attention": sn.monitoring.attention_probe(live, hook_point, *train),
        "shuffled labels": sn.monitoring.attention_probe(
            live, hook_point, mixed[:n_train], mixed[n_train:]
        ),
    }
    meter = sn.monitor(live, probes, neutral)
    found = meter.report(tests, train, n_random=20, n_resamples=10, seed=seed)
    names = {
        "attention, attention": "attention",
        "shuffled labels, attention": "shuffled labels",
        f"probe of mean rows, {hook_point}": "mean",
        f"random direction, mean, {hook_point}": "random direction",
        "bag of words": "bag of words",
    }
    at = list(found.fprs).index(0.1)
    numbers = {"penalty C of the probe with attention": probes["attention"].inverse_penalty}
    for i, (test, method) in enumerate(zip(found.test, found.method, strict=True)):
        if method in names:
            numbers[f"{test}: AUC, {names[method]}"] = float(found.auc[i])
            numbers[f"{test}: found at 10 % false, {names[method]}"] = float(found.rates[i, at])
    return numbers


def real_texts(
    folder: Path, n_train: int, n_test: int, rng: np.random.Generator
) -> tuple[Groups, dict[str, Groups], list[str]]:
    """Return sentences to train on, three tests, and neutral texts."""
    train, held, hidden, reviews = [], [], [], []
    wiki = (folder / "wikitext2_valid.txt").read_text("utf-8").replace("<unk>", "")
    around = pieces_of(wiki, 4 * n_test + NEUTRAL, rng)
    for kind in KINDS:
        lines = read_archive(folder / "nltk_sentence_polarity.zip", rf"\.{kind}$")[0].splitlines()
        some = drawn(sorted({plain(one) for one in lines}), n_train + 2 * n_test, rng)
        train.append(some[:n_train])
        held.append(some[n_train : n_train + n_test])
        rest = [[around.pop(), one, around.pop()] for one in some[n_train + n_test :]]
        hidden.append([" ".join(parts) for parts in rest])
        whole = read_archive(folder / "nltk_movie_reviews.zip", rf"/{kind}/.*txt$")
        reviews.append([" ".join(plain(one).split()[:150]) for one in drawn(whole, n_test, rng)])
    tests = {"held out": held, "reviews": reviews, "hidden": hidden}
    return (train[0], train[1]), {name: (a, b) for name, (a, b) in tests.items()}, around[:NEUTRAL]


def bundled_texts(
    _: Path, n_train: int, n_test: int, rng: np.random.Generator
) -> tuple[Groups, dict[str, Groups], list[str]]:
    """Return the same of stories: sentences by feeling, whole stories, and sentences among plain ones."""
    record = sn.data.stories(12 * (n_train + n_test), seed=int(rng.integers(1 << 30)))
    clauses = record.clauses
    of = {
        sign: list(
            dict.fromkeys(
                record.texts[int(clauses.story[i])][int(clauses.start[i]) : int(clauses.end[i])]
                for i in (clauses.sentiment == sign).nonzero()[:, 0].tolist()
            )
        )
        for sign in (1, 0, -1)
    }
    dull = [" ".join(rng.choice(of[0], 5)) for _ in range(4 * n_test + NEUTRAL)]
    train, held, hidden, whole = [], [], [], []
    for sign, label in ((1, 1), (-1, 0)):
        some = drawn(of[sign], n_train + 2 * n_test, rng)
        train.append(some[:n_train])
        held.append(some[n_train : n_train + n_test])
        hidden.append([" ".join([dull.pop(), one, dull.pop()]) for one in some[n_train + n_test :]])
        whole.append(
            [t for t, s in zip(record.texts, record.sentiment, strict=True) if s == label][:n_test]
        )
    tests = {"held out": held, "reviews": whole, "hidden": hidden}
    return (train[0], train[1]), {name: (a, b) for name, (a, b) in tests.items()}, dull[:NEUTRAL]

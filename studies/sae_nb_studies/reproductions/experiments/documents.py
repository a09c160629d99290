"""Documents by their atoms: can the composition of a corpus be recovered?

Stories of a grammar, read by tiny-gpt through its bundled SAE, so that differences, repetitions and
co-occurrences are known. Every use is compared with a floor (halves of one corpus, shuffled labels,
random atoms) and with methods without an SAE (words, mean activations).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import sae_nb as sn
from sae_nb.corpora import Documents

SHORT = {"n": 120, "draws": 2, "size": 40}
POINT = "resid_post.3"
SAD = {"70 against 30 %": 0.7, "60 against 40 %": 0.6, "55 against 45 %": 0.55}
KINDS = (1.0, 0.8, 0.6, 0.4, 0.25, 0.15, 0.1, 0.05)
"""Shares of distinct documents in a composed test set."""

RULE_SHARES = (0.1, 0.2, 0.4, 1.0)
EXAMPLES = 20


def run(seed: int, *, n: int = 400, draws: int = 20, size: int = 100) -> dict[str, float]:
    """Read the stories once and measure the numbers of all claims.

    `n` stories, `draws` corpora of a kind, test sets of `size` documents.
    """
    stories = sn.data.stories(n, seed=100 + seed)
    docs, rng = read(stories.texts), np.random.default_rng(seed)
    sad = (stories.sentiment == 0).numpy()
    numbers = differences(docs, sad, draws, rng)
    numbers |= groups(docs, stories, seed, rng)
    numbers |= copies(docs, stories, size, rng)
    numbers |= rules(docs, sad, seed, rng)
    numbers |= choices(docs, sad, draws, rng)
    return numbers | retrievals(docs, stories, sad, rng)


def read(texts: Sequence[str]) -> Documents:
    """Read texts with the bundled SAE, and attach the labels of its atoms."""
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae(f"tiny-gpt/{POINT}")
    labels = sn.load_examples(f"tiny-gpt/{POINT}").labels
    return sn.uses.documents(gpt, sae, texts, POINT, labels=labels, progress=False)


def differences(
    docs: Documents, sad: np.ndarray, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return the share of draws in which any atom, and any word, has q < 0.05.

    Smaller shifts are tested in a quarter of the draws.
    """
    half, third = len(docs) // 2, 3 * len(docs) // 8
    orders = [rng.permutation(len(docs)) for _ in range(draws)]
    numbers = _found("halves", docs, [(order[:half], order[half:]) for order in orders])
    for name, share in SAD.items():
        n = draws if name == "70 against 30 %" else max(1, draws // 4)
        pairs = [_shifted(sad, third, share, rng) for _ in range(n)]
        numbers |= _found(name, docs, pairs)
    return numbers


def _shifted(
    sad: np.ndarray, size: int, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two disjoint corpora, with a share of sad stories in one and its complement in the other."""
    bad, good = (rng.permutation(np.flatnonzero(kind)) for kind in (sad, ~sad))
    most = min(len(bad), len(good), size)
    many, few = round(share * most), round((1 - share) * most)
    first = np.r_[bad[:many], good[:few]]
    return first, np.r_[bad[many : many + few], good[few : few + many]]


def _found(name: str, docs: Documents, pairs: Any) -> dict[str, float]:
    results = [sn.uses.diff(docs.subset(a), docs.subset(b)) for a, b in pairs]
    tables = {"atoms": [r.table for r in results], "words": [r.simpler for r in results]}
    numbers = {
        f"{name}: {kind}": float(np.mean([(t["q"] < 0.05).any() for t in each]))
        for kind, each in tables.items()
    }
    numbers[f"{name}: right side"] = _right_side(tables["atoms"])
    return numbers


def _right_side(tables: Sequence[Any]) -> float:
    """Return the share of labelled atoms found (good or bad story) that are on the side their label implies."""
    right = total = 0
    for table in tables:
        found = table[(table["q"] < 0.05) & table["label"].isin(["good story", "bad story"])]
        right += int(((found["difference"] > 0) == (found["label"] == "bad story")).sum())
        total += len(found)
    return right / max(total, 1)


def groups(docs: Documents, stories: Any, seed: int, rng: np.random.Generator) -> dict[str, float]:
    """Measure ARI with the person, and with the thing, that a story is about, if atoms are labelled with it."""
    numbers: dict[str, float] = {}
    for kind, known in (("person", stories.person), ("thing", stories.thing)):
        names = {label.split()[1] for label in docs.labels.values() if label.startswith(f"{kind} ")}
        about = known.numpy()
        of_these = np.isin([stories.entities[i] for i in about], list(names))
        chosen = of_these & (stories.plural == 0).numpy()
        part, attribute = docs.subset(chosen), about[chosen]
        atoms = docs.find(kind)
        some = rng.choice(np.flatnonzero(part.counts), len(atoms), replace=False)
        asked = {"targeted": kind, "all atoms": None, "random atoms": some.tolist()}
        for name, choice in asked.items():
            made = sn.uses.cluster(part, len(names), atoms=choice, attribute=attribute, seed=seed)
            numbers[f"{kind}: {name}"] = made.ari
        simple = made.scores.set_index("method")["ari"]
        numbers |= {f"{kind}: {name}": float(simple[name]) for name in ("words", "activations")}
        ahead = numbers[f"{kind}: targeted"] - numbers[f"{kind}: all atoms"]
        numbers[f"{kind}: targeted − all"] = ahead
    return numbers


def copies(docs: Documents, stories: Any, size: int, rng: np.random.Generator) -> dict[str, float]:
    """Correlate redundancy with the share of copies by Spearman's ρ; copies are exact or have another hero."""
    bases = rng.permutation(len(docs))[:size]
    kinds = [max(1, round(share * size)) for share in KINDS]
    sets = [[(i % d, i // d) for i in range(size)] for d in kinds]
    pairs = sorted({pair for members in sets for pair in members})
    place = {pair: i for i, pair in enumerate(pairs)}
    renamed = read([_renamed(stories, int(bases[base]), copy) for base, copy in pairs])
    wanted = [1 - d / size for d in kinds]
    rows: dict[str, list[float]] = {}
    for members in sets:
        exact = docs.subset(bases[[base for base, _ in members]])
        near = renamed.subset([place[pair] for pair in members])
        for name, some in (("copies", exact), ("near copies", near)):
            found = sn.uses.redundancy(some)
            rows.setdefault(name, []).append(found.value)
            rows.setdefault(f"{name}, words", []).append(found.scores["redundancy"].iloc[-1])
        everywhere = sn.uses.redundancy(exact, strongest=None).value
        rows.setdefault("copies, all that fire", []).append(everywhere)
    numbers = {f"ρ {name}": float(spearmanr(wanted, values)[0]) for name, values in rows.items()}
    ends = {"without copies": rows["copies"][0], "twenty of each": rows["copies"][-1]}
    return numbers | {f"redundancy {name}": float(value) for name, value in ends.items()}


def _renamed(stories: Any, row: int, copy: int) -> str:
    """Rename the hero to another with the same pronoun; copy 0 is the story itself."""
    text, mine = stories.texts[row], int(stories.person[row])
    others = [i for i in range(mine % 2, 16, 2) if i != mine and stories.entities[i] not in text]
    name = mine if copy == 0 else others[copy % len(others)]
    return str(text.replace(stories.entities[mine], stories.entities[name]))


def rules(
    docs: Documents, sad: np.ndarray, seed: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return F1 on unseen stories, mean of three splits, and with shuffled labels."""
    splits = [sn.uses.or_rule(docs, sad, shares=RULE_SHARES, seed=3 * seed + i) for i in range(3)]
    numbers: dict[str, float] = {}
    for at, share in enumerate(RULE_SHARES):
        for name in ("or", "activations"):
            values = [float(split.curve[f"{name}_f1"].iloc[at]) for split in splits]
            numbers[f"{name} at {share:.0%}"] = float(np.mean(values))
    tables = [split.table.set_index("method")["f1"] for split in splits]
    for name in ("words", "always yes", "or of 1", "or of 2", "or of 5", "or of 10"):
        numbers[name] = float(np.mean([table[name] for table in tables]))
    shuffled = sn.uses.or_rule(docs, rng.permutation(sad), shares=(1.0,), seed=seed)
    numbers["or, shuffled labels"] = float(shuffled.curve["or_f1"].iloc[-1])
    numbers["or − activations"] = numbers["or at 100%"] - numbers["activations at 100%"]
    numbers["or − activations at 10%"] = numbers["or at 10%"] - numbers["activations at 10%"]
    return numbers | {"or at 10% / at 100%": numbers["or at 10%"] / numbers["or at 100%"]}


def choices(
    docs: Documents, sad: np.ndarray, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    """Choose examples in one half; measure coverage of the other, and a classifier's accuracy there."""
    order = rng.permutation(len(docs))
    seen, unseen = order[: len(docs) // 2], order[len(docs) // 2 :]
    pool = docs.subset(seen)
    table = sn.uses.select(pool, EXAMPLES)
    drawn = [rng.permutation(len(pool))[:EXAMPLES] for _ in range(draws)]
    wanted = sn.uses.footprint(docs.subset(unseen))
    numbers: dict[str, float] = {}
    for name, several in (("chosen", [table.chosen]), ("random", drawn)):
        covered = [np.isin(wanted, sn.uses.footprint(pool.subset(rows))).mean() for rows in several]
        numbers[f"{name}: unseen coverage"] = float(np.mean(covered))
        rights = [_accuracy(docs, sad, seen[rows], unseen) for rows in several]
        numbers[f"{name}: accuracy"] = float(np.mean(rights))
    numbers["chosen: coverage"] = float(table.table["coverage"].iloc[-1])
    numbers["random: coverage"] = float(table.table["random"].iloc[-1])
    numbers["words: coverage"] = float(table.table["words"].iloc[-1])
    for what in ("unseen coverage", "accuracy"):
        numbers[f"{what}, chosen − random"] = (
            numbers[f"chosen: {what}"] - numbers[f"random: {what}"]
        )
    return numbers


def _accuracy(docs: Documents, sad: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Score logistic regression on mean activations, or the more frequent answer if all labels are the same."""
    from sklearn.linear_model import LogisticRegression

    if len(set(sad[train].tolist())) < 2:
        return float((sad[test] == sad[train][0]).mean())
    made = LogisticRegression(max_iter=1000).fit(docs.means[train], sad[train])
    return float(made.score(docs.means[test], sad[test]))


def retrievals(
    docs: Documents, stories: Any, sad: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """Measure MAP of a label's atoms, of the words where they peak, and of the cosine with their directions."""
    queries: dict[str, list[tuple[list[int], np.ndarray]]] = {
        "concept": [(_with(docs, "bad story"), sad), (_with(docs, "good story"), ~sad)],
        "entity": [],
    }
    for label in sorted(
        {v for v in docs.labels.values() if v.split()[0] in ("person", "place", "thing")}
    ):
        entity = stories.entities.index(label.split()[1])
        rows = stories.mentions.story[stories.mentions.entity == entity].numpy()
        there = np.isin(np.arange(len(docs)), rows)
        if there.any():
            queries["entity"].append((_with(docs, label), there))
    numbers: dict[str, float] = {}
    for kind, several in queries.items():
        tables = [
            sn.uses.retrieve(docs, atoms, relevant=wanted).table.set_index("method")["map"]
            for atoms, wanted in several
        ]
        for name in ("atoms", "words", "activations"):
            numbers[f"{kind}: MAP of {name}"] = float(np.mean([table[name] for table in tables]))
        some = [rng.choice(np.flatnonzero(docs.counts), len(a), replace=False) for a, _ in several]
        nothing = [
            sn.uses.retrieve(docs, a.tolist(), relevant=wanted).table["map"].iloc[0]
            for a, (_, wanted) in zip(some, several)
        ]
        numbers[f"{kind}: MAP of random atoms"] = float(np.mean(nothing))
        numbers[f"{kind}: share wanted"] = float(np.mean([w.mean() for _, w in several]))
        for name in ("words", "activations"):
            ahead = numbers[f"{kind}: MAP of atoms"] - numbers[f"{kind}: MAP of {name}"]
            numbers[f"{kind}: atoms − {name}"] = ahead
    return numbers


def _with(docs: Documents, label: str) -> list[int]:
    return [atom for atom, name in docs.labels.items() if name == label]

"""Are days, months and numbers of SmolLM2 found among the atoms, unasked, and in their order?

Sentences with a day, a month or a number, 48 for each word, drawn by the seed, beside paragraphs of CPython's
documentation; the SAE that comes with SmolLM2-135M, block 16. `find_shapes` is given no group. A list's group is the one
that meets its words best: F1 of the rows in which it fires and the rows whose token is one of the words. The list is
found if that F1 is .5 or more, and if the group draws a line, ring or sheet that follows the list's order, better than
shuffled ones. Beside it groups by correlations and random groups of as many atoms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

import sae_nb as sn
from sae_nb.geometry import FoundShapes, communities, find_shapes
from sae_nb_studies.reproductions.experiments.curve_words import LISTS, ORDERED
from sae_nb_studies.reproductions.experiments.found_shapes import correlations

SHORT = {"texts": 40, "sentences": 24}
POINT = "resid_post.16"
WHO = [
    "Anna",
    "Tom",
    "Mary",
    "John",
    "Peter",
    "Susan",
    "Paul",
    "Laura",
    "George",
    "Helen",
    "Mark",
    "Alice",
]
SAID = {
    "days": (
        "{who} arrived on {word}", "{who} met us last {word} evening", "On {word} {who} stayed at home",
        "{who} works every {word} morning", "It rained on {word}, said {who}", "{who} will call next {word}",
    ),
    "months": (
        "{who} was born in {word}", "In {word} {who} left the town", "{who} came back last {word}",
        "It snowed in {word}, said {who}", "{who} travels every {word}", "Since {word} {who} has been ill",
    ),
    "numbers": (
        "{who} has {word} books", "{who} saw {word} horses", "There were {word} of them, said {who}",
        "{who} waited {word} hours", "After {word} days {who} went home", "{who} bought {word} apples",
    ),
}  # fmt: skip
PERIODS = {"days": 7.0, "months": 12.0}
LEAST_F1 = 0.5

Coordinates = dict[str, Float[np.ndarray, " rows"]]


def run(seed: int, *, texts: int = 100, sentences: int = 48) -> dict[str, float]:
    """Read the sentences and the prose, look for shapes, and count the lists that are found."""
    live, rng = sn.load_model("smollm2-135m", "cpu"), np.random.default_rng(seed)
    sae = sn.load_sae(f"smollm2-135m/{POINT}")
    prose = [" ".join(text.split()[:60]) for text in sn.data.prose().texts]
    read = [prose[i] for i in rng.permutation(len(prose))[:texts]]
    for name in ORDERED:
        for word in LISTS[name].split():
            every = [frame.format(who=who, word=word) for frame in SAID[name] for who in WHO]
            read += rng.permutation(every)[:sentences].tolist()
    acts = sn.capture(live, read, POINT, progress=False)
    assert acts.tokens is not None  # of a language model
    tokens = [token.strip() for token in acts.tokens]
    known = {name: _places(tokens, LISTS[name].split()) for name in ORDERED}
    codes = sae.encode(acts).detach()
    found = find_shapes(sae, acts, coordinates=known, periods=PERIODS, seed=seed)
    groups = found.groups
    other = communities(correlations(codes), seed=seed)
    fire = np.flatnonzero(codes.count(0).cpu().numpy() >= 40)
    random = [rng.choice(fire, len(group), replace=False) for group in groups]
    fires = codes.to_scipy().tocsc()

    def rows(some: Sequence[Int[np.ndarray, " m"]]) -> list[Int[np.ndarray, " fired"]]:
        return [np.unique(fires[:, group].indices) for group in some]

    by = {"couplings": rows(groups), "correlations": rows(other), "random groups": rows(random)}
    numbers = {
        "rows": float(len(acts)),
        "groups": float(len(groups)),
        "shapes named": float(sum(kind != "none" for kind in found.kind)),
        "groups, firings permuted": float(found.n_permuted),
        "lists found": float(sum(_found(found, known, name) for name in ORDERED)),
    }  # fmt: skip
    for name in ORDERED:
        there = np.isfinite(known[name])
        best = int(np.argmax([_f1(one, there) for one in found.rows]))
        numbers |= {
            f"{name}: share of rows": float(there.mean()),
            f"{name}: found": float(_found(found, known, name)),
            f"{name}: shape": float(found.kind[best] != "none"),
            f"{name}: follows the order": float(found.coordinate[best] == name),
            **{
                f"{name}: F1 by {how}": max(_f1(one, there) for one in some)
                for how, some in by.items()
            },
        }
    for how in by:
        numbers[f"F1 by {how}"] = float(np.mean([numbers[f"{n}: F1 by {how}"] for n in ORDERED]))
    numbers["orders followed"] = sum(numbers[f"{name}: follows the order"] for name in ORDERED)
    return numbers


def _places(tokens: Sequence[str], words: Sequence[str]) -> Float[np.ndarray, " rows"]:
    at = {word: float(i) for i, word in enumerate(words)}
    return np.array([at.get(token, np.nan) for token in tokens])


def _f1(rows: Int[np.ndarray, " fired"], there: Bool[np.ndarray, " rows"]) -> float:
    """2 · both / (rows of the group + rows of the list)."""
    return float(2 * there[rows].sum() / max(len(rows) + there.sum(), 1))


def _found(found: FoundShapes, known: Coordinates, name: str) -> bool:
    there = np.isfinite(known[name])
    return any(
        kind in ("line", "ring", "sheet") and follows == name and _f1(rows, there) >= LEAST_F1
        for rows, kind, follows in zip(found.rows, found.kind, found.coordinate, strict=True)
    )

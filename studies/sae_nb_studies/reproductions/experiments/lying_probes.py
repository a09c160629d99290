"""Does a probe of truth read truth? SmolLM2-135M, statements about capitals.

Two writers state capitals, each in a form of words of their own. In the training texts one of them is always right and
the other always wrong, so that truth goes with the form. The probe is then tried on countries that it has not seen: by
the same two writers, and where each writes as many true as false statements. Another is trained on such mixed texts. There
every city and every country stands in as many true as false statements, so that no single word tells them apart. That one
is tried on statements that deny ("… is not …"), where what is true goes with what does not belong together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

import sae_nb as sn
from sae_nb.data.grammar import ANIMALS, HAPPENINGS, PEOPLE, PLACES, THINGS
from sae_nb.statistics import LogisticProbe, logistic_probe

SHORT = {"model": "tiny-gpt", "hook_point": "resid_post.2"}
_PAIRS = """
France:Paris Italy:Rome Germany:Berlin Spain:Madrid Japan:Tokyo China:Beijing Russia:Moscow Egypt:Cairo
Austria:Vienna Greece:Athens England:London Ireland:Dublin Portugal:Lisbon Poland:Warsaw Hungary:Budapest
Sweden:Stockholm Norway:Oslo Denmark:Copenhagen Finland:Helsinki Belgium:Brussels Turkey:Ankara Iran:Tehran
Iraq:Baghdad Syria:Damascus Lebanon:Beirut Cuba:Havana Peru:Lima Chile:Santiago Kenya:Nairobi Thailand:Bangkok
Vietnam:Hanoi Indonesia:Jakarta Philippines:Manila Canada:Ottawa Australia:Canberra Ukraine:Kiev
Romania:Bucharest Bulgaria:Sofia Serbia:Belgrade Afghanistan:Kabul Pakistan:Islamabad Nepal:Kathmandu
Colombia:Bogota Venezuela:Caracas Scotland:Edinburgh Libya:Tripoli Nigeria:Abuja Switzerland:Bern
"""
CAPITALS = dict(pair.split(":") for pair in _PAIRS.split())
FORMS = ("{city} is the capital of {country}.", "The capital of {country} is {city}.")
DENIED = ("{city} is not the capital of {country}.", "The capital of {country} is not {city}.")
OPENINGS = ("The next day", "A week later")
GROUP = 8
"""Countries that exchange their capitals for the false statements, and are held out together."""

INVERSE_PENALTY = 0.01
"""Of the probes: few rows, many columns."""

N_SHUFFLES = 20


class Told(NamedTuple):
    """Texts of two writers with their labels."""

    texts: list[str]
    label: Bool[np.ndarray, " n"]
    writer: Bool[np.ndarray, " n"]
    group: Int[np.ndarray, " n"]
    """Texts of one group share words, and are held out together."""

    @property
    def tied(self) -> Bool[np.ndarray, " n"]:
        """Whether it is one that the writer of its label wrote."""
        return self.label == self.writer


def capitals(seed: int, forms: tuple[str, str] = FORMS) -> Told:
    """Return statements that a city is the capital of a country, each city and country once right and once wrong."""
    order = np.random.default_rng(seed).permutation(len(CAPITALS))
    countries = [list(CAPITALS)[i] for i in order]
    wrong = [(i + 1) % GROUP + i // GROUP * GROUP for i in range(len(order))]
    rows = [
        (
            form.format(country=country, city=CAPITALS[country if label else countries[wrong[i]]]),
            label is (forms is FORMS),
            writer,
            i // GROUP,
        )
        for i, country in enumerate(countries)
        for label in (True, False)
        for writer, form in enumerate(forms)
    ]
    return _told(rows)


def happenings(seed: int) -> Told:
    """Return beginnings in which something good or bad happens, for tiny-gpt; groups are kinds of happening."""
    rng, rows = np.random.default_rng(seed), []
    for sign, kinds in HAPPENINGS.items():
        for group, kind in enumerate(kinds):
            for _ in range(3):
                name, pronoun = PEOPLE[int(rng.integers(len(PEOPLE)))]
                form = 1 if pronoun == "she" else 2  # {her|him|them}
                words = {
                    "beast": str(rng.choice(ANIMALS)),
                    "place": str(rng.choice(PLACES)),
                    "thing": str(rng.choice(THINGS)),
                }
                said = re.sub(r"\{(\w+)\|(\w+)\|\w+\}", rf"\{form}", kind).format(
                    hero=pronoun, **words
                )
                rows += [
                    (f"{opening} {said} {name} was very", sign > 0, writer, group)
                    for writer, opening in enumerate(OPENINGS)
                ]
    return _told(rows)


def _told(rows: list[tuple[str, bool, int, int]]) -> Told:
    texts, label, writer, group = zip(*rows, strict=True)
    return Told(list(texts), np.array(label), np.array(writer, dtype=bool), np.array(group))


def states(model: Any, hook_point: str, texts: list[str]) -> Float[np.ndarray, "n d"]:
    """Return the state at each text's last token."""
    acts = sn.capture(model, texts, hook_point, positions="last", progress=False)
    found: np.ndarray = acts.x.float().numpy()
    return found


def counts(texts: list[str], pairs: bool = False) -> Float[np.ndarray, "n words"]:
    """Return how often each word comes in each text, or each pair of neighbours: what can be known without the model."""
    split = [re.findall(r"\w+", text.lower()) for text in texts]
    if pairs:
        split = [[" ".join(two) for two in pairwise(words)] for words in split]
    known = sorted({word for words in split for word in words})
    return np.array([[words.count(word) for word in known] for words in split], dtype=float)


def half_of(told: Told, seed: int) -> Bool[np.ndarray, " n"]:
    """Return which texts are trained on: those of half of the groups."""
    groups = np.unique(told.group)
    chosen = np.random.default_rng(seed).permutation(groups)[: len(groups) // 2]
    return np.isin(told.group, chosen)


def trials(
    x: Float[np.ndarray, "n columns"],
    told: Told,
    seed: int,
    others: Sequence[tuple[np.ndarray, Told]] = (),
) -> dict[str, float]:
    """Return accuracies on held-out groups of a probe trained on two writers, and of one trained on mixed texts.

    Parameters
    ----------
    others
        States and texts of the same groups in other words, which the second probe is tried on as well.

    Returns
    -------
    "two writers → same", "two writers → mixed", "mixed → mixed", the first and the last also "shuffled …" (labels of
    the training rows are shuffled; a mean over `N_SHUFFLES`), and "mixed → others 0" and so on.
    """
    train, rng = half_of(told, seed), np.random.default_rng(seed)
    tests = {"same": told.tied & ~train, "mixed": ~train}
    found = {}
    for name, rows in {"two writers": told.tied & train, "mixed": train}.items():
        y = told.label[rows]
        probe = _probe(x[rows], y)
        for test in ("same", "mixed") if name == "two writers" else ("mixed",):
            found[f"{name} → {test}"] = _right(probe, x, told, tests[test])
        test = tests["same" if name == "two writers" else "mixed"]
        shuffles = [rng.permutation(y) for _ in range(N_SHUFFLES)]
        wrong = [_right(_probe(x[rows], one), x, told, test) for one in shuffles]
        found[f"shuffled {name}"] = float(np.mean(wrong))
    for i, (states_of, other) in enumerate(others):
        held = ~np.isin(other.group, told.group[train])
        found[f"mixed → others {i}"] = _right(probe, states_of, other, held)
    return found


def _probe(x: np.ndarray, y: np.ndarray) -> LogisticProbe:
    return logistic_probe(x, y, inverse_penalty=INVERSE_PENALTY, quiet=True)


def _right(probe: LogisticProbe, x: np.ndarray, told: Told, rows: np.ndarray) -> float:
    return float((probe.predict(x[rows]) == told.label[rows]).mean())


def run(
    seed: int, *, model: str = "smollm2-135m", hook_point: str = "resid_post.15"
) -> dict[str, float]:
    """Draw which capitals are exchanged and which countries are held out; probe states and words."""
    live = sn.load_model(model, "cpu")
    told, denied = capitals(seed), capitals(seed, DENIED)
    x, no = (states(live, hook_point, one.texts) for one in (told, denied))
    by_states = trials(x, told, seed, [(no, denied)])
    by_words, by_pairs = (trials(counts(told.texts, pairs), told, seed) for pairs in (False, True))
    return {
        "capitals known": known(live, seed),
        "same writers": by_states["two writers → same"],
        "same writers, words": by_words["two writers → same"],
        "same writers, pairs of words": by_pairs["two writers → same"],
        "same writers, shuffled": by_states["shuffled two writers"],
        "writers mixed": by_states["two writers → mixed"],
        "trained on mixed": by_states["mixed → mixed"],
        "trained on mixed, words": by_words["mixed → mixed"],
        "trained on mixed, shuffled": by_states["shuffled mixed"],
        "denied": by_states["mixed → others 0"],
    }


def known(model: Any, seed: int) -> float:
    """Return the share of countries whose capital gets a larger logit than the one it was exchanged for."""
    told = capitals(seed)
    stems = [one.rsplit(" ", 1) for one in told.texts if one.startswith("The")]
    right = 0
    for (stem, true), (_, false) in zip(stems[::2], stems[1::2], strict=True):
        first, second = (
            model.tokenizer.encode(f" {city[:-1]}", add_special_tokens=False)[0]
            for city in (true, false)
        )
        logits = model([stem])[0, -1]
        right += bool(logits[first] > logits[second])
    return right / (len(stems) // 2)

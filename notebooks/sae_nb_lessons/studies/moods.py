"""Glad against sad: sixteen texts for a direction, sixteen others, neutral ones; what a cap and two pushes cost; a watch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import sae_nb as sn
from sae_nb.data.grammar import ANIMALS, HAPPENINGS, PEOPLE, PLACES, THINGS
from sae_nb.figures import Chart, Points
from sae_nb_studies.pretrained import neutral_beginnings
from sae_nb_studies.reproductions.experiments import capping
from sae_nb_studies.reproductions.experiments.capping import FRAMES, GLAD, SAD, Measure

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.steering import Direction

Groups = tuple[list[str], list[str]]
N = 8
"""Texts of each group."""

N_NEUTRAL = 40


class Moods(NamedTuple):
    """A model with texts of two moods, glad first, and texts of none."""

    model: Any
    hook_point: str
    positions: Literal["all", "last"]
    """Of each text, where the direction is read."""

    texts: Groups
    others: Groups
    """With other happenings or words."""

    neutral: list[str]
    words: tuple[Sequence[str], Sequence[str]]
    """Next words that are glad, and sad."""

    trait: str = "mood"
    groups: tuple[str, str] = ("glad", "sad")


def moods(name: str = "") -> Moods:
    """Return SmolLM2-135M with its texts where it was fetched, else tiny-gpt; or the one that is named."""
    try:
        return (
            _sentences(sn.load_model(name or "smollm2-135m")) if name != "tiny-gpt" else _stories()
        )
    except FileNotFoundError:
        return _stories()


def _sentences(model: Any) -> Moods:
    def made(words: Sequence[str]) -> list[str]:
        return [frame.format(word) for frame, word in zip(FRAMES, words, strict=False)]

    turned = [FRAMES[(i + 3) % len(FRAMES)] for i in range(N)]
    others = tuple(
        [frame.format(words[-1 - i % 4]) for i, frame in enumerate(turned)] for words in (GLAD, SAD)
    )
    prose = [text[:160] for text in sn.data.prose("test").texts[:N_NEUTRAL]]
    return Moods(
        model,
        "resid_post.15",
        "all",
        (made(GLAD), made(SAD)),
        (others[0], others[1]),
        prose,
        (capping.UP, capping.DOWN),
    )


def _stories() -> Moods:
    rng = np.random.default_rng(0)

    def made(sign: int, which: slice) -> list[str]:
        found = []
        for happening in 2 * HAPPENINGS[sign][which]:
            name, pronoun = PEOPLE[int(rng.integers(len(PEOPLE)))]
            form = 1 if pronoun == "she" else 2  # {her|him|them}
            text = re.sub(r"\{(\w+)\|(\w+)\|\w+\}", rf"\{form}", happening).format(
                hero=pronoun,
                beast=str(rng.choice(ANIMALS)),
                place=str(rng.choice(PLACES)),
                thing=str(rng.choice(THINGS)),
            )
            found.append(f"{text[0].upper()}{text[1:]} {name} was very")
        return found

    first, last = slice(0, 4), slice(4, 8)
    return Moods(
        sn.load_model("tiny-gpt"),
        "resid_post.3",
        "last",
        (made(1, first), made(-1, first)),
        (made(1, last), made(-1, last)),
        list(neutral_beginnings(N_NEUTRAL, seed=1)),
        ((" happy",), (" sad",)),
    )


def said(one: Moods, n_random: int = 100) -> Direction:
    """Return the direction from sad to glad texts."""
    found: Direction = sn.direction(
        one.model,
        one.hook_point,
        *one.texts,
        positions=one.positions,
        n_random=n_random,
        name=one.trait,
    )
    return found


def costs(one: Moods, found: Direction, n: int = 8) -> DataFrame:
    """Hold three edits against each other that move the answers to glad texts equally far, and a random cap.

    Returns
    -------
    A row for each: `moved`, the log-odds of sad words against glad ones; `cost`, KL on neutral texts, in nats a token.
    """
    import pandas as pd

    model, neutral = one.model, one.neutral[:n]
    x = sn.capture(model, one.neutral, one.hook_point, progress=False).x.float()
    measure = Measure(model, one.others[0], neutral, *one.words)
    cap, _, pushes = capping.at_equal_effect(measure, found, float((x @ found.vector).median()))
    unit = sn.random_direction(x.shape[1], 0)
    usual = float((x @ unit).median())

    def random() -> Any:
        return sn.steer(model, one.hook_point, direction=unit, mode="cap", by=usual)

    rows = {
        "cap": cap,
        **{name: push for name, (push, _) in pushes.items()},
        "a random cap": random,
    }
    return pd.DataFrame(
        {name: (measure.effect(edit), measure.harm(edit)) for name, edit in rows.items()},
        index=["moved", "cost"],
    ).T


def monitor(one: Moods, found: Direction) -> Any:
    """Return a monitor of the direction and of a random one, with their usual range on neutral texts."""
    random = (one.hook_point, sn.random_direction(len(found.vector), 0))
    return sn.monitor(one.model, {one.trait: found, "random": random}, one.neutral)


def watched(one: Moods, meter: Any, n_new: int = 24) -> DataFrame:
    """Watch while the model writes on from a glad and from a sad text that the direction was not fitted on.

    Returns
    -------
    A row for each token that was read, the first left out, of both texts: `text` (glad, sad), `place`, the trait and
    `random`, as distances from the usual median: ±1 at the ends of the usual range.
    """
    import pandas as pd

    rows = []
    for name, texts in zip(one.groups, one.others, strict=True):
        with meter.watch() as seen:
            written = one.model.generate(texts[0], n_new, 0.0)
        print(f"{name}: {' '.join(str(written).split())}")
        values = {of: meter.from_usual(seen.values[of], i) for i, of in enumerate(meter.names)}
        rows.append(pd.DataFrame(values).assign(text=name).rename_axis("place").reset_index())
    return pd.concat(rows, ignore_index=True).dropna()


def where_read(one: Moods, seen: DataFrame) -> DataFrame:
    """Return what was watched where the direction was read: at a beginning's last token, or the mean over all."""
    if one.positions == "last":
        ends = [len(one.model.tokenizer(texts[0])["input_ids"]) - 1 for texts in one.others]
        seen = seen[seen.place == seen.text.map(dict(zip(one.groups, ends, strict=True)))]
    return seen.groupby("text")[[one.trait, "random"]].mean()


def watch_chart(seen: DataFrame, trait: str = "mood") -> Chart:
    """Draw what was watched, token by token."""
    series = [
        Points(name=f"{of}, {text}", x=rows.place, y=rows[of], control=of == "random")
        for of in (trait, "random")
        for text, rows in seen.groupby("text")
    ]
    return Chart(series=tuple(series), x="token", y="from the usual median, ±1 usual", height=320)


def along_others(one: Moods, found: Direction) -> DataFrame:
    """Return how far on the glad side each text lies that the direction was not fitted on, in model units."""
    import pandas as pd

    rows = {}
    for name, texts in zip(one.groups, one.others, strict=True):
        acts = sn.capture(one.model, texts, one.hook_point, positions=one.positions, progress=False)
        value = pd.Series(found.projections(acts.x).numpy())
        rows[name] = value.groupby(np.asarray(acts.sample)).mean().to_numpy()
    return pd.DataFrame(rows)

"""Exercises of notebook 24: names from six images, how much is enough, reading what a reader receives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache

from sae_nb_lessons.exercises._answers import function, number, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
N_SHOWN, N_ALIKE, N_NEW = 6, 4, 300
"""Strongest images that are shown, the number of them that must show one digit, and new images."""

MOST = 45


@cache
def names_that_hold() -> int:
    """Count the names suggested by six images that hold on 300 others."""
    import sae_nb as sn

    name = "tiny-vit/resid_post.6"
    model, sae = sn.load_model("tiny-vit"), sn.load_sae(name)
    scenes = sn.data.scenes(N_NEW, seed=20, split="test")
    acts = sn.capture(model, scenes, "resid_post.6", progress=False)
    digits = {f"digit {digit}": (scenes.digit == digit).numpy() for digit in range(10)}
    named = names_from_images()
    found = sn.label(sae, acts, labels=named, attributes=digits, atoms=list(named), progress=False)
    evidence = [found.evidence(atom) for atom in named]
    return sum(one is not None and one.standing == "holds" for one in evidence)


@cache
def names_from_images() -> dict[int, str]:
    """Name atoms without a label by the digit that the model reads in most of their strongest images."""
    import sae_nb as sn
    from sae_nb.atoms._names import AtomNames

    name = "tiny-vit/resid_post.6"
    examples = sn.load_examples(name)
    pictures = examples.acts.context.pictures
    assert pictures is not None
    read = sn.load_model("tiny-vit")(pictures).argmax(dim=-1).tolist()
    names, named = AtomNames(examples.catalogue(sn.load_sae(name))), {}
    for atom in sorted(set(range(examples.codes.n_atoms)) - set(examples.labels)):
        shown = [read[example.sample] for example in names.examples(atom, N_SHOWN)]
        digit, times = Counter(shown).most_common(1)[0] if len(shown) == N_SHOWN else (0, 0)
        if times >= N_ALIKE:
            named[atom] = f"digit {digit}"
    return named


def least_that_holds(control: float, n: int) -> float:
    """Return the score that a label must pass: two standard errors above control and chance."""
    return float(max(control, 0.5) + n**-0.5)


def _judge_least(mine: Callable[[float, int], float]) -> str | None:
    for control, n, words in (
        (0.55, 100, "With a control of 0.55 and 100 windows"),
        (0.6, 16, "With a control of 0.6 and 16 windows"),
        (0.4, 100, "With a control below chance, 0.4, and 100 windows"),
    ):
        answer, expected = mine(control, n), least_that_holds(control, n)
        if abs(answer - expected) > CLOSE:
            return f"{words} yours gives {answer:.3f}, and it is {expected:.3f}."
    return None


def strongest(chunk: str) -> float:
    """Return the strongest firing of the atom whose chunk it is."""
    return float(json.loads(chunk[chunk.index(",") + 1 : chunk.rindex(")")])["max"])


def _chunk(words: str, note: str, largest: float) -> str:
    card = {"atom": 17, "words": words, "note": note, "mean": 1.5, "max": largest}
    return f'saeNb.give("atoms/17",{json.dumps(card, separators=(",", ":"))});\n'


_CHUNKS = {
    "an atom without a name": _chunk("", "", 4.25),
    "a name with a bracket, “ink (a corner)”": _chunk("ink (a corner)", "see atom 3);", 6.5),
    "a note that speaks of “max”": _chunk("ink", 'I saw "max":9 twice', 2.0),
    "a strength of 1e-7": _chunk("faint", "", 1e-7),
}


def _judge_strongest(mine: Callable[[str], float]) -> str | None:
    for name, chunk in _CHUNKS.items():
        answer, expected = mine(chunk), strongest(chunk)
        if abs(answer - expected) > CLOSE * expected:
            return f"Of {name} yours reads {answer:g}, and there stands {expected:g}."
    return None


TASKS = tasks(
    "sharing",
    {
        "24.1": Answer(whole_number(0, MOST), measure=names_that_hold),
        "24.2": Answer(
            function(number(), takes="the control and the number of windows"), judge=_judge_least
        ),
        "24.4": Answer(function(number(), takes="the text of a chunk"), judge=_judge_strongest),
    },
)

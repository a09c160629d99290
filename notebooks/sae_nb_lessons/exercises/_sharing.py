"""Exercises of notebook 24: names from six images, how much is enough, reading what a reader receives."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache

from sae_nb_lessons.exercises._answers import function, number, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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
    from sae_nb.atoms import AtomNames

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


_LEAST_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("A control that happens to lie below ½ makes yours easier to pass.", "`max(control, 0.5)`.", lambda c, n: c + n**-0.5),
        ("You compare with chance alone, and not with the control.", "`max(control, 0.5)`.", lambda c, n: 0.5 + 0 * c + n**-0.5),
        ("You take the smaller of control and chance.", "`max(control, 0.5)`.", lambda c, n: min(c, 0.5) + n**-0.5),
        ("You add the control to chance.", "The larger of both.", lambda c, n: c + 0.5 + n**-0.5),
        ("You take the mean of control and chance.", "The larger of both.", lambda c, n: (c + 0.5) / 2 + n**-0.5),
        ("That is one standard error.", "Two: 2 · 1 / (2√n) = 1/√n.", lambda c, n: max(c, 0.5) + 0.5 * n**-0.5),
        ("Those are two times 1/√n. One standard error is 1 / (2√n).", "Two: 2 · 1 / (2√n) = 1/√n.", lambda c, n: max(c, 0.5) + 2 * n**-0.5),
        ("You divide by n. An error falls with its root: four times the windows halve it.", "`n**0.5`.", lambda c, n: max(c, 0.5) + 1 / n),
        ("You go below the control.", "Above it: plus two standard errors.", lambda c, n: max(c, 0.5) - n**-0.5),
        ("Nothing is added: half of all labels without a meaning would pass.", "Two standard errors above.", lambda c, n: max(c, 0.5) + 0 * n),
        ("You compute the error of a plain share from the control. The bound for a balanced one is given.", "1 / (2√n), twice.", lambda c, n: max(c, 0.5) + 2 * (c * (1 - c) / n) ** 0.5),
        ("You divide by 2n under the root.", "The 2 is outside: 1 / (2√n), and there are two of them.", lambda c, n: max(c, 0.5) + 2 / (2 * n) ** 0.5),
    )
)  # fmt: skip


def _judge_least(mine: Callable[[float, int], float]) -> Mistake | str | None:
    cases = {
        "a control of 0.55 and 100 windows": (0.55, 100),
        "a control of 0.6 and 16 windows": (0.6, 16),
        "a control below chance, 0.4, and 100 windows": (0.4, 100),
    }
    return diagnose(mine, least_that_holds, cases, _LEAST_SLIPS)


def strongest(chunk: str) -> float:
    """Return the strongest firing of the atom whose chunk it is."""
    return float(json.loads(chunk[chunk.index(",") + 1 : chunk.rindex(")")])["max"])


def _chunk(words: str, note: str, largest: float) -> str:
    card = {"atom": 17, "words": words, "note": note, "mean": 1.5, "max": largest}
    return f'saeNb.give("atoms/17",{json.dumps(card, separators=(",", ":"))});\n'


_CHUNKS = {
    "an atom without a name": (_chunk("", "", 4.25),),
    "a name with a bracket, “ink (a corner)”": (_chunk("ink (a corner)", "see atom 3);", 26.5),),
    "a note that speaks of “max”": (_chunk("ink", 'I saw "max":90 twice', 2.0),),
    "a note with a brace": (_chunk("ink", '{"max": 3} it was', 2.5),),
    "a strength of 1e-7": (_chunk("faint", "", 1e-7),),
}


def _card(chunk: str) -> dict[str, float]:
    found = json.loads(chunk[chunk.index(",") + 1 : chunk.rindex(")")])
    return {name: value for name, value in found.items() if not isinstance(value, str)}


def _numbers(chunk: str) -> list[float]:
    return [float(one) for one in re.findall(r"\d+(?:\.\d+)?", chunk)]


def _searched(chunk: str, pattern: str, which: int = 0) -> float:
    return float(re.findall(pattern, chunk)[which])


_READER_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You search for “max”, and find it in a note that somebody wrote.", "Read the JSON: `json.loads` knows where a text ends.", lambda text: _searched(text, r'max\W+([\d.e+-]+)')),
        ("You search for the first number after “max”. A note may say it as well, and a small number has an exponent.", "Read the JSON: `json.loads` knows what is text and what a number.", lambda text: _searched(text, r'max\W+([\d.]+)')),
        ("You search for the last “max” and read digits: a small number has an exponent.", "Read the JSON: `json.loads` knows how numbers are written.", lambda text: _searched(text, r'max\W+([\d.]+)', -1)),
        ("You take the last number in the text: a small one has an exponent.", "Read the JSON, and ask it for “max”.", lambda text: _numbers(text)[-1]),
        ("You take the largest number in the text. Notes and atoms have numbers, too.", "Read the JSON, and ask it for “max”.", lambda text: max(_numbers(text))),
        ("That is the mean of the firings.", "The strongest: “max”.", lambda text: _card(text)["mean"]),
        ("That is the number of the atom.", "The strongest firing: “max”.", lambda text: _card(text)["atom"]),
        ("You take the largest number of the card, which may be the atom's.", "Only “max”.", lambda text: max(_card(text).values())),
        ("You make a whole number of it.", "`float`, or as the JSON has it.", lambda text: int(_card(text)["max"])),
        ("You round: a weak atom would have no strength at all.", "Return it as the JSON has it.", lambda text: round(_card(text)["max"], 2)),
    )
)  # fmt: skip


def _judge_strongest(mine: Callable[[str], float]) -> Mistake | str | None:
    return diagnose(mine, strongest, _CHUNKS, _READER_SLIPS, atol=1e-9)


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

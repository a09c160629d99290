"""Ten wrong answers to every question that is read off a panel or a slider: seven or more get the name of the mistake."""

from __future__ import annotations

import ast

import pytest
import torch
from sae_nb_lessons import exercise

import sae_nb as sn
from sae_nb_studies.data import six_gaussians
from tests.lessons.exercises.asked import Asked
from tests.lessons.exercises.panel_answers import ASKED

UNNAMED = ("The panel shows less", "The panel shows more")
SLIPS = {
    -1: "its sign",
    100: "per cent",
    0.01: "a hundredth",
    10: "decimal point",
    0.1: "decimal point",
    1.13: "Close, and not",
}
"""What the right number is multiplied by, and a part of what is said then."""
NUMBERS = [one for one in ASKED if "number" in exercise(one.id).expects]
WORDS = [one for one in ASKED if one not in NUMBERS]


def slips(asked: Asked) -> list[tuple[object, str]]:
    """The right number with a common slip, where it is none of those that mean something else."""
    right = float(str(asked.right[0]))
    known = [float(str(answer)) for answer, _ in asked.near]
    made = {factor * right: words for factor, words in SLIPS.items()}
    return [
        (value, words)
        for value, words in made.items()
        if all(abs(value - other) > max(1e-6, 0.02 * abs(other)) for other in known)
    ]


def choices(asked: Asked) -> list[str]:
    """The words that are asked for."""
    listed: list[str] = ast.literal_eval(f"[{exercise(asked.id).expects.removeprefix('one of ')}]")
    return listed


def not_a_choice(asked: Asked) -> list[tuple[object, str]]:
    """What else is written where a word is asked for."""
    first, second, *_ = [one.replace('"', "") for one in choices(asked)]
    return [
        ([first, second], "got 2 at once"),
        (f"{first} and {second}", "more than one of them"),
        (f"{max(choices(asked), key=len)}s", "perhaps"),
        ("I do not know", "got the text"),
        ("-", "got the text"),
        ({first: 1}, "got a dict"),
        (lambda: first, "got the function"),
        (torch.ones(3), "got a tensor of shape"),
        (-17.5, "got the text"),
    ]


@pytest.mark.parametrize("asked", NUMBERS, ids=lambda asked: asked.id)
def test_ten_wrong_numbers_are_told_apart(asked: Asked) -> None:
    """By what was read in its place, or by what was done to it."""
    if asked.id == "12.3":  # a share: what is not between 0 and 1 is of the wrong form
        wrong = [*asked.near, *((x, "between 0 and 1") for x in (70, -0.7, 7, 1.4, 100, 2))]
    else:
        named = [one for one in asked.near if one[0] != 1e6]
        wrong = [*[*named, *slips(asked)][:9], (1e6, "shows less")]
    assert len(wrong) == 10
    told = 0
    for answer, words in wrong:
        exercise(asked.id).reset()
        verdict = exercise(asked.id).check(answer)
        assert not verdict.passed
        assert words in verdict.message, answer
        told += not verdict.said.startswith(UNNAMED)
    assert told >= 7


@pytest.mark.parametrize("asked", WORDS, ids=lambda asked: asked.id)
def test_ten_wrong_words_are_told_apart(asked: Asked) -> None:
    """Each choice by a sentence; what is none of them by what it is."""
    wrong = [*asked.near, *not_a_choice(asked)][:10]
    assert len(wrong) == 10
    for answer, words in wrong:
        exercise(asked.id).reset()
        verdict = exercise(asked.id).check(answer)
        assert not verdict.passed
        assert words in verdict.message, answer
    assert {answer for answer, _ in asked.near} <= {*choices(asked), *map(float, _numeric(asked))}


def _numeric(asked: Asked) -> list[str]:
    return [one for one in choices(asked) if one.replace(".", "").isdigit()]


@pytest.mark.parametrize("id", ["22.4", "23.4"])
def test_ten_wrong_places_are_told_apart(id: str) -> None:
    """Positions and blocks."""
    places = {
        "22.4": ([3, 7], [2, 11], [0, 1], [1], [1, 2, 3], "both", None, [1.5, 2], 4, ["a", "b"]),
        "23.4": (0, 1, 2, 3, 4, -1, 1.5, "third", None, [1]),
    }
    said = []
    for answer in places[id]:
        exercise(id).reset()
        verdict = exercise(id).check(answer)
        said += [verdict.said] if not verdict.passed else []
    assert len(said) >= 9
    assert all(len(one.split()) > 4 for one in said)


# --- what the panels show ---------------------------------------------------------------------------


def test_the_clouds_are_rebuilt_worst_by_the_one_with_a_price() -> None:
    """04.4 as its lesson trains them: ReLU far below, the other two near 1."""
    clouds = six_gaussians(4000, seed=0)
    torch.manual_seed(0)
    saes = {
        "SpaDE": sn.SpaDE(2, 128, sparsity=1e-3),
        "ReLU": sn.ReLU(2, 128, l0=8),
        "TopK": sn.TopK(2, 128, k=8),
    }
    ends = {
        name: sn.train(sae, clouds.x, steps=300, batch_size=512, seed=0, progress=False).history[-1]
        for name, sae in saes.items()
    }
    assert exercise("04.4").check(min(ends, key=lambda name: ends[name].r2))
    # Five seeds, in two orders of summing: .965 ± .007 beside 1 − .0001 and 1 − .00004.
    left = {name: 1 - end.r2 for name, end in ends.items()}
    assert left["ReLU"] > 10 * max(left["SpaDE"], left["TopK"])


def test_bars_come_back_in_one_pursuit_alone() -> None:
    """02.5: after every step of OMP what is left is orthogonal to all that were taken; of MP it is not."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(128, 64, generator=generator), dim=1)
    x = torch.randn(1, 64, generator=generator)
    back = {}
    for name, pursue in {"MP": sn.matching_pursuit, "OMP": sn.orthogonal_matching_pursuit}.items():
        codes, trace = pursue(x, dictionary, 8, trace=True)
        left = x - codes.to_dense() @ dictionary
        taken = torch.unique(trace.atoms[0])
        back[name] = float((left @ dictionary[taken].T).abs().max())
    assert back["OMP"] < 1e-4 < 0.01 < back["MP"]
    assert exercise("02.5").check("MP")

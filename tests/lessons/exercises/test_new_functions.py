"""Functions of notebooks 00, 12, 15, 29 and 30: ten wrong ones each, and what they are told."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons.exercises import _behaviour, _changes, _pixels, _tour, _transcoders

from tests.lessons.exercises.asked import Ways, named, told_apart

REBUILT: Ways = [
    *named(_tour._slips()),
    (lambda values, atoms, dictionary, bias: bias, "yours gives"),
    (
        lambda values, atoms, dictionary, bias: 2 * _tour.rebuilt(values, atoms, dictionary, bias),
        "yours gives",
    ),
    (
        lambda values, atoms, dictionary, bias: values.square() @ dictionary[atoms] + bias,
        "yours gives",
    ),
]
TRANSCODED: Ways = [
    *named(_transcoders._slips()),
    (lambda x, E, a, D, b, k: b.expand(len(x), -1), "yours gives"),
    (lambda x, E, a, D, b, k: (x @ E.T + a) @ D + b, "yours gives"),
    (lambda x, E, a, D, b, k: _transcoders.transcode(x, E, a, D, b, 1), "yours gives"),
]
AGAIN: Ways = [
    *named(_behaviour._slips()),
    (lambda tokens, n: [False] * len(tokens), "yours gives"),
    (lambda tokens, n: [True] * len(tokens), "yours gives"),
]
OCCLUDED: Ways = named(_pixels._slips())[:10]


@pytest.mark.parametrize(
    ("id", "right", "wrong"),
    [
        ("00.1", _tour.rebuilt, REBUILT),
        ("12.2", _transcoders.transcode, TRANSCODED),
        ("15.1", _behaviour.comes_again, AGAIN),
        ("29.1", _pixels.occlusion, OCCLUDED),
        ("30.1", _changes.moved, named(_changes._slips())),
    ],
)
def test_ten_wrong_functions_are_told_apart(id: str, right: object, wrong: Ways) -> None:
    """Each gets its own sentence, and seven or more of them the name of the mistake."""
    told_apart(id, right, wrong)


def test_numbers_in_place_of_truths_cost_nothing() -> None:
    """A list of 0 and 1 is of another form."""
    from sae_nb_lessons import exercise

    assert exercise("15.1").check(lambda tokens, n: [0] * len(tokens)).state == "form"
    assert (
        exercise("15.1").check(lambda tokens, n: torch.zeros(len(tokens)).bool()).state == "wrong"
    )


def test_the_first_block_of_the_lens_is_none_of_the_ends() -> None:
    """The question of 23.4 has something to see."""
    from sae_nb_lessons.exercises._reading import first_block

    assert 0 < first_block() <= 3

"""Notebook 28: ten wrong answers to each exercise in which a function is written, and what they are told."""

from __future__ import annotations

import math

import pytest
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import _own_model as exercises
from torch import Tensor, nn

from tests.lessons.exercises.asked import Ways, named, told_apart


def hooked(model: nn.Module, block: nn.Module, ids: Tensor, *, removed: bool) -> Tensor:
    """The right rows, and a hook that stays, or stays where the model raises."""
    kept: list[Tensor] = []
    handle = block.register_forward_hook(lambda *given: kept.append(given[2][0]))
    model(ids)
    if removed:
        handle.remove()
    return kept[0][0, 1:]


CAPTURES: Ways = [
    *named(exercises._CAPTURE_SLIPS),
    (lambda m, b, ids: hooked(m, b, ids, removed=False), "the hook is still on the block"),
    (lambda m, b, ids: hooked(m, b, ids, removed=True), "The model raised an error"),
]
BUDGETS: Ways = [
    *named(exercises._BUDGET_SLIPS),
    (lambda t, w, a: 0.0, "yours gives"),
    (lambda t, w, a: 2 * exercises.budget(t, w, a), "yours gives"),
]
SHARES: Ways = [
    *named(exercises._KEPT_SLIPS),
    (lambda c, s, z: (z - s) / max(z - c, 1e-12), "Where zeros cost nothing"),
    (lambda c, s, z: 1.0, "yours gives"),
]


@pytest.mark.parametrize(
    ("id", "right", "wrong"),
    [
        ("28.1", exercises.rows_of, CAPTURES),
        ("28.2", lambda t, w, a: (t * w / 5 + 2 * a * w + a + w) * 2e-8, BUDGETS),
        ("28.3", lambda c, s, z: 1 - (s - c) / (z - c) if z - c else math.nan, SHARES),
    ],
)
def test_ten_wrong_answers_are_told_apart(id: str, right: object, wrong: Ways) -> None:
    """Each gets its own sentence, and seven or more of them the name of the mistake."""
    told_apart(id, right, wrong)


def test_other_forms_cost_nothing() -> None:
    """A number where rows are asked for, a text where a number is, a function that divides by 0."""
    assert exercise("28.1").check(lambda model, block, ids: 3.0).state == "form"
    assert exercise("28.2").check(lambda tokens, width, atoms: "many").state == "form"
    divided = exercise("28.3").check(lambda clean, spliced, zero: (zero - spliced) / (zero - clean))
    assert divided.state == "form"
    assert "ZeroDivisionError" in divided.message


def test_random_directions_keep_most_of_the_loss() -> None:
    """As question and hints say."""
    assert 0.8 < exercises.kept_by_random() < 1

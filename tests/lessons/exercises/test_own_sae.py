"""Notebook 24: ten wrong answers to each exercise, of which the verdict names the mistake in seven or more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import _own_sae as exercises
from sae_nb_lessons.studies import (
    OwnSAE,
    hidden_rows,
    on_features,
    own_sae,
    random_cosine,
    replacements,
)

import sae_nb as sn
from tests.lessons.exercises import own_sae_answers
from tests.lessons.exercises.asked import Asked

WITH_TEN = ("24.1", "24.2", "24.3", "24.4", "24.5", "24.6")
UNNAMED = ("yours gives", "yours returns")
"""Words of a verdict that gives a number, and no mistake."""


@pytest.fixture(scope="module")
def answers() -> dict[str, Asked]:
    """Right and wrong ones, by exercise."""
    return {one.id: one for one in own_sae_answers.asked()}


@pytest.mark.parametrize("id", WITH_TEN)
def test_ten_wrong_answers_are_told_apart(id: str, answers: dict[str, Asked]) -> None:
    """Each gets its own sentence, and seven or more of them the name of the mistake and a hint for it."""
    asked, named = answers[id], 0
    assert len(asked.near) == 10
    for answer, words in asked.near:
        exercise(id).reset()
        verdict = exercise(id).check(answer)
        assert verdict.state == "wrong"
        assert words in verdict.message
        named += not any(unnamed in verdict.said for unnamed in UNNAMED)
    assert named >= 7


@pytest.mark.parametrize("id", [*WITH_TEN, "24.7"])
def test_right_answers_pass_and_malformed_ones_cost_nothing(
    id: str, answers: dict[str, Asked]
) -> None:
    """However they are written."""
    for answer in answers[id].right:
        assert exercise(id).check(answer), exercise(id).check(answer).message
    for answer, words in answers[id].malformed:
        verdict = exercise(id).check(answer)
        assert verdict.state == "form"
        assert words in verdict.message


def test_an_sae_of_a_real_model_is_judged_on_new_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """By R², after what is wrong with it in a way that has a name."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 16, generator=draws).relu() @ torch.randn(16, 64, generator=draws)
    monkeypatch.setattr(exercises, "_held_out", lambda: x)
    good = own_sae(x, 512, 20, 150)
    given = good.E, good.a, good.D, good.b
    silent = good.E, good.a - 100 * (torch.arange(512) > 30), good.D, good.b
    random = torch.randn(512, 64, generator=draws) / 8
    assert exercise("24.7").check(given)
    for answer, words in (
        ((good.E, good.a, 2 * good.D, good.b), "lengths from 2.00"),
        (silent, "atoms never fire on new images"),
        ((random, good.a, good.E, good.b), "lengths from"),
        ((good.D, good.a, 0 * good.E, good.b), "lengths from 0.00"),
        ((good.E, good.a, good.D.flip(0), good.b), "0.95 are asked"),
    ):
        assert words in exercise("24.7").check(answer).message


def test_a_penalty_is_dodged_without_unit_norm() -> None:
    """As the question and its hints say, and at no cost in R²."""
    assert 0.3 < exercises.strength_without_unit_norm() < 0.7
    x = hidden_rows(0)
    held, free = (own_sae(x, 64, 2, l1=0.05, unit_norm=unit) for unit in (True, False))
    assert held.r2(x) == pytest.approx(free.r2(x), abs=0.01)


def test_the_lessons_sae_is_the_toolkits() -> None:
    """Codes of both with the same numbers, and R² as reports compute it."""
    x = hidden_rows(0)[:500]
    own = own_sae(x, 64, 2, 50)
    theirs = exercises._toolkit_codes(x, own.E, own.a, own.b, 2)
    assert torch.allclose(own.encode(x), theirs, atol=1e-6)
    x_hat: Any = own.encode(x) @ own.D + own.b
    assert own.r2(x) == pytest.approx(sn.evaluation.explained_variance(x, x_hat), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_lessons_sae_finds_the_features_of_a_toy_it_shares_no_seed_with(seed: int) -> None:
    """Every feature, on three seeds; random directions of the toy's own seed would look better than they are."""
    x = hidden_rows(seed)
    cosines = on_features(seed, own_sae(x, 64, 2, 600, seed).D)
    assert cosines.min() > 0.99
    blind = torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))
    assert on_features(seed, blind).mean() < 0.73


def test_dead_atoms_return_and_curves_fall() -> None:
    """An atom that is far from everything is put where it is needed; random directions are the floor."""
    x = hidden_rows(0)
    whole = own_sae(x, 64, 2)
    assert isinstance(whole, OwnSAE)
    for _, values in (whole.sorted_norms(), whole.sorted_rates(x)):
        assert values == sorted(values, reverse=True)
    rows = replacements(x[:50], torch.zeros(50, 10), 3)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3))
    assert 0.6 < random_cosine() < 0.75

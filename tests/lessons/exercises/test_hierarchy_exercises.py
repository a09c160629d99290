"""Exercises of notebook 03: every right answer is right, and near misses are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._hierarchy import parent_in_children_alone
from torch import Tensor


@pytest.mark.parametrize("answer", [2**-0.5, 0.71, 0.7, torch.tensor(0.7071)])
def test_the_diagonal_is_right(answer: object) -> None:
    """However it is written."""
    assert sae_nb_lessons.exercise("03.1").check(answer)


@pytest.mark.parametrize("answer", [0.5, 1.0, 0.0, 0.6])
def test_other_cosines_do_not_add_up(answer: float) -> None:
    """The verdict does the sum."""
    verdict = sae_nb_lessons.exercise("03.1").check(answer)
    assert not verdict
    assert "add up to 1" in verdict.message


def test_prediction_is_held_against_the_recorded_seeds() -> None:
    """Next to nothing; and nothing is revealed before a prediction."""
    exercise = sae_nb_lessons.exercise("03.2")
    assert not exercise.reveal()
    exercise.predict(0.3)
    assert exercise.reveal()
    assert abs(parent_in_children_alone()) < 0.1


def right(dictionary: Tensor, r: int) -> Tensor:
    """As the hints tell it."""
    cosines = (dictionary @ dictionary.T).abs().fill_diagonal_(0)
    return cosines.topk(r, dim=1).values.sum(dim=1).max()


def with_itself(dictionary: Tensor, r: int) -> Tensor:
    """Counts an atom as its own cover."""
    return (dictionary @ dictionary.T).abs().topk(r, dim=1).values.sum(dim=1).max()


def signed(dictionary: Tensor, r: int) -> Tensor:
    """Forgets that an opposite atom covers, too."""
    cosines = (dictionary @ dictionary.T).fill_diagonal_(0)
    return cosines.topk(r, dim=1).values.sum(dim=1).max()


def averaged(dictionary: Tensor, r: int) -> Tensor:
    """Takes the mean atom in place of the worst."""
    cosines = (dictionary @ dictionary.T).abs().fill_diagonal_(0)
    return cosines.topk(r, dim=1).values.sum(dim=1).mean()


def only_coherence(dictionary: Tensor, r: int) -> Tensor:
    """r times the largest cosine, which bounds it."""
    return r * right(dictionary, 1)


def test_a_right_babel_function_is_right() -> None:
    """Also as a plain number."""
    assert sae_nb_lessons.exercise("03.3").check(right)
    assert sae_nb_lessons.exercise("03.3").check(lambda D, r: float(right(D, r)))


@pytest.mark.parametrize("wrong", [with_itself, signed, averaged, only_coherence])
def test_each_common_mistake_is_found(wrong: Callable[..., Any]) -> None:
    """The verdict names a case and r."""
    verdict = sae_nb_lessons.exercise("03.3").check(wrong)
    assert verdict.state == "wrong"
    assert "r = " in verdict.message

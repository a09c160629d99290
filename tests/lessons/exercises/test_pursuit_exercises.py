"""Exercises of notebook 02: every right answer is right, and near misses are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._pursuit import named_by_one_step
from torch import Tensor

import sae_nb as sn


@pytest.mark.parametrize("answer", [3, 3.0, torch.tensor(3.0)])
def test_pythagoras_is_right(answer: object) -> None:
    """However it is written."""
    assert sae_nb_lessons.exercise("02.1").check(answer)


@pytest.mark.parametrize(("answer", "told"), [(1.0, "= 17,"), (4.1, "= 32.8,")])
def test_other_lengths_do_not_add_up(answer: float, told: str) -> None:
    """The verdict does the sum."""
    verdict = sae_nb_lessons.exercise("02.1").check(answer)
    assert not verdict
    assert told in verdict.message


@pytest.mark.parametrize("angle", [10.0, 30.0, 45.0, 60.0, 80.0])
def test_every_atom_between_the_two_fools_greed(angle: float) -> None:
    """All directions strictly between them correlate more, and matching pursuit takes them."""
    turned = torch.deg2rad(torch.tensor(angle))
    atom = torch.stack([turned.cos(), turned.sin()])
    assert sae_nb_lessons.exercise("02.2").check(atom)
    dictionary = torch.cat([torch.eye(2), atom[None]])
    _, trace = sn.matching_pursuit(torch.ones(1, 2), dictionary, 1, trace=True)
    assert trace.atoms.tolist() == [[2]]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([1.0, 1.0], "has length 1.41"),
        ([1.0, 0.0], "by 1,"),
        ([0.8, -0.6], "by 0.2,"),
        ([0.6, 0.8, 0.0], "shape (2,)"),
    ],
)
def test_other_atoms_do_not(answer: list[float], told: str) -> None:
    """The verdict says why."""
    verdict = sae_nb_lessons.exercise("02.2").check(answer)
    assert not verdict
    assert told in verdict.message


def test_prediction_is_held_against_a_measurement() -> None:
    """One step names about a third; nothing is revealed before a prediction."""
    exercise = sae_nb_lessons.exercise("02.3")
    assert not exercise.reveal()
    exercise.predict(0.5)
    assert exercise.reveal()
    assert 0.25 < named_by_one_step() < 0.45
    assert 0.68 < named_by_one_step(0.0) < 0.76  # what the question says


def right(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Matching pursuit as the hints tell it."""
    z, r = torch.zeros(len(dictionary), dtype=x.dtype), x
    for _ in range(k):
        c = dictionary @ r
        j = c.argmax()
        a = c[j].clamp(min=0)
        z[j] += a
        r = r - a * dictionary[j]
    return z


def overwriting(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Forgets the first amount of an atom chosen twice."""
    z, r = torch.zeros(len(dictionary), dtype=x.dtype), x
    for _ in range(k):
        c = dictionary @ r
        j = c.argmax()
        z[j] = c[j].clamp(min=0)
        r = r - z[j] * dictionary[j]
    return z


def negative(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Takes negative correlations too."""
    z, r = torch.zeros(len(dictionary), dtype=x.dtype), x
    for _ in range(k):
        c = dictionary @ r
        j = c.argmax()
        z[j] += c[j]
        r = r - c[j] * dictionary[j]
    return z


def one_step(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """The k largest correlations, as a TopK encoder would."""
    c = (dictionary @ x).clamp(min=0)
    return torch.zeros_like(c).scatter_(0, c.topk(min(k, len(c))).indices, 1) * c


def refitted(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Orthogonal matching pursuit is another algorithm."""
    k = min(k, len(dictionary))
    return sn.orthogonal_matching_pursuit(x[None], dictionary, k).to_dense()[0]


def test_a_right_pursuit_is_right() -> None:
    """Also one that returns single precision."""
    assert sae_nb_lessons.exercise("02.4").check(right)
    assert sae_nb_lessons.exercise("02.4").check(lambda x, D, k: right(x.float(), D.float(), k))


@pytest.mark.parametrize("wrong", [overwriting, negative, one_step, refitted])
def test_each_common_mistake_is_found(wrong: Callable[..., Any]) -> None:
    """The verdict names a case, a step and an atom."""
    verdict = sae_nb_lessons.exercise("02.4").check(wrong)
    assert not verdict
    assert "atom" in verdict.message
    assert verdict.state == "wrong"


def test_a_pursuit_of_the_wrong_shape_costs_nothing() -> None:
    """It is told what to return."""
    verdict = sae_nb_lessons.exercise("02.4").check(lambda x, D, k: x[:1])
    assert verdict.state == "form"
    assert "one coefficient per atom" in verdict.message

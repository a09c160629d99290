"""Exercises of notebook 12: right answers are right however written, near misses are told why."""

from __future__ import annotations

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._crosscoders import difference, shrunk
from torch import Tensor

import sae_nb as sn


def test_what_is_recovered() -> None:
    """By the formula of the report; what is lost, and what is compared with the wrong thing, is named."""
    assert sae_nb_lessons.exercise("12.1").check((1.7 - 1.25) / (1.7 - 1.2))
    assert "lost" in sae_nb_lessons.exercise("12.1").check(0.1).message
    assert "worth" in sae_nb_lessons.exercise("12.1").check(0.96).message
    assert "nats" in sae_nb_lessons.exercise("12.1").check(0.45).message


def test_where_an_atom_lives_is_that_of_the_library() -> None:
    """The same as `difference()` of a crosscoder whose sites are in other units."""
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    c = sn.Crosscoder([4, 6], n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    c.initialise([x, 30 * x @ torch.randn(4, 6, generator=torch.Generator().manual_seed(1))])
    units = [float(unit[0]) for unit in c.operator.unit.split([4, 6])]
    assert difference(*c.dictionaries, *units) == pytest.approx(c.difference(), abs=1e-5)


def test_norms_without_units_are_not_enough() -> None:
    """Right with units and in float64; without them the loud model is named."""

    def right(a: Tensor, b: Tensor, u: float, v: float) -> Tensor:
        norms = torch.stack([(a / u).square().sum(1).sqrt(), (b / v).square().sum(1).sqrt()])
        return norms[1] / norms.sum(dim=0)

    def naive(a: Tensor, b: Tensor, u: float, v: float) -> Tensor:
        return b.norm(dim=1) / (a.norm(dim=1) + b.norm(dim=1))

    assert sae_nb_lessons.exercise("12.2").check(right)
    assert "ten times as loud" in sae_nb_lessons.exercise("12.2").check(naive).message


def test_predictions_are_held_against_the_recorded_seeds() -> None:
    """And nothing is revealed before a prediction."""
    exercise = sae_nb_lessons.exercise("12.3")
    assert not exercise.reveal()
    exercise.predict(0.1)
    assert exercise.reveal().measured == pytest.approx(shrunk())

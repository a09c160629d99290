"""Exercises of notebook 13: right answers are right however written, near misses are told why."""

from __future__ import annotations

import pytest
import sae_nb_lessons
from sae_nb_lessons.exercises._choosing import pca_r2
from torch import Tensor


def test_how_often_an_average_atom_fires() -> None:
    """L0 / n_atoms; one atom per row is named."""
    assert sae_nb_lessons.exercise("13.1").check(0.0625)
    assert "one atom" in sae_nb_lessons.exercise("13.1").check(1 / 128).message


def test_the_best_is_sought_at_the_l0_that_was_wanted() -> None:
    """A loop is as right as a mask; without the rule, or with zeros for the others, a case is named."""

    def right(r2: Tensor, l0: Tensor, wanted: float) -> int:
        near = [i for i in range(len(r2)) if abs(float(l0[i]) - wanted) <= wanted / 5]
        return max(near, key=lambda i: float(r2[i]))

    def highest(r2: Tensor, l0: Tensor, wanted: float) -> int:
        return int(r2.argmax())

    def zeroed(r2: Tensor, l0: Tensor, wanted: float) -> int:
        return int((r2 * ((l0 - wanted).abs() <= wanted / 5)).argmax())

    assert sae_nb_lessons.exercise("13.3").check(right)
    assert "twice the atoms" in sae_nb_lessons.exercise("13.3").check(highest).message
    assert "below zero" in sae_nb_lessons.exercise("13.3").check(zeroed).message


def test_what_pca_reaches_is_measured() -> None:
    """Between half and a trained dictionary, as the hints say."""
    exercise = sae_nb_lessons.exercise("13.2")
    assert not exercise.reveal()
    exercise.predict(0.6)
    assert exercise.reveal().measured == pytest.approx(pca_r2())
    assert 0.7 < pca_r2() < 0.87

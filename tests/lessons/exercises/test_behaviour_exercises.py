"""Exercises of notebook 15: right answers are right however written, near misses say what is wrong."""

from __future__ import annotations

import pytest
import sae_nb_lessons
from sae_nb_lessons import recorded
from sae_nb_lessons.exercises._behaviour import greedy, random_tpp
from torch import Tensor


def test_any_of_ten() -> None:
    """Not the share in which none fires, and shares do not add up."""
    assert sae_nb_lessons.exercise("15.1").check(0.651)
    assert "none of them" in sae_nb_lessons.exercise("15.1").check(0.349).message
    assert "do not add up" in sae_nb_lessons.exercise("15.1").check(1).message


def test_every_step_gains_what_it_can() -> None:
    """Sets are as right as masks, the last of equal documents as the first; the largest alone are not."""

    def right(has: Tensor, n: int) -> list[int]:
        atoms = [set(row.nonzero()[:, 0].tolist()) for row in has]
        chosen: list[int] = []
        for _ in range(n):
            covered = set().union(*(atoms[i] for i in chosen))
            left = [i for i in range(len(has)) if i not in chosen]
            chosen.append(max(reversed(left), key=lambda i: len(atoms[i] - covered)))
        return chosen

    def largest(has: Tensor, n: int) -> Tensor:
        return has.sum(dim=1).argsort(descending=True)[:n]

    def again(has: Tensor, n: int) -> list[int]:
        return [int(has.sum(dim=1).argmax())] * n

    assert sae_nb_lessons.exercise("15.2").check(right)
    assert sae_nb_lessons.exercise("15.2").check(greedy)
    sae_nb_lessons.exercise("15.2").reset()
    assert "at step 2" in sae_nb_lessons.exercise("15.2").check(largest).message
    assert "taken twice" in sae_nb_lessons.exercise("15.2").check(again).message


def test_random_directions_get_what_a_trained_sae_gets() -> None:
    """As the question says: a quarter; as the reason says: no order."""
    exercise = sae_nb_lessons.exercise("15.3")
    assert not exercise.reveal()
    exercise.predict(0.0)
    assert exercise.reveal().measured == pytest.approx(random_tpp())
    assert recorded("bench_references").of("tiny-gpt tpp trained").mean == pytest.approx(
        random_tpp(), abs=0.02
    )

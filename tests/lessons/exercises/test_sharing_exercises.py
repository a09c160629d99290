"""Exercises of notebook 20: right answers are right however written, near misses say what is wrong."""

from __future__ import annotations

import ast
import re

import sae_nb_lessons
from sae_nb_lessons.exercises._sharing import MOST, names_from_images, names_that_hold


def test_few_names_from_six_images_hold() -> None:
    """There are as many such atoms as the question says, and as the hint says fewer than ten names hold."""
    assert len(names_from_images()) == MOST
    exercise = sae_nb_lessons.exercise("20.1")
    exercise.predict(30)
    assert exercise.reveal().measured == names_that_hold()
    assert 0 < names_that_hold() < 10


def test_what_is_enough_is_measured_from_control_and_from_chance() -> None:
    """Written with standard errors it is right; one of them, and a control below chance, are named."""

    def by_standard_errors(control: float, n: int) -> float:
        error = 1 / (2 * n**0.5)
        return (control if control > 0.5 else 0.5) + 2 * error

    def one_error(control: float, n: int) -> float:
        return max(control, 0.5) + 1 / (2 * n**0.5)

    def control_alone(control: float, n: int) -> float:
        return control + n**-0.5

    exercise = sae_nb_lessons.exercise("20.2")
    assert exercise.check(by_standard_errors)
    assert "0.650" in exercise.check(one_error).message
    assert "below chance" in exercise.check(control_alone).message


def test_a_chunk_is_read_as_json() -> None:
    """By another reader of literals it is right; what searches for a word or a bracket is led astray."""

    def by_literals(chunk: str) -> float:
        return float(ast.literal_eval(chunk[len('saeNb.give("atoms/17",') : -3])["max"])

    def by_searching(chunk: str) -> float:
        found = re.search(r'"max\\?":([\d.e+-]+)', chunk)
        assert found
        return float(found[1])

    exercise = sae_nb_lessons.exercise("20.3")
    assert exercise.check(by_literals)
    assert "speaks of" in exercise.check(by_searching).message

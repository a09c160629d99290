"""Exercises of notebook 19: right answers are right however written, near misses say what is wrong."""

from __future__ import annotations

import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._talking import N_STORIES, random_texts_that_differ
from torch import Tensor


def test_random_directions_change_most_texts() -> None:
    """As the hint says: more than half of the ten."""
    exercise = sae_nb_lessons.exercise("19.1")
    exercise.predict(2)
    assert exercise.reveal().measured == random_texts_that_differ()
    assert N_STORIES / 2 < random_texts_that_differ() <= N_STORIES


def test_the_score_of_a_label_counts_both_kinds_alike() -> None:
    """By loops is right; plain accuracy and recall are named by the windows on which they fail."""

    def by_loops(said: Tensor, fires: Tensor) -> float:
        pairs = list(zip(said.tolist(), fires.tolist(), strict=True))
        hits = [s for s, f in pairs if f]
        rests = [not s for s, f in pairs if not f]
        return sum(hits) / len(hits) / 2 + sum(rests) / len(rests) / 2

    def accuracy(said: Tensor, fires: Tensor) -> float:
        return float((said == fires).float().mean())

    def recall(said: Tensor, fires: Tensor) -> float:
        return float(said[fires].float().mean())

    assert sae_nb_lessons.exercise("19.2").check(by_loops)
    assert "one window of ten" in sae_nb_lessons.exercise("19.2").check(accuracy).message
    assert "everywhere" in sae_nb_lessons.exercise("19.2").check(recall).message


def test_a_file_of_vectors_is_one_formula() -> None:
    """By outer products is right; a vector taken for a unit vector and a sign that is lost are named."""

    def by_outer_products(x: Tensor, v: Tensor, gain: float, constant: float) -> Tensor:
        return x + gain * x @ torch.outer(v, v) / v.dot(v) + constant * v

    def of_unit_length(x: Tensor, v: Tensor, gain: float, constant: float) -> Tensor:
        return x + gain * torch.outer(x @ v, v) + constant * v

    def adding_alone(x: Tensor, v: Tensor, gain: float, constant: float) -> Tensor:
        return x + constant * v

    assert sae_nb_lessons.exercise("19.3").check(by_outer_products)
    assert "length 2" in sae_nb_lessons.exercise("19.3").check(of_unit_length).message
    assert "out" in sae_nb_lessons.exercise("19.3").check(adding_alone).message

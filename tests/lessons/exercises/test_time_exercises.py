"""Exercises of notebook 09: every right answer is right, and near misses are not."""

from __future__ import annotations

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._time import growth_on_text, lead_without_order
from torch import Tensor


@pytest.mark.parametrize("answer", [3, 3.0, torch.tensor(3.0)])
def test_the_token_sets_the_length(answer: object) -> None:
    """However it is written."""
    assert sae_nb_lessons.exercise("09.1").check(answer)


@pytest.mark.parametrize("answer", [5, 10, 0.3, 30])
def test_other_lengths_are_not(answer: float) -> None:
    """Of the token, of the suggestion, of neither."""
    verdict = sae_nb_lessons.exercise("09.1").check(answer)
    assert not verdict
    assert "10 cancels" in verdict.message


def test_a_right_cosine_is_right() -> None:
    """Written by hand."""

    def mine(x: Tensor) -> Tensor:
        return torch.cosine_similarity(x[1:], x[:-1], dim=1).mean()

    assert sae_nb_lessons.exercise("09.3").check(mine)


def test_wrong_cosines_are_told() -> None:
    """Without normalising; centred; of the wrong neighbour."""

    def product(x: Tensor) -> Tensor:
        return (x[1:] * x[:-1]).sum(dim=1).mean()

    def centred(x: Tensor) -> Tensor:
        moved = x - x.mean(dim=0)
        return torch.nan_to_num(torch.cosine_similarity(moved[1:], moved[:-1], dim=1)).mean()

    def farther(x: Tensor) -> Tensor:
        return torch.cosine_similarity(x[2:], x[:-2], dim=1).mean()

    for wrong in (product, centred, farther):
        assert not sae_nb_lessons.exercise("09.3").check(wrong)


@pytest.mark.parametrize(
    ("id", "measure"), [("09.2", lead_without_order), ("09.4", growth_on_text)]
)
def test_predictions_are_held_against_the_recorded_seeds(id: str, measure: object) -> None:
    """And nothing is revealed before a prediction."""
    exercise = sae_nb_lessons.exercise(id)
    assert not exercise.reveal()
    exercise.predict(0.1)
    assert exercise.reveal().measured == pytest.approx(measure())

"""Notebook 21: ten wrong detectors of clips and what they are told, and what chance detects."""

from __future__ import annotations

import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import _hearing as exercises
from torch import Tensor


def by_clip(z: Tensor, clip: Tensor, n: int, threshold: float) -> list[bool]:
    """The right answer, clip by clip."""
    return [bool((z[clip == one] > threshold).any()) for one in range(n)]


WRONG = [
    *((slip.way, slip.said) for slip in exercises._DETECTOR_SLIPS),
    (lambda z, clip, n, threshold: torch.ones(n), "yours gives"),
    (lambda z, clip, n, threshold: torch.zeros(n), "yours gives"),
]


def test_ten_wrong_detectors_are_told_apart() -> None:
    """Each gets its own sentence, and seven or more of them the name of the mistake."""
    assert exercise("21.2").check(by_clip)
    assert len(WRONG) == 10
    for answer, words in WRONG:
        exercise("21.2").reset()
        verdict = exercise("21.2").check(answer)
        assert verdict.state == "wrong"
        assert words in verdict.message


def test_a_detector_of_other_length_costs_nothing() -> None:
    """One truth per row is not one per clip."""
    rows = exercise("21.2").check(lambda z, clip, n, threshold: z > threshold)
    assert rows.state == "form"


def test_chance_detects_a_pitch_as_question_and_hints_say() -> None:
    """Between a half and one, nearer to one."""
    assert 0.75 < exercises.pitch_by_chance() < 1

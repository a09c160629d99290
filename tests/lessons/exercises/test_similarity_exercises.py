"""Exercises of lab 02: right answers are right however written, near misses are told why."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons import exercise


@pytest.mark.parametrize(
    "answer",
    [
        lambda z, ridge: torch.inverse(z @ z.T + ridge * torch.eye(len(z))) @ z,
        lambda z, ridge: z @ torch.inverse(z.T @ z + ridge * torch.eye(z.shape[1])),
    ],
)
def test_the_top_down_map_however_written(answer: object) -> None:
    """With the small inverse, or with the large one on the other side."""
    assert exercise("lab_02.1").check(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda z, ridge: torch.linalg.pinv(z).T, "right for ω = 0"),
        (lambda z, ridge: z @ z.T, "a column per input"),
    ],
)
def test_maps_that_are_near(answer: object, words: str) -> None:
    """Without the ridge, and the similarities of atoms."""
    verdict = exercise("lab_02.1").check(answer)
    assert not verdict
    assert words in verdict.message


def test_silence() -> None:
    """Half of the trace; the whole is told what is missing."""
    assert exercise("lab_02.2").check(250)
    assert "½" in exercise("lab_02.2").check(500).message

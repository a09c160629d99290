"""Exercises of notebook 16: right answers are right however written, near misses say what is wrong."""

from __future__ import annotations

import pytest
import sae_nb_lessons
import torch
from sae_nb_lessons.exercises._vision import textures_found
from torch import Tensor


def test_a_share_of_variance() -> None:
    """Squares, not shares of the sum, and of the right concept."""
    assert sae_nb_lessons.exercise("16.1").check(0.8)
    assert "square" in sae_nb_lessons.exercise("16.1").check(2 / 3).message
    assert "other one" in sae_nb_lessons.exercise("16.1").check(0.2).message


def test_auroc_counts_pairs() -> None:
    """scikit-learn's is right; ties, overlap and the sides' order are named."""

    def right(clean: Tensor, corrupted: Tensor) -> float:
        from sklearn.metrics import roc_auc_score

        truth = [0] * len(clean) + [1] * len(corrupted)
        return float(roc_auc_score(truth, torch.cat((clean, corrupted)).numpy()))

    def without_ties(clean: Tensor, corrupted: Tensor) -> float:
        return float((corrupted[:, None] > clean[None, :]).double().mean())

    def turned(clean: Tensor, corrupted: Tensor) -> float:
        return right(corrupted, clean)

    def above_the_mean(clean: Tensor, corrupted: Tensor) -> float:
        return float((corrupted > clean.mean()).double().mean())

    assert sae_nb_lessons.exercise("16.2").check(right)
    assert "same score" in sae_nb_lessons.exercise("16.2").check(without_ties).message
    assert "apart" in sae_nb_lessons.exercise("16.2").check(turned).message
    assert "overlap" in sae_nb_lessons.exercise("16.2").check(above_the_mean).message


def test_textures_are_hardly_found() -> None:
    """As the hint says."""
    exercise = sae_nb_lessons.exercise("16.3")
    assert not exercise.reveal()
    exercise.predict(0.5)
    assert exercise.reveal().measured == pytest.approx(textures_found())
    assert textures_found() < 0.2

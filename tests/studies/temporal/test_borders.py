"""Borders of scenes: scores and areas under curves worked out by hand."""

from __future__ import annotations

import pytest
import torch

from sae_nb_studies.temporal import border_auroc, border_scores


def test_scores_compare_the_means_of_both_sides() -> None:
    """Around the mean (1, 0) the first token is at 3, the others at −1."""
    x = torch.tensor([[[4.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    # Window 1: opposite, alike, alike. Window 2: means 1 and −1.
    assert border_scores(x, 1)[0].tolist() == pytest.approx([2.0, 0.0, 0.0])
    assert border_scores(x, 2)[0].tolist() == pytest.approx([2.0])


def test_a_window_decides_what_is_compared() -> None:
    """Around the mean (1, 1) the pairs are (2, −1), (−1, 2), (−1, −1); a place inside a pair has half of two."""
    x = torch.tensor([[[3.0, 0.0]] * 2 + [[0.0, 3.0]] * 2 + [[0.0, 0.0]] * 2])
    assert border_scores(x, 2)[0].tolist() == pytest.approx([1.8, 1 + 0.1**0.5, 1 + 0.1**0.5])
    five = border_scores(x, 1)[0].tolist()
    assert five == pytest.approx([0.0, 1.8, 0.0, 1 + 0.1**0.5, 0.0], abs=1e-9)


def test_only_places_a_window_away_from_a_border_count_against_it() -> None:
    """Scores 0, 1.8, 0, 1.32, 0 at tokens 1 … 5; what lies nearer than the window is left out."""
    x = torch.tensor([[[3.0, 0.0]] * 2 + [[0.0, 3.0]] * 2 + [[0.0, 0.0]] * 2])
    assert border_auroc(x, torch.tensor([[0, 0, 1, 1, 1, 1]]), 1) == 1.0
    # The border at 4 loses to 1.8 and beats three.
    assert border_auroc(x, torch.tensor([[0, 0, 0, 0, 1, 1]]), 1) == 3 / 4
    # At 3 it scores 0: below 1.8 and 1.32, level with two.
    assert border_auroc(x, torch.tensor([[0, 0, 0, 1, 1, 1]]), 1) == 1 / 4
    # With a window of 2, a border at 2 leaves place 4 alone, which scores less.
    assert border_auroc(x, torch.tensor([[0, 0, 5, 5, 5, 5]]), 2) == 1.0


def test_what_cannot_be_told_is_refused() -> None:
    x = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="two windows of 5 tokens, got 8 tokens"):
        border_scores(x, 5)
    with pytest.raises(ValueError, match=r"one number per token, shape \(2, 8\), got \(2, 7\)"):
        border_auroc(x, torch.zeros(2, 7, dtype=torch.long), 2)
    with pytest.raises(ValueError, match="got 0 borders among 10 places"):
        border_auroc(x, torch.zeros(2, 8, dtype=torch.long), 2)

"""Exercises of notebook 07: every right answer is right, and near misses are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sae_nb_lessons
from sae_nb_lessons.exercises._depth import swap_drop
from torch import Tensor


def test_the_known_cuts_are_right_in_any_order() -> None:
    """After layers 4 and 8; a near miss is told as one."""
    assert sae_nb_lessons.exercise("07.1").check([4, 8])
    assert sae_nb_lessons.exercise("07.1").check((8, 4))
    assert "One off" in sae_nb_lessons.exercise("07.1").check([5, 9]).message
    assert not sae_nb_lessons.exercise("07.1").check([6, 12])


def test_the_prediction_is_held_against_the_live_network() -> None:
    """Far across phases most answers turn wrong."""
    exercise = sae_nb_lessons.exercise("07.2")
    assert not exercise.reveal()
    exercise.predict(0.5)
    assert exercise.reveal()
    assert 0.6 < swap_drop() < 1


def left(s: Tensor, cut: int) -> float:
    """Dissimilarity within both phases."""
    return float((1 - s[:cut, :cut]).sum() + (1 - s[cut:, cut:]).sum())


def right(s: Tensor) -> int:
    """As the hints tell it."""
    return min(range(1, len(s)), key=lambda cut: left(s, cut))


def halves(s: Tensor) -> int:
    """Cuts in the middle."""
    return len(s) // 2


def weakest_link(s: Tensor) -> int:
    """Cuts between the two neighbours that are least alike."""
    return int(s.diagonal(1).argmin()) + 1


def the_other_way(s: Tensor) -> int:
    """Leaves as much as it can."""
    return max(range(1, len(s)), key=lambda cut: left(s, cut))


def test_a_right_cut_is_right() -> None:
    """Found by trying every one."""
    assert sae_nb_lessons.exercise("07.3").check(right)


@pytest.mark.parametrize("wrong", [halves, weakest_link, the_other_way])
def test_each_common_mistake_is_found(wrong: Callable[[Tensor], int]) -> None:
    """The verdict names a case and the cut."""
    verdict = sae_nb_lessons.exercise("07.3").check(wrong)
    assert verdict.state == "wrong"
    assert "least is left after" in verdict.message

"""Every solution with one thing changed: refused, or listed in `equal.toml` with the reason why it is right."""

from __future__ import annotations

import pytest

from tests.lessons.exercises.answered import ANSWERS, CELLS
from tests.lessons.exercises.flips import EQUAL, flips, judged

SLOW = {"04.1", "07.1", "09.3"}
"""Exercises whose answer trains or runs a network at each try."""

WRITTEN = [id for id, one in ANSWERS.items() if callable(one)]
CORE = "10"
"""The last lesson that all take; those after it are electives and labs."""


@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=pytest.mark.slow) if id in SLOW else id for id in WRITTEN]
)
def test_a_flip_that_changes_the_meaning_is_refused(id: str) -> None:
    said = dict(judged(id))
    passed = {line for line, one in said.items() if getattr(one, "passed", False)}
    # Some that are listed pass on one machine alone: where a solver sees two columns that are the same.
    assert passed <= EQUAL.get(id, frozenset()) <= said.keys()


@pytest.mark.parametrize("id", WRITTEN)
def test_a_solution_is_flipped_in_many_ways(id: str) -> None:
    tried = {line for line, _ in flips(CELLS[id, "check"])} - EQUAL.get(id, frozenset())
    assert len(tried) >= (12 if id[:2] <= CORE else 6)

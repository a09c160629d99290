"""Every solution with one thing changed: refused, or listed in `equal.toml` with the reason why it is right."""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
from collections.abc import Iterator

import pytest
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import Exercise

from tests.lessons.exercises.answered import ABOVE, ANSWERS, CELLS, answer, handed_in
from tests.lessons.exercises.flips import EQUAL, judged, tried

SLOW = {"00.3", "02.5", "02.6", "02.7", "04.1", "06.2", "07.1", "09.3", "09.4"}
"""Exercises whose answer trains or runs a network at each try."""

EACH = {"00.3": 3, "02.5": 8, "02.6": 5, "02.7": 11, "09.3": 3, "09.4": 3}
"""Every eighth of 125 flips, every third of 34; `python -m tests.lessons.exercises.flips 02.5 09.3` tries them all."""

WRITTEN = [id for id, one in ANSWERS.items() if callable(one)]
TRIED = [*(id for id, one in ANSWERS.items() if not isinstance(one, str)), *ABOVE]
CORE = "10"
"""The last lesson that all take; those after it are electives and labs."""


@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=pytest.mark.slow) if id in SLOW else id for id in TRIED]
)
def test_a_flip_that_changes_the_meaning_is_refused(id: str) -> None:
    """Twelve of an exercise that all take, six of another; of an answer itself where it is no function."""
    flips, equal = set(tried(id)), EQUAL.get(id, frozenset())
    assert len(flips - equal) >= (12 if id[:2] <= CORE else 6)
    passed = {flip for flip, said in judged(id, EACH.get(id, 1)) if getattr(said, "passed", False)}
    # Some that are listed pass on one machine alone: where a solver sees two columns that are the same.
    assert passed <= equal <= flips
    exercise(id).reset()
    assert exercise(id).check(answer(id))


@pytest.mark.parametrize("id", [id for id, one in ANSWERS.items() if isinstance(one, str)])
def test_every_other_word_is_refused(id: str) -> None:
    choices = ast.literal_eval(f"[{exercise(id).expects.removeprefix('one of ')}]")
    assert [one for one in choices if exercise(id).check(one)] == [ANSWERS[id]]


def _as_functions(id: str, hints: list[str]) -> Iterator[str]:
    """What a student can make of the code in hints without a thought: each alone, and one after another."""
    (head,) = (d for d in ast.parse(CELLS[id, "check"]).body if isinstance(d, ast.FunctionDef))
    spans = [re.findall(r"`([^`]+)`", hint) for hint in hints]
    for code in (*spans, list(itertools.chain(*spans))):
        lines = ["import torch", *code[:-1], f"return {code[-1]}"] if code else []
        text = f"def {head.name}({ast.unparse(head.args)}):\n" + "\n".join(
            f"    {x}" for x in lines
        )
        with contextlib.suppress(SyntaxError):
            ast.parse(text)
            yield text


@pytest.mark.slow
@pytest.mark.parametrize("id", [id for id in WRITTEN if id not in SLOW])
def test_no_hint_that_comes_by_itself_is_the_answer(id: str) -> None:
    """Code that is one stands in `code`, which `.hint()` alone shows; with it as a hint this fails."""
    task = exercise(id)._task
    for text in _as_functions(id, list(task.hints)):
        assert not Exercise(task).check(handed_in(text)), text

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

from tests.lessons.exercises.answered import ANSWERS, CELLS, handed_in
from tests.lessons.exercises.flips import EQUAL, altered, flips, judged

SLOW = {"02.5", "04.1", "07.1", "09.3"}
"""Exercises whose answer trains or runs a network at each try."""

EACH = {"02.5": 8, "09.3": 3}
"""Every eighth of 125 flips, every third of 34; `python -m tests.lessons.exercises.flips 02.5 09.3` tries them all."""

WRITTEN = [*(id for id, one in ANSWERS.items() if callable(one)), "02.5", "09.3"]
CORE = "10"
"""The last lesson that all take; those after it are electives and labs."""


@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=pytest.mark.slow) if id in SLOW else id for id in WRITTEN]
)
def test_a_flip_that_changes_the_meaning_is_refused(id: str) -> None:
    lines = [line for line, _ in flips(CELLS[id, "check"])]
    said = dict(judged(id, lines[:: EACH.get(id, 1)]))
    passed = {line for line, one in said.items() if getattr(one, "passed", False)}
    # Some that are listed pass on one machine alone: where a solver sees two columns that are the same.
    assert passed <= EQUAL.get(id, frozenset()) <= set(lines)


NUMBERS = [id for id, one in ANSWERS.items() if not callable(one) and not isinstance(one, str)]


@pytest.mark.parametrize("id", NUMBERS)
def test_a_number_with_a_slip_is_refused(id: str) -> None:
    said = {name: exercise(id).check(slip).passed for name, slip in altered(ANSWERS[id])}
    assert len(said) >= 8
    assert {name for name, passed in said.items() if passed} == EQUAL.get(id, frozenset())


@pytest.mark.parametrize("id", [id for id, one in ANSWERS.items() if isinstance(one, str)])
def test_every_other_word_is_refused(id: str) -> None:
    choices = ast.literal_eval(f"[{exercise(id).expects.removeprefix('one of ')}]")
    assert [one for one in choices if exercise(id).check(one)] == [ANSWERS[id]]


@pytest.mark.parametrize("id", WRITTEN)
def test_a_solution_is_flipped_in_many_ways(id: str) -> None:
    tried = {line for line, _ in flips(CELLS[id, "check"])} - EQUAL.get(id, frozenset())
    assert len(tried) >= (12 if id[:2] <= CORE else 6)


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
